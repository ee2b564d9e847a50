//! The life of a request against a model that knows only the table: whatever callers, ids, bodies, steps and crashes come
//! in whatever order, no id begins twice, one trade runs at a time, and a result that was told does not change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;

use pay::{
    Arrival, Asked, CallerId, Digest, Key, Kind, Ledger, Orig, Outcome, Reason, RequestId, State, Step, Text,
};
use proptest::prelude::*;

const RETENTION_MS: u64 = 1_000;

#[derive(Clone, Debug)]
enum Move {
    Arrive { caller: u8, id: u8, body: u8, kind: Kind },
    Step(Step),
    Resolve { caller: u8, id: u8, outcome: Outcome },
    Crash,
    Wait(u64),
    Prune,
}

fn moves() -> impl Strategy<Value = Move> {
    let kinds = prop_oneof![Just(Kind::Sale), Just(Kind::Refund), Just(Kind::Settle), Just(Kind::Balance)];
    let outcomes = [Outcome::Approved, Outcome::Declined, Outcome::Unknown, Outcome::None].map(Just);
    let outcome = proptest::strategy::Union::new(outcomes);
    let step = prop_oneof![
        Just(Step::WaitCard),
        Just(Step::EnterPin),
        Just(Step::GoOnline),
        outcome.clone().prop_map(|outcome| Step::End(outcome, None)),
        Just(Step::Print),
        Just(Step::Return),
    ];
    prop_oneof![
        4 => (0..2_u8, 0..4_u8, 0..2_u8, kinds)
            .prop_map(|(caller, id, body, kind)| Move::Arrive { caller, id, body, kind }),
        6 => step.prop_map(Move::Step),
        2 => (0..2_u8, 0..4_u8, outcome).prop_map(|(caller, id, outcome)| Move::Resolve { caller, id, outcome }),
        1 => Just(Move::Crash),
        1 => (0..800_u64).prop_map(Move::Wait),
        1 => Just(Move::Prune),
    ]
}

fn key(caller: u8, id: u8) -> Key {
    Key {
        caller: CallerId::new(&format!("caller-{caller}")).unwrap(),
        request_id: RequestId::new(&format!("id-{id}")).unwrap(),
    }
}

/// What a caller remembers of an id.
struct Begun {
    body: Digest,
    kind: Kind,
    at: u64,
    told: Option<Outcome>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_id_begins_twice_and_no_told_result_changes(moves in proptest::collection::vec(moves(), 1..60)) {
        let mut ledger = Ledger::new(RETENTION_MS);
        let mut begun: BTreeMap<Key, Begun> = BTreeMap::new();
        let mut now = 10_000;
        for next in moves {
            match next {
                Move::Arrive { caller, id, body, kind } => {
                    let asked = pay::Asked {
                        key: key(caller, id), digest: Digest::from([body; 32]), kind, amount: None, order_no: None,
                    };
                    let running = ledger.running().cloned();
                    let arrival = ledger.arrive(&asked, now);
                    match (&arrival, begun.get(&asked.key)) {
                        (Arrival::New(_), Some(_)) => prop_assert!(false, "{:?} began twice", asked.key),
                        (Arrival::New(entry), None) => {
                            prop_assert!(running.is_none(), "two at a time");
                            begun.insert(asked.key.clone(), Begun { body: asked.digest, kind, at: now, told: None });
                            ledger.put((**entry).clone());
                        }
                        (Arrival::Stored, Some(known)) => {
                            prop_assert_eq!((known.body, known.kind), (asked.digest, kind));
                            prop_assert!(known.told.is_some());
                        }
                        (Arrival::Running(_), Some(known)) => {
                            prop_assert_eq!((known.body, known.kind), (asked.digest, kind));
                            prop_assert_eq!(running.map(|entry| entry.key), Some(asked.key));
                        }
                        (Arrival::OtherBody, Some(known)) =>
                            prop_assert!((known.body, known.kind) != (asked.digest, kind)),
                        (Arrival::Expired, Some(known)) => {
                            prop_assert!(now - known.at > RETENTION_MS);
                            prop_assert!(known.told.is_some() && known.told != Some(Outcome::Unknown));
                        }
                        (Arrival::Busy { settling, running: shown }, None) => {
                            let running = running.unwrap();
                            prop_assert_eq!(*settling, running.kind == Kind::Settle);
                            let own = running.key.caller == asked.key.caller;
                            prop_assert_eq!(shown, &own.then(|| running.key.request_id.clone()));
                        }
                        (arrival, known) => prop_assert!(false, "{arrival:?}, known {}", known.is_some()),
                    }
                }
                Move::Step(step) => {
                    let Some(entry) = ledger.running().or_else(|| ledger.entries().next()).cloned() else { continue };
                    if let Ok(after) = entry.after(step) {
                        let known = begun.get_mut(&entry.key).unwrap();
                        if matches!(step, Step::End(..)) {
                            prop_assert!(known.told.is_none(), "it ended twice");
                            prop_assert_eq!(after.outcome == Some(Outcome::None), !entry.kind.row().money);
                        }
                        known.told = after.outcome;
                        ledger.put(after);
                    }
                }
                Move::Resolve { caller, id, outcome } => {
                    let Some(entry) = ledger.get(&key(caller, id)).cloned() else { continue };
                    if let Ok(after) = entry.after(Step::Resolve(outcome, None)) {
                        let known = begun.get_mut(&entry.key).unwrap();
                        prop_assert_eq!(known.told, Some(Outcome::Unknown), "only the unknown is settled");
                        prop_assert!(matches!(outcome, Outcome::Approved | Outcome::Declined));
                        known.told = Some(outcome);
                        ledger.put(after);
                    }
                }
                Move::Crash => {
                    let mut after = Ledger::new(RETENTION_MS);
                    for entry in ledger.entries() {
                        let found = entry.after_crash();
                        prop_assert_eq!(found.is_some(), entry.state.is_running());
                        if let Some(found) = &found {
                            let wanted = match (entry.kind.row().money, entry.state) {
                                (false, _) => (Outcome::None, Some(Reason::Interrupted)),
                                (true, State::Online) => (Outcome::Unknown, None),
                                (true, _) => (Outcome::Declined, Some(Reason::Interrupted)),
                            };
                            prop_assert_eq!((found.outcome, found.reason), (Some(wanted.0), wanted.1));
                            begun.get_mut(&entry.key).unwrap().told = found.outcome;
                        }
                        after.put(found.unwrap_or_else(|| entry.clone()));
                    }
                    for mark in ledger.marks() {
                        after.remember(*mark);
                    }
                    ledger = after;
                    prop_assert!(ledger.running().is_none());
                }
                Move::Wait(ms) => now += ms,
                Move::Prune => {
                    for key in ledger.due(now) {
                        ledger.expire(&key);
                    }
                }
            }
            let running = ledger.entries().filter(|entry| entry.state.is_running()).count();
            prop_assert!(running <= 1, "{running} at a time");
        }
    }
}

/// A result that was told stays: the way back and a second end do not exist.
#[test]
fn what_has_ended_does_not_end_again() {
    let asked = pay::Asked {
        key: key(0, 0),
        digest: Digest::from([0; 32]),
        kind: Kind::Sale,
        amount: None,
        order_no: None,
    };
    let Arrival::New(entry) = Ledger::new(RETENTION_MS).arrive(&asked, 0) else { panic!("it is new") };
    assert!(
        entry.after(Step::End(Outcome::Approved, None)).is_err(),
        "nothing is approved before it is online"
    );
    let online = entry.after(Step::GoOnline).unwrap();
    assert!(online.after(Step::WaitCard).is_err(), "no way back from online");
    let approved = online.after(Step::End(Outcome::Approved, None)).unwrap();
    for step in [Step::End(Outcome::Declined, None), Step::Resolve(Outcome::Declined, None), Step::GoOnline] {
        assert!(approved.after(step).is_err(), "{step:?}");
    }
    let printed = approved.after(Step::Print).unwrap();
    assert_eq!(printed.after(Step::Return).unwrap().state, State::Returned);
    let unknown = online.after(Step::End(Outcome::Unknown, None)).unwrap().after(Step::Return).unwrap();
    let settled = unknown.after(Step::Resolve(Outcome::Declined, Some(Reason::Reversed))).unwrap();
    assert_eq!((settled.state, settled.reason), (State::Declined, Some(Reason::Reversed)));
    assert!(settled.after(Step::Resolve(Outcome::Approved, None)).is_err(), "settled once");
}

/// An original is what stands, is of the type that is undone, and belongs to whoever asks: a declined second try, the void
/// itself or another caller's sale with the same order number is none.
#[test]
fn the_original_is_the_caller_s_own_and_stands() {
    let mut ledger = Ledger::new(RETENTION_MS);
    let mut put = |caller: u8, id: u8, kind: Kind, outcome: Outcome, at: u64| {
        let asked = Asked {
            key: key(caller, id),
            digest: Digest::from([id; 32]),
            kind,
            amount: None,
            order_no: Some("O-1".to_owned()),
        };
        let Arrival::New(entry) = ledger.arrive(&asked, at) else { panic!() };
        let ended = entry.after(Step::GoOnline).unwrap().after(Step::End(outcome, None)).unwrap();
        ledger.put(*entry);
        ledger.put(ended);
    };
    put(0, 0, Kind::Sale, Outcome::Approved, 1);
    put(0, 1, Kind::Sale, Outcome::Declined, 2);
    put(0, 2, Kind::Void, Outcome::Approved, 3);
    put(1, 3, Kind::Sale, Outcome::Approved, 4);
    let orig = Orig { order_no: Some(Text::new("O-1").unwrap()), ..Orig::default() };
    let found = |caller: u8, kind: Kind| {
        ledger
            .original(&key(caller, 0).caller, kind, &orig)
            .map(|entry| entry.key.request_id.as_str().to_owned())
    };
    assert_eq!(found(0, Kind::Void).as_deref(), Some("id-0"));
    assert_eq!(found(0, Kind::Refund).as_deref(), Some("id-0"));
    assert_eq!(found(1, Kind::Refund).as_deref(), Some("id-3"));
    assert_eq!(found(0, Kind::PreauthComplete), None);
    // A slip is printed again of whatever stands.
    assert_eq!(found(0, Kind::Reprint).as_deref(), Some("id-2"));
}
