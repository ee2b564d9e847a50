//! Transaction kinds of the terminal dialect, as a table: one line a transaction.
//!
//! Source: the transaction table, the request-presence table and the response-presence table of the
//! terminal specification's field reference. Adding a transaction is adding a line.

use std::fmt;

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
    /// Fields copied from the request into the answer, when present.
    pub copied: FieldSet,
}

const CARD_COPIED: FieldSet = FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60]);
const MANAGEMENT_COPIED: FieldSet = FieldSet::of(&[11, 41, 42, 60]);
const BATCH_UP_COPIED: FieldSet = FieldSet::of(&[11, 41, 42, 48, 49, 60]);

const MANAGEMENT: KindSpec = KindSpec {
    kind: Kind::Echo,
    code: "echo",
    zh: "回响测试",
    en: "echo",
    mti: 820,
    processing: None,
    condition: None,
    message_type: Some(0),
    network_codes: &[301],
    mandatory: FieldSet::of(&[41, 42, 60]),
    needs_card: false,
    mac_request: false,
    mac_answer: false,
    reversible: false,
    told: false,
    unknown: Unknown::Forget,
    side: Side::None,
    network: None,
    copied: MANAGEMENT_COPIED,
};

const FINANCIAL: KindSpec = KindSpec {
    kind: Kind::Sale,
    code: "sale",
    zh: "消费",
    en: "sale",
    mti: 200,
    processing: Some(0),
    condition: Some(0),
    message_type: Some(22),
    network_codes: &[0],
    mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 64]),
    needs_card: true,
    mac_request: true,
    mac_answer: true,
    reversible: true,
    told: false,
    unknown: Unknown::Reverse,
    side: Side::Debit,
    network: Some(NetworkForm { mti: 200, processing_code: 0 }),
    copied: CARD_COPIED,
};

const OFFLINE: KindSpec = KindSpec {
    kind: Kind::OfflineSale,
    code: "offline_sale",
    zh: "离线结算",
    en: "offline sale",
    mti: 220,
    message_type: Some(30),
    reversible: false,
    told: true,
    unknown: Unknown::Repeat,
    network: Some(NetworkForm { mti: 220, processing_code: 0 }),
    ..FINANCIAL
};

/// The table.
pub static KINDS: &[KindSpec] = &[
    KindSpec {
        kind: Kind::SignIn,
        code: "sign_in",
        zh: "签到",
        en: "sign-in",
        mti: 800,
        network_codes: &[1, 3, 4, 6],
        mandatory: FieldSet::of(&[11, 41, 42, 60, 63]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::SignOff,
        code: "sign_off",
        zh: "签退",
        en: "sign-off",
        network_codes: &[2],
        mandatory: FieldSet::of(&[11, 41, 42, 60]),
        ..MANAGEMENT
    },
    MANAGEMENT,
    KindSpec {
        kind: Kind::Balance,
        code: "balance",
        zh: "余额查询",
        en: "balance",
        processing: Some(31),
        message_type: Some(1),
        mandatory: FieldSet::of(&[3, 11, 22, 25, 41, 42, 49, 60, 64]),
        reversible: false,
        unknown: Unknown::Forget,
        side: Side::None,
        network: Some(NetworkForm { mti: 200, processing_code: 300_000 }),
        ..FINANCIAL
    },
    FINANCIAL,
    KindSpec {
        kind: Kind::SaleVoid,
        code: "sale_void",
        zh: "消费撤销",
        en: "sale void",
        processing: Some(20),
        message_type: Some(23),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        side: Side::Credit,
        network: Some(NetworkForm { mti: 200, processing_code: 200_000 }),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::Refund,
        code: "refund",
        zh: "退货",
        en: "refund",
        mti: 220,
        processing: Some(20),
        message_type: Some(25),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 37, 41, 42, 49, 60, 61, 64]),
        reversible: false,
        unknown: Unknown::Repeat,
        side: Side::Credit,
        network: Some(NetworkForm { mti: 220, processing_code: 200_000 }),
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60, 63]),
        ..FINANCIAL
    },
    OFFLINE,
    KindSpec {
        kind: Kind::Adjust,
        code: "adjust",
        zh: "结算调整",
        en: "settlement adjustment",
        message_type: Some(32),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 60, 61, 64]),
        side: Side::None,
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::Tip,
        code: "tip",
        zh: "小费调整",
        en: "tip",
        message_type: Some(34),
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 41, 42, 49, 54, 60, 61, 64]),
        side: Side::None,
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::OfflineChip,
        code: "offline_chip",
        zh: "脱机消费上送",
        en: "offline chip sale",
        mti: 200,
        message_type: Some(36),
        mandatory: FieldSet::of(&[2, 3, 4, 11, 22, 25, 41, 42, 49, 55, 60, 63, 64]),
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60, 63]),
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::ScriptResult,
        code: "script_result",
        zh: "脚本结果",
        en: "script result",
        mti: 620,
        processing: None,
        condition: None,
        message_type: Some(0),
        network_codes: &[951],
        mandatory: FieldSet::of(&[3, 11, 22, 32, 37, 41, 42, 49, 55, 60, 61, 64]),
        needs_card: false,
        side: Side::None,
        network: None,
        copied: FieldSet::of(&[2, 3, 11, 23, 32, 38, 41, 42, 49, 60]),
        ..OFFLINE
    },
    KindSpec {
        kind: Kind::Reversal,
        code: "reversal",
        zh: "冲正",
        en: "reversal",
        mti: 400,
        processing: None,
        condition: None,
        message_type: None,
        mandatory: FieldSet::of(&[3, 4, 11, 22, 25, 39, 41, 42, 49, 60, 64]),
        needs_card: false,
        reversible: false,
        unknown: Unknown::Forget,
        side: Side::None,
        network: None,
        copied: FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 60]),
        ..FINANCIAL
    },
    KindSpec {
        kind: Kind::Settlement,
        code: "settlement",
        zh: "批结算",
        en: "settlement",
        mti: 500,
        network_codes: &[201],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 49, 60, 63]),
        copied: FieldSet::of(&[11, 41, 42, 49, 60, 63]),
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpOffline,
        code: "batch_up_offline",
        zh: "批上送（脱机）",
        en: "batch-up, offline",
        mti: 320,
        message_type: None,
        network_codes: &[0],
        mandatory: FieldSet::of(&[2, 3, 4, 11, 22, 25, 41, 42, 49, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpMagnetic,
        code: "batch_up_magnetic",
        zh: "批上送（磁条）",
        en: "batch-up, magnetic",
        mti: 320,
        network_codes: &[201],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpChip,
        code: "batch_up_chip",
        zh: "批上送（IC卡）",
        en: "batch-up, chip",
        mti: 320,
        message_type: None,
        network_codes: &[203, 204, 205, 206],
        mandatory: FieldSet::of(&[2, 11, 22, 41, 42, 55, 60, 62]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
    KindSpec {
        kind: Kind::BatchUpEnd,
        code: "batch_up_end",
        zh: "批上送结束",
        en: "batch-up end",
        mti: 320,
        network_codes: &[202, 207],
        mandatory: FieldSet::of(&[11, 41, 42, 48, 60]),
        copied: BATCH_UP_COPIED,
        ..MANAGEMENT
    },
];

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
        KINDS.iter().find(|line| line.kind == self).unwrap_or(&MANAGEMENT)
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
        assert_eq!(sign(200, Some(31), Some(0), 1, 0), Some(Kind::Balance));
        assert_eq!(sign(200, Some(0), Some(0), 22, 0), Some(Kind::Sale));
        assert_eq!(sign(200, Some(20), Some(0), 23, 0), Some(Kind::SaleVoid));
        assert_eq!(sign(220, Some(20), Some(0), 25, 0), Some(Kind::Refund));
        assert_eq!(sign(220, Some(0), Some(0), 30, 0), Some(Kind::OfflineSale));
        assert_eq!(sign(220, Some(0), Some(0), 32, 0), Some(Kind::Adjust));
        assert_eq!(sign(220, Some(0), Some(0), 34, 0), Some(Kind::Tip));
        assert_eq!(sign(200, Some(0), Some(0), 36, 0), Some(Kind::OfflineChip));
        assert_eq!(sign(620, Some(0), Some(0), 0, 951), Some(Kind::ScriptResult));
        assert_eq!(sign(400, Some(0), Some(0), 22, 0), Some(Kind::Reversal));
        assert_eq!(sign(400, Some(20), Some(0), 23, 0), Some(Kind::Reversal));
        assert_eq!(sign(500, None, None, 0, 201), Some(Kind::Settlement));
        assert_eq!(sign(320, None, None, 0, 201), Some(Kind::BatchUpMagnetic));
        assert_eq!(sign(320, None, None, 22, 205), Some(Kind::BatchUpChip));
        assert_eq!(sign(320, None, None, 0, 207), Some(Kind::BatchUpEnd));
        assert_eq!(sign(320, Some(0), Some(0), 30, 0), Some(Kind::BatchUpOffline));
        assert_eq!(sign(200, Some(99), Some(0), 22, 0), None);
        assert_eq!(sign(100, Some(3), Some(6), 10, 0), None);
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

    #[test]
    fn field_sets_hold_what_they_were_given() {
        let set = FieldSet::of(&[2, 64, 11]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2, 11, 64]);
        assert!(!set.has(0) && !set.has(65) && !set.has(3));
    }
}
