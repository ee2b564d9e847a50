//! Pre-authorisations and what is done to them: what each message names, what a missing answer leads to, what counts in
//! the totals, what the slips say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::{
    AuthorisedRequest, CardInput, Entry, KeyLayout, Kind, Pin, PosError, SaleRequest, Status, Totals,
    VoidRequest,
};
use rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    rig
}

fn chip(amount_fen: u64) -> SaleRequest {
    SaleRequest {
        amount_fen,
        card: CardInput::deck("L01").unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

fn authorised(amount_fen: u64) -> AuthorisedRequest {
    AuthorisedRequest {
        amount_fen,
        card: CardInput::deck("L01").unwrap(),
        entry: Entry::Chip,
        pin: None,
        auth_code: "A1B2C3".into(),
        date: "1124".into(),
        numbers: None,
    }
}

/// The message of a pre-authorisation, field by field, and its slip.
#[tokio::test]
async fn a_preauth_is_a_message_of_its_own_type() {
    let mut rig = rig().await;
    let outcome = rig.terminal.preauth(chip(50_000)).await.unwrap();
    assert!(outcome.approved);
    assert_eq!(outcome.auth_code.as_deref(), Some("A1B2C3"));
    let seen = rig.host.last();
    assert_eq!(seen.mti(), 100);
    assert_eq!(seen.fields(), [2, 3, 4, 11, 14, 22, 23, 25, 26, 35, 41, 42, 49, 52, 53, 55, 60, 64]);
    for (field, value) in [(3, "030000"), (4, "000000050000"), (25, "06"), (60, "10000001000500")] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    let slip = outcome.receipt.unwrap();
    for text in ["预授权", "授权码: A1B2C3", "金额: RMB 500.00"] {
        assert!(slip.contains(text), "{text}: {slip}");
    }
    // It moves no money: it is in the journal and on neither side of the totals.
    assert_eq!(rig.terminal.journal()[0].kind, Kind::Preauth);
    assert_eq!(Totals::of(rig.terminal.journal()), Totals::default());
}

/// What completes or voids it names code, card and date, whoever made it; batch and trace when they are at hand.
#[tokio::test]
async fn a_completion_names_the_authorisation() {
    let cases = [(None, "0000000000001124"), (Some((7, 123)), "0000070001231124")];
    for (numbers, field61) in cases {
        let mut rig = rig().await;
        let completion =
            rig.terminal.complete(AuthorisedRequest { numbers, ..authorised(48_000) }).await.unwrap();
        assert!(completion.approved);
        let seen = rig.host.last();
        assert_eq!(seen.mti(), 200);
        assert_eq!(seen.fields(), [2, 3, 4, 11, 14, 22, 23, 25, 35, 38, 41, 42, 49, 53, 60, 61, 64]);
        for (field, value) in
            [(3, "000000"), (25, "06"), (38, "A1B2C3"), (60, "20000001000500"), (61, field61)]
        {
            assert_eq!(seen.get(field), value, "{field}");
        }
        assert!(completion.receipt.unwrap().contains("原授权码: A1B2C3"));
        let void = rig.terminal.void(VoidRequest::by_trace(completion.trace)).await.unwrap();
        assert!(void.approved);
        let seen = rig.host.last();
        assert_eq!((seen.mti(), seen.get(3), seen.get(25)), (200, "200000".into(), "06".into()));
        assert_eq!(seen.get(60), "21000001000500");
        assert_eq!(seen.get(61), format!("000001{:06}", completion.trace));
        assert_eq!(seen.get(37), completion.rrn.unwrap());
        let totals = Totals::of(rig.terminal.journal());
        assert_eq!((totals.debit_fen, totals.debit_count), (48_000, 1));
        assert_eq!((totals.credit_fen, totals.credit_count), (48_000, 1));
        let settled = rig.terminal.settle().await.unwrap();
        let slip = settled.receipt.unwrap();
        assert!(slip.contains("预授权完成       1        480.00"), "{slip}");
        assert!(slip.contains("完成撤销         1        480.00"), "{slip}");
    }
}

/// A pre-authorisation void marks the one that it undoes, when it is of this batch.
#[tokio::test]
async fn a_preauth_void_repeats_code_and_amount() {
    let mut rig = rig().await;
    rig.terminal.preauth(chip(50_000)).await.unwrap();
    let void = rig.terminal.void_preauth(authorised(50_000)).await.unwrap();
    assert!(void.approved);
    let seen = rig.host.last();
    assert_eq!((seen.mti(), seen.get(3), seen.get(38)), (100, "200000".into(), "A1B2C3".into()));
    assert_eq!(seen.get(60), "11000001000500");
    assert!(rig.terminal.journal()[0].voided);
    assert_eq!(Totals::of(rig.terminal.journal()), Totals::default());
}

/// Each but the advice is reversed when its answer does not come, and the reversal of what names an authorisation names
/// it too.
#[tokio::test]
async fn what_has_no_answer_is_reversed() {
    for kind in [Kind::Preauth, Kind::PreauthVoid, Kind::Completion, Kind::CompletionVoid] {
        let mut rig = rig().await;
        if kind == Kind::CompletionVoid {
            rig.terminal.complete(authorised(48_000)).await.unwrap();
        }
        rig.host.faults([Fault::Silent]);
        let lost = match kind {
            Kind::Preauth => rig.terminal.preauth(chip(48_000)).await,
            Kind::PreauthVoid => rig.terminal.void_preauth(authorised(48_000)).await,
            Kind::Completion => rig.terminal.complete(authorised(48_000)).await,
            _ => {
                let trace = rig.terminal.journal()[0].trace;
                rig.terminal.void(VoidRequest::by_trace(trace)).await
            }
        };
        let lost = lost.unwrap();
        assert_eq!(lost.status, Status::NoAnswer, "{kind:?}");
        let request = rig.host.last();
        assert!(rig.terminal.send_reversal().await.unwrap().unwrap().approved);
        let reversal = rig.host.last();
        assert_eq!((reversal.mti(), reversal.get(39)), (400, "98".into()), "{kind:?}");
        for field in [2, 3, 4, 11, 25, 60] {
            assert_eq!(reversal.get(field), request.get(field), "{kind:?} {field}");
        }
        let names = kind != Kind::Preauth;
        assert_eq!(reversal.fields().contains(&61), names, "{kind:?}");
        let code = matches!(kind, Kind::PreauthVoid | Kind::Completion);
        assert_eq!(reversal.get(38) == "A1B2C3", code, "{kind:?}");
        assert!(rig.terminal.journal().iter().all(|record| record.kind != kind));
    }
}

/// The advice is repeated with its trace until an answer counts, and stays open across a power cut.
#[tokio::test]
async fn an_advice_is_repeated_and_never_reversed() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent, Fault::Code("09"), Fault::Silent]);
    let lost = rig.terminal.complete_by_advice(authorised(48_000)).await.unwrap();
    assert_eq!((lost.status, lost.reversal), (Status::NoAnswer, None));
    assert_eq!(rig.host.mtis(), [220, 220, 220]);
    let mut rig = rig.power_cycle();
    let refused = rig.terminal.complete_by_advice(authorised(1)).await;
    assert!(matches!(refused, Err(PosError::RefundOpen { .. })), "{refused:?}");
    let known = rig.terminal.resume_refund().await.unwrap();
    assert!(known.approved);
    let seen = rig.host.seen();
    assert!(seen.iter().all(|one| one.frame == seen[0].frame), "the same message each time");
    assert_eq!(seen[0].get(60), "24000001000500");
    assert_eq!(rig.terminal.journal()[0].kind, Kind::CompletionAdvice);
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 48_000);
}

/// What the operator keys in is checked before anything is sent.
#[tokio::test]
async fn what_cannot_be_is_not_sent() {
    let mut rig = rig().await;
    rig.terminal.preauth(chip(10_000)).await.unwrap();
    rig.host.forget();
    let too_much = rig.terminal.complete(authorised(11_501)).await;
    assert!(matches!(too_much, Err(PosError::Input(_))), "{too_much:?}");
    let short = AuthorisedRequest { auth_code: "123".into(), ..authorised(10_000) };
    assert!(matches!(rig.terminal.complete(short).await, Err(PosError::Input(_))));
    let undated = AuthorisedRequest { date: "24.11".into(), ..authorised(10_000) };
    assert!(matches!(rig.terminal.void_preauth(undated).await, Err(PosError::Input(_))));
    assert!(rig.host.seen().is_empty());
    assert!(rig.terminal.complete(authorised(11_500)).await.unwrap().approved);
}
