//! What the code answers when it is asked about a transaction: which originals it takes and on what conditions,
//! what becomes of it without an answer, what a reversal of it meets, which fields it has toward the network.

use std::collections::BTreeSet;

use acquiring::kind::{FoundBy, KINDS, Kind, KindSpec};
use acquiring::limit::{CardClass, Limit, LimitScope, Limits};
use acquiring::payment::{Answer, CardRecord, NetworkKey, PaymentRecord, PaymentState};
use acquiring::transition::{Event, Forward, Reception, on_event, take_hold};
use acquiring::{
    Amount, AuthCode, BatchNo, EntryMode, Expiry, InstitutionId, MerchantId, Pan, PaymentId, ResponseCode,
    Rrn, Secret, TerminalId, Trace,
};
use channels::unionpay_card::message::{self, Mapped, Parties};
use channels::{ForwardRequest, NetworkRequest, OriginalRef};
use hsm::{EncryptedPinBlock, PinFormat};
use iso8583::CUPS;
use jiff::{Timestamp, ToSpan};

const PAN: &str = "6224242000000021";
/// Amount of an original, in fen.
const AMOUNT: u64 = 10_000;

fn at() -> Timestamp {
    "2026-11-24T02:15:00Z".parse().unwrap()
}

fn answer(code: ResponseCode) -> Answer {
    Answer {
        auth_code: Some(AuthCode::new("123456").unwrap()),
        settle_date: Some(1_124),
        ..Answer::own(code, at())
    }
}

fn record(id: i64, kind: Kind, state: PaymentState) -> PaymentRecord {
    PaymentRecord {
        id: PaymentId(id),
        merchant: MerchantId::new("898100000000001").unwrap(),
        terminal: TerminalId::new("10000001").unwrap(),
        batch: BatchNo::FIRST,
        trace: Trace::new(17).unwrap(),
        kind,
        state,
        amount: Amount::from_fen(AMOUNT).unwrap(),
        adjusted: None,
        currency: 156,
        card: Some(CardRecord { masked: Pan::new(PAN).unwrap().masked(), digest: [7; 32], sealed: vec![] }),
        expiry: Expiry::new(2_912),
        entry_mode: EntryMode::new(51).unwrap(),
        card_sequence: Some(1),
        condition: 0,
        terminal_traits: [5, 0, 0],
        request_digest: [0; 32],
        line: "unionpay".into(),
        network: NetworkKey { trace: 17, transmission: 1_124_101_500 },
        rrn: Rrn::new("112400000017").unwrap(),
        original: None,
        claimed_by: None,
        refunded: Amount::ZERO,
        answer: Some(answer(ResponseCode::APPROVED)),
        reversal_reason: None,
        reversed_on: None,
        limited: false,
        foreign: false,
        created: at(),
    }
}

/// Asks the rule whether it takes hold once the pair (original, what stands on it) is changed so.
type Question<'a> = dyn FnMut(&dyn Fn(&mut PaymentRecord, &mut PaymentRecord)) -> bool + 'a;

/// On what conditions a transaction takes hold of an original.
pub struct Conditions {
    /// Kinds that it takes.
    pub kinds: Vec<Kind>,
    /// The original must be of the same terminal and batch.
    pub same_batch: bool,
    /// Days that it may reach back, when there is a bound.
    pub days: Option<i64>,
    /// Least and greatest amount for an original of 10,000 fen; nothing for no bound upward.
    pub amount: (u64, Option<u64>),
    /// Codes with which it is refused.
    pub codes: BTreeSet<&'static str>,
}

fn code(refused: ResponseCode) -> &'static str {
    refused.info().map(|line| line.code.as_str()).unwrap()
}

/// Asks the rules, condition by condition.
pub fn conditions(kind: Kind) -> Option<Conditions> {
    kind.spec().stands_on?;
    let mut codes = BTreeSet::new();
    let mut ask = |change: &dyn Fn(&mut PaymentRecord, &mut PaymentRecord)| {
        let mut by = record(2, kind, PaymentState::Pending);
        let mut original = record(1, Kind::Sale, PaymentState::Approved);
        change(&mut original, &mut by);
        match take_hold(&mut original, &by) {
            Ok(()) => true,
            Err(refused) => {
                codes.insert(code(refused));
                false
            }
        }
    };
    // An amount that each of them takes: its own, or more where that is the point.
    let amounts = [AMOUNT, AMOUNT + 1];
    let kinds: Vec<Kind> = KINDS
        .iter()
        .map(|line| line.kind)
        .filter(|original| {
            amounts.iter().any(|fen| {
                ask(&|o, by| {
                    o.kind = *original;
                    by.amount = Amount::from_fen(*fen).unwrap();
                })
            })
        })
        .collect();
    let first = *kinds.first()?;
    let fits = |ask: &mut Question<'_>, fen: u64| {
        ask(&|o, by| {
            o.kind = first;
            by.amount = Amount::from_fen(fen).unwrap();
        })
    };
    let fen = amounts.into_iter().find(|fen| fits(&mut ask, *fen)).unwrap();
    let set = |o: &mut PaymentRecord, by: &mut PaymentRecord| {
        o.kind = first;
        by.amount = Amount::from_fen(fen).unwrap();
    };
    let same_terminal = !ask(&|o, by| {
        set(o, by);
        o.terminal = TerminalId::new("10000002").unwrap();
    });
    let same_batch = !ask(&|o, by| {
        set(o, by);
        o.batch = o.batch.next();
    });
    assert_eq!(same_terminal, same_batch, "{kind:?}: the page says them together");
    let reaches = |ask: &mut Question<'_>, days: i64| {
        ask(&|o, by| {
            set(o, by);
            o.created = by.created - (days * 24).hours();
        })
    };
    let days = (0..=99).find(|days| !reaches(&mut ask, *days)).map(|days| days - 1);
    let least = [1, AMOUNT, AMOUNT + 1].into_iter().find(|fen| fits(&mut ask, *fen)).unwrap();
    // The bounds upward are per cents of the original, exact to the fen.
    let percents = (0..=300).map(|percent| AMOUNT * percent / 100).filter(|fen| *fen >= least);
    let greatest = percents.into_iter().find(|fen| !fits(&mut ask, fen + 1));
    for (state, _) in PaymentState::ALL {
        ask(&|o, by| {
            set(o, by);
            o.state = state;
        });
    }
    ask(&|o, by| {
        set(o, by);
        o.claimed_by = Some(PaymentId(9));
    });
    Some(Conditions { kinds, same_batch, days, amount: (least, greatest), codes })
}

/// How limits reach a transaction.
pub struct Limited {
    /// A limit that names no transaction holds for it; else only one that names it.
    pub unnamed: bool,
    /// Codes with which a limit refuses it, that of a day's counter among them.
    pub codes: BTreeSet<&'static str>,
}

/// Asks the limits, by which the engine judges whatever goes to the network.
pub fn limited(kind: Kind) -> Option<Limited> {
    let spec = kind.spec();
    spec.network?;
    let mut payment = record(2, kind, PaymentState::Pending);
    if !spec.mandatory.has(4) {
        payment.amount = Amount::ZERO;
    }
    let judge = |limit: Limit| {
        Limits { rules: vec![limit], bins: vec![(PAN[..6].to_owned(), CardClass::Debit)] }
            .judge(&payment, PAN, 20_261_124)
    };
    let limit = |scope, fen: Option<u64>| Limit {
        scope,
        single: fen.and_then(Amount::from_fen),
        day_amount: None,
        day_count: None,
    };
    let any = LimitScope::default();
    let named = LimitScope { kind: Some(kind), ..any };
    let of_card = LimitScope { card: Some(CardClass::Debit), ..named };
    let refused = [limit(named, Some(0)), limit(of_card, Some(0)), limit(named, Some(AMOUNT - 1))];
    let mut codes: BTreeSet<&'static str> =
        refused.into_iter().filter_map(|limit| judge(limit).err().map(code)).collect();
    // What a day allows is counted by the store: its count (65), its sum (61) where the payment has an amount. Of what a
    // terminal approved by itself nothing is counted.
    let day = Limit { day_count: Some(1), ..limit(named, None) };
    if !spec.told && judge(day).is_ok_and(|holds| !holds.is_empty()) {
        codes.insert(code(ResponseCode::OVER_COUNT));
    }
    Some(Limited { unnamed: judge(limit(any, Some(0))).is_err(), codes })
}

/// Kinds that can take hold of this one.
pub fn undone_by(kind: Kind) -> Vec<Kind> {
    let all = KINDS.iter().map(|line| line.kind);
    all.filter(|by| conditions(*by).is_some_and(|on| on.kinds.contains(&kind))).collect()
}

/// What becomes of a request without an answer of the network.
pub fn without_answer(kind: Kind) -> (PaymentState, Option<Forward>) {
    let pending = record(1, kind, PaymentState::Pending);
    let change = on_event(&pending, Event::NoAnswer(answer(ResponseCode::TIMEOUT)));
    (change.state, change.forward)
}

/// What the queue toward the network has of this transaction: told by the terminal, or without an answer.
pub fn forwarded(kind: Kind) -> Option<Forward> {
    if kind.spec().told { Some(Forward::Advice) } else { without_answer(kind).1 }
}

/// What the terminal's reversal meets in each state: the code of its answer, and the state after it.
pub fn reversal(kind: Kind) -> Vec<(PaymentState, &'static str, PaymentState)> {
    let states = PaymentState::ALL.iter().map(|(state, _)| *state);
    let meets = states.map(|state| {
        let payment = record(1, kind, state);
        let change = on_event(&payment, Event::CancelRequested(ResponseCode::NO_ANSWER));
        let code = match change.reception {
            Reception::Moved | Reception::Repeated | Reception::Late => "00",
            Reception::NothingToUndo if change.state == PaymentState::Voided => "25",
            Reception::NothingToUndo => "00",
            Reception::Refused(refused) => code(refused),
        };
        (state, code, change.state)
    });
    meets.collect()
}

/// A message toward the network: its type, the fields that it always has, and those that it has when they are known.
pub struct NetworkMessage {
    pub mti: u16,
    pub always: Vec<u8>,
    pub sometimes: Vec<u8>,
}

fn parties() -> Parties {
    Parties {
        member: InstitutionId::new("48029999").unwrap(),
        network: InstitutionId::new("00010000").unwrap(),
    }
}

fn fields(mapped: &Mapped) -> (u16, BTreeSet<u8>) {
    let mut bytes = Vec::new();
    mapped.draft.write(&mut bytes).unwrap();
    let message = CUPS.parse(&bytes).unwrap();
    // The channel adds the MAC to every message.
    let numbers = message.fields().map(|field| field.number()).chain([128]).collect();
    (message.mti().value(), numbers)
}

fn between(rich: &Mapped, poor: &Mapped) -> NetworkMessage {
    let ((mti, rich), (_, poor)) = (fields(rich), fields(poor));
    NetworkMessage {
        mti,
        always: rich.intersection(&poor).copied().collect(),
        sometimes: rich.difference(&poor).copied().collect(),
    }
}

fn original_of(kind: Kind) -> Option<OriginalRef> {
    let original = kind.spec().stands_on?.kinds.first()?;
    let of = record(1, *original, PaymentState::Approved);
    Some(OriginalRef {
        kind: of.kind,
        key: of.network,
        rrn: of.rrn,
        auth_code: of.answer.and_then(|answer| answer.auth_code),
    })
}

/// Whether the authorisation number of the original is always known: what is found by it has one.
fn names_its_code(spec: &KindSpec) -> bool {
    spec.stands_on.is_some_and(|rule| rule.found_by == FoundBy::Authorisation)
}

/// The request toward the network, as the mapping makes it.
pub fn request(kind: Kind) -> NetworkMessage {
    let spec = kind.spec();
    if spec.told {
        return forward(kind, Forward::Advice, 0);
    }
    let pin = EncryptedPinBlock::new(PinFormat::Iso0, &[0x5a; 8]).unwrap();
    let make = |rich: bool| {
        let with_pin = rich || spec.mandatory.has(52);
        message::financial(&parties(), &network_request(kind, rich), Some(&pin).filter(|_| with_pin)).unwrap()
    };
    between(&make(true), &make(false))
}

/// A payment on its way out: with everything that a terminal may send, or with what it must.
fn network_request(kind: Kind, rich: bool) -> NetworkRequest {
    let spec = kind.spec();
    // What the terminal must send is always there.
    let has = |field: u8| rich || spec.mandatory.has(field);
    let of = record(2, kind, PaymentState::Pending);
    NetworkRequest {
        kind,
        id: of.id,
        rrn: of.rrn,
        amount: of.amount,
        currency: 156,
        pan: Pan::new(PAN).unwrap(),
        expiry: of.expiry.filter(|_| has(14)),
        entry_mode: of.entry_mode,
        card_sequence: of.card_sequence.filter(|_| has(23)),
        condition: 0,
        terminal_traits: [5, 0, 0],
        track2: has(35).then(|| Secret::new(b"6224242000000021D2912101")),
        pin: None,
        chip: has(55).then(|| Secret::new([0x9f, 0x26, 1, 1, 0x95, 1, 1])),
        merchant: of.merchant,
        merchant_name: "实验商户".into(),
        mcc: 5_411,
        terminal: of.terminal,
        plan: Some(format!("{:<32}", "063C")),
        transfer_in: (kind == Kind::TransferLoad).then(|| Pan::new("6224242000000039").unwrap()),
        auth_code: original_of(kind)
            .and_then(|original| original.auth_code)
            .filter(|_| has(38) || names_its_code(spec)),
        original: original_of(kind),
        at: at(),
    }
}

/// What is forwarded until it is acknowledged, asked with what the queue and the journal have: a payment without track and PIN,
/// its first sending with the secrets overwritten, and sealed chip data beside the queue item of what a terminal told.
pub fn forward(kind: Kind, action: Forward, tries: u32) -> NetworkMessage {
    let spec = kind.spec();
    let make = |rich: bool| {
        let mut payment = record(2, kind, PaymentState::Approved);
        if !rich {
            payment.expiry = payment.expiry.filter(|_| spec.mandatory.has(14));
            payment.card_sequence = payment.card_sequence.filter(|_| spec.mandatory.has(23));
            payment.answer = Some(Answer::own(ResponseCode::APPROVED, at()));
        }
        let by_chip = rich || spec.mandatory.has(55);
        let kept = match action {
            Forward::Advice => by_chip,
            Forward::Script => true,
            Forward::Reversal | Forward::Repeat => false,
        };
        let mut first = Vec::new();
        if matches!(action, Forward::Reversal | Forward::Repeat) {
            let sent = message::financial(&parties(), &network_request(kind, by_chip), None).unwrap();
            sent.draft.write(&mut first).unwrap();
        }
        let (pan, chip) = (Pan::new(PAN).unwrap(), Secret::new([0x9f, 0x26, 1, 1]));
        let code_known = rich || names_its_code(spec);
        let request = ForwardRequest {
            action,
            payment: &payment,
            pan: &pan,
            merchant_name: "实验商户",
            mcc: 5_411,
            original: original_of(kind).map(|original| OriginalRef {
                auth_code: original.auth_code.filter(|_| code_known),
                ..original
            }),
            composed: at(),
            tries,
            chip: Some(&chip).filter(|_| kept),
            first: Some(first.as_slice()).filter(|first| !first.is_empty()),
        };
        message::forward(&parties(), &request).unwrap()
    };
    between(&make(true), &make(false))
}
