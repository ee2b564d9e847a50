//! Voids, refunds and reversals: money goes back once.

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{Event, Forward, Reception};
use acquiring::{Amount, MerchantId, PaymentId, ResponseCode};
use store::{Begun, CancelRequest, Cancelled, Store};

use jiff::ToSpan;

use crate::common::{at, fen, merchant_id, message, payment, undoing};
use crate::payments::{answered, approved, begin, now};

fn refused(begun: Begun) -> ResponseCode {
    match begun {
        Begun::Refused(record) => {
            assert_eq!(record.state, PaymentState::Declined);
            record.answer.unwrap().code
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn void(id: i64, original: i64) -> PaymentRecord {
    undoing(id, Kind::SaleVoid, original, fen(10_000))
}

fn cancel(of: &PaymentRecord, ms: i64) -> CancelRequest {
    CancelRequest {
        merchant: of.merchant,
        terminal: of.terminal,
        batch: of.batch,
        trace: of.trace,
        amount: of.amount,
        reason: ResponseCode::NO_ANSWER,
        payload: None,
        at: at(ms),
    }
}

async fn race(store: &Store, intents: Vec<PaymentRecord>) -> (Vec<PaymentId>, Vec<ResponseCode>) {
    let tasks: Vec<_> = intents
        .into_iter()
        .map(|intent| {
            let store = store.clone();
            tokio::spawn(async move { (intent.id, begin(&store, intent).await) })
        })
        .collect();
    let (mut taken, mut codes) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (id, Begun::Journaled) => taken.push(id),
            (_, other) => codes.push(refused(other)),
        }
    }
    (taken, codes)
}

pub async fn one_of_many_voids_takes_hold(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let (taken, codes) = race(&store, (2..=17).map(|id| void(id, 1)).collect()).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(codes, [ResponseCode::INVALID_TRANSACTION; 15]);
    assert_eq!(now(&store, 1).await.claimed_by, Some(taken[0]));
    answered(&store, merchant_id(), taken[0], ResponseCode::APPROVED).await;
    assert_eq!(now(&store, 1).await.state, PaymentState::Voided);
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, format!("approved → voided by payment {}", taken[0]));
    assert_eq!(refused(begin(&store, void(40, 1)).await), ResponseCode::INVALID_TRANSACTION);
}

pub async fn a_declined_void_frees_its_original(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    begin(&store, void(2, 1)).await;
    answered(&store, merchant_id(), PaymentId(2), ResponseCode::DO_NOT_HONOUR).await;
    let sale = now(&store, 1).await;
    assert_eq!((sale.state, sale.claimed_by), (PaymentState::Approved, None));
    assert_eq!(begin(&store, void(3, 1)).await, Begun::Journaled);
}

/// Sealed data of a terminal's reversal waits beside the queue item, and is gone with it.
pub async fn a_reversals_chip_data_waits_with_its_queue_item(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let request = CancelRequest { payload: Some(vec![0x5c; 44]), ..cancel(&payment(1, Kind::Sale), 1_000) };
    for _ in 0..2 {
        assert!(matches!(store.cancel(request.clone(), vec![]).await.unwrap(), Cancelled::Applied(_)));
    }
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    assert_eq!((item.action, item.payload.as_deref()), (Forward::Reversal, Some([0x5c; 44].as_slice())));
    store.forward_done(&item, Event::ReversalDone(None), vec![], at(2_000)).await.unwrap();
    assert!(store.next_forward("unionpay").await.unwrap().is_none(), "and it was queued once");
}

pub async fn a_reversed_void_frees_its_original(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    approved(&store, void(2, 1)).await;
    let request = cancel(&void(2, 1), 1_000);
    let Cancelled::Applied(applied) = store.cancel(request, vec![]).await.unwrap() else {
        panic!("the void exists")
    };
    assert_eq!(applied.record.state, PaymentState::Reversing);
    let sale = now(&store, 1).await;
    assert_eq!((sale.state, sale.claimed_by), (PaymentState::Approved, Some(PaymentId(2))));
    assert_eq!(refused(begin(&store, void(3, 1)).await), ResponseCode::INVALID_TRANSACTION);

    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    assert_eq!((item.payment, item.action), (PaymentId(2), Forward::Reversal));
    store.forward_done(&item, Event::ReversalDone(Some(1125)), vec![], at(2_000)).await.unwrap();
    assert_eq!(now(&store, 2).await.reversed_on, Some(1125), "the day on which the network settles it");
    assert_eq!(now(&store, 1).await.claimed_by, None);
    assert_eq!(begin(&store, void(4, 1)).await, Begun::Journaled);
}

pub async fn racing_refunds_never_exceed_the_sale(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let intents = (2..=21).map(|id| undoing(id, Kind::Refund, 1, fen(1_500))).collect();
    let (taken, codes) = race(&store, intents).await;
    assert_eq!(taken.len(), 6, "6 × 15.00 fit in 100.00");
    assert_eq!(codes, [ResponseCode::AMOUNT_DIFFERS; 14]);
    assert_eq!(now(&store, 1).await.refunded, fen(9_000));
    for id in taken {
        answered(&store, merchant_id(), id, ResponseCode::APPROVED).await;
    }
    assert_eq!(now(&store, 1).await.refunded, fen(9_000));
    assert_eq!(refused(begin(&store, void(40, 1)).await), ResponseCode::INVALID_TRANSACTION);
}

pub async fn a_declined_refund_may_be_refunded_again(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    begin(&store, undoing(2, Kind::Refund, 1, fen(10_000))).await;
    let next = undoing(3, Kind::Refund, 1, fen(1));
    assert_eq!(refused(begin(&store, next).await), ResponseCode::AMOUNT_DIFFERS);
    answered(&store, merchant_id(), PaymentId(2), ResponseCode::ISSUER_DOWN).await;
    assert_eq!(now(&store, 1).await.refunded, Amount::ZERO);
    assert_eq!(begin(&store, undoing(4, Kind::Refund, 1, fen(10_000))).await, Begun::Journaled);
}

pub async fn an_unknown_original_is_refused(store: Store) {
    assert_eq!(refused(begin(&store, void(2, 1)).await), ResponseCode::NO_ORIGINAL);
    // It stands in the journal, so that its repeat is answered alike.
    let again = PaymentRecord { id: PaymentId(9), ..void(2, 1) };
    assert!(matches!(begin(&store, again).await, Begun::Existing(record) if record.id == PaymentId(2)));
    // An event for a refusal whose original never was affects nothing.
    let event = Event::CancelRequested(ResponseCode::NO_ANSWER);
    let applied = store.apply(merchant_id(), PaymentId(2), event, vec![], at(9)).await.unwrap();
    assert_eq!(applied.change.reception, Reception::NothingToUndo);
}

pub async fn another_merchants_payment_is_no_original(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    let other = MerchantId::new("898100000000002").unwrap();
    let void = PaymentRecord { merchant: other, ..void(2, 1) };
    assert_eq!(refused(begin(&store, void).await), ResponseCode::NO_ORIGINAL);
    assert_eq!(now(&store, 1).await.claimed_by, None);
}

pub async fn a_reversal_of_an_approved_sale(store: Store) {
    let sale = approved(&store, payment(1, Kind::Sale)).await;
    let entries = vec![message(1_000, EntryKind::TerminalIn, 150)];
    let first = store.cancel(cancel(&sale, 1_000), entries).await.unwrap();
    let Cancelled::Applied(applied) = first else { panic!("the sale exists") };
    assert_eq!(applied.change.reception, Reception::Moved);
    assert_eq!(applied.record.reversal_reason, Some(ResponseCode::NO_ANSWER));
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "approved → reversing");

    let again = store.cancel(cancel(&sale, 2_000), vec![]).await.unwrap();
    let Cancelled::Applied(applied) = again else { panic!("the sale exists") };
    assert_eq!(applied.change.reception, Reception::Repeated);
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 1);
}

pub async fn a_reversal_with_another_amount_moves_nothing(store: Store) {
    let sale = approved(&store, payment(1, Kind::Sale)).await;
    let request = CancelRequest { amount: fen(9_999), ..cancel(&sale, 1_000) };
    let entries = vec![JournalEntry::note(at(1_000), "reversal for 99.99")];
    let cancelled = store.cancel(request, entries).await.unwrap();
    assert_eq!(cancelled, Cancelled::AmountDiffers(Box::new(sale.clone())));
    assert_eq!(now(&store, 1).await, sale);
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "reversal for 99.99");
}

pub async fn a_reversal_before_its_sale_refuses_the_sale(store: Store) {
    let sale = payment(1, Kind::Sale);
    for ms in [10, 20] {
        let entries = vec![message(ms, EntryKind::TerminalIn, 150)];
        assert_eq!(store.cancel(cancel(&sale, ms), entries).await.unwrap(), Cancelled::Unknown);
    }
    assert_eq!(refused(begin(&store, sale.clone()).await), ResponseCode::NO_ORIGINAL);
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    let reversals = history.iter().filter(|e| e.bytes.len() == 150).count();
    assert_eq!(reversals, 2, "the reversals that came first are in the payment's history");
    assert!(matches!(begin(&store, sale.clone()).await, Begun::Existing(_)));
    // The reversal again, now that there is a payment: there is nothing to undo.
    let again = store.cancel(cancel(&sale, 30), vec![]).await.unwrap();
    assert!(
        matches!(again, Cancelled::Applied(a) if a.change.reception == Reception::NothingToUndo),
        "declined stays declined"
    );
    assert_eq!(begin(&store, payment(2, Kind::Sale)).await, Begun::Journaled, "the next is not affected");
}

pub async fn a_reversal_of_a_voided_sale_undoes_nothing(store: Store) {
    let sale = approved(&store, payment(1, Kind::Sale)).await;
    approved(&store, void(2, 1)).await;
    let Cancelled::Applied(applied) = store.cancel(cancel(&sale, 1_000), vec![]).await.unwrap() else {
        panic!("the sale exists")
    };
    assert_eq!(applied.change.reception, Reception::NothingToUndo);
    assert_eq!(store.forward_depth("unionpay").await.unwrap(), 0);
}

/// A void reaches two steps: it frees the pre-authorisation of the completion that it voids, and takes it back when
/// it is reversed itself, unless another completion has it by then.
pub async fn a_voided_completion_gives_its_preauth_back(store: Store) {
    approved(&store, payment(1, Kind::Preauth)).await;
    approved(&store, undoing(2, Kind::Completion, 1, fen(11_500))).await;
    assert_eq!(now(&store, 1).await.state, PaymentState::Completed);
    let void = undoing(3, Kind::CompletionVoid, 2, fen(11_500));
    approved(&store, void.clone()).await;
    assert_eq!(now(&store, 2).await.state, PaymentState::Voided);
    let preauth = now(&store, 1).await;
    assert_eq!((preauth.state, preauth.claimed_by), (PaymentState::Approved, None));
    let history = store.history(merchant_id(), PaymentId(1)).await.unwrap();
    assert_eq!(history.last().unwrap().note, "completed → approved by payment 3");

    let Cancelled::Applied(applied) = store.cancel(cancel(&void, 1_000), vec![]).await.unwrap() else {
        panic!("the void exists")
    };
    assert_eq!(applied.record.state, PaymentState::Reversing);
    let preauth = now(&store, 1).await;
    assert_eq!((preauth.state, preauth.claimed_by), (PaymentState::Completed, Some(PaymentId(2))));
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    store.forward_done(&item, Event::ReversalDone(None), vec![], at(2_000)).await.unwrap();
    assert_eq!(now(&store, 2).await.claimed_by, None);

    let void = undoing(4, Kind::CompletionVoid, 2, fen(11_500));
    approved(&store, void.clone()).await;
    approved(&store, undoing(5, Kind::Completion, 1, fen(9_000))).await;
    let Cancelled::Applied(applied) = store.cancel(cancel(&void, 3_000), vec![]).await.unwrap() else {
        panic!("the void exists")
    };
    assert_eq!(applied.change.reception, Reception::Refused(ResponseCode::INVALID_TRANSACTION));
    assert_eq!(now(&store, 4).await.state, PaymentState::Approved);
    assert_eq!(now(&store, 1).await.claimed_by, Some(PaymentId(5)));
}

pub async fn one_of_many_completions_takes_the_preauth(store: Store) {
    approved(&store, payment(1, Kind::Preauth)).await;
    let kinds = [Kind::Completion, Kind::CompletionAdvice, Kind::PreauthVoid];
    let intents = (2..=16).map(|id| undoing(id, kinds[(id % 3) as usize], 1, fen(10_000))).collect();
    let (taken, codes) = race(&store, intents).await;
    assert_eq!(taken.len(), 1);
    assert_eq!(codes, [ResponseCode::INVALID_TRANSACTION; 14]);
    answered(&store, merchant_id(), taken[0], ResponseCode::DO_NOT_HONOUR).await;
    let dear = undoing(20, Kind::Completion, 1, fen(11_501));
    assert_eq!(refused(begin(&store, dear).await), ResponseCode::OVER_LIMIT);
    assert_eq!(begin(&store, undoing(21, Kind::CompletionAdvice, 1, fen(11_500))).await, Begun::Journaled);
}

pub async fn a_preauth_is_found_by_its_authorisation(store: Store) {
    let ours = approved(&store, payment(1, Kind::Preauth)).await;
    let code = ours.answer.as_ref().and_then(|answer| answer.auth_code).unwrap();
    let card = ours.card.as_ref().unwrap().digest;
    // The same number on a sale, on a pre-authorisation of another merchant, on an older one of the same card.
    approved(&store, payment(2, Kind::Sale)).await;
    let other = MerchantId::new("898100000000002").unwrap();
    let elsewhere = PaymentRecord { merchant: other, ..payment(3, Kind::Preauth) };
    begin(&store, elsewhere).await;
    answered(&store, other, PaymentId(3), ResponseCode::APPROVED).await;
    let newer = approved(&store, payment(4, Kind::Preauth)).await;
    let found = store.by_authorisation(merchant_id(), code, card).await.unwrap();
    assert_eq!(found, [newer, ours]);
    assert!(store.by_authorisation(merchant_id(), code, [8; 32]).await.unwrap().is_empty());
    let unknown = acquiring::AuthCode::new("000000").unwrap();
    assert!(store.by_authorisation(merchant_id(), unknown, card).await.unwrap().is_empty());
}

/// A refund reaches thirty days back and no further.
pub async fn a_refund_reaches_thirty_days_back(store: Store) {
    for (id, days, code) in [(1, 30, None), (2, 31, Some(ResponseCode::PAST_ALLOWED_DAYS))] {
        let back = at(0).checked_sub((days * 24).hours()).unwrap();
        approved(&store, PaymentRecord { created: back, ..payment(id, Kind::Sale) }).await;
        let begun = begin(&store, undoing(id + 10, Kind::Refund, id, fen(4_000))).await;
        match code {
            None => assert_eq!(begun, Begun::Journaled),
            Some(code) => assert_eq!(refused(begun), code),
        }
    }
    // Also of a completion, in parts up to its amount.
    approved(&store, payment(20, Kind::Preauth)).await;
    approved(&store, undoing(21, Kind::CompletionAdvice, 20, fen(11_000))).await;
    for (id, code) in [(22, None), (23, None), (24, Some(ResponseCode::AMOUNT_DIFFERS))] {
        let begun = begin(&store, undoing(id, Kind::Refund, 21, fen(5_500))).await;
        assert_eq!(matches!(begun, Begun::Journaled), code.is_none());
    }
    assert_eq!(
        refused(begin(&store, undoing(25, Kind::Refund, 20, fen(1))).await),
        ResponseCode::INVALID_TRANSACTION
    );
}

/// Voids and refunds that want the same sale at once: either one void has it or refunds up to the amount, never both.
pub async fn voids_and_refunds_race_for_a_sale(store: Store) {
    for round in 0..4 {
        let sale = 100 * round + 1;
        approved(&store, payment(sale, Kind::Sale)).await;
        let intents = (1..=12).map(|n| match n % 3 {
            0 => void(sale + n, sale),
            _ => undoing(sale + n, Kind::Refund, sale, fen(4_000)),
        });
        let (taken, _codes) = race(&store, intents.collect()).await;
        let held = now(&store, sale).await;
        match held.claimed_by {
            Some(by) => assert_eq!((taken, held.refunded), (vec![by], Amount::ZERO)),
            None => assert_eq!((taken.len(), held.refunded), (2, fen(8_000))),
        }
    }
}
