//! The terminal's rules about answers and reversals, one row of the specification after the other: what is kept,
//! with which reason, what goes out before the next transaction, and what blocks it. A terminal that gets one of
//! these wrong either takes money twice or gives it away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::rules::Reason;
use pos::{KeyLayout, PosError, Status, VoidRequest};
use rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    rig
}

/// Each fault leaves the reversal the table says, and the next sale sends it first.
#[tokio::test]
async fn an_unusable_answer_keeps_the_reversal_with_its_reason() {
    for (fault, status, reason) in [
        (Fault::Silent, Status::NoAnswer, Reason::NoAnswer),
        (Fault::Close, Status::NoAnswer, Reason::NoAnswer),
        (Fault::BreakOnSend, Status::NoAnswer, Reason::NoAnswer),
        (Fault::Garbage, Status::Unusable, Reason::Unusable),
        (Fault::Mti(230), Status::Unusable, Reason::Unusable),
        (Fault::Change(3, "200000"), Status::Unusable, Reason::Unusable),
        (Fault::Change(4, "000000000001"), Status::Unusable, Reason::Unusable),
        (Fault::Change(11, "000999"), Status::Unusable, Reason::Unusable),
        (Fault::Change(25, "06"), Status::Unusable, Reason::Unusable),
        (Fault::Change(41, "10000002"), Status::Unusable, Reason::Unusable),
        (Fault::Change(42, "898100000000002"), Status::Unusable, Reason::Unusable),
        (Fault::Change(49, "840"), Status::Unusable, Reason::Unusable),
        (Fault::Without(11), Status::Unusable, Reason::Unusable),
        (Fault::Without(32), Status::Unusable, Reason::Unusable),
        (Fault::Without(37), Status::Unusable, Reason::Unusable),
        (Fault::Without(39), Status::Unusable, Reason::Unusable),
    ] {
        let shown = format!("{fault:?}");
        let mut rig = rig().await;
        rig.host.faults([fault]);
        let sale = rig.sale(10_000);
        let outcome = rig.terminal.sale(sale).await.unwrap();
        assert_eq!((outcome.status, outcome.reversal), (status, Some(reason)), "{shown}");
        assert!(rig.terminal.journal().is_empty(), "{shown}");
        let trace = outcome.trace;

        rig.host.forget();
        let sale = rig.sale(500);
        let next = rig.terminal.sale(sale).await.unwrap();
        assert!(next.approved && next.preceding.len() == 1, "{shown}");
        assert_eq!(rig.host.mtis(), [400, 200], "{shown}");
        let reversal = &rig.host.seen()[0];
        assert_eq!(reversal.get(39), reason.code(), "{shown}");
        assert_eq!(reversal.get(11), format!("{trace:06}"), "{shown}");
        assert_eq!(reversal.get(4), "000000010000", "{shown}");
        assert_eq!(reversal.get(60), "22000001000500", "{shown}");
        assert_eq!(reversal.fields(), [2, 3, 4, 11, 14, 22, 25, 39, 41, 42, 49, 60, 64], "{shown}");
        assert!(rig.terminal.pending_reversal().is_none(), "{shown}");
    }
}

/// A wrong or missing MAC: reason A0, and nothing more before a sign-in.
#[tokio::test]
async fn a_wrong_mac_forces_a_sign_in_and_reverses_with_a0() {
    for fault in [Fault::WrongMac, Fault::Unsigned("00")] {
        let mut rig = rig().await;
        rig.host.faults([fault]);
        let sale = rig.sale(10_000);
        let outcome = rig.terminal.sale(sale).await.unwrap();
        assert_eq!((outcome.status, outcome.reversal), (Status::Unusable, Some(Reason::MacWrong)));

        let sale = rig.sale(500);
        assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::MustSignIn(_))));
        assert!(matches!(rig.terminal.send_reversal().await, Err(PosError::MustSignIn(_))));
        rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        let reversal = rig.terminal.send_reversal().await.unwrap().unwrap();
        assert!(reversal.approved);
        assert_eq!(rig.host.last().get(39), "A0");
    }
}

/// An explicit answer is an answer, whatever it says: the record is deleted.
#[tokio::test]
async fn an_explicit_code_deletes_the_record() {
    for (fault, forced) in [
        (Fault::Code("51"), false),
        (Fault::Code("68"), false),
        (Fault::Code("98"), false),
        (Fault::Code("Z9"), false),
        (Fault::Unsigned("97"), false),
        (Fault::Code("77"), true),
        (Fault::Code("99"), true),
        (Fault::Code("A0"), true),
    ] {
        let shown = format!("{fault:?}");
        let mut rig = rig().await;
        rig.host.faults([fault]);
        let sale = rig.sale(10_000);
        let outcome = rig.terminal.sale(sale).await.unwrap();
        assert_eq!((outcome.status, outcome.reversal), (Status::Declined, None), "{shown}");
        assert_eq!(rig.terminal.sign_in_needed().is_some(), forced, "{shown}");
    }
}

/// 10, 11, A2, A4, A5, A6 approve; with 10 the answer's amount is the one that counts.
#[tokio::test]
async fn the_whole_success_set_approves() {
    for code in ["00", "11", "A2", "A4", "A5", "A6"] {
        let mut rig = rig().await;
        rig.host.faults([Fault::Code(code)]);
        let sale = rig.sale(10_000);
        assert!(rig.terminal.sale(sale).await.unwrap().approved, "{code}");
    }
    let mut rig = rig().await;
    rig.host.faults([Fault::Partial(4_000)]);
    let sale = rig.sale(10_000);
    let outcome = rig.terminal.sale(sale).await.unwrap();
    assert_eq!((outcome.approved, outcome.amount_fen), (true, Some(4_000)));
    assert_eq!(rig.terminal.journal()[0].amount_fen, 4_000);
}

/// Nothing was sent: no reversal, and the trace is used up.
#[tokio::test]
async fn a_refused_connection_leaves_nothing_behind() {
    let mut rig = rig().await;
    let trace = rig.terminal.next_trace();
    rig.host.faults([Fault::Refuse]);
    let sale = rig.sale(10_000);
    assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::NoConnection { .. })));
    assert!(rig.terminal.pending_reversal().is_none());
    assert_eq!(rig.terminal.next_trace(), trace + 1);
}

/// A reversal that is not through blocks; after the allowed attempts it is dropped, with a notice that stays.
#[tokio::test]
async fn a_failing_reversal_blocks_and_is_given_up_at_last() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent, Fault::Silent, Fault::Code("96"), Fault::WrongMac]);
    let sale = rig.sale(10_000);
    rig.terminal.sale(sale).await.unwrap();
    for attempt in 1..=2 {
        let sale = rig.sale(500);
        match rig.terminal.sale(sale).await {
            Err(PosError::ReversalPending { attempts, .. }) => assert_eq!(attempts, attempt),
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.terminal.pending_reversal().unwrap().attempts, attempt);
    }
    // The third attempt meets a wrong MAC: given up, and the terminal must sign in.
    let sale = rig.sale(500);
    assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::ReversalPending { attempts: 3, .. })));
    assert!(rig.terminal.pending_reversal().is_none());
    assert!(rig.terminal.notices()[0].text.contains("given up"));
    assert_eq!(rig.host.mtis(), [200, 400, 400, 400]);
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    let sale = rig.sale(500);
    assert!(rig.terminal.sale(sale).await.unwrap().approved);
}

/// A line that is down uses up no attempt.
#[tokio::test]
async fn a_dead_line_uses_up_no_attempt() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent]);
    let sale = rig.sale(10_000);
    rig.terminal.sale(sale).await.unwrap();
    for _ in 0..5 {
        rig.host.faults([Fault::Refuse]);
        let sale = rig.sale(500);
        assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::ReversalPending { attempts: 0, .. })));
    }
    assert!(rig.terminal.send_reversal().await.unwrap().unwrap().approved);
}

/// 00, 12 and 25 mean that it is done. All attempts are the same message.
#[tokio::test]
async fn a_reversal_ends_on_00_12_or_25() {
    for code in ["00", "12", "25"] {
        let mut rig = rig().await;
        rig.host.faults([Fault::Silent, Fault::Code("91"), Fault::Code(code)]);
        let sale = rig.sale(10_000);
        rig.terminal.sale(sale).await.unwrap();
        rig.terminal.send_reversal().await.unwrap();
        assert!(rig.terminal.send_reversal().await.unwrap().unwrap().approved);
        assert!(rig.terminal.pending_reversal().is_none());
        let seen = rig.host.seen();
        assert_eq!(seen[1].frame, seen[2].frame);
        assert!(rig.terminal.send_reversal().await.unwrap().is_none());
    }
}

/// The reversal of a void names the void in 61; the sale stays as it was until a void is approved.
#[tokio::test]
async fn a_void_is_reversed_like_a_sale_and_voids_only_when_approved() {
    let mut rig = rig().await;
    let sale = rig.sale(10_000);
    let sold = rig.terminal.sale(sale).await.unwrap();
    rig.host.faults([Fault::Silent]);
    let lost = rig.terminal.void(VoidRequest::by_trace(sold.trace)).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    assert!(!rig.terminal.journal()[0].voided);

    let voided = rig.terminal.void(VoidRequest::by_trace(sold.trace)).await.unwrap();
    assert!(voided.approved && rig.terminal.journal()[0].voided);
    let seen = rig.host.seen();
    assert_eq!(seen[2].mti(), 400);
    assert_eq!(seen[2].get(61), format!("000001{:06}", lost.trace));
    let void = &seen[3];
    assert_eq!(
        (void.get(3), void.get(60), void.get(22)),
        ("200000".into(), "23000001000500".into(), "012".into())
    );
    assert_eq!(void.get(61), format!("000001{:06}", sold.trace));
    assert_eq!(void.get(37), sold.rrn.unwrap());

    for (trace, wanted) in [
        (sold.trace, "voided already"),
        (voided.trace, "nothing that can be voided"),
        (999, "no transaction"),
    ] {
        let error = rig.terminal.void(VoidRequest::by_trace(trace)).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// Management messages and balances leave no reversal.
#[tokio::test]
async fn only_what_moves_money_is_reversed() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent, Fault::Silent]);
    assert_eq!(rig.terminal.echo().await.unwrap().status, Status::NoAnswer);
    let card = pos::CardInput::deck("L02").unwrap();
    let balance = pos::BalanceRequest { card, entry: pos::Entry::Swipe, pin: None };
    let outcome = rig.terminal.balance(balance).await.unwrap();
    assert_eq!((outcome.status, outcome.reversal), (Status::NoAnswer, None));
    assert!(!rig.host.last().fields().contains(&4));

    let card = pos::CardInput::deck("L02").unwrap();
    let balance = pos::BalanceRequest { card, entry: pos::Entry::Swipe, pin: None };
    let outcome = rig.terminal.balance(balance).await.unwrap();
    assert_eq!(outcome.balance.unwrap().amount_fen, 1_000_000);
    assert!(rig.terminal.journal().is_empty());
}

/// Answers whose TPDU was not swapped are accepted; a header that demands a sign-in is obeyed.
#[tokio::test]
async fn the_envelope_is_read_tolerantly_and_obeyed() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Unswapped, Fault::Require(3)]);
    for _ in 0..2 {
        let sale = rig.sale(100);
        assert!(rig.terminal.sale(sale).await.unwrap().approved);
    }
    assert_eq!(rig.terminal.sign_in_needed(), Some("the host demands it"));
}

/// A kept connection carries one request after the other; one that failed is never used again.
#[tokio::test]
async fn a_failed_connection_is_not_used_again() {
    let mut rig = rig().await;
    let before = rig.host.dials();
    for _ in 0..3 {
        rig.terminal.echo().await.unwrap();
    }
    assert_eq!(rig.host.dials(), before);
    rig.host.faults([Fault::Silent]);
    rig.terminal.echo().await.unwrap();
    rig.terminal.echo().await.unwrap();
    assert_eq!(rig.host.dials(), before + 1);
}
