//! The published transcripts, from the terminal's side: a scripted card must see exactly the published commands, and
//! the messages must carry exactly the published field 55.
//!
//! The card here is a list. A kernel that asks in another order, or fills a list of data objects otherwise, fails at
//! the first command that differs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use kernel::{
    Answer, CardChannel, ChannelError, Interface, Kernel, NoCard, Reason, Step, StepKind, TransParams, Upload,
};
use rig::{loaded, params};

const R11: &str =
    "702F57116224242000000013D291222000000001235F200C4C414220434152442F4C30319F1F0A30303030303030303030";
const R21: &str = "7081B08F01F19F3201039214EF45FB00F9864DE67AABC9E49000A0A55CDE4C0B90819081E69CAA43329607F2F9DC19D023BB695A268C3D20E242805064E1D5507655EF5CA116C5ED9A51938631D39EFA4F45FD2029EDDB2E35F5E3222AA2C04C8ED0D09321C125751C3A365A80E09D502A1457110CA012A6401CF9ED7D38AFCE02B8A37F2E2F5FA61548AC932BCA097F41C0CAC30258B80643EF01BA63654D0290D79B4BBED3637C841C2D482AB2D36B8BE725";
const R22: &str = "70819B9F46818068BF33F91765C9BC74F545950A037441ACA637C39025C39F262E28EC16A0EB773ED7D499814E67023EEB94C224BE21AF60E37A4B3E44307039601F59D0FD21816BBBD643E1180F4CFBB7E8CE52E64799E46A624ADE325EC0747E970992E0D67B22C104E0769C1402001E1C98BE1F2E30712EE285B74ADE5A8DEE9A522CAB8E339F4701039F480AFB00E9851C92FEB0061B9F49039F3704";
const R23: &str = "70818393818034F6973E744FF458A76AF552D6827941F835B508A85A665649A83BA95B94F7C37E14364749E4FD2C1DF1801055B85C85DF8829731A565E72DA5E5408E21518E94038DCD5058A243574CCAAC7FD640552CA0949DBF06A9322A8C12438E9534C1519A78E2827E8E010BEBE64B57AC0D904B64079E0390BEAA06E98A6DDEED5621B";
const R31: &str = "7081925A0862242420000000135F3401015F24032912315F25032411015F280201569F0702FF008E0E000000000000000042031E031F009F0D05D86004A8009F0E0500100000009F0F05D86804F8009F4A01828C189F02069F03069F1A0295055F2A029A039C019F37049F21038D178A029F02069F03069F1A0295055F2A029A039C019F37049F080200305F300202209F42020156";
const SDAD: &str = "72D5CDE0B5BFBECBF98C1B68A7F5956F8E89B6E7A38F31F464739BF716993440A27722027F1C03E2DB072CAE5B50A803A7D8BE27F13D929D850FDFE0119D656CBC39E780A625C39E2750323D3E2DA467D336F11B352E61CAC96B113C834564A8";

const REQUEST: &str = "9F2608419217144F4F17BD9F2701809F100807010103A00002019F37041A2B3C4D9F36020012950500000480009A032611249C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34034203009F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000124";
const ANSWER: &str = "910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A";

/// A card that is a list of commands and answers.
struct Scripted {
    lines: Vec<(String, String)>,
    at: usize,
}

impl Scripted {
    fn new(pairs: &[(&str, &str)]) -> Self {
        let clean = |text: &str| text.replace(' ', "");
        Self { lines: pairs.iter().map(|(c, r)| (clean(c), clean(r))).collect(), at: 0 }
    }

    fn expects(&mut self, pairs: &[(&str, &str)]) {
        self.lines.extend(Self::new(pairs).lines);
    }

    fn finished(&self) {
        assert_eq!(self.at, self.lines.len(), "commands left over");
    }
}

impl CardChannel for Scripted {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let Some((command, answer)) = self.lines.get(self.at) else {
            panic!("a command too many: {}", hex::encode_upper(apdu));
        };
        assert_eq!(&hex::encode_upper(apdu), command, "line {}", self.at);
        self.at += 1;
        if answer == "GONE" {
            return Err(ChannelError::Removed);
        }
        Ok(hex::decode(answer).unwrap())
    }
}

fn first_half() -> Scripted {
    let record = |record: &str| format!("{record}9000");
    let (r11, r21, r22, r23, r31) = (record(R11), record(R21), record(R22), record(R23), record(R31));
    Scripted::new(&[
        (
            "00A404000E 315041592E5359532E4444463031 00",
            "6F1A840E315041592E5359532E4444463031A5088801015F2D027A68 9000",
        ),
        ("00B2010C00", "701A61184F08A00000033301010150094C4142204445424954870101 9000"),
        ("00B2020C00", "6A83"),
        (
            "00A4040008 A000000333010101 00",
            "6F278408A000000333010101A51B50094C41422044454249548701015F2D027A68BF0C059F4D020B0A 9000",
        ),
        ("80A8000002 8300 00", "800E7C00080101001001030018010101 9000"),
        ("00B2010C00", &r11),
        ("00B2011400", &r21),
        ("00B2021400", &r22),
        ("00B2031400", &r23),
        ("00B2011C00", &r31),
        ("0088000004 1A2B3C4D 00", &format!("8060 {SDAD} 9000")),
    ])
}

const AC1: [(&str, &str); 3] = [
    ("80CA9F3600", "9F36020012 9000"),
    ("80CA9F1300", "9F13020011 9000"),
    (
        "80AE800020 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 101530 00",
        "8013 80 0012 419217144F4F17BD 07010103A0000201 9000",
    ),
];

fn contact() -> TransParams {
    TransParams::sale(
        10_000,
        [0x26, 0x11, 0x24],
        [0x10, 0x15, 0x30],
        124,
        [0x1A, 0x2B, 0x3C, 0x4D],
        Interface::Contact,
    )
}

/// Up to the request. PIN is asked before the first cryptogram, and the status information grows as published.
fn to_the_host(kernel: &mut dyn Kernel, card: &mut Scripted) -> Step {
    let step = kernel.start(contact(), card);
    let StepKind::NeedPin { online: true, bypass_ok: false, tries_left: None } = step.kind else {
        panic!("{step:?}");
    };
    assert_eq!(hex::encode_upper(step.tsi), "8000");
    card.expects(&AC1);
    let step = kernel.resume(Answer::PinEntered, card);
    let StepKind::OnlineRequired { field55, entry, .. } = &step.kind else { panic!("{step:?}") };
    assert_eq!(hex::encode_upper(field55), REQUEST);
    assert_eq!((field55.len(), entry.field22(), entry.field60_5()), (134, "051", "0"));
    assert_eq!(
        (hex::encode_upper(step.tvr).as_str(), hex::encode_upper(step.tsi).as_str()),
        ("0000048000", "E800")
    );
    step
}

#[test]
fn a_contact_sale_from_selection_to_script() {
    let mut kernel = loaded(&params());
    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    card.expects(&[
        ("008200000A FEC3953EF5A2BC44 3030", "9000"),
        (
            "80AE40001F 3030 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 00",
            "8013 40 0012 B06EAB7939A3EC73 0701010360000201 9000",
        ),
        ("04DA9F5805 03 56B34A1A", "9000"),
    ]);
    let answer = Answer::HostAnswer { code: *b"00", field55: hex::decode(ANSWER).unwrap() };
    let step = kernel.resume(answer, &mut card);
    card.finished();
    assert_eq!(hex::encode_upper(step.tsi), "FC00");
    let StepKind::Approved { offline: false, cryptogram, field55, arpc_failed: false, follow_up, .. } =
        &step.kind
    else {
        panic!("{step:?}");
    };
    assert_eq!(hex::encode_upper(cryptogram), "B06EAB7939A3EC73");
    let certificate = REQUEST
        .replace("419217144F4F17BD", "B06EAB7939A3EC73")
        .replace("9F270180", "9F270140")
        .replace("07010103A0000201", "0701010360000201")
        + "8A023030";
    assert_eq!(hex::encode_upper(field55), certificate);
    assert_eq!(field55.len(), 138);
    assert!(follow_up.script_result && follow_up.reversal.is_none());
    assert_eq!(follow_up.upload, Upload::Certificate);

    let data = kernel.chip_data().unwrap();
    assert_eq!(hex::encode_upper(&data.field55_request), REQUEST);
    assert_eq!(
        hex::encode_upper(&data.field55_reversal),
        "950500000480009F1E08504F53504C4142319F100807010103600002019F36020012DF31052000000001"
    );
    assert_eq!(
        hex::encode_upper(data.field55_script_result.clone().unwrap()),
        "9F3303E0F0C8950500000480009F37041A2B3C4D9F1E08504F53504C4142319F100807010103600002019F2608B06EAB7939A3EC739F3602001282027C00DF310520000000019F1A0201569A03261124"
    );
    assert_eq!((data.cryptogram_name, data.label.as_str(), data.sequence), ("TC", "LAB DEBIT", Some(1)));
    assert_eq!(data.track2.as_ref().unwrap().as_str(), "6224242000000013D29122200000000123");
    assert_eq!((data.pan.digits(), data.expiry.as_str()), (Some("6224242000000013"), "2912"));
    let shown = format!("{data:?}{}{step:?}{kernel:?}", kernel.dump());
    assert!(!shown.contains("6224242000000013") && !shown.contains("2424200000"), "{shown}");
    assert!(shown.contains("622424******0013"));
}

/// The field 55 of reversals: after silence, after a wrong issuer cryptogram (K8).
#[test]
fn reversals_carry_the_data_of_their_moment() {
    let mut kernel = loaded(&params());
    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    // Silence: the card is told (Z3) and asked to decline; the reversal speaks of the moment before.
    card.expects(&[(
        "80AE00001F 5A33 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 00",
        "8013 00 0012 78AEB62DAAC525AD 0701010321000201 9000",
    )]);
    let step = kernel.resume(Answer::HostUnreachable, &mut card);
    card.finished();
    let StepKind::Declined { offline: false, field55, follow_up, .. } = &step.kind else {
        panic!("{step:?}")
    };
    assert_eq!(follow_up.reversal, Some(*b"98"));
    assert_eq!(
        hex::encode_upper(field55),
        "950500000480009F1E08504F53504C4142319F100807010103A00002019F36020012"
    );

    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    card.expects(&[
        ("008200000A FEC3953EF5A2BC45 3030", "6300"),
        (
            "80AE40001F 3030 000000010000 000000000000 0156 0000048040 0156 261124 00 1A2B3C4D 00",
            "8013 00 0012 8822CD2E9D2FA1BD 0701010328000201 9000",
        ),
    ]);
    let field55 = hex::decode("910AFEC3953EF5A2BC453030").unwrap();
    let step = kernel.resume(Answer::HostAnswer { code: *b"00", field55 }, &mut card);
    card.finished();
    let StepKind::Declined { cryptogram, field55, follow_up, .. } = &step.kind else { panic!("{step:?}") };
    assert_eq!((follow_up.reversal, step.reason), (Some(*b"06"), Reason::IssuerNotAuthentic));
    assert_eq!(hex::encode_upper(cryptogram.unwrap()), "8822CD2E9D2FA1BD");
    assert_eq!(
        hex::encode_upper(field55),
        "950500000480409F1E08504F53504C4142319F100807010103280002019F36020012"
    );
}

/// A tap of 12.50: three commands, then the card may leave.
#[test]
fn a_tap_below_the_limit() {
    let mut kernel = loaded(&params());
    let mut card = Scripted::new(&[
        (
            "00A404000E 325041592E5359532E4444463031 00",
            "6F2F840E325041592E5359532E4444463031A51DBF0C1A61184F08A00000033301010150094C4142204445424954870101 9000",
        ),
        (
            "00A4040008 A000000333010101 00",
            "6F3A8408A000000333010101A52E50094C41422044454249548701019F38189F66049F02069F03069F1A0295055F2A029A039C019F37045F2D027A68 9000",
        ),
        (
            "80A8000023 8321 36800080 000000001250 000000000000 0156 0000000000 0156 261124 00 5E6F7081 00",
            "773B82027C009F3602001357116224242000000013D291222000000001239F100807010103A00000019F2608DC67EE54468713435F3401019F6C020000 9000",
        ),
    ]);
    let params = TransParams::sale(
        1_250,
        [0x26, 0x11, 0x24],
        [0x10, 0x16, 0x00],
        125,
        [0x5E, 0x6F, 0x70, 0x81],
        Interface::Contactless,
    );
    let step = kernel.start(params, &mut card);
    card.finished();
    let StepKind::OnlineRequired { field55, entry, cvm } = &step.kind else { panic!("{step:?}") };
    assert_eq!(
        hex::encode_upper(field55),
        "9F2608DC67EE54468713439F2701809F100807010103A00000019F37045E6F70819F36020013950500000000009A032611249C01009F02060000000012505F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34031F00029F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000125"
    );
    assert_eq!((entry.field22(), cvm.small_amount, cvm.signature), ("072", true, false));
    assert_eq!(
        kernel.chip_data().unwrap().pan.digits(),
        Some("6224242000000013"),
        "from track 2: 5A is not in the answer"
    );
    let step = kernel.resume(Answer::HostAnswer { code: *b"00", field55: Vec::new() }, &mut NoCard);
    assert!(
        matches!(&step.kind, StepKind::Approved { offline: false, follow_up, .. } if follow_up.upload == Upload::None)
    );
}

/// The card is pulled at each moment after the request.
#[test]
fn a_card_pulled_after_the_request() {
    let answer = || Answer::HostAnswer { code: *b"00", field55: hex::decode(ANSWER).unwrap() };
    let external = ("008200000A FEC3953EF5A2BC44 3030", "9000");
    let second = (
        "80AE40001F 3030 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 00",
        "8013 40 0012 B06EAB7939A3EC73 0701010360000201 9000",
    );
    let script = "04DA9F5805 03 56B34A1A";

    let mut kernel = loaded(&params());
    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    card.expects(&[(external.0, "GONE")]);
    let step = kernel.resume(answer(), &mut card);
    assert!(
        matches!(&step.kind, StepKind::Declined { follow_up, .. } if follow_up.reversal == Some(*b"06")),
        "{step:?}"
    );

    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    card.expects(&[external, (second.0, "GONE")]);
    let step = kernel.resume(answer(), &mut card);
    assert!(
        matches!(&step.kind, StepKind::Declined { follow_up, .. } if follow_up.reversal == Some(*b"06")),
        "{step:?}"
    );

    // During the script after the certificate: approved, and the script's result says that it was not performed.
    let mut card = first_half();
    to_the_host(&mut kernel, &mut card);
    card.expects(&[external, second, (script, "GONE")]);
    let step = kernel.resume(answer(), &mut card);
    assert!(
        matches!(&step.kind, StepKind::Approved { follow_up, .. } if follow_up.script_result),
        "{step:?}"
    );
    assert_eq!(kernel.chip_data().unwrap().script_result.unwrap(), [0x00, 0, 0, 0, 1]);
    assert_eq!(step.tvr[4], 0x10);
}
