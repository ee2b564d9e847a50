//! Transaction kinds of the terminal dialect, as a table: one line a transaction.
//!
//! Source: the transaction table, the request-presence table and the response-presence table of the
//! terminal specification's field reference. Adding a transaction is adding a line.

mod table;

use std::fmt;

use crate::download::{List, Step};

pub use self::table::KINDS;

/// A set of field numbers 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldSet(u64);

impl FieldSet {
    /// The set of these fields.
    pub const fn of(fields: &[u8]) -> Self {
        let mut bits = 0u64;
        let mut rest = fields;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (*first - 1);
            rest = tail;
        }
        Self(bits)
    }

    /// Whether the field is in the set.
    pub const fn has(self, field: u8) -> bool {
        field >= 1 && field <= 64 && self.0 & (1 << (field - 1)) != 0
    }

    /// The fields, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (1..=64).filter(move |f| self.has(*f))
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A transaction as the terminal names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Kind {
    /// 签到: the terminal gets its working keys.
    SignIn,
    /// 签退.
    SignOff,
    /// 回响测试.
    Echo,
    /// 参数下载: a message of the download of a list.
    Download(List, Step),
    /// 状态上送: the terminal tells its state and the parameters that it works by.
    StatusUpload,
    /// TMS下载: asked of the terminal management system; modelled, answered like the parameters.
    SoftwareDownload,
    /// 余额查询.
    Balance,
    /// 消费.
    Sale,
    /// 消费撤销.
    SaleVoid,
    /// 退货.
    Refund,
    /// 离线结算: a sale that the terminal approved by itself (by voice, below the floor limit).
    OfflineSale,
    /// 结算调整: another amount for a sale of the running batch.
    Adjust,
    /// 小费: as [`Kind::Adjust`], by a tip that the message names.
    Tip,
    /// 脱机消费上送: a sale that terminal and chip approved, with the chip's certificate.
    OfflineChip,
    /// 脚本结果: what became of the commands that an answer brought for the chip.
    ScriptResult,
    /// 预授权: sets an amount aside on the card.
    Preauth,
    /// 预授权撤销.
    PreauthVoid,
    /// 预授权完成（请求）: takes the amount that was set aside.
    Completion,
    /// 预授权完成（通知）: the same, told after the fact.
    CompletionAdvice,
    /// 预授权完成撤销.
    CompletionVoid,
    /// 电子签名: the image of a signature, in parts.
    ESignature,
    /// 分期消费: a sale that the holder pays in parts.
    Instalment,
    /// 分期撤销.
    InstalmentVoid,
    /// 积分消费: paid with points of the issuer or of the card organisations.
    PointsSale,
    /// 脱机退货: a refund of what a chip paid.
    ChipRefund,
    /// 指定账户圈存: from the card's account into its electronic purse.
    Load,
    /// 非指定账户圈存: the account is another card's than the purse.
    TransferLoad,
    /// 现金充值: cash at the counter into the electronic purse of a card.
    CashLoad,
    /// 现金充值撤销.
    CashLoadVoid,
    /// 冲正: undoes the transaction whose numbers it repeats.
    Reversal,
    /// 批结算.
    Settlement,
    /// 批上送, details of offline transactions.
    BatchUpOffline,
    /// 批上送, details of magnetic online transactions.
    BatchUpMagnetic,
    /// 批上送, a chip transaction with its certificate, or a notice.
    BatchUpChip,
    /// 批上送结束.
    BatchUpEnd,
}

/// What to do toward the network when a request got no answer in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// Nothing moved: answer 68 and forget.
    Forget,
    /// Reverse (冲正) until the network acknowledges.
    Reverse,
    /// Repeat the same request until the network answers.
    Repeat,
}

/// Which way a completed transaction counts in the totals of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// No money.
    None,
    /// Money from the cardholder (借记).
    Debit,
    /// Money back to the cardholder (贷记).
    Credit,
}

/// How a transaction of the terminal is sent to the card network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkForm {
    /// MTI of the request.
    pub mti: u16,
    /// Field 3.
    pub processing_code: u32,
    /// Field 90 names the original. A completion names it by field 38 alone.
    pub names_original: bool,
    /// Field 37 is the original's.
    pub repeats_reference: bool,
    /// A PIN is passed on.
    pub takes_pin: bool,
    /// Field 62 of the terminal goes with it in field 48, under this tag, and comes back the same way. Modelled: the
    /// tags are known, what stands after them is not.
    pub plan_tag: Option<&'static str>,
}

impl NetworkForm {
    /// A request that stands on nothing.
    const fn new(mti: u16, processing_code: u32) -> Self {
        let (names_original, repeats_reference, takes_pin) = (false, false, true);
        NetworkForm { mti, processing_code, names_original, repeats_reference, takes_pin, plan_tag: None }
    }

    /// A request that names its original in field 90.
    const fn naming(mti: u16, processing_code: u32) -> Self {
        NetworkForm { names_original: true, ..Self::new(mti, processing_code) }
    }

    /// As [`Self::naming`], under the original's reference number.
    const fn repeating(mti: u16, processing_code: u32) -> Self {
        NetworkForm { repeats_reference: true, ..Self::naming(mti, processing_code) }
    }
}

/// What a transaction does to the one it stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hold {
    /// Makes it not have happened, as a whole.
    Cancel,
    /// Gives back up to its amount.
    Repay,
    /// Takes the money that it set aside.
    Complete,
    /// Makes another amount of it.
    Adjust,
}

/// By what a terminal tells the transaction that another stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundBy {
    /// Batch and trace number of field 61: it is of the same terminal and batch.
    Trace,
    /// Reference number (field 37) and date (61.3).
    Reference,
    /// Authorisation number (field 38), card and date (61.3); batch and trace of field 61 when not zero.
    Authorisation,
}

/// What a transaction stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandsOn {
    /// Kinds that it may stand on.
    pub kinds: &'static [Kind],
    /// What it does to it.
    pub hold: Hold,
    /// How it is found.
    pub found_by: FoundBy,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// The transaction.
    pub kind: Kind,
    /// Short code in files, logs and metrics.
    pub code: &'static str,
    /// Name, Chinese.
    pub zh: &'static str,
    /// Name, English.
    pub en: &'static str,
    /// MTI of the request; the answer's is 10 higher.
    pub mti: u16,
    /// First two digits of field 3, when the transaction has one.
    pub processing: Option<u8>,
    /// Field 25, when the transaction has one.
    pub condition: Option<u8>,
    /// Field 60.1; `None` where it repeats the original's.
    pub message_type: Option<u8>,
    /// Field 60.3, any of these.
    pub network_codes: &'static [u16],
    /// Fields without which the request is answered 30.
    pub mandatory: FieldSet,
    /// An account number must be present: field 2, track 2, or chip data.
    pub needs_card: bool,
    /// Request carries a MAC.
    pub mac_request: bool,
    /// Answer carries a MAC.
    pub mac_answer: bool,
    /// A terminal that gets no answer sends a reversal.
    pub reversible: bool,
    /// It tells what has happened already: journaled as approved and answered at once, then forwarded to the
    /// network until it acknowledges. Nothing undoes it but a transaction of its own.
    pub told: bool,
    /// What we do toward the network without an answer.
    pub unknown: Unknown,
    /// How it counts in the batch.
    pub side: Side,
    /// How it goes to the network, when it goes there.
    pub network: Option<NetworkForm>,
    /// The transaction it is about, when it is about another.
    pub stands_on: Option<StandsOn>,
    /// A card read by its chip must bring chip data, field 55.
    pub chip_data: bool,
    /// Fields copied from the request into the answer, when present.
    pub copied: FieldSet,
}

/// The numbers that tell a terminal's transaction: MTI, processing code, condition code, 60.1 and 60.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// MTI of the request.
    pub mti: u16,
    /// First two digits of field 3.
    pub processing: Option<u8>,
    /// Field 25.
    pub condition: Option<u8>,
    /// Field 60.1.
    pub message_type: Option<u8>,
    /// Field 60.3.
    pub network_code: Option<u16>,
}

impl Kind {
    /// The line of the table.
    pub fn spec(self) -> &'static KindSpec {
        // Each kind stands in the table once (a test says so); the fallback is never taken.
        KINDS.iter().find(|line| line.kind == self).unwrap_or(&table::MANAGEMENT)
    }

    /// The short code: `sale`, `sale_void`.
    pub fn code(self) -> &'static str {
        self.spec().code
    }

    /// The kind with this short code.
    pub fn from_code(code: &str) -> Option<Kind> {
        KINDS.iter().find(|line| line.code == code).map(|line| line.kind)
    }

    /// Which transaction these numbers mean.
    pub fn classify(signature: Signature) -> Option<&'static KindSpec> {
        KINDS.iter().find(|line| line.matches(signature))
    }

    /// What it does to the transaction that it stands on, when it stands on one.
    pub fn hold(self) -> Option<Hold> {
        self.spec().stands_on.map(|stands_on| stands_on.hold)
    }

    /// Whether the terminal must be signed in: not for what gets or tests a session, nor for downloads, which a
    /// terminal may need before it can sign in; but a list of card numbers is for no stranger.
    pub const fn needs_session(self) -> bool {
        match self {
            Kind::Download(List::Blacklist, Step::Get) => true,
            Kind::SignIn | Kind::Echo | Kind::Download(..) | Kind::StatusUpload | Kind::SoftwareDownload => {
                false
            }
            _ => true,
        }
    }

    /// Whether an MTI stands in the table at all.
    pub fn knows_mti(mti: u16) -> bool {
        KINDS.iter().any(|line| line.mti == mti)
    }
}

impl KindSpec {
    fn matches(&self, s: Signature) -> bool {
        let same = |line: Option<u8>, got: Option<u8>| line.is_none() || line == got;
        self.mti == s.mti
            && same(self.processing, s.processing)
            && same(self.condition, s.condition)
            && same(self.message_type, s.message_type)
            && self.network_codes.contains(&s.network_code.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(mti: u16, p: Option<u8>, c: Option<u8>, t: u8, n: u16) -> Option<Kind> {
        let signature =
            Signature { mti, processing: p, condition: c, message_type: Some(t), network_code: Some(n) };
        Kind::classify(signature).map(|line| line.kind)
    }

    #[test]
    fn the_numbers_of_the_specification_name_the_transactions() {
        assert_eq!(sign(800, None, None, 0, 3), Some(Kind::SignIn));
        assert_eq!(sign(820, None, None, 0, 2), Some(Kind::SignOff));
        assert_eq!(sign(820, None, None, 0, 301), Some(Kind::Echo));
        assert_eq!(sign(800, None, None, 0, 360), Some(Kind::Download(List::Parameters, Step::Get)));
        assert_eq!(sign(820, None, None, 0, 372), Some(Kind::Download(List::PublicKeys, Step::Query)));
        assert_eq!(sign(800, None, None, 0, 372), None);
        assert_eq!(sign(820, None, None, 0, 362), Some(Kind::StatusUpload));
        assert_eq!(sign(200, Some(31), Some(0), 1, 0), Some(Kind::Balance));
        assert_eq!(sign(200, Some(0), Some(0), 22, 0), Some(Kind::Sale));
        assert_eq!(sign(200, Some(20), Some(0), 23, 0), Some(Kind::SaleVoid));
        assert_eq!(sign(220, Some(20), Some(0), 25, 0), Some(Kind::Refund));
        assert_eq!(sign(220, Some(0), Some(0), 30, 0), Some(Kind::OfflineSale));
        assert_eq!(sign(220, Some(0), Some(0), 32, 0), Some(Kind::Adjust));
        assert_eq!(sign(220, Some(0), Some(0), 34, 0), Some(Kind::Tip));
        assert_eq!(sign(200, Some(0), Some(0), 36, 0), Some(Kind::OfflineChip));
        assert_eq!(sign(620, Some(0), Some(0), 0, 951), Some(Kind::ScriptResult));
        assert_eq!(sign(820, None, None, 7, 800), Some(Kind::ESignature));
        assert_eq!(sign(400, Some(0), Some(0), 22, 0), Some(Kind::Reversal));
        assert_eq!(sign(400, Some(20), Some(0), 23, 0), Some(Kind::Reversal));
        assert_eq!(sign(500, None, None, 0, 201), Some(Kind::Settlement));
        assert_eq!(sign(320, None, None, 0, 201), Some(Kind::BatchUpMagnetic));
        assert_eq!(sign(320, None, None, 22, 205), Some(Kind::BatchUpChip));
        assert_eq!(sign(320, None, None, 0, 207), Some(Kind::BatchUpEnd));
        assert_eq!(sign(320, Some(0), Some(0), 30, 0), Some(Kind::BatchUpOffline));
        assert_eq!(sign(200, Some(99), Some(0), 22, 0), None);
        assert_eq!(sign(100, Some(3), Some(6), 10, 0), Some(Kind::Preauth));
        assert_eq!(sign(100, Some(20), Some(6), 11, 0), Some(Kind::PreauthVoid));
        assert_eq!(sign(200, Some(0), Some(6), 20, 0), Some(Kind::Completion));
        assert_eq!(sign(220, Some(0), Some(6), 24, 0), Some(Kind::CompletionAdvice));
        assert_eq!(sign(200, Some(20), Some(6), 21, 0), Some(Kind::CompletionVoid));
        assert_eq!(sign(400, Some(3), Some(6), 10, 0), Some(Kind::Reversal));
        assert_eq!(sign(100, Some(3), Some(0), 10, 0), None);
        assert_eq!(sign(200, Some(0), Some(64), 22, 0), Some(Kind::Instalment));
        assert_eq!(sign(200, Some(20), Some(64), 23, 0), Some(Kind::InstalmentVoid));
        assert_eq!(sign(220, Some(20), Some(0), 27, 0), Some(Kind::ChipRefund));
        assert_eq!(sign(200, Some(0), Some(65), 22, 0), Some(Kind::PointsSale));
        assert_eq!(sign(200, Some(60), Some(91), 45, 0), Some(Kind::Load));
        assert_eq!(sign(200, Some(62), Some(91), 47, 0), Some(Kind::TransferLoad));
        assert_eq!(sign(200, Some(63), Some(91), 46, 0), Some(Kind::CashLoad));
        assert_eq!(sign(200, Some(17), Some(91), 51, 0), Some(Kind::CashLoadVoid));
    }

    #[test]
    fn each_kind_and_code_stands_once() {
        for (at, line) in KINDS.iter().enumerate() {
            for other in &KINDS[at + 1..] {
                assert_ne!(line.kind, other.kind);
                assert_ne!(line.code, other.code);
            }
            assert_eq!(line.kind.spec().code, line.code);
            assert_eq!(Kind::from_code(line.code), Some(line.kind));
            assert_eq!(line.mandatory.has(64), line.mac_request, "{}", line.code);
            // What has happened already cannot be undone by silence.
            assert!(!line.told || !line.reversible, "{}", line.code);
        }
    }

    /// Money that went one way comes back the other: what cancels counts on the other side than what it cancels,
    /// and what stands on another says how to find it.
    #[test]
    fn what_undoes_counts_on_the_other_side() {
        for line in KINDS {
            let Some(on) = line.stands_on else { continue };
            for original in on.kinds {
                let side = original.spec().side;
                let expected = match on.hold {
                    Hold::Complete => Side::Debit,
                    Hold::Adjust => Side::None,
                    Hold::Cancel | Hold::Repay if side == Side::Debit => Side::Credit,
                    Hold::Cancel | Hold::Repay if side == Side::Credit => Side::Debit,
                    Hold::Cancel | Hold::Repay => Side::None,
                };
                assert_eq!(line.side, expected, "{} of {}", line.code, original.code());
            }
            assert!(line.mandatory.has(61), "{}", line.code);
            let by = match on.found_by {
                FoundBy::Trace => 61,
                FoundBy::Reference => 37,
                FoundBy::Authorisation => 38,
            };
            assert!(line.mandatory.has(by), "{}", line.code);
            assert_eq!(line.network.is_some_and(|form| form.names_original), on.hold != Hold::Complete);
        }
    }

    #[test]
    fn whole_card_numbers_need_a_session_and_other_downloads_do_not() {
        let code = |n| sign(800, None, None, 0, n);
        assert!(
            code(390).unwrap().needs_session() && Kind::SignOff.needs_session() && Kind::Sale.needs_session()
        );
        for open in [1, 360, 364, 370, 380, 391, 394, 396, 398] {
            assert!(!code(open).unwrap().needs_session(), "{open}");
        }
    }

    #[test]
    fn field_sets_hold_what_they_were_given() {
        let set = FieldSet::of(&[2, 64, 11]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2, 11, 64]);
        assert!(!set.has(0) && !set.has(65) && !set.has(3));
    }
}
