//! Every card of the deck against every answer of the host, and each behaviour by name: what the terminal concludes,
//! and which messages follow.
//!
//! The cards are those of `cardsim`, the issuer checks each ARQC and computes its own answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use cardsim::Interface as Side;
use kernel::{Answer, Interface, Kernel, KernelParams, Other, Reason, StepKind, Upload};
use rig::{Host, card, loaded, params, run, sale};

/// Outcome in a word, with field 39 of the reversal.
fn word(kind: &StepKind) -> String {
    match kind {
        StepKind::Approved { offline, follow_up, .. } => {
            let script = if follow_up.script_result { " script" } else { "" };
            format!("approved{}{script}", if *offline { " offline" } else { "" })
        }
        StepKind::Declined { offline: true, .. } => "declined offline".to_owned(),
        StepKind::Declined { follow_up, .. } => {
            let script = if follow_up.script_result { " script" } else { "" };
            match follow_up.reversal {
                Some(code) => format!("reversed {}{script}", String::from_utf8_lossy(&code)),
                None => format!("declined{script}"),
            }
        }
        StepKind::Fallback => "fallback".to_owned(),
        StepKind::TryOther(other) => format!("try {other:?}"),
        StepKind::Terminated { follow_up } => format!("terminated {:?}", follow_up.reversal),
        other => format!("{other:?}"),
    }
}

const HOSTS: [Host; 7] = [
    Host::Approves,
    Host::ApprovesWithoutProof,
    Host::ApprovesWithScripts,
    Host::Declines,
    Host::WrongArpc,
    Host::WrongMac,
    Host::Silent,
];

/// What the same card says to the seven hosts.
const WORKS: [&str; 7] =
    ["approved", "approved", "approved script", "declined", "reversed 06", "reversed A0", "reversed 98"];
const PULLED: [&str; 7] =
    ["reversed 06", "reversed 06", "reversed 06", "declined", "reversed 06", "reversed A0", "reversed 98"];

/// The matrix: cards, kinds of payment, hosts. What a card does by itself is the same for all hosts.
#[test]
fn every_card_with_every_host_in_the_slot() {
    let mut kernel = loaded(&params());
    for profile in cardsim::deck::chips() {
        let id = profile.id.clone();
        let expected = match id.as_str() {
            "L07" | "L14" => ["declined offline"; 7],
            "L08" => PULLED,
            "L09" => ["try Contact"; 7],
            "L13" => continue, // a phone has no contacts
            _ => WORKS,
        };
        for kind in [0x00, 0x03, 0x20, 0x31] {
            for (answer, expected) in HOSTS.into_iter().zip(expected) {
                let mut reader = card(&id, Side::Contact, &[]);
                let mut payment = sale(10_000, Interface::Contact);
                payment.kind = kind;
                kernel.load(&params()).unwrap();
                let step = run(&mut kernel, &mut reader, payment, answer);
                assert_eq!(word(&step.kind), expected, "{id} {answer:?} {kind:02X}: {step:?}");
            }
        }
    }
}

/// The same over the antenna: no issuer authentication, no scripts, and the host's word is final.
#[test]
fn every_card_with_every_host_on_the_antenna() {
    let mut kernel = loaded(&params());
    let tapped = ["approved", "approved", "approved", "declined", "approved", "reversed A0", "reversed 98"];
    for profile in cardsim::deck::chips() {
        let id = profile.id.clone();
        let expected = match id.as_str() {
            "L07" => ["declined offline"; 7],
            "L09" => ["try Contact"; 7],
            _ => tapped,
        };
        for (answer, expected) in HOSTS.into_iter().zip(expected) {
            let mut reader = card(&id, Side::Contactless, &[]);
            let step = run(&mut kernel, &mut reader, sale(8_800, Interface::Contactless), answer);
            assert_eq!(word(&step.kind), expected, "{id} {answer:?}: {step:?}");
        }
    }
}

/// Verification results that the deck is made for.
#[test]
fn what_the_terminal_finds_out() {
    let mut kernel = loaded(&params());
    let rows = [
        ("L01", &[][..], [0x00, 0x00, 0x04, 0x80, 0x00]),
        ("L10", &[], [0x00, 0x40, 0x04, 0x80, 0x00]),
        ("L12", &[], [0x00, 0x00, 0x04, 0x80, 0x00]),
        ("L14", &[], [0x04, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["bad_sdad"], [0x08, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["bad_cert"], [0x08, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["unknown_tags"], [0x00, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["long_records"], [0x00, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["sw(CA,6A88)"], [0x00, 0x00, 0x04, 0x80, 0x00]),
        ("L01", &["sw(88,6985)"], [0x08, 0x00, 0x04, 0x80, 0x00]),
    ];
    for (id, switches, tvr) in rows {
        let mut reader = card(id, Side::Contact, switches);
        let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
        assert_eq!(step.tvr, tvr, "{id} {switches:?} {step:?}");
    }
}

/// Behaviours by name, in the slot.
#[test]
fn switches_in_the_slot() {
    let rows = [
        ("blocked(card)", "terminated None", Reason::CardBlocked),
        ("blocked(app)", "terminated None", Reason::ApplicationBlocked),
        ("ac1(aac)", "declined offline", Reason::CardDeclines),
        ("ac1(tc)", "terminated None", Reason::IllegalAnswer),
        ("ac2(aac)", "reversed 06", Reason::CardRefusedAfterApproval),
        ("arpc(bad)", "reversed 06", Reason::IssuerNotAuthentic),
        ("arpc(absent)", "approved", Reason::HostApproved),
        ("leave_after(select)", "terminated None", Reason::CardRemoved),
        ("leave_after(gpo)", "terminated None", Reason::CardRemoved),
        ("leave_after(record)", "terminated None", Reason::CardRemoved),
        ("leave_after(ac1)", "reversed 06", Reason::CardRefusedAfterApproval),
        ("torn(ac1)", "terminated None", Reason::CardRemoved),
        ("torn(ac2)", "reversed 06", Reason::CardRefusedAfterApproval),
        ("leave_after(ac2)", "approved", Reason::HostApproved),
        ("junk_tlv", "terminated None", Reason::CardData),
        ("sw(B2,6A83)", "terminated None", Reason::CardData),
        ("sw(A8,6985)", "terminated None", Reason::NoCommonApplication),
        ("sw(A8,6F00)", "terminated None", Reason::CardData),
        ("sw(AE,6985)", "terminated None", Reason::CardData),
        ("sw(82,6F00)", "approved", Reason::HostApproved),
        ("unknown_tags", "approved", Reason::HostApproved),
        ("long_records", "approved", Reason::HostApproved),
    ];
    let mut kernel = loaded(&params());
    for (switch, expected, reason) in rows {
        let mut reader = card("L01", Side::Contact, &[switch]);
        let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
        assert_eq!((word(&step.kind).as_str(), step.reason), (expected, reason), "{switch}: {step:?}");
    }
}

/// Script results: the failing command by number, and the identifier of each script.
#[test]
fn scripts_before_and_after() {
    let mut kernel = loaded(&params());
    let mut reader = card("L06", Side::Contact, &[]);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::ApprovesWithScripts);
    let StepKind::Approved { follow_up, .. } = &step.kind else { panic!("{step:?}") };
    assert!(follow_up.script_result);
    assert_eq!((step.tvr[4], step.tsi), (0x20, [0xFC, 0x00]));
    let data = kernel.chip_data().unwrap();
    assert_eq!(hex::encode_upper(data.script_result.unwrap()), "11000000072000000001");
    assert_eq!(
        reader.0.written(0x9F58),
        Some(&[0x03][..]),
        "the script after the certificate was carried out"
    );
    // More than the bytes an answer may bring: not performed, and told.
    let mut reader = card("L01", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    kernel.resume(Answer::PinEntered, &mut reader);
    let mut script = vec![0x9F, 0x18, 0x04, 0, 0, 0, 9];
    script.extend([0x86, 0x7E]);
    script.extend([0; 0x7E]);
    let mut field55 = Vec::new();
    iso8583::tlv::write(&mut field55, 0x72, &script);
    let step = kernel.resume(Answer::HostAnswer { code: *b"00", field55 }, &mut reader);
    assert_eq!(step.tvr[4], 0x10);
    assert_eq!(hex::encode_upper(kernel.chip_data().unwrap().script_result.unwrap()), "0000000009");
}

/// A command that fails though the card then approves: issuer authentication answered with an error counts as failed,
/// the slip and the batch are marked.
#[test]
fn approved_with_a_failed_issuer_authentication_is_marked() {
    let mut kernel = loaded(&params());
    let mut reader = card("L01", Side::Contact, &["sw(82,6F00)"]);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
    let StepKind::Approved { arpc_failed: true, follow_up, .. } = step.kind else { panic!("{step:?}") };
    assert_eq!((follow_up.upload, step.tvr[4]), (Upload::Notice, 0x40));
}

/// Behaviours by name, on the antenna: never a fallback.
#[test]
fn switches_on_the_antenna() {
    let rows = [
        ("gpo80", "try Contact", Reason::CardWantsContact),
        ("torn(select)", "try Contactless", Reason::CardRemoved),
        ("torn(gpo)", "try Contactless", Reason::CardRemoved),
        ("mute", "try Contact", Reason::ChipUnreadable),
        ("blocked(card)", "terminated None", Reason::CardBlocked),
        ("blocked(app)", "terminated None", Reason::ApplicationBlocked),
        ("sw(A8,6F00)", "try Contact", Reason::CardData),
        ("ac1(aac)", "declined offline", Reason::CardDeclines),
        ("ac1(tc)", "try Contact", Reason::IllegalAnswer),
        ("unknown_tags", "approved", Reason::HostApproved),
    ];
    let mut kernel = loaded(&params());
    for (switch, expected, reason) in rows {
        let mut reader = card("L01", Side::Contactless, &[switch]);
        let step = run(&mut kernel, &mut reader, sale(1_250, Interface::Contactless), Host::Approves);
        assert_eq!((word(&step.kind).as_str(), step.reason), (expected, reason), "{switch}: {step:?}");
    }
}

/// A mute chip is tried three times, then the stripe may stand for it; a good chip in between starts the count again.
#[test]
fn three_tries_then_fallback() {
    let mut kernel = loaded(&params());
    let tries = |kernel: &mut kernel::EmvKernel, id: &str| {
        let mut reader = card(id, Side::Contact, &[]);
        word(&run(kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves).kind)
    };
    assert_eq!(tries(&mut kernel, "L09"), "try Contact");
    assert_eq!(tries(&mut kernel, "L09"), "try Contact");
    assert_eq!(tries(&mut kernel, "L09"), "fallback");
    assert_eq!(tries(&mut kernel, "L09"), "try Contact");
    assert_eq!(tries(&mut kernel, "L09"), "try Contact");
    assert_eq!(tries(&mut kernel, "L01"), "approved");
    assert_eq!(tries(&mut kernel, "L09"), "try Contact");
    // A chip that gave no answer to reset is told to the kernel in the same way.
    for expected in ["try Contact", "fallback"] {
        let step = kernel.start(sale(10_000, Interface::Contact), &mut kernel::MuteCard);
        assert_eq!(word(&step.kind), expected);
    }
}

/// A card with credit and debit asks which; the answer decides the label and what may be left out.
#[test]
fn two_applications_are_a_choice() {
    let mut kernel = loaded(&params());
    let mut reader = card("L12", Side::Contact, &[]);
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    let StepKind::SelectApp { candidates } = &step.kind else { panic!("{step:?}") };
    let labels: Vec<_> = candidates.iter().map(|found| found.label.as_str()).collect();
    assert_eq!(labels, ["LAB CREDIT", "LAB DEBIT"]);
    let wrong = kernel.resume(Answer::AppChosen(7), &mut reader);
    assert_eq!((wrong.reason, wrong.kind), (Reason::OutOfOrder, step.kind));
    let step = kernel.resume(Answer::AppChosen(1), &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { bypass_ok: false, .. }), "{step:?}");
    assert_eq!(kernel.chip_data().unwrap().label, "LAB DEBIT");
    assert_eq!(
        kernel.resume(Answer::PinBypassed, &mut reader).reason,
        Reason::OutOfOrder,
        "a debit card needs its PIN"
    );
    let mut again = card("L12", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut again);
    let step = kernel.resume(Answer::AppChosen(0), &mut again);
    assert!(matches!(step.kind, StepKind::NeedPin { bypass_ok: true, .. }), "{step:?}");
    assert!(kernel.chip_data().unwrap().credit);
}

/// The chosen application cannot be used: the other one is not taken without asking.
#[test]
fn after_a_choice_nothing_is_taken_without_the_holder() {
    /// Refuses the first processing options.
    struct Once(rig::Reader, bool);
    impl kernel::CardChannel for Once {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, kernel::ChannelError> {
            if apdu.starts_with(&[0x80, 0xA8]) && !std::mem::replace(&mut self.1, true) {
                return Ok(vec![0x69, 0x85]);
            }
            self.0.transmit(apdu)
        }
    }
    let mut kernel = loaded(&params());
    let mut reader = Once(card("L12", Side::Contact, &[]), false);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    let step = kernel.resume(Answer::AppChosen(0), &mut reader);
    let StepKind::ConfirmApp { candidate } = &step.kind else { panic!("{step:?}") };
    assert_eq!(candidate.label, "LAB DEBIT");
    let step = kernel.resume(Answer::Confirmed, &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { bypass_ok: false, .. }), "{step:?}");
    assert_eq!(kernel.chip_data().unwrap().label, "LAB DEBIT");
}

/// An application that wants a confirmation gets one.
#[test]
fn one_application_to_confirm() {
    let mut profile = cardsim::deck::find("L01").unwrap();
    profile.apps[0].priority = 0x81;
    profile.apps[0].preferred_name = Some("My Card".to_owned());
    let mut reader = rig::powered(profile, Side::Contact);
    let mut kernel = loaded(&params());
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    let StepKind::ConfirmApp { candidate } = &step.kind else { panic!("{step:?}") };
    assert_eq!(candidate.label, "My Card");
    let step = kernel.resume(Answer::Confirmed, &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { .. }), "{step:?}");
    assert_eq!(kernel.chip_data().unwrap().preferred_name.as_deref(), Some("My Card"));
}

/// A card without a directory, and one with nothing that the terminal knows.
#[test]
fn without_a_directory_and_without_an_application() {
    let mut kernel = loaded(&params());
    let mut profile = cardsim::deck::find("L01").unwrap();
    profile.pse = false;
    let mut reader = rig::powered(profile.clone(), Side::Contact);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
    assert_eq!(word(&step.kind), "approved");
    profile.apps[0].aid = "A0000000031010".to_owned();
    let mut reader = rig::powered(profile.clone(), Side::Contact);
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    assert_eq!((word(&step.kind).as_str(), step.reason), ("terminated None", Reason::NoCommonApplication));
    let mut lenient = params();
    lenient.terminal.fallback_without_application = true;
    let mut kernel = loaded(&lenient);
    let mut reader = rig::powered(profile, Side::Contact);
    assert_eq!(word(&kernel.start(sale(10_000, Interface::Contact), &mut reader).kind), "fallback");
}

/// The laboratory's own RID, which no merchant's terminal knows: same cards, own key, debit and credit by its names.
#[test]
fn the_laboratorys_own_applications() {
    let lab = kernel::params::LAB_RID;
    let mut own = params();
    own.capks = vec![cardsim::lab::ca_record(lab, 0xF1).unwrap()];
    let mut kernel = loaded(&own);
    for (aid, credit) in [("F0504F53500101", false), ("F0504F53500102", true)] {
        let mut profile = cardsim::deck::find("L01").unwrap();
        profile.apps[0].aid = aid.to_owned();
        let mut reader = rig::powered(profile, Side::Contact);
        let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
        assert_eq!((word(&step.kind).as_str(), step.tvr), ("approved", [0, 0, 0x04, 0x80, 0]));
        assert_eq!(kernel.chip_data().unwrap().credit, credit);
    }
    let errors = kernel.load(&KernelParams { production: true, ..own }).unwrap_err();
    assert_eq!(errors.len(), 3, "two applications and the key");
}

/// CDA done right: the cryptogram comes inside the signature, at both commands.
#[test]
fn a_signed_cryptogram() {
    let mut profile = cardsim::deck::find("L14").unwrap();
    profile.behaviour.clear();
    let mut kernel = loaded(&params());
    let mut reader = rig::powered(profile, Side::Contact);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Approves);
    assert_eq!((word(&step.kind).as_str(), step.tvr), ("approved", [0, 0, 0x04, 0x80, 0]));
    assert_eq!(hex::encode_upper(step.tsi), "F800");
}

/// A card below the floor limit is approved by itself, and the message for later says so.
#[test]
fn below_the_floor_limit() {
    let mut offline = params();
    offline.aids = offline
        .aids
        .iter()
        .map(|record| {
            let text = hex::encode_upper(record)
                .replace("9F1B0400000001", "9F1B0400004E20")
                .replace("DF1205D84004F800", "DF1205D84000F800");
            hex::decode(text).unwrap()
        })
        .collect();
    let mut kernel = loaded(&offline);
    let mut profile = cardsim::deck::find("L01").unwrap();
    profile.apps[0].cvm = "00000000000000001E031F00".to_owned();
    let mut reader = rig::powered(profile, Side::Contact);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Silent);
    let StepKind::Approved { offline: true, field55, follow_up, cvm, .. } = &step.kind else {
        panic!("{step:?}")
    };
    assert_eq!(follow_up.upload, Upload::Offline);
    assert!(cvm.signature);
    assert!(hex::encode_upper(field55).ends_with("8A025931"));
    assert!(rig::genuine("6224242000000013", field55));
    // The operator may insist on the host.
    let mut payment = sale(10_000, Interface::Contact);
    payment.force_online = true;
    let mut reader = card("L01", Side::Contact, &[]);
    let step = run(&mut kernel, &mut reader, payment, Host::Approves);
    assert_eq!((word(&step.kind).as_str(), step.tvr[3]), ("approved", 0x08));
}

/// Silence, and a terminal that may let the card decide.
#[test]
fn unable_to_go_online() {
    let mut lenient = params();
    lenient.terminal.unable_online_approve = true;
    lenient.aids = lenient
        .aids
        .iter()
        .map(|record| {
            hex::decode(hex::encode_upper(record).replace("DF1105D84000A800", "DF11050000000000")).unwrap()
        })
        .collect();
    let mut kernel = loaded(&lenient);
    let mut profile = cardsim::deck::find("L01").unwrap();
    for (tag, value) in &mut profile.apps[0].records[4].items {
        if tag == "9F0D" {
            *value = "0000000000".to_owned();
        }
    }
    let mut reader = rig::powered(profile, Side::Contact);
    let step = run(&mut kernel, &mut reader, sale(10_000, Interface::Contact), Host::Silent);
    let StepKind::Approved { offline: true, field55, follow_up, .. } = &step.kind else { panic!("{step:?}") };
    assert!(hex::encode_upper(field55).ends_with("8A025933"));
    assert_eq!((follow_up.upload, follow_up.reversal), (Upload::Offline, Some(*b"98")));
}

/// Breaking off before and after the request.
#[test]
fn breaking_off() {
    use kernel::AbortReason;
    let mut kernel = loaded(&params());
    assert_eq!(kernel.abort(AbortReason::Cancelled).reason, Reason::OutOfOrder);
    let mut reader = card("L01", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    assert_eq!(word(&kernel.abort(AbortReason::Cancelled).kind), "terminated None");
    assert_eq!(kernel.resume(Answer::PinEntered, &mut reader).reason, Reason::OutOfOrder);
    let mut reader = card("L01", Side::Contact, &[]);
    kernel.start(sale(10_000, Interface::Contact), &mut reader);
    kernel.resume(Answer::PinEntered, &mut reader);
    let step = kernel.abort(AbortReason::CardRemoved);
    assert_eq!(word(&step.kind), "terminated Some([48, 54])");
}

/// Black list, revoked certificate, unknown key.
#[test]
fn what_nobody_should_trust() {
    let mut kernel = loaded(&params());
    let mut payment = sale(10_000, Interface::Contact);
    payment.black_list = vec!["6224242000000013".to_owned()];
    assert!(!format!("{payment:?}").contains("6224242000000013"));
    let mut reader = card("L01", Side::Contact, &[]);
    assert_eq!(kernel.start(payment, &mut reader).tvr[0], 0x10);
    let revoked = kernel::Revoked { rid: rig::UNIONPAY, index: 0xF1, serial: [0, 0, 1] };
    for changed in
        [KernelParams { revoked: vec![revoked], ..params() }, KernelParams { capks: Vec::new(), ..params() }]
    {
        let mut kernel = loaded(&changed);
        let mut reader = card("L01", Side::Contact, &[]);
        assert_eq!(kernel.start(sale(10_000, Interface::Contact), &mut reader).tvr[0], 0x08);
    }
}

/// A set with a bad record is no set; laboratory data are no merchant's.
#[test]
fn parameters_are_all_or_nothing() {
    use kernel::params::Fault;
    let mut kernel = loaded(&params());
    let mut bad = params();
    bad.aids.push(vec![0x9F]);
    let mut wrong_sum = bad.capks[0].clone();
    *wrong_sum.last_mut().unwrap() ^= 1;
    bad.capks.push(wrong_sum);
    let errors = kernel.load(&bad).unwrap_err();
    let faults: Vec<_> = errors.iter().map(|error| (error.number, error.fault.clone())).collect();
    assert_eq!(faults, [(5, Fault::NotTlv), (1, Fault::CheckSum)]);
    assert_eq!(errors[1].to_string(), "public key 1: the check sum is wrong");
    let mut reader = card("L01", Side::Contact, &[]);
    let step = kernel.start(sale(10_000, Interface::Contact), &mut reader);
    assert!(matches!(step.kind, StepKind::NeedPin { .. }), "the old set stays");
    let errors = kernel.load(&KernelParams { production: true, ..params() }).unwrap_err();
    assert!(errors.iter().all(|error| error.fault == Fault::Laboratory) && errors.len() == 3);
    let later = kernel.load(&KernelParams { today: [0x20, 0x31, 0x01, 0x01], ..params() }).unwrap();
    assert_eq!((later.public_keys, later.expired), (0, vec![(rig::UNIONPAY, 0xF1)]));
    let mut empty = kernel::EmvKernel::new();
    let mut reader = card("L01", Side::Contact, &[]);
    assert_eq!(empty.start(sale(1, Interface::Contact), &mut reader).reason, Reason::NotLoaded);
}

/// The other ways of the antenna: full PBOC when the terminal offers it, and a kernel behind a pointer in a thread.
#[test]
fn the_full_way_over_the_antenna() {
    let mut full = params();
    full.quickpass.full_contactless = true;
    let mut kernel: Box<dyn Kernel> = Box::new(loaded(&full));
    let mut reader = card("L01", Side::Contactless, &["gpo80"]);
    let worker = std::thread::spawn(move || {
        let step = kernel.start(sale(10_000, Interface::Contactless), &mut reader);
        assert!(matches!(step.kind, StepKind::NeedPin { .. }), "{step:?}");
        kernel.resume(Answer::PinEntered, &mut reader)
    });
    let step = worker.join().unwrap();
    let StepKind::OnlineRequired { entry, .. } = step.kind else { panic!("{step:?}") };
    assert_eq!(entry.field22(), "981");
    let mut limited = loaded(&params());
    for amount in [0, 500_001] {
        let step = limited.start(sale(amount, Interface::Contactless), &mut kernel::NoCard);
        assert_eq!((step.kind, step.reason), (StepKind::TryOther(Other::Contact), Reason::ContactlessLimit));
    }
}
