//! Sample records shared by the tests and the benchmark. Card data is made up.

#![allow(dead_code)] // each test crate uses its part

use acquiring::card::{EntryMode, Expiry, Pan};
use acquiring::kind::Kind;
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession, WorkingKeys};
use acquiring::payment::{
    Answer, CardRecord, EntryKind, JournalEntry, NetworkKey, PaymentRecord, PaymentState,
};
use acquiring::{Amount, AuthCode, BatchNo, MerchantId, PaymentId, ResponseCode, TerminalId, Trace};
use jiff::{Timestamp, ToSpan};

/// Account number of the sample card; the tests look for it where it must not be.
pub const PAN: &str = "6224242000000021";

pub fn merchant_id() -> MerchantId {
    MerchantId::new("898100000000001").unwrap()
}

pub fn terminal_id() -> TerminalId {
    TerminalId::new("10000001").unwrap()
}

/// A moment of the sample day, so many milliseconds after its opening.
pub fn at(ms: i64) -> Timestamp {
    "2026-11-24T02:15:00Z".parse::<Timestamp>().unwrap().checked_add(ms.milliseconds()).unwrap()
}

pub fn fen(fen: u64) -> Amount {
    Amount::from_fen(fen).unwrap()
}

/// A pending payment with every number derived from `id`.
pub fn payment(id: i64, kind: Kind) -> PaymentRecord {
    let number = PaymentId(id);
    PaymentRecord {
        id: number,
        merchant: merchant_id(),
        terminal: terminal_id(),
        batch: BatchNo::FIRST,
        trace: Trace::new(((id - 1).rem_euclid(999_999) + 1).unsigned_abs()).unwrap(),
        kind,
        state: PaymentState::Pending,
        amount: fen(10_000),
        adjusted: None,
        currency: 156,
        card: Some(CardRecord {
            masked: Pan::new(PAN).unwrap().masked(),
            digest: [7; 32],
            sealed: vec![0xa5; 44],
        }),
        expiry: Expiry::new(2912),
        entry_mode: EntryMode::new(51).unwrap(),
        card_sequence: Some(1),
        condition: 0,
        terminal_traits: [5, 0, 1],
        request_digest: [9; 32],
        line: "unionpay".to_owned(),
        network: NetworkKey { trace: number.network_trace(), transmission: 1_124_101_500 },
        rrn: number.rrn(1124),
        original: None,
        claimed_by: None,
        refunded: Amount::ZERO,
        answer: None,
        reversal_reason: None,
        reversed_on: None,
        limited: false,
        foreign: false,
        created: at(id),
    }
}

/// A void or refund of `original`.
pub fn undoing(id: i64, kind: Kind, original: i64, amount: Amount) -> PaymentRecord {
    PaymentRecord { original: Some(PaymentId(original)), amount, ..payment(id, kind) }
}

pub fn answer(code: ResponseCode, ms: i64) -> Answer {
    Answer {
        auth_code: AuthCode::new("12 456").ok(),
        settle_date: Some(1124),
        issuer: Some("01030000".to_owned()),
        balance: Some("1001156C000000012345".to_owned()),
        chip: Some(vec![0x91, 0x02, 0x30, 0x30]),
        plan: Some("06ITEM".to_owned()),
        ..Answer::own(code, at(ms))
    }
}

pub fn message(ms: i64, kind: EntryKind, bytes: usize) -> JournalEntry {
    JournalEntry::message(at(ms), kind, vec![0x2a; bytes])
}

pub fn merchant() -> Merchant {
    Merchant {
        id: merchant_id(),
        name: "街角面馆".to_owned(),
        mcc: 5812,
        active: true,
        limit_single: Some(fen(5_000_000)),
        profile: None,
    }
}

pub fn terminal() -> Terminal {
    Terminal {
        merchant: merchant_id(),
        id: terminal_id(),
        active: true,
        cipher: TerminalCipher::TripleDes,
        master_key: "wrapped-tmk-1".to_owned(),
        session: TerminalSession::NEW,
    }
}

pub fn keys(n: u32) -> WorkingKeys {
    WorkingKeys {
        pin: format!("pik-{n}"),
        mac: format!("mak-{n}"),
        track: (n > 1).then(|| format!("tdk-{n}")),
    }
}
