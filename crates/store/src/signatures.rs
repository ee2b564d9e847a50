//! E-signatures: kept part by part, joined when they are read.

use acquiring::payment::JournalEntry;
use acquiring::{MerchantId, PaymentId};
use jiff::Timestamp;

use crate::db::{Db, Lock, Op, params};
use crate::error::StoreError;
use crate::payments;
use crate::rows::{all, millis};
use crate::types::{PartKept, Signature};

/// Code of the last part; the parts before it count down to it.
const LAST: u16 = 800;

struct Part {
    code: u16,
    at: Timestamp,
    image: Vec<u8>,
}

fn parts(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Vec<Part>> {
    let select = "SELECT code, at, image FROM signature_part WHERE merchant = ?1 AND payment = ?2 \
         ORDER BY code DESC";
    all(db, select, params![merchant.as_str(), id.0], |c| {
        Ok(Part { code: c.take("code")?, at: c.time("at")?, image: c.take("image")? })
    })
}

/// From the first part down to the last without a gap.
fn complete(parts: &[Part]) -> bool {
    parts.last().is_some_and(|part| part.code == LAST)
        && parts.windows(2).all(|two| matches!(two, [one, next] if one.code == next.code + 1))
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
    if db.payment_by_id(merchant, id)?.is_none() {
        return Err(StoreError::UnknownPayment { merchant, id }.into());
    }
    if complete(&parts(db, merchant, id)?) {
        return Ok(PartKept::Known);
    }
    let upsert = "INSERT INTO signature_part (merchant, payment, code, at, image) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (merchant, payment, code) DO UPDATE SET image = excluded.image";
    db.execute(upsert, params![merchant.as_str(), id.0, code, millis(at), image])?;
    payments::append(db, merchant, id, entries)?;
    Ok(if complete(&parts(db, merchant, id)?) { PartKept::Complete } else { PartKept::More })
}

/// The signature of a payment, as far as it came.
pub(crate) fn of(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Option<Signature>> {
    let parts = parts(db, merchant, id)?;
    let Some(at) = parts.iter().map(|part| part.at).max() else { return Ok(None) };
    let complete = complete(&parts);
    let image = parts.into_iter().flat_map(|part| part.image).collect();
    Ok(Some(Signature { image, complete, at }))
}
