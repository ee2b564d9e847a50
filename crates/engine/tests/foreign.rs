//! Foreign cards (外卡) in the settlement: the table of card numbers says what a card is when its payment comes, the payment
//! keeps it, and what the table comes to say later changes no batch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::limit::CardClass;
use acquiring::settlement::{BatchTotals, BlockResult, BlockTotals, SideTotal};
use acquiring::{Amount, BatchNo, Pan, Trace};
use common::{Act, Stage, request};
use engine::batch::Detail;
use engine::payment::{OriginalNumbers, PaymentRequest};

const VISA: &str = "4000000000000010";

fn by(pan: &str, trace: u64, fen: u64) -> PaymentRequest {
    PaymentRequest { pan: Some(Pan::new(pan).unwrap()), ..request(trace, fen) }
}

fn side(fen: u64, count: u32) -> SideTotal {
    SideTotal { amount: Amount::from_fen(fen).unwrap(), count }
}

/// The table says something else from now on, and the engine has read it.
async fn table_says(stage: &Stage, class: CardClass) {
    stage.store.put_bin("4", Some(class)).await.unwrap();
    let foreign = class == CardClass::Foreign;
    let read = async {
        while stage.engine.directory().limits().is_foreign(VISA) != foreign {
            tokio::time::sleep(Duration::from_millis(10)).await; // poll
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the table was not read again");
}

#[tokio::test]
async fn what_a_card_was_when_it_paid_decides_its_block() {
    let stage = Stage::set().await;
    table_says(&stage, CardClass::Foreign).await;
    stage.script.expect(std::iter::repeat_n((), 5).map(|()| Act::Code("00")));
    let paid = stage.pay(Kind::Sale, by(VISA, 1, 10_000)).await;
    assert_eq!(paid.organisation, Some("VIS"));
    let domestic = stage.pay(Kind::Sale, request(2, 2_000)).await;
    assert_eq!(domestic.organisation, Some("CUP"));
    stage.pay(Kind::Sale, by(VISA, 3, 300)).await;

    // The acquirer learns that such cards are national ones. Today's payments stay where they are, and a void goes where its
    // sale is.
    table_says(&stage, CardClass::Credit).await;
    let original =
        Some(OriginalNumbers { batch: Some(BatchNo::FIRST), trace: Trace::new(1).ok(), date: None });
    let void = stage.pay(Kind::SaleVoid, PaymentRequest { original, ..by(VISA, 4, 10_000) }).await;
    assert_eq!((void.answer.code.as_str(), void.organisation), ("00", Some("VIS")));
    let later = stage.pay(Kind::Sale, by(VISA, 5, 77)).await;
    assert_eq!(later.organisation, Some("CUP"));

    let auth = stage.authenticate(Kind::Settlement).await.unwrap();
    let says = BatchTotals {
        domestic: BlockTotals { debit: side(2_077, 2), credit: side(0, 0) },
        foreign: BlockTotals { debit: side(10_300, 2), credit: side(10_000, 1) },
    };
    let compared = stage.engine.settle(&auth, BatchNo::FIRST, says, vec![]).await.unwrap();
    assert_eq!(compared.host, says);
    assert_eq!((compared.domestic, compared.foreign), (BlockResult::Balanced, BlockResult::Balanced));

    // One block alone may differ, and a detail in the wrong block is named.
    let mut without = says;
    without.foreign.debit = side(10_000, 1);
    let compared = stage.engine.settle(&auth, BatchNo::FIRST, without, vec![]).await.unwrap();
    assert_eq!((compared.domestic, compared.foreign), (BlockResult::Balanced, BlockResult::Differs));
    let auth = stage.authenticate(Kind::BatchUpMagnetic).await.unwrap();
    let detail = |trace, fen, foreign| Detail {
        trace: Trace::new(trace).unwrap(),
        pan: Pan::new(VISA).ok(),
        amount: Amount::from_fen(fen).unwrap(),
        foreign: Some(foreign),
    };
    let details = vec![detail(1, 10_000, true), detail(3, 300, false), detail(5, 77, false)];
    stage.engine.batch_up(&auth, BatchNo::FIRST, details, vec![]).await.unwrap();
    let all = (store::BatchFilter::default(), store::Page::default());
    let differences = stage.store.differences(all.0, all.1).await.unwrap().items;
    let named: Vec<_> = differences.iter().map(|d| (d.trace.get(), d.kind.code())).collect();
    assert_eq!(named, [(3, "card_class")]);
}
