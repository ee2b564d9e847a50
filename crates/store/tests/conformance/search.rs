//! Finding a payment from any of its numbers; pages; counts.

use acquiring::kind::Kind;
use acquiring::payment::{Answer, CardRecord, PaymentRecord, PaymentState};
use acquiring::transition::Event;
use acquiring::{BatchNo, MerchantId, PaymentId, ResponseCode, TerminalId, Trace};
use store::{Begun, Cursor, Page, PaymentFilter, Store, StoreError};

use crate::common::{at, fen, merchant_id, payment, undoing};
use crate::payments::{approved, begin};

async fn ids(store: &Store, filter: PaymentFilter) -> Vec<i64> {
    let found = store.find(filter, Page::default()).await.unwrap();
    found.items.iter().map(|p| p.id.0).collect()
}

pub async fn any_number_finds_the_payment(store: Store) {
    let trace = Trace::new(77).unwrap();
    let sale = approved(&store, PaymentRecord { trace, ..payment(1_234_567, Kind::Balance) }).await;
    begin(&store, payment(9, Kind::Sale)).await;
    let network_trace = format!("{:06}", sale.network.trace);
    for text in ["1234567", "000077", "77", sale.rrn.as_str(), "12 456", network_trace.as_str(), " 1234567 "]
    {
        let filter = PaymentFilter { text: Some(text.to_owned()), ..Default::default() };
        assert_eq!(ids(&store, filter).await, [1_234_567], "{text}");
    }
    let filter = |text: &str| PaymentFilter { text: Some(text.to_owned()), ..Default::default() };
    assert_eq!(ids(&store, filter("622424******0021")).await, [1_234_567, 9]);
    assert!(ids(&store, filter("4711")).await.is_empty());
    assert!(ids(&store, filter("' OR 1=1 --")).await.is_empty());
    assert_eq!(ids(&store, filter("  ")).await.len(), 2, "nothing asked");
}

pub async fn every_filter_holds(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    approved(&store, PaymentRecord { amount: fen(500), ..payment(2, Kind::Sale) }).await;
    begin(&store, undoing(3, Kind::Refund, 1, fen(100))).await;
    let card = CardRecord { digest: [1; 32], ..payment(4, Kind::Sale).card.unwrap() };
    let elsewhere = PaymentRecord {
        merchant: MerchantId::new("898100000000002").unwrap(),
        terminal: TerminalId::new("20000002").unwrap(),
        batch: BatchNo::new(5).unwrap(),
        card: Some(card),
        ..payment(4, Kind::Sale)
    };
    begin(&store, elsewhere.clone()).await;
    let any = PaymentFilter::default;
    let cases = [
        (PaymentFilter { merchant: Some(merchant_id()), ..any() }, vec![3, 2, 1]),
        (PaymentFilter { terminal: Some(elsewhere.terminal), ..any() }, vec![4]),
        (PaymentFilter { batch: Some(elsewhere.batch), ..any() }, vec![4]),
        (PaymentFilter { kind: Some(Kind::Refund), ..any() }, vec![3]),
        (PaymentFilter { state: Some(PaymentState::Approved), ..any() }, vec![2, 1]),
        (PaymentFilter { from: Some(at(2)), to: Some(at(4)), ..any() }, vec![3, 2]),
        (PaymentFilter { amount_min: Some(fen(500)), ..any() }, vec![4, 2, 1]),
        (PaymentFilter { amount_max: Some(fen(500)), ..any() }, vec![3, 2]),
        (PaymentFilter { card_digest: Some([1; 32]), ..any() }, vec![4]),
        (PaymentFilter { settle_date: Some(1124), ..any() }, vec![2, 1]),
        (PaymentFilter { settle_date: Some(1125), ..any() }, vec![]),
        (PaymentFilter { original: Some(PaymentId(1)), ..any() }, vec![3]),
        (PaymentFilter { text: Some("2".into()), kind: Some(Kind::Refund), ..any() }, vec![]),
        (any(), vec![4, 3, 2, 1]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(&store, filter.clone()).await, expected, "{filter:?}");
    }
}

pub async fn pages_follow_each_other_without_gap_or_repeat(store: Store) {
    for id in 1..=23 {
        // Several payments share a millisecond.
        begin(&store, PaymentRecord { created: at(id / 4), ..payment(id, Kind::Sale) }).await;
    }
    let mut page = Page::first(5);
    let mut seen = Vec::new();
    loop {
        let found = store.find(PaymentFilter::default(), page.clone()).await.unwrap();
        assert!(found.items.len() <= 5);
        seen.extend(found.items.iter().map(|p| p.id.0));
        match found.next {
            // The marker goes through a link as text.
            Some(next) => page.after = Some(Cursor::from_text(next.as_str())),
            None => break,
        }
    }
    assert_eq!(seen, (1..=23).rev().collect::<Vec<_>>());
}

pub async fn a_made_up_marker_is_refused(store: Store) {
    for text in ["", "1", "1.x", "1.2.3", "a.b"] {
        let page = Page { limit: 5, after: Some(Cursor::from_text(text)) };
        let error = store.find(PaymentFilter::default(), page.clone()).await.unwrap_err();
        assert_eq!(error, StoreError::BadCursor, "{text}");
        let error = store.settlements(Default::default(), page.clone()).await.unwrap_err();
        assert_eq!(error, StoreError::BadCursor, "{text}");
        let error = store.differences(Default::default(), page).await.unwrap_err();
        assert_eq!(error, StoreError::BadCursor, "{text}");
    }
}

pub async fn counts_tell_what_is_open(store: Store) {
    approved(&store, payment(1, Kind::Sale)).await;
    for id in 2..=4 {
        begin(&store, payment(id, Kind::Sale)).await;
    }
    let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
    store.apply(merchant_id(), PaymentId(2), event, vec![], at(60_000)).await.unwrap();
    let counts = store.counts(at(2)).await.unwrap();
    assert_eq!(counts.payments, [(PaymentState::Pending, 2), (PaymentState::Reversing, 1)]);
    assert_eq!(counts.open, [(PaymentState::Pending, 2), (PaymentState::Reversing, 1)]);
    assert_eq!((counts.waiting, counts.parked, counts.differences, counts.unmatched), (1, 0, 0, 0));
    let all = store.counts(at(0)).await.unwrap();
    assert_eq!(all.payments.iter().map(|(_, n)| n).sum::<u64>(), 4);
}

/// A merchant with thousands of payments is listed by another way than one with few, through time and not by sorting: the
/// list is the same, newest first, each payment once and nobody else's, page by page and by terminal.
pub async fn a_long_list_is_listed_as_a_short_one(store: Store) {
    const LAST: i64 = 2_101;
    let other = MerchantId::new("898100000000009").unwrap();
    let second = TerminalId::new("10000002").unwrap();
    // The newest are begun first: what orders the list is the time.
    for chunk in (1..=LAST).rev().collect::<Vec<_>>().chunks(50) {
        let mut begun = tokio::task::JoinSet::new();
        for id in chunk.iter().copied() {
            let mut one = payment(id, Kind::Sale);
            if id % 100 == 0 {
                one.merchant = other;
            } else if id % 90 == 0 {
                one.terminal = second;
            }
            let store = store.clone();
            begun.spawn(async move { store.begin(one, vec![]).await });
        }
        while let Some(done) = begun.join_next().await {
            assert_eq!(done.unwrap().unwrap(), Begun::Journaled);
        }
    }
    let wanted =
        |belongs: &dyn Fn(i64) -> bool| (1..=LAST).rev().filter(|id| belongs(*id)).collect::<Vec<_>>();
    let long = wanted(&|id| id % 100 != 0);
    assert!(long.len() > 2_000, "long enough for the other way");
    let ours = PaymentFilter { merchant: Some(merchant_id()), ..Default::default() };
    let cases = [
        (ours.clone(), long),
        (
            PaymentFilter { terminal: Some(second), ..ours.clone() },
            wanted(&|id| id % 90 == 0 && id % 100 != 0),
        ),
        (PaymentFilter { merchant: Some(other), ..Default::default() }, wanted(&|id| id % 100 == 0)),
        (PaymentFilter { from: Some(at(2_050)), ..ours }, wanted(&|id| id >= 2_050 && id % 100 != 0)),
    ];
    for (filter, wanted) in cases {
        let mut page = Page::first(500);
        let mut listed = Vec::new();
        loop {
            let found = store.find(filter.clone(), page.clone()).await.unwrap();
            listed.extend(found.items.iter().map(|p| p.id.0));
            match found.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(listed, wanted, "{filter:?}");
    }
}
