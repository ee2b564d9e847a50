//! Who holds the card: the four branches of the small-amount rule of quickPass at each limit, the promotion's states,
//! and PIN, bypass and broken pad in the slot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use cardsim::Interface as Side;
use kernel::{Answer, BypassRule, Interface, Kernel, PinState, QuickPass, StepKind};
use rig::{card, loaded, params, sale, with_quickpass};

/// Whether a tap of this amount asks for a PIN, and whether the holder signs.
fn tap(quickpass: &QuickPass, id: &str, ctq: Option<&str>, amount: u64) -> (bool, Option<bool>) {
    let mut kernel = with_quickpass(quickpass.clone());
    let mut profile = cardsim::deck::find(id).unwrap();
    if let Some(ctq) = ctq {
        profile.contactless.as_mut().unwrap().ctq = ctq.to_owned();
    }
    let mut reader = rig::powered(profile, Side::Contactless);
    let step = kernel.start(sale(amount, Interface::Contactless), &mut reader);
    match step.kind {
        StepKind::NeedPin { online: true, .. } => {
            let step = kernel.resume(Answer::PinEntered, &mut kernel::NoCard);
            let StepKind::OnlineRequired { entry, .. } = step.kind else { panic!("{step:?}") };
            assert_eq!(entry.field22(), "071");
            (true, None)
        }
        StepKind::OnlineRequired { cvm, entry, .. } => {
            assert_eq!((entry.field22(), cvm.results), ("072", [0x1F, 0x00, 0x02]));
            (false, Some(cvm.signature))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_four_branches_at_the_limit() {
    let usual = QuickPass::default();
    let limit = usual.no_pin_limit;
    // Full function: by the amount alone.
    assert_eq!(tap(&usual, "L01", None, limit - 1), (false, Some(false)));
    assert_eq!(tap(&usual, "L01", None, limit), (false, Some(false)));
    assert_eq!(tap(&usual, "L01", None, limit + 1), (true, None));
    // The card insists on a PIN.
    for amount in [limit - 1, limit, limit + 1] {
        assert_eq!(tap(&usual, "L01", Some("8000"), amount), (true, None));
    }
    // Verified on the holder's device: no PIN at any amount, the signature by its own limit.
    assert_eq!(tap(&usual, "L13", None, limit), (false, Some(false)));
    assert_eq!(tap(&usual, "L13", None, limit + 1), (false, Some(true)));
    let ignored = QuickPass { on_device: false, ..usual.clone() };
    assert_eq!(tap(&ignored, "L13", None, limit + 1), (true, None));
    // The function is off.
    let off = QuickPass { no_pin: false, ..usual.clone() };
    assert_eq!(tap(&off, "L01", None, 1), (true, None));
    // Signatures kept.
    let signed = QuickPass { no_signature: false, ..usual.clone() };
    assert_eq!(tap(&signed, "L01", None, limit), (false, Some(true)));
    let early = QuickPass { no_signature_limit: 30_000, ..usual };
    assert_eq!(tap(&early, "L01", None, 30_000), (false, Some(false)));
    assert_eq!(tap(&early, "L01", None, 30_001), (false, Some(true)));
}

#[test]
fn the_states_of_the_promotion() {
    let usual = QuickPass::default();
    let limit = usual.no_pin_limit;
    let table = vec!["621214".to_owned()];
    let pilot_1 = QuickPass { pilot_1: true, table_a: table.clone(), ..usual.clone() };
    let pilot_2 = QuickPass { pilot_2: true, table_b: table, ..usual };
    for amount in [limit - 1, limit] {
        assert!(!tap(&pilot_1, "L12", None, amount).0);
        assert!(tap(&pilot_1, "L01", None, amount).0, "not in table A");
        assert!(!tap(&pilot_2, "L03", None, amount).0, "every credit card");
        assert!(tap(&pilot_2, "L01", None, amount).0, "a debit card that is not in table B");
        assert!(!tap(&pilot_2, "L14", None, amount).0);
    }
    for rule in [&pilot_1, &pilot_2] {
        assert!(tap(rule, "L12", None, limit + 1).0);
    }
}

/// Only a sale in yuan may go without PIN.
#[test]
fn other_kinds_and_currencies_need_a_pin() {
    let mut kernel = loaded(&params());
    let mut refund = sale(100, Interface::Contactless);
    refund.kind = 0x20;
    let mut foreign = sale(100, Interface::Contactless);
    foreign.currency = [0x08, 0x40];
    for payment in [refund, foreign] {
        let mut reader = card("L01", Side::Contactless, &[]);
        assert!(matches!(kernel.start(payment, &mut reader).kind, StepKind::NeedPin { .. }));
    }
}

/// A tap that the card approves by itself, with its signature checked; and the same with a wrong signature.
#[test]
fn an_offline_tap_is_signed() {
    let offline = QuickPass { always_online: false, ..QuickPass::default() };
    let mut changed = params();
    changed.quickpass = offline;
    changed.aids = changed
        .aids
        .iter()
        .map(|record| {
            hex::decode(hex::encode_upper(record).replace("DF1906000000000000", "DF1906000000020000"))
                .unwrap()
        })
        .collect();
    let mut kernel = loaded(&changed);
    let mut reader = card("L01", Side::Contactless, &[]);
    let step = kernel.start(sale(1_250, Interface::Contactless), &mut reader);
    let StepKind::Approved { offline: true, field55, .. } = &step.kind else { panic!("{step:?}") };
    assert!(rig::genuine("6224242000000013", field55));
    assert_eq!((step.tvr, step.tsi), ([0; 5], [0x80, 0x00]));
    let mut reader = card("L01", Side::Contactless, &["bad_sdad"]);
    let step = kernel.start(sale(1_250, Interface::Contactless), &mut reader);
    assert!(matches!(step.kind, StepKind::Declined { offline: true, .. }), "{step:?}");
    // Torn at the last record: the same card is asked for again.
    let mut reader = card("L01", Side::Contactless, &["torn(record)"]);
    let step = kernel.start(sale(1_250, Interface::Contactless), &mut reader);
    assert_eq!(step.reason, kernel::Reason::Torn);
    // Above the contactless floor limit it goes online as ever.
    let mut reader = card("L01", Side::Contactless, &[]);
    let step = kernel.start(sale(20_001, Interface::Contactless), &mut reader);
    assert!(matches!(step.kind, StepKind::OnlineRequired { .. }), "{step:?}");
    // An expired card that does not ask for the host declines.
    let mut reader = card("L10", Side::Contactless, &[]);
    let step = kernel.start(sale(1_250, Interface::Contactless), &mut reader);
    assert!(matches!(step.kind, StepKind::Declined { offline: true, .. }), "{step:?}");
    let mut profile = cardsim::deck::find("L10").unwrap();
    profile.contactless.as_mut().unwrap().ctq = "0800".to_owned();
    let mut reader = rig::powered(profile, Side::Contactless);
    let step = kernel.start(sale(1_250, Interface::Contactless), &mut reader);
    assert!(matches!(step.kind, StepKind::OnlineRequired { .. }), "{step:?}");
}

/// In the slot: bypass of a credit card ends in a signature, a broken pad is told, a terminal without pad skips the rule.
#[test]
fn pin_bypass_and_broken_pad() {
    let mut kernel = loaded(&params());
    let mut reader = card("L03", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    let step = kernel.resume(Answer::PinBypassed, &mut reader);
    let StepKind::OnlineRequired { cvm, entry, .. } = step.kind else { panic!("{step:?}") };
    assert_eq!((cvm.results, cvm.signature, cvm.pin), ([0x1E, 0x03, 0x00], true, PinState::Bypassed));
    assert_eq!((entry.field22(), step.tvr), ("052", [0, 0, 0x08, 0x80, 0]));

    let mut reader = card("L01", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    let step = kernel.resume(Answer::PinPadFailed, &mut reader);
    assert_eq!(step.tvr, [0, 0, 0x10, 0x80, 0]);

    let mut payment = sale(10_000, Interface::Contact);
    payment.pin_allowed = false;
    let mut reader = card("L01", Side::Contact, &[]);
    let step = kernel.start(payment, &mut reader);
    let StepKind::OnlineRequired { cvm, .. } = step.kind else { panic!("{step:?}") };
    assert_eq!((cvm.results, step.tvr), ([0x1E, 0x03, 0x00], [0, 0, 0, 0x80, 0]));

    let mut payment = sale(10_000, Interface::Contact);
    payment.bypass = BypassRule::Never;
    let mut reader = card("L03", Side::Contact, &[]);
    let step = kernel.start(payment, &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { bypass_ok: false, .. }));
}

/// The card's own PIN, which no Chinese terminal asks for: only with the switch on.
#[test]
fn offline_pin_is_off_by_default() {
    let mut profile = cardsim::deck::find("L01").unwrap();
    profile.apps[0].cvm = "000000000000000041031E031F00".to_owned();
    let mut kernel = loaded(&params());
    let mut reader = rig::powered(profile.clone(), Side::Contact);
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    assert!(matches!(step.kind, StepKind::OnlineRequired { cvm, .. } if cvm.signature), "{step:?}");

    let mut with_pin = params();
    with_pin.terminal.pin_offline = true;
    let mut kernel = loaded(&with_pin);
    let mut reader = rig::powered(profile, Side::Contact);
    let pin = |digits: &str| Answer::OfflinePin(zeroize::Zeroizing::new(digits.to_owned()));
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { online: false, tries_left: Some(3), .. }), "{step:?}");
    let step = kernel.resume(pin("0000"), &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { online: false, tries_left: Some(2), .. }), "{step:?}");
    let step = kernel.resume(pin("123456"), &mut reader);
    let StepKind::OnlineRequired { cvm, .. } = &step.kind else { panic!("{step:?}") };
    assert_eq!((cvm.results, cvm.pin, step.tvr), ([0x41, 0x03, 0x02], PinState::Offline, [0, 0, 0, 0x80, 0]));
    assert!(!format!("{:?}{}{step:?}", pin("123456"), kernel.dump()).contains("123456"));
}
