//! Store-and-forward: in order within a family of payments, until acknowledged, never dropped.

use acquiring::kind::Kind;
use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{Event, Finding, Forward, Reception};
use acquiring::{PaymentId, ResponseCode};
use jiff::Timestamp;
use store::{ForwardFilter, ForwardItem, Page, Store, StoreError};

use crate::common::{at, fen, merchant_id, message, payment, undoing};
use crate::payments::{approved, begin, now};

/// Queues a reversal for a sale on this line.
async fn unanswered(store: &Store, id: i64, line: &str) {
    begin(store, PaymentRecord { line: line.to_owned(), ..payment(id, Kind::Sale) }).await;
    let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
    store.apply(merchant_id(), PaymentId(id), event, vec![], at(60_000)).await.unwrap();
}

async fn head(store: &Store) -> Option<ForwardItem> {
    store.next_forward("unionpay").await.unwrap()
}

async fn finish(store: &Store, item: &ForwardItem) {
    let entries = vec![message(61_000, EntryKind::NetworkIn, 120)];
    store.forward_done(item, Event::ReversalDone(None), entries, at(61_000)).await.unwrap();
}

pub async fn a_line_is_served_in_order(store: Store) {
    for id in [3, 1, 2] {
        unanswered(&store, id, "unionpay").await;
    }
    let mut order = Vec::new();
    while let Some(item) = head(&store).await {
        assert_eq!((item.action, item.parked, item.created), (Forward::Reversal, false, at(60_000)));
        order.push((item.sequence, item.payment.0));
        finish(&store, &item).await;
        assert_eq!(now(&store, item.payment.0).await.state, PaymentState::Reversed);
    }
    assert_eq!(order, [(1, 3), (2, 1), (3, 2)]);
    // Numbers go on after everything was finished.
    unanswered(&store, 4, "unionpay").await;
    assert_eq!(head(&store).await.unwrap().sequence, 4);
}

pub async fn a_failed_item_keeps_its_place(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    unanswered(&store, 2, "unionpay").await;
    let item = head(&store).await.unwrap();
    let entries = vec![JournalEntry::note(at(62_000), "sent, no answer")];
    store.forward_failed(&item, true, at(90_000), "no answer", entries).await.unwrap();
    let again = head(&store).await.unwrap();
    assert_eq!((item.message_at, item.message_tries), (item.created, 0));
    let expected = ForwardItem {
        attempts: 1,
        message_tries: 1,
        next_at: at(90_000),
        last_note: "no answer".to_owned(),
        ..item
    };
    assert_eq!(again, expected);
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "sent, no answer");
}

/// Silence repeats the message; a refusal makes a new one of it, and only refusals are counted as such.
pub async fn a_refused_item_goes_out_as_a_new_message(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = head(&store).await.unwrap();
    store.forward_failed(&item, true, at(70_000), "no answer", vec![]).await.unwrap();
    let silent = head(&store).await.unwrap();
    assert_eq!((silent.refusals, silent.message_at, silent.message_tries), (0, item.created, 1));
    store.forward_refused(&silent, at(71_000), at(72_000), "refused with 96", vec![]).await.unwrap();
    let refused = head(&store).await.unwrap();
    assert_eq!((refused.attempts, refused.refusals), (2, 1));
    assert_eq!((refused.message_at, refused.message_tries, refused.next_at), (at(71_000), 0, at(72_000)));
    store.park_forward(&refused, "refused", vec![]).await.unwrap();
    store.release_forward("unionpay", refused.sequence).await.unwrap();
    let released = head(&store).await.unwrap();
    assert_eq!((released.refusals, released.message_tries), (0, 0));
    assert!(released.message_at > refused.message_at, "a message of its own");
}

pub async fn a_parked_item_is_passed_over_and_comes_back(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    unanswered(&store, 2, "unionpay").await;
    let item = head(&store).await.unwrap();
    store.forward_failed(&item, true, at(90_000_000), "no answer", vec![]).await.unwrap();
    store.park_forward(&item, "refused with 12", vec![]).await.unwrap();
    assert_eq!(head(&store).await.unwrap().payment, PaymentId(2));
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 1);
    let parked = ForwardFilter { parked: Some(true), ..Default::default() };
    let listed = store.forwards(parked.clone(), Page::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].parked && listed[0].last_note == "refused with 12" && listed[0].attempts == 1);

    store.release_forward("unionpay", item.sequence).await.unwrap();
    let back = head(&store).await.unwrap();
    assert_eq!((back.payment, back.parked), (PaymentId(1), false));
    assert!(back.next_at != at(90_000_000), "due at once");
    assert!(store.forwards(parked, Page::default()).await.unwrap().items.is_empty());
}

async fn due(store: &Store, now: i64) -> Vec<i64> {
    let due = store.due_forwards("unionpay", at(now), 10).await.unwrap();
    due.into_iter().map(|item| item.payment.0).collect()
}

/// Of payments that stand on one another the first waits before the next may go; others do not care. What fell due
/// first comes first, so that what is tried again and again does not stand before what was never tried.
pub async fn order_matters_within_a_family(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let void = PaymentRecord {
        original: Some(PaymentId(1)),
        line: "unionpay".to_owned(),
        ..undoing(2, Kind::SaleVoid, 1, fen(10_000))
    };
    begin(&store, void).await;
    let silent = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
    store.apply(merchant_id(), PaymentId(2), silent, vec![], at(60_000)).await.unwrap();
    let wanted = Event::CancelRequested(ResponseCode::NO_ANSWER);
    store.apply(merchant_id(), PaymentId(1), wanted, vec![], at(60_001)).await.unwrap();
    unanswered(&store, 3, "unionpay").await;
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 3);
    assert_eq!(due(&store, 59_999).await, [0; 0]);
    assert_eq!(store.next_forward_at("unionpay", at(59_999)).await.unwrap(), Some(at(60_000)));
    assert_eq!(due(&store, 60_001).await, [2, 3], "the sale waits for its void");

    let item = head(&store).await.unwrap();
    assert_eq!((item.payment, item.family), (PaymentId(2), PaymentId(1)));
    store.forward_failed(&item, true, at(70_000), "no answer", vec![]).await.unwrap();
    assert_eq!(due(&store, 65_000).await, [3], "not before its time, and nobody overtakes it");
    assert_eq!(store.next_forward_at("unionpay", at(65_000)).await.unwrap(), Some(at(70_000)));
    assert_eq!(due(&store, 70_000).await, [3, 2]);
    finish(&store, &item).await;
    assert_eq!(due(&store, 70_000).await, [3, 1]);
    assert_eq!(store.due_forwards("unionpay", at(70_000), 1).await.unwrap().len(), 1);
}

/// What nobody answered is released as the message that it was: under another the network might take it twice.
pub async fn what_nobody_answered_stays_the_same_message(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    for (next, tries) in [(70_000, 1), (80_000, 2)] {
        let item = head(&store).await.unwrap();
        store.forward_failed(&item, true, at(next), "no answer", vec![]).await.unwrap();
        assert_eq!(head(&store).await.unwrap().message_tries, tries);
    }
    let item = head(&store).await.unwrap();
    store.park_unanswered(&item, "no answer for a day", vec![]).await.unwrap();
    assert_eq!(head(&store).await, None);
    store.release_forward("unionpay", item.sequence).await.unwrap();
    let released = head(&store).await.unwrap();
    assert_eq!((released.message_at, released.message_tries), (item.message_at, 1), "a repeat, counted anew");
}

/// A person takes an item out of the order, with a reason in the payment's history. Mistakes change nothing, and an
/// answer to what was under way counts.
pub async fn an_item_is_parked_by_hand(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    unanswered(&store, 2, "unionpay").await;
    let item = head(&store).await.unwrap();
    let park = |sequence, payment| {
        store.park_by_hand("unionpay", sequence, PaymentId(payment), "parked by hand: ticket 7".to_owned())
    };
    let error = park(1, 2).await.unwrap_err();
    assert!(matches!(error, StoreError::Misuse { .. }), "another payment: {error}");
    park(1, 1).await.unwrap();
    assert_eq!(head(&store).await.unwrap().payment, PaymentId(2));
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "parked by hand: ticket 7");
    for sequence in [1, 7] {
        let error = park(sequence, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::UnknownForward { .. }), "parked already, not there: {error}");
    }
    assert_eq!(store.counts(Timestamp::MIN).await.unwrap().parked, 1);

    // An attempt that was under way comes to nothing, and a later one is acknowledged after all.
    store.forward_failed(&item, true, at(70_000), "no answer", vec![]).await.unwrap();
    assert_eq!(store.counts(Timestamp::MIN).await.unwrap().parked, 1, "it stays parked");
    finish(&store, &item).await;
    assert_eq!(now(&store, 1).await.state, PaymentState::Reversed);
    assert_eq!(store.counts(Timestamp::MIN).await.unwrap().parked, 0);
}

pub async fn lines_do_not_wait_for_each_other(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    unanswered(&store, 2, "backup").await;
    let item = store.next_forward("backup").await.unwrap().unwrap();
    assert_eq!((item.payment, item.sequence), (PaymentId(2), 1));
    assert_eq!(store.next_forward("third").await.unwrap(), None);
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 1);
}

/// An attempt that never left delays the item and does not make its next sending a repeat.
pub async fn what_never_left_does_not_count_as_sent(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = head(&store).await.unwrap();
    store.forward_failed(&item, false, at(70_000), "the line is down", vec![]).await.unwrap();
    let waiting = head(&store).await.unwrap();
    assert_eq!((waiting.attempts, waiting.message_tries, waiting.next_at), (1, 0, at(70_000)));
    store.forward_failed(&waiting, true, at(80_000), "no answer", vec![]).await.unwrap();
    assert_eq!(head(&store).await.unwrap().message_tries, 1);
}

pub async fn finishing_twice_is_harmless(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = head(&store).await.unwrap();
    finish(&store, &item).await;
    let again = store.forward_done(&item, Event::ReversalDone(None), vec![], at(62_000)).await.unwrap();
    assert_eq!(again.change.reception, Reception::Repeated);
    assert_eq!(again.record.state, PaymentState::Reversed);
    assert_eq!(head(&store).await, None);
}

pub async fn open_items_are_listed_in_pages(store: Store) {
    for id in 1..=5 {
        unanswered(&store, id, if id % 2 == 0 { "a.b" } else { "unionpay" }).await;
    }
    let mut page = Page::first(2);
    let mut seen = Vec::new();
    loop {
        let found = store.forwards(ForwardFilter::default(), page.clone()).await.unwrap();
        seen.extend(found.items.iter().map(|i| i.payment.0));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [2, 4, 1, 3, 5]);
    let of_line = ForwardFilter { line: Some("a.b".to_owned()), parked: Some(false) };
    assert_eq!(store.forwards(of_line, Page::default()).await.unwrap().items.len(), 2);
}

pub async fn what_is_not_open_cannot_be_changed(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = head(&store).await.unwrap();
    let unknown = |sequence| StoreError::UnknownForward { line: "unionpay".to_owned(), sequence };
    assert_eq!(store.release_forward("unionpay", 1).await.unwrap_err(), unknown(1), "not parked");
    assert_eq!(store.release_forward("unionpay", 7).await.unwrap_err(), unknown(7));
    finish(&store, &item).await;
    assert_eq!(store.forward_failed(&item, true, at(0), "", vec![]).await.unwrap_err(), unknown(1));
    assert_eq!(store.park_forward(&item, "", vec![]).await.unwrap_err(), unknown(1));
}

/// Parks the head of the queue.
async fn park_head(store: &Store) -> ForwardItem {
    let item = head(store).await.unwrap();
    store.park_forward(&item, "refused with 96", vec![]).await.unwrap();
    item
}

async fn settle(
    store: &Store,
    item: &ForwardItem,
    payment: i64,
    finding: Finding,
) -> Result<PaymentState, StoreError> {
    let note = "settled by hand: ticket 4711".to_owned();
    let settled = store.settle_forward(&item.line, item.sequence, PaymentId(payment), finding, note).await?;
    Ok(settled.record.state)
}

fn standing() -> Finding {
    let answer = Answer { settle_date: Some(1124), ..Answer::own(ResponseCode::APPROVED, at(80_000)) };
    Finding::Standing(answer)
}

fn nothing() -> Finding {
    Finding::Nothing(Answer::own(ResponseCode::NO_ORIGINAL, at(80_000)))
}

/// A refund that the network answers 96 for ever: a person reads its outcome in the record.
pub async fn a_parked_item_is_settled_by_hand_once(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let refund =
        |id| PaymentRecord { original: Some(PaymentId(1)), ..undoing(id, Kind::Refund, 1, fen(4_000)) };
    for id in [2, 3] {
        begin(&store, refund(id)).await;
        let silent = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
        store.apply(merchant_id(), PaymentId(id), silent, vec![], at(60_000)).await.unwrap();
    }
    let waiting = head(&store).await.unwrap();
    let error = settle(&store, &waiting, 2, standing()).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownForward { .. }), "not parked: {error}");
    let (first, second) = (park_head(&store).await, park_head(&store).await);
    let error = settle(&store, &first, 3, standing()).await.unwrap_err();
    assert!(matches!(error, StoreError::Misuse { .. }), "another payment: {error}");
    assert_eq!(now(&store, 2).await.state, PaymentState::Unresolved);

    assert_eq!(settle(&store, &first, 2, standing()).await.unwrap(), PaymentState::Approved);
    assert_eq!(settle(&store, &second, 3, nothing()).await.unwrap(), PaymentState::Declined);
    assert_eq!(now(&store, 2).await.answer.unwrap().settle_date, Some(1124));
    assert_eq!(now(&store, 1).await.refunded, fen(4_000), "what was not refunded may be refunded again");
    let history = store.history(merchant_id(), PaymentId(2)).await.unwrap();
    let notes: Vec<&str> = history.iter().rev().take(2).map(|entry| entry.note.as_str()).collect();
    assert_eq!(notes, ["unresolved → approved", "settled by hand: ticket 4711"]);
    let error = settle(&store, &first, 2, nothing()).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownForward { .. }), "done is done: {error}");
    assert_eq!(store.counts(Timestamp::MIN).await.unwrap().parked, 0);
}

/// The answer came between the look at the record and the command.
pub async fn a_known_outcome_is_not_settled_otherwise(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = park_head(&store).await;
    store.apply(merchant_id(), PaymentId(1), Event::ReversalDone(None), vec![], at(70_000)).await.unwrap();
    let error = settle(&store, &item, 1, standing()).await.unwrap_err();
    assert!(matches!(error, StoreError::Misuse { .. }), "{error}");
    assert_eq!(now(&store, 1).await.state, PaymentState::Reversed);
    assert_eq!(store.counts(Timestamp::MIN).await.unwrap().parked, 1, "nothing was written");
    assert_eq!(settle(&store, &item, 1, nothing()).await.unwrap(), PaymentState::Reversed);
}

/// A reversal that the network will not take although the sale stands there.
pub async fn a_sale_that_stands_after_all_counts(store: Store) {
    unanswered(&store, 1, "unionpay").await;
    let item = park_head(&store).await;
    assert_eq!(settle(&store, &item, 1, standing()).await.unwrap(), PaymentState::Approved);
    let sale = now(&store, 1).await;
    assert_eq!(sale.answer.unwrap().code, ResponseCode::APPROVED);
    assert_eq!(head(&store).await, None);
}
