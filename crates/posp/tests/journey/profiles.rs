//! Acquirer profiles: listeners that speak differently on one host, a merchant with a profile of its own, terminals of
//! both ciphers beside each other. What is told apart is the form alone: the payments, the books and the network are
//! the same for all.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use iso8583::{Dialect, Profile};
use pos::{KeyLayout, Kind, Outcome, Status, Surroundings, Terminal, TmkComponent, VoidRequest};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::support::line::Faults;
use crate::support::{FIRST, Lab, MERCHANT, NATIONAL, SECOND, Setup, TMK, text, until};
use crate::{books_agree, chip, code, sold, swipe};

/// A family without header, with characters in 60 and the retail MAC under double keys.
const NORTH: &[(&str, &str)] = &[
    ("header", "none"),
    ("field_23", "left"),
    ("field_60", "ascii"),
    ("pad", "f"),
    ("pad_pan", "f"),
    ("mac", "x9.19-pad80"),
    ("mac_key", "16"),
    ("pin_length", "6"),
    ("settlement", "95"),
];

/// A family of SM4 terminals behind access equipment, with codes of its own.
const SOUTH: &[(&str, &str)] = &[
    ("lri", "yes"),
    ("sm4_digit", "3"),
    ("sm4_pin", "59-a1"),
    ("field_59", "2"),
    ("sm4_sign_in", "005"),
    ("key_layout", "records"),
    ("signature_mti", "0920"),
    ("reversed_again", "25"),
];

/// A family that signs with a plain chain and sends the bytes as they are.
const EAST: &[(&str, &str)] = &[
    ("header", "000000000000"),
    ("field_32", "right"),
    ("field_60_max", "19"),
    ("mac", "x9.9"),
    ("mac_form", "raw"),
];

const PROFILES: &str = "\
[profile.north]
header = 'none'
field_23 = 'left'
field_60 = 'ascii'
pad = 'f'
pad_pan = 'f'
mac = 'x9.19-pad80'
mac_key = 16
pin_length = 6
settlement = 95
[profile.south]
lri = true
sm4_digit = 3
sm4_pin = '59-a1'
field_59 = 2
sm4_sign_in = '005'
key_layout = 'records'
signature_mti = '0920'
reversed_again = 25
[profile.east]
header = '000000000000'
field_32 = 'right'
field_60_max = 19
mac = 'x9.9'
mac_form = 'raw'
";

fn profile(switches: &[(&str, &str)]) -> Profile {
    let mut profile = Profile::CUP_POS_1;
    for (name, value) in switches {
        profile.set(name, value).unwrap();
    }
    profile.check().unwrap();
    profile
}

/// A terminal at an address, with its switches and its master key.
async fn enrolled(
    lab: &Lab,
    id: &str,
    address: SocketAddr,
    switches: &[(&str, &str)],
) -> (Terminal, Arc<Faults>) {
    let mut config = lab.terminal_config(id);
    config.host = address.to_string();
    config.profile = switches.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let line = Arc::new(Faults::new(address));
    let surroundings = Surroundings { dial: Some(line.clone()), ..Surroundings::default() };
    let mut terminal = Terminal::enrol_in(lab.terminal_dir(id), config, surroundings).unwrap();
    terminal.load_tmk(&TMK.map(TmkComponent::parse), None).await.unwrap();
    (terminal, line)
}

/// The body of a frame in a profile; a request of a profile with access equipment has its block.
fn body<'a>(frame: &'a [u8], profile: &Profile, answer: bool) -> &'a [u8] {
    let profile = Profile { lri: profile.lri && !answer, ..profile.clone() };
    iso8583::frame::parse_pos(&frame[2..], &profile).unwrap().body
}

fn request<'a>(outcome: &'a Outcome, profile: &Profile) -> iso8583::Message<'a> {
    Dialect::for_profile(profile).parse(body(&outcome.request, profile, false)).unwrap()
}

fn response<'a>(outcome: &'a Outcome, profile: &Profile) -> iso8583::Message<'a> {
    Dialect::for_profile(profile).parse(body(outcome.response.as_ref().unwrap(), profile, true)).unwrap()
}

/// Sends a frame on a connection of its own and gives the answer.
async fn exchange(address: SocketAddr, frame: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(frame).await.unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await.unwrap();
    answer.splice(0..0, length);
    Some(answer)
}

/// The one chip card of the deck that terminals hand around: its counter goes on with each use.
static CHIP: Mutex<()> = Mutex::const_new(());

/// A day of one terminal: sales by stripe and chip, a void, a balanced settlement.
async fn day(terminal: &mut Terminal, layout: KeyLayout, fen: u64) -> Vec<Outcome> {
    let signed_in = terminal.sign_in(layout).await.unwrap();
    assert!(signed_in.approved, "{signed_in:?}");
    let swiped = sold(terminal, swipe(fen)).await;
    let card = CHIP.lock().await;
    let inserted = sold(terminal, chip(fen + 1)).await;
    drop(card);
    terminal.sign(inserted.trace, b"a drawing").await.unwrap();
    let uploaded = terminal.upload_waiting().await.unwrap();
    assert!(!uploaded.is_empty() && uploaded.iter().all(|part| part.approved), "{uploaded:?}");
    let voided = terminal.void(VoidRequest::by_trace(swiped.trace)).await.unwrap();
    assert_eq!(code(&voided), "00", "{voided:?}");
    [signed_in, swiped, inserted, voided].into_iter().chain(uploaded).collect()
}

/// Four terminals at four listeners of one host, each with another profile, all at once: each is answered as it asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_speaks_its_own_profile() {
    const EAST_TERMINAL: &str = "10000003";
    let lab = Lab::start(Setup {
        terminals: vec![(FIRST, "des"), (SECOND, "des"), (EAST_TERMINAL, "des"), (NATIONAL, "sm4")],
        profiles: PROFILES,
        listeners: &["north", "south", "east"],
        ..Setup::default()
    })
    .await;
    let (mut plain, _) = enrolled(&lab, FIRST, lab.pos, &[]).await;
    let (mut north, north_line) = enrolled(&lab, SECOND, lab.listeners[0], NORTH).await;
    let (mut south, south_line) = enrolled(&lab, NATIONAL, lab.listeners[1], SOUTH).await;
    let (mut east, _) = enrolled(&lab, EAST_TERMINAL, lab.listeners[2], EAST).await;
    let (plain_day, north_day, south_day, east_day) = tokio::join!(
        day(&mut plain, KeyLayout::TripleDesTrack, 10_000),
        day(&mut north, KeyLayout::TripleDesTrack, 20_000),
        day(&mut south, KeyLayout::Sm4, 30_000),
        day(&mut east, KeyLayout::TripleDes, 40_000),
    );

    // The forms on the wire, by what only they can be.
    let forms = [(&plain_day, &[][..]), (&north_day, NORTH), (&south_day, SOUTH), (&east_day, EAST)];
    for (outcomes, switches) in forms {
        let profile = profile(switches);
        for outcome in outcomes {
            let (asked, answered) = (request(outcome, &profile), response(outcome, &profile));
            assert_eq!(answered.mti(), asked.mti().response());
            for field in [11, 41, 42] {
                assert_eq!(asked.field(field).unwrap().wire(), answered.field(field).unwrap().wire());
            }
        }
    }
    let north_sale = &north_day[2];
    assert_eq!(north_sale.request[7..9], [0x02, 0x00], "no header: the type follows the TPDU");
    assert_eq!(north_sale.response.as_ref().unwrap()[7..9], [0x02, 0x10]);
    let message = response(north_sale, &profile(NORTH));
    assert_eq!(message.bytes_of(60).unwrap(), b"22000001000600");
    assert_eq!(message.bytes_of(23).unwrap(), [0x00, 0x10], "from the left");
    assert_eq!(request(north_sale, &profile(NORTH)).digits(26).unwrap(), "06");
    let keys = response(&north_day[0], &profile(NORTH)).bytes_of(62).unwrap().to_vec();
    assert!(keys.len() == 60 && keys[28..36] != [0; 8], "a MAC key of double length");

    let south_sale = request(&south_day[2], &profile(SOUTH));
    assert_eq!(south_sale.digits(53).unwrap().as_str()[..2], *"23");
    let carrier = south_sale.bytes_of(59).unwrap();
    assert!(carrier.len() == 20 && carrier.starts_with(b"A116") && !south_sale.has(63));
    let signed_in = response(&south_day[0], &profile(SOUTH));
    assert_eq!(signed_in.digits(60).unwrap(), "00000001011", "005 is answered with 011");
    assert_eq!(signed_in.bytes_of(62).unwrap().len(), 75, "three records of 25 bytes");
    let signature = &south_day[4];
    assert_eq!(request(signature, &profile(SOUTH)).mti().value(), 920);
    assert_eq!(response(signature, &profile(SOUTH)).mti().value(), 930);
    assert_eq!(request(&north_day[4], &profile(NORTH)).mti().value(), 820);

    let east_sale = request(&east_day[1], &profile(EAST));
    let mac = east_sale.bytes_of(64).unwrap();
    assert!(!mac.iter().all(u8::is_ascii_hexdigit), "raw bytes: {mac:?}");
    assert_eq!(east_day[1].request[7..13], [0; 6]);

    // A reversal, and the same one again: 25 where the profile says so.
    for (terminal, line, address, switches, again) in [
        (&mut north, &north_line, lab.listeners[0], NORTH, "00"),
        (&mut south, &south_line, lab.listeners[1], SOUTH, "25"),
    ] {
        line.drop_next_answer();
        assert_eq!(terminal.sale(swipe(50_001)).await.unwrap().status, Status::NoAnswer);
        let next = sold(terminal, swipe(50_002)).await;
        let reversal = next.preceding.iter().find(|o| o.kind == Kind::Reversal).unwrap();
        assert_eq!(code(reversal), "00", "{reversal:?}");
        let answer = exchange(address, &reversal.request).await.unwrap();
        let profile = profile(switches);
        let message = Dialect::for_profile(&profile).parse(body(&answer, &profile, true)).unwrap();
        assert_eq!(message.text(39), Some(again));
    }

    // Every history can be read again, whatever form it is in.
    for outcomes in [&north_day, &south_day, &east_day] {
        let shown = lab.good(&["txn", "show", outcomes[2].rrn.as_deref().unwrap(), "--bytes"]);
        assert!(
            shown.contains("terminal → posp  0200") && shown.contains("posp → terminal  0210"),
            "{shown}"
        );
    }
    let listed = lab.good(&["doctor"]);
    assert!(listed.contains("profile north") && listed.contains("profile south"), "{listed}");
    let hex = hex::encode(&north_day[2].request[2..]);
    fs::write(lab.dir.path().join("frame.hex"), &hex).unwrap();
    let file = lab.dir.path().join("frame.hex");
    let decoded = lab.good(&["8583", "decode", "--profile", "north", file.to_str().unwrap()]);
    assert!(decoded.contains("TPDU 6000030000, header none"), "{decoded}");
    for terminal in [&mut plain, &mut north, &mut south, &mut east] {
        let settled = terminal.settle().await.unwrap();
        assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    }
    books_agree(&lab).await;
}

/// A merchant with a profile of its own, behind the listener that all use: MACs of another rule are wrong until the
/// merchant has it, and right as long as it has.
#[tokio::test]
async fn a_merchant_may_have_its_own_profile() {
    const NINE: &[(&str, &str)] = &[("mac", "x9.9"), ("settlement", "95")];
    let mut lab = Lab::start(Setup {
        profiles: "[profile.nine]\nmac = 'x9.9'\nsettlement = 95\n[profile.bare]\nheader = 'none'\n",
        listeners: &["bare"],
        ..Setup::default()
    })
    .await;
    let (mut terminal, line) = enrolled(&lab, FIRST, lab.pos, NINE).await;
    assert!(terminal.sign_in(KeyLayout::TripleDes).await.unwrap().approved);
    let refused = terminal.sale(swipe(1_000)).await.unwrap();
    assert!(!refused.approved, "a MAC of another rule is no MAC: {refused:?}");

    let in_force = |lab: &Lab, arguments: &[&str]| {
        let before = lab.log().matches("master data read again").count();
        lab.good(arguments);
        before
    };
    let before = in_force(&lab, &["merchant", "add", MERCHANT, "--profile", "nine"]);
    reads_again(&lab, before).await;
    assert!(lab.good(&["merchant", "list"]).contains("nine"));
    assert!(terminal.sign_in(KeyLayout::TripleDes).await.unwrap().approved);
    sold(&mut terminal, swipe(1_100)).await;
    sold(&mut terminal, chip(1_200)).await;

    // One payment that the terminal does not know: its totals differ, and 95 says so.
    line.drop_next_answer();
    assert_eq!(terminal.sale(swipe(3_333)).await.unwrap().status, Status::NoAnswer);
    lab.payment_in(&["--amount-min", "33.33", "--amount-max", "33.33"], "approved").await;
    drop(terminal);
    lab.edit_terminal(FIRST, |state| state["reversal"] = Value::Null);
    let mut terminal = lab.reopen(FIRST);
    let settled = terminal.settle().await.unwrap();
    let asked = settled.preceding.iter().find(|o| o.kind == Kind::Settlement).unwrap_or(&settled);
    assert_eq!(code(asked), "95", "{asked:?}");
    let message = response(asked, &profile(NINE));
    assert_eq!(message.field(48).unwrap().wire(), request(asked, &profile(NINE)).field(48).unwrap().wire());

    // Who has none again speaks as the listener does.
    let before = in_force(&lab, &["merchant", "add", MERCHANT, "--no-profile"]);
    reads_again(&lab, before).await;
    let (mut second, _) = lab.signed_in(SECOND).await;
    sold(&mut second, swipe(1_300)).await;

    // A profile that this listener does not read is answered in a word that says so, and by the log.
    let before = in_force(&lab, &["merchant", "add", MERCHANT, "--profile", "bare"]);
    reads_again(&lab, before).await;
    assert_eq!(code(&second.sale(swipe(1_400)).await.unwrap()), "31");
    assert!(lab.log().contains("the merchant's profile is not read at this listener"));

    // A profile that is not in the file is refused by the command; one that went is named by the doctor.
    let unknown = lab.posp(&["merchant", "add", MERCHANT, "--profile", "nowhere"]);
    assert!(
        !unknown.status.success() && text(&unknown).contains("cup-pos-1, bare, nine"),
        "{}",
        text(&unknown)
    );
    lab.stop_node().await;
    let config = fs::read_to_string(lab.config()).unwrap();
    fs::write(lab.config(), config.replace("[profile.bare]", "[profile.other]").replace("'bare'", "'other'"))
        .unwrap();
    lab.start_node().await;
    lab.ready().await;
    assert_eq!(code(&second.sale(swipe(1_500)).await.unwrap()), "31");
    let ill = lab.posp(&["doctor"]);
    assert!(!ill.status.success() && text(&ill).contains("there is no profile bare"), "{}", text(&ill));
    assert!(lab.log().contains("the merchant's profile is not in the configuration"));
    let before = in_force(&lab, &["merchant", "add", MERCHANT, "--no-profile"]);
    reads_again(&lab, before).await;
    sold(&mut second, swipe(1_600)).await;
    books_agree(&lab).await;
}

async fn reads_again(lab: &Lab, before: usize) {
    until("the change is in force", || {
        (lab.log().matches("master data read again").count() > before).then_some(())
    })
    .await;
}

/// A terminal that dialled the wrong listener gets no approval, whichever way round; the terminals of the listener go
/// on.
#[tokio::test]
async fn a_terminal_at_the_wrong_listener_is_not_served() {
    let lab =
        Lab::start(Setup { profiles: PROFILES, listeners: &["north", "south"], ..Setup::default() }).await;
    let [north, south] = lab.listeners[..] else { panic!("two listeners") };
    let (mut right, _) = enrolled(&lab, FIRST, lab.pos, &[]).await;
    assert!(right.sign_in(KeyLayout::TripleDes).await.unwrap().approved);
    let wrong = [(north, &[][..]), (south, &[][..]), (lab.pos, NORTH), (lab.pos, SOUTH), (north, SOUTH)];
    for (number, (address, switches)) in wrong.into_iter().enumerate() {
        let mut config = lab.terminal_config(SECOND);
        config.host = address.to_string();
        config.profile = switches.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut terminal = Terminal::enrol(lab.terminal_dir(&format!("wrong{number}")), config).unwrap();
        terminal.load_tmk(&TMK.map(TmkComponent::parse), None).await.unwrap();
        let outcome = terminal.sign_in(KeyLayout::TripleDes).await;
        assert!(outcome.as_ref().is_ok_and(|outcome| !outcome.approved), "{number}: {outcome:?}");
        sold(&mut right, swipe(100 + number as u64)).await;
    }
    let log = lab.log();
    assert!(log.contains("message type unreadable") || log.contains("malformed message"), "{log}");
    books_agree(&lab).await;
}

/// Check values as the operator's list has them.
fn listed_keys(lab: &Lab, id: &str) -> Value {
    let listed = lab.good(&["terminal", "list", "--json"]);
    let rows: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.iter().find(|row| row["terminal"] == id).unwrap()["kcv"].clone()
}

/// Triple DES and SM4 terminals beside each other on one listener: they sign in, pay with PIN and MAC, and void at the
/// same time. On both sides of each the keys have the same check values, and nobody has another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ciphers_beside_each_other() {
    let lab = Lab::start(Setup::default()).await;
    let (mut des, _) = lab.terminal(FIRST).await;
    let (mut double, _) = lab.terminal(SECOND).await;
    let (mut national, _) = lab.terminal(NATIONAL).await;
    let (des_day, double_day, national_day) = tokio::join!(
        day(&mut des, KeyLayout::Des, 10_000),
        day(&mut double, KeyLayout::TripleDesTrack, 20_000),
        day(&mut national, KeyLayout::Sm4, 30_000),
    );
    let baseline = Profile::CUP_POS_1;
    for (outcomes, security, track, sm4) in
        [(&des_day, "20", "0", false), (&double_day, "26", "1", false), (&national_day, "24", "1", true)]
    {
        for outcome in &outcomes[1..] {
            assert!(request(outcome, &baseline).bytes_of(64).unwrap().iter().all(u8::is_ascii_hexdigit));
            assert!(response(outcome, &baseline).has(64), "each answer is signed");
        }
        for outcome in &outcomes[1..3] {
            let message = request(outcome, &baseline);
            let digits = message.digits(53).unwrap();
            assert_eq!((&digits.as_str()[..2], &digits.as_str()[2..3]), (security, track), "with PIN");
            let zeros = message.bytes_of(52).unwrap() == [0; 8];
            let carried = message.bytes_of(63).is_some_and(|field| field.starts_with(b"SM016"));
            assert_eq!((zeros, carried), (sm4, sm4), "{outcome:?}");
        }
    }
    let mut seen = Vec::new();
    for (terminal, id) in [(des, FIRST), (double, SECOND), (national, NATIONAL)] {
        drop(terminal);
        let host = listed_keys(&lab, id);
        let state: Value =
            serde_json::from_slice(&fs::read(lab.terminal_dir(id).join("state.json")).unwrap()).unwrap();
        let keys = &state["keys"];
        let own =
            |key: &Value| key.as_str().map(|text| text.parse::<hsm::WrappedKey>().unwrap().kcv().short());
        let master = if id == NATIONAL { &keys["master_sm4"] } else { &keys["master"] };
        assert_eq!(host["tmk"].as_str().map(str::to_owned), own(master), "{id}");
        for (listed, held) in [("pik", "pin"), ("mak", "mac"), ("tdk", "track")] {
            assert_eq!(
                host[listed].as_str().map(str::to_owned),
                own(&keys["working"][held]),
                "{id} {listed}"
            );
            seen.extend(host[listed].as_str().map(str::to_owned));
        }
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (8, 8), "every key is another one");
    books_agree(&lab).await;
}
