//! E-signatures: kept part by part, joined when they are read.

use acquiring::payment::JournalEntry;
use acquiring::{MerchantId, PaymentId};
use jiff::Timestamp;

use crate::db::{Db, Lock, Op, params};
use crate::error::StoreError;
use crate::payments;
use crate::rows::{Columns, all, millis};
use crate::store::Store;
use crate::types::{PartKept, Signature, SignaturePart};
use crate::writer::Admission;

impl Store {
    /// Parts of e-signatures that an earlier release kept in the clear, at most so many.
    pub async fn clear_signatures(&self, max: usize) -> Result<Vec<SignaturePart>, StoreError> {
        self.db.read(move |db| clear(db, max)).await
    }

    /// Puts a sealed image in the place of a clear one; `false` when another node was first.
    pub async fn seal_signature(&self, part: SignaturePart, sealed: Vec<u8>) -> Result<bool, StoreError> {
        let op = move |db: &dyn Db| seal(db, &part, &sealed);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }
}

/// Code of the last part; the parts before it count down to it.
const LAST: u16 = 800;

macro_rules! part_columns {
    () => {
        "merchant, payment, code, at, image, sealed"
    };
}

fn part(c: &mut Columns<'_>) -> Op<(SignaturePart, Timestamp)> {
    let (merchant, payment) = (c.merchant()?, PaymentId(c.take("payment")?));
    let (code, at) = (c.take("code")?, c.time("at")?);
    let (image, sealed): (_, u16) = (c.take("image")?, c.take("sealed")?);
    Ok((SignaturePart { merchant, payment, code, image, clear: sealed == 0 }, at))
}

fn parts(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Vec<(SignaturePart, Timestamp)>> {
    let select = concat!(
        "SELECT ",
        part_columns!(),
        " FROM signature_part WHERE merchant = ?1 AND payment = ?2 ORDER BY code DESC"
    );
    all(db, select, params![merchant.as_str(), id.0], part)
}

/// From the first part down to the last without a gap.
fn complete(parts: &[(SignaturePart, Timestamp)]) -> bool {
    parts.last().is_some_and(|(part, _)| part.code == LAST)
        && parts.windows(2).all(|two| matches!(two, [one, next] if one.0.code == next.0.code + 1))
}

/// Keeps a part. The first image that is complete stays: what comes after it is a repeat.
pub(crate) fn put(
    db: &dyn Db,
    merchant: MerchantId,
    id: PaymentId,
    code: u16,
    image: &[u8],
    entries: &[JournalEntry],
    at: Timestamp,
) -> Op<PartKept> {
    db.lock(Lock::Payment(merchant, id))?;
    let payment = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    if complete(&parts(db, merchant, id)?) {
        return Ok(PartKept::Known);
    }
    let upsert = "INSERT INTO signature_part (merchant, payment, code, at, image, sealed) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1) \
         ON CONFLICT (merchant, payment, code) DO UPDATE SET image = excluded.image, sealed = 1";
    db.execute(upsert, params![merchant.as_str(), id.0, code, millis(at), image])?;
    payments::append(db, &payment, entries)?;
    Ok(if complete(&parts(db, merchant, id)?) { PartKept::Complete } else { PartKept::More })
}

/// The signature of a payment, as far as it came.
pub(crate) fn of(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Option<Signature>> {
    let parts = parts(db, merchant, id)?;
    let Some(at) = parts.iter().map(|(_, at)| *at).max() else { return Ok(None) };
    let complete = complete(&parts);
    Ok(Some(Signature { parts: parts.into_iter().map(|(part, _)| part).collect(), complete, at }))
}

/// Parts that were kept before images were sealed.
pub(crate) fn clear(db: &dyn Db, max: usize) -> Op<Vec<SignaturePart>> {
    let select = concat!("SELECT ", part_columns!(), " FROM signature_part WHERE sealed = 0 LIMIT ?1");
    all(db, select, params![i64::try_from(max).unwrap_or(i64::MAX)], |c| Ok(part(c)?.0))
}

/// Puts the sealed image in the place of the clear one; whether it was clear still.
pub(crate) fn seal(db: &dyn Db, part: &SignaturePart, sealed: &[u8]) -> Op<bool> {
    let update = "UPDATE signature_part SET image = ?4, sealed = 1 \
         WHERE merchant = ?1 AND payment = ?2 AND code = ?3 AND sealed = 0";
    Ok(db.execute(update, params![part.merchant.as_str(), part.payment.0, part.code, sealed])? > 0)
}
