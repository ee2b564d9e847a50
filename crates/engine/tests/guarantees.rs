//! What the engine guarantees, scenario by scenario, against a network that is silent, late, down or in
//! disorder. The store and the security module are real; only the network is scripted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::payment::EntryKind;
use acquiring::{AuthCode, BatchNo, PaymentState, ResponseCode, Trace};
use channels::Unsolicited;
use common::{Act, Seen, Stage, merchant, refund_of, request, terminal, void_of};
use engine::{PaymentRequest, Turn};
use store::ForwardFilter;
use tokio::sync::oneshot;

/// How long something may take that has to come.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request leaves only after its intent is durable: when the network sees it, the journal has it.
#[tokio::test]
async fn g1_the_intent_is_durable_before_the_request_leaves() {
    let stage = Stage::set().await;
    let reply = stage.sale(1, Act::Code("00")).await;
    assert_eq!(reply.answer.code, ResponseCode::APPROVED);
    assert_eq!(stage.script.states_when_leaving(), [Some(PaymentState::Pending)]);
    assert_eq!(stage.state(1).await, PaymentState::Approved);
}

/// Silence means reversed: the terminal hears 68 at once, the network gets reversals until one is
/// acknowledged. After silence the same message goes out again, marked as a repeat; after a refusal a new one does,
/// since a network answers a repeat as it answered the first.
#[tokio::test]
async fn g2_silence_is_reversed_until_acknowledged() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Silence, Act::Silence, Act::Code("96"), Act::Code("00")]);
    let reply = stage.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(reply.answer.code, ResponseCode::TIMEOUT);
    stage.until(1, PaymentState::Reversed).await;
    let attempts: Vec<_> = stage.script.seen().into_iter().map(|s| (s.what, s.attempts)).collect();
    assert_eq!(attempts, [("sale", 0), ("reversal", 0), ("reversal", 1), ("reversal", 0)]);
    assert_eq!(stage.record(1).await.reversed_on, Some(1124), "the network's date of the reversal");
}

/// A reversal that the line did not take has not been sent: its first sending is a 0420, however often the line
/// was down before.
#[tokio::test]
async fn g2_a_reversal_that_never_left_is_not_repeated_but_sent() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Silence, Act::Down, Act::Down, Act::Silence, Act::Code("00")]);
    stage.pay(Kind::Sale, request(1, 10_000)).await;
    stage.until(1, PaymentState::Reversed).await;
    let attempts: Vec<_> = stage.script.seen().into_iter().map(|s| (s.what, s.attempts)).collect();
    // What the line did not take, the first real sending, and its repeat.
    let reversals = [("reversal", 0), ("reversal", 0), ("reversal", 0), ("reversal", 1)];
    assert_eq!(attempts, [&[("sale", 0)][..], &reversals].concat());
}

/// The line is down before anything leaves: declined, nothing to reverse.
#[tokio::test]
async fn g1_what_never_left_is_declined_without_a_reversal() {
    let stage = Stage::set().await;
    let reply = stage.sale(1, Act::Down).await;
    assert_eq!(reply.answer.code, ResponseCode::ISSUER_DOWN);
    assert_eq!(stage.state(1).await, PaymentState::Declined);
    assert_eq!(stage.store.forward_depth("script").await.unwrap(), 0);
}

/// The same bytes get the same answer without a second request to the network; other bytes under the same
/// numbers get 94.
#[tokio::test]
async fn g4_repeats_are_harmless() {
    let stage = Stage::set().await;
    let first = stage.sale(1, Act::Code("00")).await;
    let again = stage.pay(Kind::Sale, request(1, 10_000)).await;
    assert!(again.repeated);
    assert_eq!((again.answer, again.rrn), (first.answer, first.rrn));
    let other = stage.pay(Kind::Sale, request(1, 20_000)).await;
    assert_eq!(other.answer.code, ResponseCode::DUPLICATE);
    assert_eq!(stage.script.seen().len(), 1);
}

/// While the first is in work, its repeat is told so.
#[tokio::test]
async fn g4_a_repeat_of_a_request_in_work_gets_09() {
    let stage = Stage::set().await;
    let (tell, told) = oneshot::channel();
    stage.script.expect([Act::When(told)]);
    let auth = stage.authenticate(Kind::Sale).await.unwrap();
    let engine = stage.engine.clone();
    let first = tokio::spawn(async move { engine.pay(auth, request(1, 10_000), None).await.unwrap() });
    stage.script.until_seen(1).await;
    let again = stage.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(again.answer.code, ResponseCode::IN_PROCESS);
    tell.send("00").unwrap();
    assert_eq!(first.await.unwrap().answer.code, ResponseCode::APPROVED);
}

/// The terminal reverses while its sale is still under way, and the approval comes after: it never becomes
/// one, at the terminal or in the journal, and the network is told to undo it.
#[tokio::test]
async fn g5_an_approval_after_the_terminals_reversal_never_counts() {
    let stage = Stage::set().await;
    let (tell, told) = oneshot::channel();
    stage.script.expect([Act::When(told), Act::Code("00")]);
    let auth = stage.authenticate(Kind::Sale).await.unwrap();
    let engine = stage.engine.clone();
    let sale = tokio::spawn(async move { engine.pay(auth, request(1, 10_000), None).await.unwrap() });
    stage.script.until_seen(1).await;
    let reversal = stage.reverse(1, 10_000).await;
    assert_eq!(reversal.answer.code, ResponseCode::APPROVED);
    tell.send("00").unwrap();
    assert!(!sale.await.unwrap().answer.code.is_approval());
    stage.until(1, PaymentState::Reversed).await;
}

/// A reversal overtakes its sale: remembered, answered 00, and the late sale is refused without ever going
/// to the network.
#[tokio::test]
async fn g5_a_sale_after_its_own_reversal_is_refused() {
    let stage = Stage::set().await;
    assert_eq!(stage.reverse(1, 10_000).await.answer.code, ResponseCode::APPROVED);
    let late = stage.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(late.answer.code, ResponseCode::NO_ORIGINAL);
    assert_eq!(stage.script.seen(), []);
}

/// However often the terminal reverses, the answer is the same and the network hears it once. A reversal
/// with another amount is not the payment's.
#[tokio::test]
async fn g4_reversals_are_answered_alike_and_sent_once() {
    let stage = Stage::set().await;
    stage.sale(1, Act::Code("00")).await;
    assert_eq!(stage.reverse(1, 9_999).await.answer.code, ResponseCode::AMOUNT_DIFFERS);
    stage.script.expect([Act::Code("00")]);
    let first = stage.reverse(1, 10_000).await;
    stage.until(1, PaymentState::Reversed).await;
    let second = stage.reverse(1, 10_000).await;
    assert_eq!((first.answer.code, second.answer.code), (ResponseCode::APPROVED, ResponseCode::APPROVED));
    assert_eq!(first.rrn, second.rrn);
    assert_eq!(stage.script.seen().len(), 2);
    // And the sale, should it be sent again, is no approval any more.
    let sale = stage.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(sale.answer.code, ResponseCode::NO_ORIGINAL);
}

/// The process dies while payments are under way. The next one reverses what is unknown and repeats the
/// refund; what was durable stands.
#[tokio::test]
async fn g2_a_crash_leaves_nothing_unknown() {
    let stage = Stage::set().await;
    let sold = stage.sale(1, Act::Code("00")).await;
    let mut keep = Vec::new();
    for (trace, kind) in [(2, Kind::Sale), (3, Kind::Refund)] {
        let (tell, told) = oneshot::channel::<&'static str>();
        keep.push(tell);
        stage.script.expect([Act::When(told)]);
        let auth = stage.authenticate(kind).await.unwrap();
        let engine = stage.engine.clone();
        let request = match kind {
            Kind::Refund => refund_of(trace, 4_000, sold.rrn.unwrap()),
            _ => request(trace, 10_000),
        };
        tokio::spawn(async move { engine.pay(auth, request, None).await });
        stage.script.until_seen(trace as usize).await;
    }
    let (directory, vault) = stage.crash().await;

    let stage = Stage::expecting([Act::Code("00"), Act::Code("00")], directory, vault, false).await;
    assert_eq!(stage.state(1).await, PaymentState::Approved);
    stage.until(2, PaymentState::Reversed).await;
    stage.until(3, PaymentState::Approved).await;
    // Of two families, so either may be first.
    let mut seen: Vec<_> = stage.script.seen().into_iter().map(|s| s.what).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["repeat", "reversal"]);
    assert_eq!(stage.record(1).await.refunded.fen(), 4_000);
}

/// A void under way holds its sale: a second void and a refund are refused; when the void comes to nothing
/// the sale is free again.
#[tokio::test]
async fn a_void_holds_its_sale_until_its_outcome_is_known() {
    let stage = Stage::set().await;
    let sale = stage.sale(1, Act::Code("00")).await;
    let rrn = sale.rrn.unwrap();
    let (tell, told) = oneshot::channel();
    stage.script.expect([Act::When(told)]);
    let auth = stage.authenticate(Kind::SaleVoid).await.unwrap();
    let engine = stage.engine.clone();
    let void = tokio::spawn(async move { engine.pay(auth, void_of(2, 1, rrn), None).await.unwrap() });
    stage.script.until_seen(2).await;
    let second = stage.pay(Kind::SaleVoid, void_of(3, 1, rrn)).await;
    assert_eq!(second.answer.code, ResponseCode::INVALID_TRANSACTION);
    let refund = stage.pay(Kind::Refund, refund_of(4, 100, rrn)).await;
    assert_eq!(refund.answer.code, ResponseCode::INVALID_TRANSACTION);
    tell.send("91").unwrap();
    assert_eq!(void.await.unwrap().answer.code, ResponseCode::ISSUER_DOWN);
    stage.script.expect([Act::Code("00")]);
    let third = stage.pay(Kind::SaleVoid, void_of(5, 1, rrn)).await;
    assert_eq!(third.answer.code, ResponseCode::APPROVED);
    assert_eq!(stage.state(1).await, PaymentState::Voided);
}

/// A refund without an answer is repeated, not reversed; the terminal hears 09, and the same refund sent
/// again gets the outcome once it is known.
#[tokio::test]
async fn g2_an_unanswered_refund_is_repeated() {
    let stage = Stage::set().await;
    let rrn = stage.sale(1, Act::Code("00")).await.rrn.unwrap();
    stage.script.expect([Act::Silence, Act::Silence, Act::Code("00")]);
    let refund = stage.pay(Kind::Refund, refund_of(2, 2_500, rrn)).await;
    assert_eq!(refund.answer.code, ResponseCode::IN_PROCESS);
    stage.until(2, PaymentState::Approved).await;
    let again = stage.pay(Kind::Refund, refund_of(2, 2_500, rrn)).await;
    assert_eq!(again.answer.code, ResponseCode::APPROVED);
    let seen: Vec<_> = stage.script.seen().into_iter().map(|s| s.what).collect();
    assert_eq!(seen, ["sale", "refund", "repeat", "repeat"]);
}

/// A refund whose answer was lost is repeated after a new sign-in: its track is still under the old track key
/// and does not decrypt any more. What is told is the outcome of the first sending, not that failure: else the
/// operator would refund a second time.
#[tokio::test]
async fn g4_a_repeat_that_can_no_longer_be_read_gets_the_first_outcome() {
    let stage = Stage::set().await;
    let rrn = stage.sale(1, Act::Code("00")).await.rrn.unwrap();
    stage.script.expect([Act::Code("00")]);
    let first = stage.pay(Kind::Refund, refund_of(2, 2_500, rrn)).await;
    assert_eq!(first.answer.code, ResponseCode::APPROVED);
    stage.sign_in().await;
    let unreadable = |trace| engine::PaymentRequest {
        track2: Some(acquiring::Secret::new(b"0123456789ABCDEF")),
        track_encrypted: true,
        ..refund_of(trace, 2_500, rrn)
    };
    let again = stage.pay(Kind::Refund, unreadable(2)).await;
    assert!(again.repeated);
    assert_eq!((again.answer, again.rrn), (first.answer, first.rrn));
    // One that was never here is refused as it is.
    let fresh = stage.pay(Kind::Refund, unreadable(3)).await;
    assert!(!fresh.answer.code.is_approval() && fresh.payment.is_none());
}

/// Messages about payments that stand on one another keep their order: the sale's reversal does not leave while its
/// void's is under way. Another payment's does, so that one without an answer holds up nobody else.
#[tokio::test]
async fn g6_a_family_keeps_its_order_and_others_do_not_wait() {
    let stage = Stage::set().await;
    let sale = stage.sale(1, Act::Code("00")).await;
    stage.script.expect([Act::Code("00")]);
    stage.pay(Kind::SaleVoid, void_of(2, 1, sale.rrn.unwrap())).await;
    stage.sale(3, Act::Code("00")).await;
    let (tell, told) = oneshot::channel();
    stage.script.expect([Act::When(told)]);
    stage.reverse(2, 10_000).await;
    stage.script.until_seen(4).await;

    stage.reverse(1, 10_000).await;
    stage.script.expect([Act::Code("00")]);
    stage.reverse(3, 10_000).await;
    stage.until(3, PaymentState::Reversed).await;
    assert_eq!(stage.state(1).await, PaymentState::Reversing);
    assert_eq!(stage.script.seen().len(), 5, "the sale's reversal waits for the void's");
    stage.script.expect([Act::Code("00")]);
    tell.send("00").unwrap();
    stage.until(1, PaymentState::Reversed).await;
    let mut expected = Vec::new();
    for trace in [2, 3, 1] {
        expected.push(stage.record(trace).await.network.trace);
    }
    let reversals = stage.script.seen().into_iter().filter(|s| s.what == "reversal");
    assert_eq!(reversals.map(|s| s.trace).collect::<Vec<_>>(), expected);
}

/// What waited while the line was down goes out when it is back, in the order in which it fell due.
#[tokio::test]
async fn g6_what_waited_goes_out_when_the_line_is_back() {
    let stage = Stage::set().await;
    for trace in 1..=3 {
        stage.sale(trace, Act::Code("00")).await;
    }
    stage.script.set_ready(false);
    for trace in [2, 3, 1] {
        stage.reverse(trace, 10_000).await;
    }
    let due = stage.store.due_forwards("script", jiff::Timestamp::MAX, 10).await.unwrap();
    let mut expected = Vec::new();
    for trace in [2, 3, 1] {
        expected.push(stage.record(trace).await.id);
    }
    assert_eq!(due.into_iter().map(|item| item.payment).collect::<Vec<_>>(), expected);
    stage.script.expect([Act::Code("00"), Act::Code("00"), Act::Code("00")]);
    stage.script.set_ready(true);
    for trace in 1..=3 {
        stage.until(trace, PaymentState::Reversed).await;
    }
}

/// Waits until one item is parked, and gives it.
async fn parked(stage: &Stage) -> store::ForwardItem {
    let filter = ForwardFilter { line: None, parked: Some(true) };
    let parked = async {
        loop {
            let mut items = stage.store.forwards(filter.clone(), store::Page::first(10)).await.unwrap().items;
            if let Some(item) = items.pop() {
                assert!(items.is_empty());
                return item;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, parked).await.expect("nothing was parked")
}

/// A reversal that the network refuses again and again is parked for an operator, does not stop those
/// behind it, and goes out again when it is released: as a new message.
#[tokio::test]
async fn g6_a_refused_reversal_is_parked_and_can_be_released() {
    let stage = Stage::set().await;
    stage.sale(1, Act::Code("00")).await;
    stage.sale(2, Act::Code("00")).await;
    stage.script.expect([Act::Code("30"), Act::Code("30"), Act::Code("30")]);
    stage.reverse(1, 10_000).await;
    let item = parked(&stage).await;
    stage.script.expect([Act::Code("00")]);
    stage.reverse(2, 10_000).await;
    stage.until(2, PaymentState::Reversed).await;
    assert_eq!(stage.state(1).await, PaymentState::Reversing);
    stage.script.expect([Act::Code("00")]);
    stage.store.release_forward("script", item.sequence).await.unwrap();
    stage.until(1, PaymentState::Reversed).await;
    assert_eq!(stage.script.seen().last().map(|s| s.attempts), Some(0), "not a repeat");
}

/// While the line is down a parked reversal is released by an operator, and what follows it in its family was about to go:
/// the released one goes first. (A world of the simulation, seed 12892, had it the other way round.)
#[tokio::test]
async fn g6_what_is_released_while_the_line_is_down_goes_before_what_follows_it() {
    let stage = Stage::set().await;
    let sale = stage.sale(1, Act::Code("00")).await;
    stage.script.expect([Act::Code("00"), Act::Code("30"), Act::Code("30"), Act::Code("30")]);
    stage.pay(Kind::SaleVoid, void_of(2, 1, sale.rrn.unwrap())).await;
    stage.reverse(2, 10_000).await;
    let item = parked(&stage).await;
    stage.script.set_ready(false);
    stage.reverse(1, 10_000).await;
    tokio::time::timeout(DEADLINE, stage.script.until_waited_for()).await.expect("nothing is about to go");
    stage.store.release_forward("script", item.sequence).await.unwrap();
    let before = stage.script.seen().len();
    stage.script.expect([Act::Code("00"), Act::Code("00")]);
    stage.script.set_ready(true);
    stage.until(1, PaymentState::Reversed).await;
    let sent: Vec<_> = stage.script.seen().into_iter().skip(before).map(|s| s.trace).collect();
    assert_eq!(sent, [stage.record(2).await.network.trace, stage.record(1).await.network.trace]);
}

/// While the line is down what waits for it grows up to a bound: then new payments are refused, and nothing of what waits is
/// dropped. What a terminal approved by itself is taken all the same, for it has happened. When the queue is worked off
/// payments are taken again.
#[tokio::test]
async fn g6_the_queue_is_bounded() {
    let stage = Stage::with_queue(1).await;
    stage.script.set_ready(false);
    stage.sale(1, Act::Silence).await;
    stage.sale(2, Act::Silence).await;
    let full = "too many reversals are waiting";
    // The length is looked at every now and then, so a payment may still be taken (poll).
    let refused = async {
        let mut trace = 3;
        while stage.sale(trace, Act::Code("00")).await.reason != Some(full) {
            trace += 1;
            tokio::task::yield_now().await;
        }
        trace
    };
    let trace = tokio::time::timeout(DEADLINE, refused).await.expect("the queue grows without bound");
    let numbers = Trace::new(trace).unwrap();
    assert_eq!(stage.store.by_trace(merchant(), terminal(), BatchNo::FIRST, numbers).await.unwrap(), None);
    let auth = stage.authenticate(Kind::OfflineSale).await.unwrap();
    let told = PaymentRequest { auth_code: AuthCode::new("V12345").ok(), ..request(trace + 1, 5_000) };
    let told = stage.engine.advise(auth, told).await.unwrap();
    assert_eq!(told.answer.code, ResponseCode::APPROVED);
    assert_eq!(stage.store.forward_depth("script").await.unwrap(), 3);

    stage.script.expect([Act::Code("00"), Act::Code("00")]);
    stage.script.set_ready(true);
    for trace in [1, 2] {
        stage.until(trace, PaymentState::Reversed).await;
    }
    let taken = async {
        let mut trace = trace + 2;
        while stage.sale(trace, Act::Code("00")).await.reason == Some(full) {
            trace += 1;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, taken).await.expect("no payment is taken any more");
}

/// A reversal that the network never answers is parked too, after so many sendings; meanwhile another goes through.
/// Released, it is the same message and so a repeat: the network may have taken the first.
#[tokio::test]
async fn g6_a_reversal_that_nobody_answers_is_parked() {
    let stage = Stage::set().await;
    stage.sale(1, Act::Code("00")).await;
    stage.sale(2, Act::Code("00")).await;
    let (forget, forgotten) = oneshot::channel();
    stage.script.expect([Act::When(forgotten), Act::Code("00"), Act::Silence, Act::Silence, Act::Silence]);
    stage.reverse(1, 10_000).await;
    stage.script.until_seen(3).await;
    stage.reverse(2, 10_000).await;
    stage.until(2, PaymentState::Reversed).await;
    drop(forget);
    let item = parked(&stage).await;
    assert_eq!(item.last_note, "the network did not answer 4 times: no answer in time");
    assert_eq!(stage.state(1).await, PaymentState::Reversing, "unknown, and visible");
    stage.script.expect([Act::Code("00")]);
    stage.store.release_forward("script", item.sequence).await.unwrap();
    stage.until(1, PaymentState::Reversed).await;
    let first = stage.record(1).await.network.trace;
    let sent = stage.script.seen().into_iter().filter(|s| s.what == "reversal" && s.trace == first);
    assert_eq!(sent.map(|s| s.attempts).collect::<Vec<_>>(), [0, 1, 2, 3, 1]);
}

/// An answer that comes after the payment was given up is recorded in its history and changes nothing; one
/// that belongs to no payment is kept too.
#[tokio::test]
async fn g3_late_and_unmatched_answers_are_recorded() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Silence, Act::Code("00")]);
    stage.pay(Kind::Sale, request(1, 10_000)).await;
    stage.until(1, PaymentState::Reversed).await;
    let record = stage.record(1).await;
    let entries = stage.store.history(merchant(), record.id).await.unwrap().len();
    for trace in [record.network.trace, 777_777] {
        let late = Unsolicited {
            line: "script".to_owned(),
            mti: 210,
            trace,
            rrn: Some(record.rrn),
            code: Some(ResponseCode::APPROVED),
            masked: vec![9],
        };
        stage.unsolicited.send(late).await.unwrap();
    }
    let recorded = async {
        loop {
            let unmatched = stage.store.counts(jiff::Timestamp::UNIX_EPOCH).await.unwrap().unmatched;
            let history = stage.store.history(merchant(), record.id).await.unwrap();
            if unmatched == 1 && history.len() == entries + 2 {
                return history;
            }
            tokio::task::yield_now().await;
        }
    };
    let history = tokio::time::timeout(std::time::Duration::from_secs(20), recorded).await.unwrap();
    assert!(history.iter().any(|e| e.kind == EntryKind::Note && e.note.contains("nothing changes")));
    assert_eq!(stage.state(1).await, PaymentState::Reversed);
}

/// What our own rules refuse is journaled with its code and never leaves.
#[tokio::test]
async fn refusals_are_journaled_and_never_leave() {
    let stage = Stage::set().await;
    let code = |reply: engine::Reply| reply.answer.code;
    assert_eq!(code(stage.pay(Kind::Sale, request(1, 0)).await), ResponseCode::INVALID_AMOUNT);
    assert_eq!(code(stage.pay(Kind::Sale, request(2, 1_000_001)).await), ResponseCode::OVER_LIMIT);
    let mut foreign = request(3, 100);
    foreign.currency = 840;
    assert_eq!(code(stage.pay(Kind::Sale, foreign).await), ResponseCode::FORMAT_ERROR);
    let mut no_pin = request(4, 100);
    no_pin.entry_mode = acquiring::EntryMode::new(11).unwrap();
    assert_eq!(code(stage.pay(Kind::Sale, no_pin).await), ResponseCode::FORMAT_ERROR);
    for trace in 1..=4 {
        assert_eq!(stage.state(trace).await, PaymentState::Declined);
    }
    assert_eq!(stage.script.seen(), Vec::<Seen>::new());
}

/// After so many wrong MACs in a row the terminal must sign in again; a right one in between forgives.
#[tokio::test]
async fn many_wrong_macs_lock_the_terminal_until_it_signs_in() {
    let stage = Stage::set().await;
    let wrong = async || {
        stage
            .engine
            .authenticate(&engine::TerminalMessage {
                spec: Kind::Sale.spec(),
                merchant: merchant(),
                terminal: common::terminal(),
                batch: None,
                mac: Some(engine::MacClaim { block: b"x", value: b"00000000" }),
                mac_algorithm: hsm::MacAlgorithm::CupEcb,
            })
            .await
            .map(|_| ())
            .map_err(|rejected| rejected.refusal().unwrap().code)
    };
    for _ in 0..19 {
        assert_eq!(wrong().await, Err(ResponseCode::MAC_ERROR));
    }
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
    for _ in 0..20 {
        assert_eq!(wrong().await, Err(ResponseCode::MAC_ERROR));
    }
    assert_eq!(wrong().await, Err(ResponseCode::SIGN_IN_AGAIN));
    stage.sign_in().await;
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
}

/// A terminal that missed the answer of its sign-in goes on with its old keys, and may sign in as often as
/// it likes without losing them.
#[tokio::test]
async fn old_keys_stay_good_until_the_new_ones_have_proved_themselves() {
    let stage = Stage::set().await;
    let entry = stage.engine.identify(merchant(), common::terminal()).unwrap();
    let old = entry.session().keys.unwrap();
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
    stage.sign_in().await;
    // Found by the kill test: a terminal heard this answer, signed in again before it sent anything, and missed that one.
    // The second sign-in had forgotten the keys of the first, and the terminal could not even read its refusal.
    let heard = entry.session().keys.unwrap();
    stage.sign_in().await;
    let sign = |keys: &engine::directory::LiveKeys| {
        hsm::Hsm::mac(stage.vault.as_ref(), &keys.mac, hsm::MacAlgorithm::CupEcb, b"block").unwrap()
    };
    let verifies = async |value: [u8; 8]| {
        stage
            .engine
            .authenticate(&engine::TerminalMessage {
                spec: Kind::Sale.spec(),
                merchant: merchant(),
                terminal: common::terminal(),
                batch: None,
                mac: Some(engine::MacClaim { block: b"block", value: &value }),
                mac_algorithm: hsm::MacAlgorithm::CupEcb,
            })
            .await
            .is_ok()
    };
    assert!(verifies(sign(&old)).await, "the keys of the first sign-in");
    let newest = entry.session().keys.unwrap();
    assert!(verifies(sign(&heard)).await, "the keys that it heard of");
    assert!(verifies(sign(&newest)).await, "the newest keys");
    assert!(!verifies(sign(&old)).await, "the old keys, after the new ones verified");
}

/// The keys to fall back on are those that proved themselves last, also when the node dies between a sign-in
/// and its answer: the store must not hold on to the very first ones.
#[tokio::test]
async fn proven_keys_survive_a_crash_during_the_next_sign_in() {
    let stage = Stage::set().await;
    for _ in 0..2 {
        assert!(
            stage.authenticate(Kind::Sale).await.is_ok(),
            "the keys of the sign-in before prove themselves"
        );
        stage.sign_in().await;
    }
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
    let held = stage.engine.identify(merchant(), common::terminal()).unwrap().session().keys.unwrap();
    // The terminal never hears the answer of this one.
    stage.sign_in().await;
    let (directory, vault) = stage.crash().await;

    let stage = Stage::on(directory, vault, false).await;
    let value = hsm::Hsm::mac(stage.vault.as_ref(), &held.mac, hsm::MacAlgorithm::CupEcb, b"block").unwrap();
    let message = engine::TerminalMessage {
        spec: Kind::Sale.spec(),
        merchant: merchant(),
        terminal: common::terminal(),
        batch: None,
        mac: Some(engine::MacClaim { block: b"block", value: &value }),
        mac_algorithm: hsm::MacAlgorithm::CupEcb,
    };
    let authenticated = stage.engine.authenticate(&message).await;
    assert!(authenticated.is_ok(), "the keys that the terminal holds");
}

/// A terminal that missed the answer of its sign-in and is refused before its MAC is looked at reads the refusal: it is
/// signed with the keys that it has.
#[tokio::test]
async fn a_refusal_is_signed_with_the_keys_that_the_terminal_holds() {
    let stage = Stage::set().await;
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
    let held = stage.engine.identify(merchant(), common::terminal()).unwrap().session().keys.unwrap();
    stage.sign_in().await;
    let value = hsm::Hsm::mac(stage.vault.as_ref(), &held.mac, hsm::MacAlgorithm::CupEcb, b"block").unwrap();
    let message = engine::TerminalMessage {
        spec: Kind::Sale.spec(),
        merchant: merchant(),
        terminal: common::terminal(),
        batch: Some(BatchNo::FIRST.next()),
        mac: Some(engine::MacClaim { block: b"block", value: &value }),
        mac_algorithm: hsm::MacAlgorithm::CupEcb,
    };
    let Err(engine::Rejected::Refused(refused)) = stage.engine.authenticate(&message).await else {
        panic!("the batch is another one");
    };
    assert_eq!(refused.refusal.code, ResponseCode::SIGN_IN_AGAIN);
    assert!(Arc::ptr_eq(&refused.keys.unwrap(), &held));
}

/// What was refused because the terminal had to sign in stays refused once it has, should a copy of it come late: the
/// terminal has taken it for ended. It does not matter whether it held keys that had proved themselves. (Seed 11459 of the
/// simulation: refused after midnight, signed in, and the copy was approved, which no slip and no total of the terminal knew.)
#[tokio::test]
async fn g4_a_copy_of_what_was_refused_for_want_of_a_sign_in_stays_refused() {
    let stage = Stage::set().await;
    assert!(stage.authenticate(Kind::Sale).await.is_ok());
    for proved in [true, false] {
        let held = stage.engine.identify(merchant(), common::terminal()).unwrap().session().keys.unwrap();
        let value =
            hsm::Hsm::mac(stage.vault.as_ref(), &held.mac, hsm::MacAlgorithm::CupEcb, b"block").unwrap();
        let sale = engine::TerminalMessage {
            spec: Kind::Sale.spec(),
            merchant: merchant(),
            terminal: common::terminal(),
            batch: Some(BatchNo::FIRST),
            mac: Some(engine::MacClaim { block: b"block", value: &value }),
            mac_algorithm: hsm::MacAlgorithm::CupEcb,
        };
        let refused = || async {
            let answer = stage.engine.authenticate(&sale).await;
            answer.map(|_| ()).map_err(|rejected| rejected.refusal().unwrap().code)
        };
        stage.engine.sign_off(&stage.authenticate(Kind::SignOff).await.unwrap()).await.unwrap();
        assert_eq!(refused().await, Err(ResponseCode::SIGN_IN_AGAIN));
        stage.sign_in().await;
        let late = if proved { ResponseCode::SIGN_IN_AGAIN } else { ResponseCode::MAC_ERROR };
        assert_eq!(refused().await, Err(late));
    }
    assert!(stage.authenticate(Kind::Sale).await.is_ok(), "with the newest keys");
}

/// When as many payments are under way as may be, one more is refused at once: neither journal nor network hear of it,
/// those that were accepted end well, and the same request is taken when there is room again.
#[tokio::test]
async fn g12_what_is_more_than_may_be_under_way_is_refused_at_once() {
    let stage = Stage::with_room(2).await;
    let (say_first, first_heard) = oneshot::channel();
    let (say_second, second_heard) = oneshot::channel();
    stage.script.expect([Act::When(first_heard), Act::When(second_heard)]);
    let one_more = async {
        stage.script.until_seen(2).await;
        let refused = stage.pay(Kind::Sale, request(3, 10_000)).await;
        say_first.send("00").unwrap();
        say_second.send("00").unwrap();
        refused
    };
    let (first, second, refused) = tokio::join!(
        stage.pay(Kind::Sale, request(1, 10_000)),
        stage.pay(Kind::Sale, request(2, 10_000)),
        one_more
    );
    assert_eq!(refused.answer.code, ResponseCode::MALFUNCTION);
    assert_eq!(refused.reason, Some("too many payments are under way"));
    assert_eq!([first.answer.code, second.answer.code], [ResponseCode::APPROVED; 2]);
    assert_eq!(stage.script.seen().len(), 2);
    assert_eq!(stage.sale(3, Act::Code("00")).await.answer.code, ResponseCode::APPROVED);
}

/// A copy comes while the first sending is on its way to the journal, and there is no place for it: it hears that the
/// payment is in work, since a refusal would be heard beside an approval.
#[tokio::test]
async fn g4_a_copy_of_what_is_being_made_ready_is_not_refused() {
    let stage = Stage::with_intake(1, Duration::from_millis(50)).await;
    stage.script.expect([Act::Code("00")]);
    let first = stage.authenticate(Kind::Sale).await.unwrap();
    let copy = stage.authenticate(Kind::Sale).await.unwrap();
    let pays = stage.engine.pay(first, request(1, 10_000), None);
    let comes = async {
        // The first runs until it waits for the journal, whose thread has its answer; there is one thread here.
        tokio::task::yield_now().await;
        assert_eq!(stage.script.seen().len(), 0);
        stage.engine.turn_away(&copy, &request(1, 10_000)).await.unwrap()
    };
    let (paid, turned_away) = tokio::join!(biased; pays, comes);
    assert_eq!(turned_away.answer.code, ResponseCode::IN_PROCESS);
    assert!(turned_away.repeated && turned_away.payment.is_none());
    let paid = paid.unwrap();
    assert_eq!(paid.answer.code, ResponseCode::APPROVED);
    let again = stage.engine.turn_away(&copy, &request(1, 10_000)).await.unwrap();
    assert_eq!((again.answer.code, again.payment), (ResponseCode::APPROVED, paid.payment));
}

/// More comes than there are places: who waits too long is refused, and neither journal nor network hear of it; the same
/// request sent again after it was paid hears its outcome, even then. A payment gives its place back when its intent is
/// durable, so a slow network takes none.
#[tokio::test]
async fn g12_what_has_no_turn_is_refused_and_a_slow_network_takes_no_place() {
    let stage = Stage::with_intake(1, Duration::from_millis(50)).await;
    let paid = stage.sale(1, Act::Code("00")).await;
    let Turn::Begin(held) = stage.engine.intake().enter().await else { panic!("the place is free") };
    let Turn::Refuse(refused) = stage.engine.intake().enter().await else { panic!("there is one place") };
    let auth = stage.authenticate(Kind::Sale).await.unwrap();
    let turned_away = stage.engine.turn_away(&auth, &request(2, 10_000)).await.unwrap();
    assert_eq!(turned_away.answer.code, ResponseCode::MALFUNCTION);
    assert_eq!((turned_away.reason, turned_away.payment), (Some("too many payments wait"), None));
    let new = async |trace| {
        let trace = Trace::new(trace).unwrap();
        stage.engine.turn_away_new(&auth, BatchNo::FIRST, trace).await.map(|refusal| refusal.code)
    };
    assert_eq!(
        [new(1).await, new(2).await],
        [None, Some(ResponseCode::MALFUNCTION)],
        "the first was here before"
    );
    let repeated = stage.engine.turn_away(&auth, &request(1, 10_000)).await.unwrap();
    assert_eq!((repeated.answer.code, repeated.payment), (ResponseCode::APPROVED, paid.payment));
    assert_eq!(stage.script.seen().len(), 1);
    drop(refused);

    let (say, heard) = oneshot::channel();
    stage.script.expect([Act::When(heard)]);
    let pays = stage.engine.pay(auth, request(2, 10_000), Some(held));
    let others = async {
        stage.script.until_seen(2).await;
        assert!(matches!(stage.engine.intake().enter().await, Turn::Begin(_)), "the network takes a place");
        say.send("00").unwrap();
    };
    let (approved, ()) = tokio::join!(pays, others);
    assert_eq!(approved.unwrap().answer.code, ResponseCode::APPROVED);
}
