//! What a terminal tells after the fact: durable before it is answered, and at the network sooner or later, whatever
//! stands between. The store and the security module are real; only the network is scripted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use acquiring::kind::Kind;
use acquiring::limit::{Limit, LimitScope};
use acquiring::payment::EntryKind;
use acquiring::{Amount, BatchNo, PaymentState, ResponseCode, Secret, Trace};
use common::{Act, Stage, merchant, refund_of, request, void_of};
use engine::PaymentRequest;
use engine::advice::ScriptResult;
use engine::payment::Reply;
use store::ForwardFilter;

async fn advise(stage: &Stage, kind: Kind, request: PaymentRequest) -> Reply {
    let auth = stage.authenticate(kind).await.unwrap();
    stage.engine.advise(auth, request).await.unwrap()
}

/// Waits until the network's word on a payment is in the journal.
async fn acknowledged(stage: &Stage, trace: u64) {
    let told = async {
        while stage.record(trace).await.answer.is_none_or(|answer| answer.settle_date.is_none()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("never acknowledged");
}

/// A change of the total of the sale with this trace.
fn adjustment(trace: u64, sale: &Reply, sale_trace: u64, fen: u64) -> PaymentRequest {
    PaymentRequest { amount: Amount::from_fen(fen), ..void_of(trace, sale_trace, sale.rrn.unwrap()) }
}

/// The terminal hears 00 while the network is down; the network hears of it when it is back, once acknowledged and
/// not again; and the first sending is no repeat.
#[tokio::test]
async fn an_offline_sale_is_answered_at_once_and_forwarded_until_acknowledged() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Down, Act::Silence, Act::Code("90"), Act::Code("00")]);
    let told = PaymentRequest { auth_code: acquiring::AuthCode::new("V12345").ok(), ..request(1, 5_000) };
    let reply = advise(&stage, Kind::OfflineSale, told).await;
    assert_eq!((reply.answer.code, reply.repeated), (ResponseCode::APPROVED, false));
    assert_eq!(stage.state(1).await, PaymentState::Approved, "durable when it is answered");
    acknowledged(&stage, 1).await;
    let attempts: Vec<_> = stage.script.seen().into_iter().map(|s| (s.what, s.attempts)).collect();
    assert_eq!(attempts, [("advice", 0), ("advice", 0), ("advice", 1), ("advice", 2)]);
    let record = stage.record(1).await;
    assert_eq!(record.answer.unwrap().auth_code.unwrap().as_str(), "V12345", "the code by voice stays");

    // The same bytes get the same answer; nothing goes out again.
    let told = PaymentRequest { auth_code: acquiring::AuthCode::new("V12345").ok(), ..request(1, 5_000) };
    let again = advise(&stage, Kind::OfflineSale, told).await;
    assert!(again.repeated);
    assert_eq!((again.answer.code, again.rrn), (ResponseCode::APPROVED, reply.rrn));
    let other = advise(&stage, Kind::OfflineSale, request(1, 6_000)).await;
    assert_eq!(other.answer.code, ResponseCode::DUPLICATE);
    assert_eq!(stage.script.seen().len(), 4);
}

/// A crash between answer and network loses nothing: what was queued goes out after the restart.
#[tokio::test]
async fn what_was_told_survives_a_crash() {
    let stage = Stage::set().await;
    stage.script.set_ready(false);
    let told = PaymentRequest { chip: Some(Secret::new(vec![0x9F, 0x26, 0x01, 0xAA])), ..request(1, 700) };
    let reply = advise(&stage, Kind::OfflineChip, told).await;
    assert_eq!(reply.answer.code, ResponseCode::APPROVED);
    let item = stage.store.next_forward("script").await.unwrap().unwrap();
    let sealed = item.payload.expect("the certificate waits with it");
    assert!(!sealed.windows(2).any(|two| two == [0x9F, 0x26]), "sealed");
    let (directory, vault) = stage.crash().await;

    let stage = Stage::expecting([Act::Code("00")], directory, vault, false).await;
    acknowledged(&stage, 1).await;
    assert_eq!(stage.script.seen().len(), 1);
    assert_eq!(stage.store.forward_depth("script").await.unwrap(), 0);
}

/// A tip raises what its sale comes to, up to the allowed share; until the network knows, nothing else stands on the
/// sale, and afterwards void and refund look at the new total.
#[tokio::test]
async fn a_tip_changes_its_sale() {
    let stage = Stage::set().await;
    let sale = stage.sale(1, Act::Code("00")).await;
    let tip = |trace, fen: u64, total| PaymentRequest {
        tip: Amount::from_fen(fen),
        ..adjustment(trace, &sale, 1, total)
    };
    let wrong = advise(&stage, Kind::Tip, tip(2, 1_000, 11_500)).await;
    assert_eq!(wrong.answer.code, ResponseCode::AMOUNT_DIFFERS);
    let generous = advise(&stage, Kind::Tip, tip(3, 2_001, 12_001)).await;
    assert_eq!(generous.answer.code, ResponseCode::OVER_LIMIT);
    stage.script.set_ready(false);
    let good = advise(&stage, Kind::Tip, tip(4, 1_500, 11_500)).await;
    assert_eq!(good.answer.code, ResponseCode::APPROVED);
    let record = stage.record(1).await;
    assert_eq!((record.amount.fen(), record.total().fen()), (10_000, 11_500));
    let held = stage.pay(Kind::SaleVoid, void_of(5, 1, sale.rrn.unwrap())).await;
    assert_eq!(held.answer.code, ResponseCode::INVALID_TRANSACTION);

    stage.script.expect([Act::Code("00"), Act::Code("00")]);
    stage.script.set_ready(true);
    acknowledged(&stage, 4).await;
    let old = stage.pay(Kind::SaleVoid, void_of(6, 1, sale.rrn.unwrap())).await;
    assert_eq!(old.answer.code, ResponseCode::AMOUNT_DIFFERS);
    let refund = stage.pay(Kind::Refund, refund_of(7, 11_500, sale.rrn.unwrap())).await;
    assert_eq!(refund.answer.code, ResponseCode::APPROVED);
}

/// The network will not have it: people must look, and those behind it do not wait.
#[tokio::test]
async fn a_refused_advice_is_parked_and_does_not_stop_others() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Code("14")]);
    advise(&stage, Kind::OfflineSale, request(1, 5_000)).await;
    let refused = async {
        while stage.store.counts(jiff::Timestamp::MIN).await.unwrap().parked == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.expect("never parked");
    stage.script.expect([Act::Code("00")]);
    advise(&stage, Kind::OfflineSale, request(2, 6_000)).await;
    acknowledged(&stage, 2).await;
    let parked = ForwardFilter { parked: Some(true), ..ForwardFilter::default() };
    let parked = stage.store.forwards(parked, store::Page::default()).await.unwrap().items;
    assert_eq!(parked.len(), 1);
    assert!(parked[0].last_note.contains("14"), "{}", parked[0].last_note);
    assert_eq!(stage.state(1).await, PaymentState::Approved, "the terminal has approved it");
    // What the network does not have cannot be given back.
    let refund = refund_of(3, 5_000, stage.record(1).await.rrn);
    assert_eq!(stage.pay(Kind::Refund, refund).await.answer.code, ResponseCode::NO_ORIGINAL);
}

/// What became of the commands for the chip reaches the network once, behind what waits already, and its data is gone
/// when it has.
#[tokio::test]
async fn a_script_result_reaches_the_network_once() {
    let stage = Stage::set().await;
    let sale = stage.sale(1, Act::Code("00")).await;
    let result = |trace| ScriptResult {
        batch: BatchNo::FIRST,
        trace: Trace::new(trace).unwrap(),
        rrn: sale.rrn,
        chip: Secret::new(vec![0xDF, 0x31, 0x05, 0x20, 1, 2, 3, 4]),
        masked: vec![],
    };
    let send = async |trace| {
        let auth = stage.authenticate(Kind::ScriptResult).await.unwrap();
        stage.engine.script_result(&auth, result(trace)).await
    };
    let unknown = send(9).await.unwrap_err();
    assert_eq!(unknown.code, ResponseCode::NO_ORIGINAL);
    stage.script.set_ready(false);
    for repeated in [false, true] {
        let reply = send(1).await.unwrap();
        assert_eq!((reply.answer.code, reply.repeated), (ResponseCode::APPROVED, repeated));
    }
    assert!(stage.store.next_forward("script").await.unwrap().unwrap().payload.is_some());
    stage.script.expect([Act::Silence, Act::Code("00")]);
    stage.script.set_ready(true);
    let done = async {
        while stage.store.forward_depth("script").await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), done).await.expect("never acknowledged");
    let seen: Vec<_> = stage.script.seen().into_iter().map(|s| (s.what, s.attempts)).collect();
    assert_eq!(seen, [("sale", 0), ("script", 0), ("script", 1)]);
    assert_eq!(stage.state(1).await, PaymentState::Approved);
    let history = stage.store.history(merchant(), stage.record(1).await.id).await.unwrap();
    let out = history.iter().filter(|entry| entry.kind == EntryKind::NetworkOut).count();
    assert_eq!(out, 3, "the sale, the result, its repeat");
}

/// A limit holds for what a terminal approved by itself as well: what is forbidden or too much at once is refused, and so is
/// an adjustment that makes too much of a sale. Nothing is taken of a day's sum, for it has happened.
#[tokio::test]
async fn what_is_above_a_limit_is_refused_also_after_the_fact() {
    let stage = Stage::set().await;
    let rule = |kind, single, day| Limit {
        scope: LimitScope { kind, ..LimitScope::default() },
        single: Amount::from_fen(single),
        day_amount: Amount::from_fen(day),
        day_count: None,
    };
    stage.store.put_limit(&rule(None, 6_000, 7_000)).await.unwrap();
    stage.store.put_limit(&rule(Some(Kind::OfflineChip), 0, 1_000)).await.unwrap();
    let (directory, vault) = stage.crash().await;
    let stage = Stage::on(directory, vault, false).await;
    stage.script.set_ready(false);
    let voice = || acquiring::AuthCode::new("V12345").ok();
    let told = |trace, fen| PaymentRequest { auth_code: voice(), ..request(trace, fen) };
    let sale = advise(&stage, Kind::OfflineSale, told(1, 6_000)).await;
    assert_eq!(sale.answer.code, ResponseCode::APPROVED);
    let again = advise(&stage, Kind::OfflineSale, told(6, 6_000)).await;
    assert_eq!(again.answer.code, ResponseCode::APPROVED, "it takes nothing of the day");
    let above = advise(&stage, Kind::OfflineSale, told(2, 6_001)).await;
    assert_eq!(above.answer.code, ResponseCode::OVER_LIMIT);
    let forbidden = advise(&stage, Kind::OfflineChip, told(3, 1_000)).await;
    assert_eq!(forbidden.answer.code, ResponseCode::NOT_FOR_TERMINAL);
    let more = advise(&stage, Kind::Adjust, adjustment(4, &sale, 1, 6_001)).await;
    assert_eq!(more.answer.code, ResponseCode::OVER_LIMIT);
    let less = advise(&stage, Kind::Adjust, adjustment(5, &sale, 1, 5_000)).await;
    assert_eq!(less.answer.code, ResponseCode::APPROVED);
}
