//! Each fault the simulator can play, seen from the member: what arrives, what does not, and what the network
//! holds to be true. The product's recovery is tested with these, so they must do exactly what their page says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use sim::{Fault, FaultRule, FaultSettings, FinalState, Span};

const START: i64 = 1_000_000;

#[tokio::test]
async fn processed_but_never_answered() {
    let mut m = ready().await;
    let sale = m.sale(M01, 9_001);
    m.send(&sale).await;
    m.assert_silent().await;
    assert_eq!(m.money("M01"), START - 9_001);
    let reversal = m.reversal(&sale);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    assert_eq!(m.money("M01"), START);
}

#[tokio::test]
async fn answered_late() {
    // Long enough that the reversal overtakes the answer on a busy machine too.
    let mut m = ready_with(|c| c.timing.late_answer = 1_500).await;
    let sale = m.sale(M01, 9_002);
    m.send(&sale).await;
    m.assert_silent().await;
    assert_eq!(m.money("M01"), START - 9_002, "processed at once");
    // The member gives up and reverses; the late answer still says approved.
    let reversal = m.reversal(&sale);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    let late = m.receive().await.unwrap();
    assert_eq!((late.mti, late.code(), late.get(11)), (210, "00", sale.get(11)));
    assert_eq!(m.money("M01"), START);
}

#[tokio::test]
async fn answered_twice() {
    let mut m = ready().await;
    let sale = m.sale(M01, 9_003);
    let first = m.ask(&sale).await;
    let second = m.receive().await.unwrap();
    assert_eq!((first.code(), &first.fields), ("00", &second.fields));
    assert_eq!(m.money("M01"), START - 9_003);
}

#[tokio::test]
async fn the_answer_of_the_first_reversal_is_lost_too() {
    let mut m = ready().await;
    let sale = m.sale(M01, 9_004);
    m.send(&sale).await;
    m.assert_silent().await;
    let reversal = m.reversal(&sale);
    m.send(&reversal).await;
    m.assert_silent().await;
    assert_eq!(m.money("M01"), START, "reversed all the same");
    let reply = m.ask(&reversal.mti(421)).await;
    assert_eq!((reply.mti, reply.code()), (430, "00"));
    assert_eq!(m.sim.record()[1].arrivals, 2);
}

#[tokio::test]
async fn the_line_drops_after_or_before_processing() {
    let mut m = ready().await;
    let after = m.sale(M01, 9_005);
    m.send(&after).await;
    assert!(m.receive().await.is_none());
    m.reconnect().await;
    assert_eq!(m.money("M01"), START - 9_005);
    let before = m.sale(M01, 9_006);
    m.send(&before).await;
    assert!(m.receive().await.is_none());
    m.reconnect().await;
    assert_eq!(m.money("M01"), START - 9_005);
    let reversal = m.reversal(&before);
    assert_eq!(m.ask(&reversal).await.code(), "25", "never heard of it");
    let reversal = m.reversal(&after);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    assert_eq!(m.money("M01"), START);
}

#[tokio::test]
async fn lost_or_bounced_before_processing() {
    let mut m = ready().await;
    let lost = m.sale(M01, 9_007);
    m.send(&lost).await;
    m.assert_silent().await;
    let bounced = m.sale(M01, 9_008);
    let reply = m.ask(&bounced).await;
    assert_eq!((reply.mti, reply.reject.as_str()), (200, "10009"));
    assert_eq!(reply.get(11), bounced.get(11));
    assert!(m.sim.record().is_empty());
}

#[tokio::test]
async fn declined_by_amount() {
    let mut m = ready().await;
    for (amount, code) in [(9_151, "51"), (1_009_161, "61"), (9_105, "05"), (9_196, "96")] {
        let sale = m.sale(M01, amount);
        assert_eq!(m.ask(&sale).await.code(), code);
    }
    assert!(m.sim.record().iter().all(|line| line.state == FinalState::Declined));
    let sale = m.sale(M01, 9_200);
    assert_eq!(m.ask(&sale).await.code(), "00");
}

#[tokio::test]
async fn switches_for_the_next_requests_of_a_class() {
    let mut m = ready().await;
    let rule = FaultRule { fault: Fault::NoAnswer, span: Span::Next(2), classes: vec![420] };
    m.sim.set_faults(FaultSettings { rules: vec![rule], ..FaultSettings::default() });
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.code(), "00");
    let reversal = m.reversal(&sale);
    for _ in 0..2 {
        m.send(&reversal).await;
        m.assert_silent().await;
    }
    assert_eq!(m.ask(&reversal.mti(421)).await.code(), "00");
    assert_eq!(m.money("M01"), START);
}

#[tokio::test]
async fn amounts_can_be_switched_off_and_a_share_of_requests_declined() {
    let mut m = ready().await;
    let rule = FaultRule {
        fault: Fault::Decline("96".to_owned()),
        span: Span::Percent { percent: 50, seed: 11 },
        classes: vec![200],
    };
    m.sim.set_faults(FaultSettings { by_amount: false, rules: vec![rule], ..FaultSettings::default() });
    let mut declined = 0;
    for _ in 0..100 {
        let sale = m.sale(M01, 9_001);
        match m.ask(&sale).await.code() {
            "96" => declined += 1,
            code => assert_eq!(code, "00"),
        }
    }
    assert!((30..70).contains(&declined), "{declined}");
    assert_eq!(m.money("M01"), START - 9_001 * (100 - declined));
}

#[tokio::test]
async fn late_answers_overtake_each_other_and_are_bounded() {
    let mut m = ready_with(|c| {
        c.limits.in_flight = 8;
        c.timing.late_answer = 800;
    })
    .await;
    let slow: Vec<Request> = (0..6).map(|_| m.sale(M01, 9_002)).collect();
    for request in &slow {
        m.send(request).await;
    }
    // An answer in order while six others wait.
    let quick = m.sale(M01, 100);
    assert_eq!(m.ask(&quick).await.get(11), quick.get(11));
    for _ in &slow {
        assert_eq!(m.receive().await.unwrap().code(), "00");
    }
    // More late answers than may wait: reading pauses, nothing is lost.
    let many: Vec<Request> = (0..30).map(|_| m.sale(M01, 9_002)).collect();
    for request in &many {
        m.send(request).await;
    }
    for _ in &many {
        assert_eq!(m.receive().await.unwrap().code(), "00");
    }
}
