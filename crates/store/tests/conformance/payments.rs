//! Begin, answer, repeat, look up.

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{Event, Forward, Reception};
use acquiring::{BatchNo, PaymentId, ResponseCode, Rrn, TerminalId, Trace};
use store::{Begun, Store, StoreError};

use crate::common::{answer, at, merchant_id, message, payment, terminal_id};

pub async fn begin(store: &Store, intent: PaymentRecord) -> Begun {
    let entries = vec![message(intent.id.0, EntryKind::TerminalIn, 294)];
    store.begin(intent, entries).await.unwrap()
}

/// A payment that the network has approved.
pub async fn approved(store: &Store, intent: PaymentRecord) -> PaymentRecord {
    let (merchant, id) = (intent.merchant, intent.id);
    assert_eq!(begin(store, intent).await, Begun::Journaled);
    answered(store, merchant, id, ResponseCode::APPROVED).await
}

pub async fn answered(
    store: &Store,
    merchant: acquiring::MerchantId,
    id: PaymentId,
    code: ResponseCode,
) -> PaymentRecord {
    let event = Event::Answered(answer(code, id.0 + 500));
    let entries = vec![message(id.0 + 500, EntryKind::NetworkIn, 200)];
    store.apply(merchant, id, event, entries, at(id.0)).await.unwrap().record
}

pub async fn now(store: &Store, id: i64) -> PaymentRecord {
    store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap()
}

pub async fn a_payment_comes_back_whole(store: Store) {
    let mut intent = payment(1, Kind::Sale);
    intent.claimed_by = Some(PaymentId(77));
    intent.refunded = crate::common::fen(5);
    intent.terminal_traits = [5, 255, 1];
    assert_eq!(begin(&store, intent.clone()).await, Begun::Journaled);
    let key = (intent.merchant, intent.terminal, intent.batch, intent.trace);
    assert_eq!(store.by_trace(key.0, key.1, key.2, key.3).await.unwrap().as_ref(), Some(&intent));
    assert_eq!(store.by_id(intent.merchant, intent.id).await.unwrap().as_ref(), Some(&intent));
    assert_eq!(store.by_reference(intent.merchant, intent.rrn).await.unwrap().as_ref(), Some(&intent));
    let other = acquiring::MerchantId::new("898100000000002").unwrap();
    assert_eq!(store.by_id(other, intent.id).await.unwrap(), None);

    let record = answered(&store, intent.merchant, intent.id, ResponseCode::APPROVED).await;
    let expected = PaymentRecord {
        state: PaymentState::Approved,
        answer: Some(answer(ResponseCode::APPROVED, 501)),
        ..intent
    };
    assert_eq!(record, expected);
    assert_eq!(now(&store, 1).await, expected);
}

pub async fn a_payment_without_card_comes_back_whole(store: Store) {
    let intent = PaymentRecord {
        card: None,
        expiry: None,
        card_sequence: None,
        amount: acquiring::Amount::ZERO,
        ..payment(1, Kind::Balance)
    };
    begin(&store, intent.clone()).await;
    assert_eq!(now(&store, 1).await, intent);
}

pub async fn a_repeat_gets_what_stands(store: Store) {
    let intent = payment(1, Kind::Sale);
    begin(&store, intent.clone()).await;
    // The same key under another number of ours, as a repeat arrives.
    let repeat = PaymentRecord { id: PaymentId(2), rrn: PaymentId(2).rrn(1124), ..intent.clone() };
    assert_eq!(begin(&store, repeat.clone()).await, Begun::Existing(Box::new(intent)));
    let done = answered(&store, merchant_id(), PaymentId(1), ResponseCode::INSUFFICIENT_FUNDS).await;
    assert_eq!(begin(&store, repeat).await, Begun::Existing(Box::new(done)));
    assert_eq!(store.by_id(merchant_id(), PaymentId(2)).await.unwrap(), None);
    // The repeat itself leaves no line in the first one's history.
    assert_eq!(store.history(merchant_id(), PaymentId(1)).await.unwrap().len(), 2);
}

/// Whatever came last, and whatever other batches and terminals have.
pub async fn the_highest_trace_is_that_of_the_batch(store: Store) {
    let highest = async |terminal, batch| store.highest_trace(merchant_id(), terminal, batch).await.unwrap();
    assert_eq!(highest(terminal_id(), BatchNo::FIRST).await, None);
    for (id, trace) in [(1, 5), (2, 9), (3, 7)] {
        begin(&store, PaymentRecord { trace: Trace::new(trace).unwrap(), ..payment(id, Kind::Sale) }).await;
    }
    assert_eq!(highest(terminal_id(), BatchNo::FIRST).await, Trace::new(9).ok());
    assert_eq!(highest(terminal_id(), BatchNo::FIRST.next()).await, None);
    assert_eq!(highest(TerminalId::new("99999999").unwrap(), BatchNo::FIRST).await, None);
}

pub async fn one_of_many_repeats_is_journaled(store: Store) {
    let tasks: Vec<_> = (1..=32)
        .map(|id| {
            let store = store.clone();
            let intent = PaymentRecord { trace: acquiring::Trace::FIRST, ..payment(id, Kind::Sale) };
            tokio::spawn(async move { begin(&store, intent).await })
        })
        .collect();
    let mut journaled = 0;
    let mut existing = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Begun::Journaled => journaled += 1,
            Begun::Existing(record) => existing.push(record.id),
            Begun::Refused(record) => panic!("refused {record:?}"),
        }
    }
    assert_eq!((journaled, existing.len()), (1, 31));
    existing.dedup();
    assert_eq!(existing.len(), 1, "every repeat sees the same payment");
}

pub async fn a_number_is_never_used_twice(store: Store) {
    begin(&store, payment(1, Kind::Sale)).await;
    let other_key = PaymentRecord { trace: acquiring::Trace::new(9).unwrap(), ..payment(1, Kind::Sale) };
    let error = store.begin(other_key, vec![]).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert!(!store.is_failed());
    assert_eq!(now(&store, 1).await, payment(1, Kind::Sale));
}

pub async fn only_a_pending_intent_begins(store: Store) {
    let intent = PaymentRecord { state: PaymentState::Approved, ..payment(1, Kind::Sale) };
    assert!(matches!(store.begin(intent, vec![]).await, Err(StoreError::Misuse { .. })));
    assert!(matches!(store.declined(payment(1, Kind::Sale), vec![]).await, Err(StoreError::Misuse { .. })));
}

pub async fn an_answer_is_kept_and_the_history_says_what_moved(store: Store) {
    let (merchant, id) = (merchant_id(), PaymentId(1));
    approved(&store, payment(1, Kind::Sale)).await;
    let sent = JournalEntry { note: "answered 00".into(), ..message(600, EntryKind::TerminalOut, 180) };
    store.append(merchant, id, vec![sent.clone(), JournalEntry::note(at(700), "printed")]).await.unwrap();
    let history = store.history(merchant, id).await.unwrap();
    let answer =
        JournalEntry { note: "pending → approved".into(), ..message(501, EntryKind::NetworkIn, 200) };
    let printed = JournalEntry::note(at(700), "printed");
    assert_eq!(history, [message(1, EntryKind::TerminalIn, 294), answer, sent, printed]);

    // Without a message of its own, a move gets a line of its own.
    begin(&store, payment(2, Kind::Sale)).await;
    let event = Event::NotSent(answer_at(ResponseCode::NO_ROUTE, 900));
    store.apply(merchant, PaymentId(2), event, vec![], at(900)).await.unwrap();
    let history = store.history(merchant, PaymentId(2)).await.unwrap();
    assert_eq!(history[1], JournalEntry::note(at(900), "pending → declined"));
}

/// A reversal says again what the first message to the network said, however often it was sent since.
pub async fn the_first_message_to_the_network_is_found(store: Store) {
    let (merchant, id) = (merchant_id(), PaymentId(1));
    begin(&store, payment(1, Kind::Sale)).await;
    assert_eq!(store.first_sent(merchant, id).await.unwrap(), None, "nothing has left");
    assert_eq!(store.first_sent(merchant, PaymentId(2)).await.unwrap(), None, "no such payment");
    let first = message(600, EntryKind::NetworkOut, 180);
    let later = [message(601, EntryKind::NetworkIn, 100), message(602, EntryKind::NetworkOut, 90)];
    store.append(merchant, id, [vec![first.clone()], later.to_vec()].concat()).await.unwrap();
    assert_eq!(store.first_sent(merchant, id).await.unwrap(), Some(first));
}

fn answer_at(code: ResponseCode, ms: i64) -> acquiring::payment::Answer {
    acquiring::payment::Answer::own(code, at(ms))
}

pub async fn a_late_answer_is_recorded_and_moves_nothing(store: Store) {
    let (merchant, id) = (merchant_id(), PaymentId(1));
    begin(&store, payment(1, Kind::Sale)).await;
    let event = Event::NoAnswer(answer_at(ResponseCode::TIMEOUT, 60_000));
    let applied = store.apply(merchant, id, event, vec![], at(60_000)).await.unwrap();
    assert_eq!(applied.record.state, PaymentState::Reversing);

    let event = Event::Answered(answer(ResponseCode::APPROVED, 61_000));
    let entries = vec![message(61_000, EntryKind::NetworkIn, 210)];
    let applied = store.apply(merchant, id, event, entries, at(61_000)).await.unwrap();
    assert_eq!(applied.change.reception, Reception::Late);
    let record = now(&store, 1).await;
    assert_eq!(record.state, PaymentState::Reversing);
    assert_eq!(record.answer.unwrap().code, ResponseCode::TIMEOUT);
    assert_eq!(record.reversal_reason, Some(ResponseCode::TIMEOUT));
    let history = store.history(merchant, id).await.unwrap();
    assert_eq!(history.last().unwrap(), &message(61_000, EntryKind::NetworkIn, 210));
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 1, "queued once");
}

pub async fn no_answer_queues_a_reversal_but_repeats_a_refund(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let refund = crate::common::undoing(2, Kind::Refund, 1, crate::common::fen(4_000));
    begin(&store, refund).await;
    begin(&store, payment(3, Kind::Sale)).await;
    begin(&store, payment(4, Kind::Balance)).await;
    for id in 2..=4 {
        let event = Event::NoAnswer(answer_at(ResponseCode::TIMEOUT, 60_000));
        store.apply(merchant_id(), PaymentId(id), event, vec![], at(90_000)).await.unwrap();
    }
    let open = store.forwards(Default::default(), Default::default()).await.unwrap().items;
    let seen: Vec<_> = open.iter().map(|i| (i.payment.0, i.action, i.next_at, i.attempts)).collect();
    assert_eq!(seen, [(2, Forward::Repeat, at(90_000), 0), (3, Forward::Reversal, at(90_000), 0)]);
    assert_eq!(now(&store, 2).await.state, PaymentState::Unresolved);
    assert_eq!(now(&store, 2).await.answer, None, "a refund without an answer has no outcome yet");
    assert_eq!(now(&store, 4).await.state, PaymentState::Declined);
}

pub async fn a_refused_request_is_journaled_once(store: Store) {
    let record = PaymentRecord {
        state: PaymentState::Declined,
        answer: Some(answer_at(ResponseCode::INVALID_MERCHANT, 1)),
        ..payment(1, Kind::Sale)
    };
    assert_eq!(store.declined(record.clone(), vec![]).await.unwrap(), Begun::Journaled);
    let again = PaymentRecord { id: PaymentId(2), ..record.clone() };
    assert_eq!(store.declined(again, vec![]).await.unwrap(), Begun::Existing(Box::new(record.clone())));
    assert_eq!(now(&store, 1).await, record);
}

pub async fn one_bad_operation_does_not_take_the_group_with_it(store: Store) {
    begin(&store, payment(1, Kind::Sale)).await;
    // Even tasks break a rule after their first writes would have been made; odd ones are sound.
    let tasks: Vec<_> = (2..=65)
        .map(|id| {
            let store = store.clone();
            let intent = if id % 2 == 0 {
                PaymentRecord { id: PaymentId(1), ..payment(id, Kind::Sale) }
            } else {
                payment(id, Kind::Sale)
            };
            tokio::spawn(async move { (id, store.begin(intent, vec![]).await) })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            (id, Ok(Begun::Journaled)) if id % 2 == 1 => assert_eq!(now(&store, id).await.id.0, id),
            (id, Err(StoreError::Conflict { .. })) if id % 2 == 0 => {}
            other => panic!("{other:?}"),
        }
    }
}

pub async fn events_of_a_payment_that_does_not_exist_are_refused(store: Store) {
    let (merchant, id) = (merchant_id(), PaymentId(404));
    let unknown = StoreError::UnknownPayment { merchant, id };
    let applied = store.apply(merchant, id, Event::ReversalDone(None), vec![], at(0)).await;
    assert_eq!(applied.unwrap_err(), unknown);
    let entries = vec![JournalEntry::note(at(0), "lost")];
    assert_eq!(store.append(merchant, id, entries).await.unwrap_err(), unknown);
    assert!(store.history(merchant, id).await.unwrap().is_empty());
    store.record_unmatched("unionpay", at(0), vec![1, 2, 3], "no such request").await.unwrap();
    store.record_unmatched("unionpay", at(1), vec![1, 2, 3], "no such request").await.unwrap();
    assert_eq!(store.counts(at(0)).await.unwrap().unmatched, 2);
}

pub async fn the_network_key_finds_the_newest(store: Store) {
    // Two payments share a trace number toward the network, as after a million payments.
    let first = payment(1, Kind::Sale);
    let second = PaymentRecord { network: first.network, ..payment(2, Kind::Sale) };
    begin(&store, first.clone()).await;
    begin(&store, second.clone()).await;
    let trace = first.network.trace;
    let find = |line: &'static str, trace, rrn: Option<Rrn>, since| {
        let store = store.clone();
        async move { store.by_network_key(line, trace, rrn, at(since)).await.unwrap().map(|p| p.id.0) }
    };
    assert_eq!(find("unionpay", trace, None, 0).await, Some(2));
    assert_eq!(find("unionpay", trace, Some(first.rrn), 0).await, Some(1));
    assert_eq!(find("unionpay", trace, Some(first.rrn), 2).await, None);
    assert_eq!(find("other", trace, None, 0).await, None);
    assert_eq!(find("unionpay", trace + 1, None, 0).await, None);
}

pub async fn what_a_crash_left_pending_is_listed(store: Store) {
    for id in 1..=6 {
        begin(&store, payment(id, Kind::Sale)).await;
    }
    answered(&store, merchant_id(), PaymentId(2), ResponseCode::APPROVED).await;
    let pending = |before, limit| {
        let store = store.clone();
        async move {
            let list = store.pending_before(at(before), limit).await.unwrap();
            list.iter().map(|p| p.id.0).collect::<Vec<_>>()
        }
    };
    assert_eq!(pending(6, 10).await, [1, 3, 4, 5]);
    assert_eq!(pending(6, 2).await, [1, 3]);
    assert!(pending(1, 10).await.is_empty());
}

pub async fn answers_in_any_order_end_the_same(store: Store) {
    let (merchant, id) = (merchant_id(), PaymentId(1));
    begin(&store, payment(1, Kind::Sale)).await;
    let events = [
        Event::ReversalDone(None), // of nothing that is being reversed
        Event::NoAnswer(answer_at(ResponseCode::TIMEOUT, 2)),
        Event::Answered(answer(ResponseCode::APPROVED, 3)),
        Event::CancelRequested(ResponseCode::NO_ANSWER),
        Event::ReversalDone(None),
        Event::Answered(answer(ResponseCode::APPROVED, 4)),
        Event::ReversalDone(None),
    ];
    for event in events {
        store.apply(merchant, id, event, vec![], at(5)).await.unwrap();
    }
    let record = now(&store, 1).await;
    assert_eq!(record.state, PaymentState::Reversed);
    assert_eq!(record.reversal_reason, Some(ResponseCode::TIMEOUT), "the first reason stays");
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 1);
}
