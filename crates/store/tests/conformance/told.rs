//! What the terminal approved by itself: durable, queued toward the network in order, acknowledged; and what became of
//! the commands for a chip.

use acquiring::kind::Kind;
use acquiring::payment::{Answer, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{Event, Finding, Forward, Reception};
use acquiring::{Beijing, PaymentId, ResponseCode};
use store::{Begun, PartKept, Signature, Store, StoreError};

use crate::common::{answer, at, fen, merchant_id, payment, terminal, terminal_id, undoing};
use crate::payments::{approved, begin, now};

/// A payment of this kind as the terminal told it.
fn told(id: i64, kind: Kind) -> PaymentRecord {
    let answer = Some(Answer::own(ResponseCode::APPROVED, at(id)));
    PaymentRecord { state: PaymentState::Approved, answer, ..payment(id, kind) }
}

fn adjustment(id: i64, kind: Kind, original: i64, amount: u64) -> PaymentRecord {
    PaymentRecord { original: Some(PaymentId(original)), amount: fen(amount), ..told(id, kind) }
}

async fn advise(store: &Store, record: PaymentRecord) -> Begun {
    store.advise(record, None, vec![JournalEntry::note(at(0), "told")]).await.unwrap()
}

pub async fn what_is_told_is_approved_and_queued_in_order(store: Store) {
    store.put_merchant(&crate::common::merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
    let sale = told(1, Kind::OfflineChip);
    let begun = store.advise(sale.clone(), Some(vec![0x5a; 9]), vec![]).await.unwrap();
    assert_eq!(begun, Begun::Journaled);
    assert_eq!(advise(&store, told(2, Kind::OfflineSale)).await, Begun::Journaled);
    assert_eq!(now(&store, 1).await, sale);
    // The same again is the same, and is queued once.
    let again = advise(&store, PaymentRecord { id: PaymentId(3), ..sale.clone() }).await;
    assert_eq!(again, Begun::Existing(Box::new(sale.clone())));

    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    assert_eq!((item.payment, item.action, item.next_at), (PaymentId(1), Forward::Advice, at(1)));
    assert_eq!(item.payload.as_deref(), Some(&[0x5a; 9][..]));
    let event = Event::Advised(Answer { settle_date: Some(1125), ..answer(ResponseCode::APPROVED, 50) });
    let applied = store.forward_done(&item, event, vec![], at(60)).await.unwrap();
    assert_eq!((applied.change.reception, applied.record.state), (Reception::Moved, PaymentState::Approved));
    let known = now(&store, 1).await.answer.unwrap();
    // The time is the terminal's answer's, the date the network's.
    assert_eq!((known.at, known.settle_date), (at(1), Some(1125)));
    assert_eq!(store.next_forward("unionpay").await.unwrap().unwrap().payment, PaymentId(2));
    let totals = store.batch_totals(merchant_id(), terminal_id(), sale.batch).await.unwrap();
    assert_eq!((totals.domestic.debit.count, totals.domestic.debit.amount), (2, fen(20_000)));
}

pub async fn an_adjustment_changes_what_a_sale_comes_to(store: Store) {
    let sale = approved(&store, payment(1, Kind::Sale)).await;
    assert_eq!(advise(&store, adjustment(2, Kind::Tip, 1, 11_500)).await, Begun::Journaled);
    let adjusted = now(&store, 1).await;
    assert_eq!((adjusted.amount, adjusted.total()), (fen(10_000), fen(11_500)));
    assert_eq!(adjusted.claimed_by, Some(PaymentId(2)));
    let totals = store.batch_totals(merchant_id(), terminal_id(), sale.batch).await.unwrap();
    // The adjustment itself counts nowhere.
    assert_eq!((totals.domestic.debit.count, totals.domestic.debit.amount), (1, fen(11_500)));
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "100.00 → 115.00 by payment 2");

    // Until the network knows, nothing else stands on the sale; then the void takes back what it came to.
    let void = undoing(3, Kind::SaleVoid, 1, fen(11_500));
    let refused = store.begin(void.clone(), vec![]).await.unwrap();
    assert!(matches!(refused, Begun::Refused(_)), "{refused:?}");
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    let event = Event::Advised(answer(ResponseCode::APPROVED, 50));
    store.forward_done(&item, event, vec![], at(60)).await.unwrap();
    assert_eq!(now(&store, 1).await.claimed_by, None);
    begin(&store, PaymentRecord { id: PaymentId(4), trace: payment(4, Kind::Sale).trace, ..void }).await;
    assert_eq!(now(&store, 1).await.claimed_by, Some(PaymentId(4)));
}

pub async fn an_adjustment_of_what_is_not_there_is_refused(store: Store) {
    let refused = advise(&store, adjustment(2, Kind::Adjust, 1, 9_000)).await;
    let Begun::Refused(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.answer.unwrap().code, ResponseCode::NO_ORIGINAL);
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 0);
    assert_eq!(now(&store, 2).await.state, PaymentState::Declined);
}

pub async fn only_what_was_approved_is_told(store: Store) {
    let pending = PaymentRecord { state: PaymentState::Pending, ..told(1, Kind::OfflineSale) };
    for wrong in [pending, told(2, Kind::Sale)] {
        let error = store.advise(wrong, None, vec![]).await.unwrap_err();
        assert!(matches!(error, StoreError::Misuse { .. }), "{error}");
    }
}

/// After a refusal an advice is a new message, and the payment is known by its numbers.
pub async fn a_refused_advice_has_a_key_of_its_own(store: Store) {
    advise(&store, told(1, Kind::OfflineSale)).await;
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    store.forward_refused(&item, at(71_000), at(72_000), "refused with 90", vec![]).await.unwrap();
    assert_eq!(now(&store, 1).await.network.transmission, Beijing::of(at(71_000)).transmission());
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    store.park_forward(&item, "refused", vec![]).await.unwrap();
    store.release_forward("unionpay", item.sequence).await.unwrap();
    let released = store.next_forward("unionpay").await.unwrap().unwrap();
    let transmission = Beijing::of(released.message_at).transmission();
    assert_eq!(now(&store, 1).await.network.transmission, transmission);
    assert!(released.message_at > item.message_at);
}

/// Two tips on one sale: the first was acknowledged, the second never will be.
pub async fn a_tip_that_the_network_will_not_have_leaves_its_sale_as_before(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    assert_eq!(advise(&store, adjustment(2, Kind::Tip, 1, 10_500)).await, Begun::Journaled);
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    let taken = Event::Advised(answer(ResponseCode::APPROVED, 50));
    store.forward_done(&item, taken, vec![], at(60)).await.unwrap();
    assert_eq!(advise(&store, adjustment(3, Kind::Tip, 1, 11_500)).await, Begun::Journaled);
    assert_eq!(now(&store, 1).await.adjusted, Some(fen(11_500)));
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    store.park_forward(&item, "refused with 14", vec![]).await.unwrap();
    let nothing = Finding::Nothing(Answer::own(ResponseCode::NO_ORIGINAL, at(80)));
    let note = "settled by hand: ticket 4711".to_owned();
    let settled = store.settle_forward("unionpay", item.sequence, PaymentId(3), nothing, note).await.unwrap();
    assert_eq!(settled.record.state, PaymentState::Declined);
    let sale = now(&store, 1).await;
    assert_eq!((sale.adjusted, sale.claimed_by), (Some(fen(10_500)), None));
}

pub async fn a_script_result_is_queued_once_and_its_data_goes_with_it(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    for first in [true, false] {
        let queued = store.forward_script(merchant_id(), PaymentId(1), vec![7; 5], vec![], at(100)).await;
        assert_eq!(queued.unwrap(), first);
    }
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    assert_eq!((item.action, item.payload.as_deref()), (Forward::Script, Some(&[7; 5][..])));
    let applied = store.forward_done(&item, Event::ScriptTaken, vec![], at(200)).await.unwrap();
    assert_eq!(applied.record.state, PaymentState::Approved);
    assert_eq!(store.next_forward("unionpay").await.unwrap(), None);
    let again = store.forward_script(merchant_id(), PaymentId(1), vec![7; 5], vec![], at(300)).await;
    assert!(!again.unwrap(), "finished, and not queued again");
    let unknown = store.forward_script(merchant_id(), PaymentId(9), vec![], vec![], at(0)).await;
    assert!(matches!(unknown, Err(StoreError::UnknownPayment { .. })), "{unknown:?}");
}

fn images(signature: &Signature) -> Vec<&[u8]> {
    signature.parts.iter().map(|part| part.image.as_slice()).collect()
}

/// Parts come in any order and more than once; the first image that is complete stays.
pub async fn a_signature_is_joined_from_its_parts(store: Store) {
    begin(&store, payment(1, Kind::Sale)).await;
    let put = async |code, image: &[u8]| {
        store
            .put_signature(merchant_id(), PaymentId(1), code, image.to_vec(), vec![], at(i64::from(code)))
            .await
    };
    let none = store.signature(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(none, None);
    assert_eq!(put(800, b"end").await.unwrap(), PartKept::Complete, "one part alone is whole");
    assert_eq!(put(801, b"more").await.unwrap(), PartKept::Known);
    let one = store.signature(merchant_id(), PaymentId(1)).await.unwrap().unwrap();
    assert_eq!((images(&one), one.complete, one.at), (vec![&b"end"[..]], true, at(800)));

    begin(&store, payment(2, Kind::Sale)).await;
    let put = async |code, image: &[u8]| {
        store.put_signature(merchant_id(), PaymentId(2), code, image.to_vec(), vec![], at(5)).await.unwrap()
    };
    assert_eq!(put(802, b"wrong").await, PartKept::More);
    assert_eq!(put(802, b"be").await, PartKept::More, "the same part again replaces it");
    assert!(!store.signature(merchant_id(), PaymentId(2)).await.unwrap().unwrap().complete);
    assert_eq!(put(801, b"gin").await, PartKept::More);
    assert_eq!(put(800, b"ning").await, PartKept::Complete);
    let whole = store.signature(merchant_id(), PaymentId(2)).await.unwrap().unwrap();
    assert_eq!((images(&whole), whole.complete), (vec![&b"be"[..], b"gin", b"ning"], true));
    assert!(store.clear_signatures(10).await.unwrap().is_empty(), "what is kept is sealed");
    let part = whole.parts[0].clone();
    assert!(!store.seal_signature(part, b"again".to_vec()).await.unwrap(), "and is not sealed twice");
    let unknown = store.put_signature(merchant_id(), PaymentId(9), 800, vec![1], vec![], at(0)).await;
    assert!(matches!(unknown, Err(StoreError::UnknownPayment { .. })), "{unknown:?}");
}
