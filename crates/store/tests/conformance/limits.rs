//! Limits: kept, counted in the transaction that journals a payment, given back when it comes to nothing, and right
//! when many payments come at once.

use acquiring::kind::Kind;
use acquiring::limit::{CardClass, Limit, LimitHold, LimitScope};
use acquiring::payment::{Answer, PaymentRecord, PaymentState};
use acquiring::transition::Event;
use acquiring::{Amount, PaymentId, ResponseCode};
use store::{Begun, Store, StoreError};

use crate::common::{answer, at, fen, merchant_id, payment, undoing};
use crate::payments::{answered, approved, now};

const DAY: u32 = 20_261_124;

fn scope() -> LimitScope {
    LimitScope { merchant: Some(merchant_id()), ..LimitScope::default() }
}

fn hold(amount: Option<Amount>, count: Option<u32>) -> LimitHold {
    LimitHold { scope: scope().text(), day: DAY, amount_max: amount, count_max: count }
}

async fn begin(store: &Store, record: PaymentRecord, holds: Vec<LimitHold>) -> Begun {
    store.begin_within(record, holds, vec![]).await.unwrap()
}

async fn used(store: &Store) -> (i64, i64) {
    store.limit_used(merchant_id(), &scope(), DAY).await.unwrap()
}

fn refused(begun: Begun) -> ResponseCode {
    let Begun::Refused(record) = begun else { panic!("{begun:?}") };
    assert_eq!((record.state, record.limited), (PaymentState::Declined, false));
    record.answer.unwrap().code
}

pub async fn limits_are_kept_and_move_the_version(store: Store) {
    let limit = Limit { scope: scope(), single: Some(fen(5)), day_amount: None, day_count: Some(7) };
    let before = store.master_version().await.unwrap();
    store.put_limit(&limit).await.unwrap();
    store.put_bin("622424", Some(CardClass::Credit)).await.unwrap();
    assert!(store.master_version().await.unwrap() > before);
    let loaded = store.limits().await.unwrap();
    assert_eq!((loaded.rules, loaded.bins), (vec![limit], vec![("622424".to_owned(), CardClass::Credit)]));
    let wider = Limit { day_amount: Some(fen(9)), ..limit };
    store.put_limit(&wider).await.unwrap();
    let foreign = LimitScope { kind: Some(Kind::Refund), card: Some(CardClass::Foreign), ..scope() };
    store.put_limit(&Limit { scope: foreign, ..limit }).await.unwrap();
    assert_eq!(store.limits().await.unwrap().rules, [wider, Limit { scope: foreign, ..limit }]);
    assert!(store.remove_limit(&foreign).await.unwrap());
    assert!(!store.remove_limit(&foreign).await.unwrap());
    store.put_bin("622424", None).await.unwrap();
    assert!(store.limits().await.unwrap().bins.is_empty());
    let empty = Limit { scope: scope(), single: None, day_amount: None, day_count: None };
    assert!(matches!(store.put_limit(&empty).await, Err(StoreError::Misuse { .. })));
}

pub async fn a_day_is_counted_and_refused_above_its_figures(store: Store) {
    let both = || vec![hold(Some(fen(25_000)), Some(3))];
    for id in [1, 2] {
        assert_eq!(begin(&store, payment(id, Kind::Sale), both()).await, Begun::Journaled);
        assert!(now(&store, id).await.limited);
    }
    assert_eq!(used(&store).await, (20_000, 2));
    assert_eq!(refused(begin(&store, payment(3, Kind::Sale), both()).await), ResponseCode::OVER_LIMIT);
    let small = PaymentRecord { amount: fen(5_000), ..payment(4, Kind::Sale) };
    assert_eq!(begin(&store, small, both()).await, Begun::Journaled);
    let next = PaymentRecord { amount: fen(0), ..payment(5, Kind::Sale) };
    assert_eq!(refused(begin(&store, next, both()).await), ResponseCode::OVER_COUNT);
    // A repeat takes nothing; another day begins anew.
    assert!(matches!(begin(&store, payment(1, Kind::Sale), both()).await, Begun::Existing(_)));
    let tomorrow = vec![LimitHold { day: DAY + 1, ..hold(Some(fen(25_000)), Some(3)) }];
    assert_eq!(begin(&store, payment(6, Kind::Sale), tomorrow).await, Begun::Journaled);
    assert_eq!(used(&store).await, (25_000, 3));
    // The first of a day may be too much already.
    let first = vec![LimitHold { day: DAY + 2, ..hold(Some(fen(9_999)), None) }];
    assert_eq!(refused(begin(&store, payment(7, Kind::Sale), first).await), ResponseCode::OVER_LIMIT);
}

pub async fn what_comes_to_nothing_is_given_back_once(store: Store) {
    for id in 1..=4 {
        begin(&store, payment(id, Kind::Sale), vec![hold(None, Some(10))]).await;
    }
    // Declined, reversed, not sent; and one that stands.
    answered(&store, merchant_id(), PaymentId(1), ResponseCode::INSUFFICIENT_FUNDS).await;
    assert_eq!(used(&store).await, (30_000, 3));
    let timeout = Answer::own(ResponseCode::TIMEOUT, at(60_000));
    let event = Event::NoAnswer(timeout.clone());
    store.apply(merchant_id(), PaymentId(2), event, vec![], at(60_000)).await.unwrap();
    assert_eq!(used(&store).await, (30_000, 3), "not known yet");
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    for _ in 0..2 {
        store.forward_done(&item, Event::ReversalDone(None), vec![], at(61_000)).await.unwrap();
        assert_eq!(used(&store).await, (20_000, 2));
    }
    let event = Event::NotSent(timeout);
    store.apply(merchant_id(), PaymentId(3), event, vec![], at(62_000)).await.unwrap();
    answered(&store, merchant_id(), PaymentId(4), ResponseCode::APPROVED).await;
    let late = Event::Answered(answer(ResponseCode::APPROVED, 70_000));
    store.apply(merchant_id(), PaymentId(2), late, vec![], at(70_000)).await.unwrap();
    assert_eq!(used(&store).await, (10_000, 1));
}

/// Days that are over go, a part at a time; what still counts stays, and what is given back late does no harm.
pub async fn days_that_are_over_are_forgotten(store: Store) {
    for id in 1..=3 {
        begin(&store, payment(id, Kind::Sale), vec![hold(None, Some(10))]).await;
    }
    let tomorrow = vec![LimitHold { day: DAY + 1, ..hold(None, Some(10)) }];
    begin(&store, payment(4, Kind::Sale), tomorrow).await;
    assert_eq!(store.forget_limit_days(DAY, 2).await.unwrap(), 0, "nothing is older");
    assert_eq!(store.forget_limit_days(DAY + 1, 2).await.unwrap(), 3, "two holds and the counter");
    assert_eq!(store.forget_limit_days(DAY + 1, 2).await.unwrap(), 1);
    assert_eq!(store.forget_limit_days(DAY + 1, 2).await.unwrap(), 0);
    assert_eq!(used(&store).await, (0, 0));
    answered(&store, merchant_id(), PaymentId(1), ResponseCode::INSUFFICIENT_FUNDS).await;
    let tomorrow = store.limit_used(merchant_id(), &scope(), DAY + 1).await.unwrap();
    assert_eq!(tomorrow, (10_000, 1), "the new day goes on");
}

/// Of two limits the second refuses: the first keeps nothing of it. An original that does not allow it costs nothing.
pub async fn a_refusal_takes_nothing_of_any_limit(store: Store) {
    let other = LimitHold { scope: "zz/*/*/*".to_owned(), ..hold(None, Some(0)) };
    let holds = vec![hold(None, Some(5)), other];
    assert_eq!(refused(begin(&store, payment(1, Kind::Sale), holds).await), ResponseCode::OVER_COUNT);
    assert_eq!(used(&store).await, (0, 0));
    approved(&store, payment(2, Kind::Sale)).await;
    let refund = undoing(3, Kind::Refund, 2, fen(10_001));
    let refund = begin(&store, refund, vec![hold(None, Some(5))]).await;
    assert_eq!(refused(refund), ResponseCode::AMOUNT_DIFFERS);
    let refund = begin(&store, undoing(4, Kind::Refund, 2, fen(400)), vec![hold(Some(fen(100)), None)]).await;
    assert_eq!(refused(refund), ResponseCode::OVER_LIMIT);
    assert_eq!(now(&store, 2).await.refunded, fen(0), "the original is free");
    assert_eq!(used(&store).await, (0, 0));
}

pub async fn many_at_once_never_exceed_a_limit(store: Store) {
    let mut racing = tokio::task::JoinSet::new();
    for id in 1..=40 {
        let store = store.clone();
        racing.spawn(async move {
            let begun = begin(&store, payment(id, Kind::Sale), vec![hold(Some(fen(75_000)), None)]).await;
            u32::from(begun == Begun::Journaled)
        });
    }
    let mut through = 0;
    while let Some(one) = racing.join_next().await {
        through += one.unwrap();
    }
    assert_eq!((through, used(&store).await), (7, (70_000, 7)));
}
