//! Bad input against the whole binary: whatever a terminal, a broken line or a stranger sends gets the response
//! code that the architecture promises or a closed connection, a log line that names the reason and shows no card
//! number, and a metric; and afterwards an honest sale works as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::time::Duration;

use acquiring::{BatchNo, MerchantId, TerminalId};
use support::raw::{Line, PAN, RawTerminal, Reply, Request};
use support::{FIRST, Lab, MERCHANT, SECOND, Setup, get, metric, until, until_async};

/// Where the message begins in a frame: after length, TPDU and header.
const BODY: usize = 13;

struct Bench {
    lab: Lab,
    terminal: RawTerminal,
}

/// What a case must leave behind.
struct Expected {
    /// Response code; nothing where the connection is closed.
    code: Option<&'static str>,
    /// The answer carries a MAC.
    signed: bool,
    /// Words of the log line.
    reason: &'static str,
    /// The metric that counts it.
    metric: (&'static str, &'static [(&'static str, &'static str)]),
}

struct Before {
    log: usize,
    metrics: String,
}

impl Bench {
    async fn start() -> Bench {
        let lab = Lab::start(Setup::default()).await;
        let terminal = RawTerminal::signed_in(lab.pos).await;
        Bench { lab, terminal }
    }

    async fn before(&self) -> Before {
        Before { log: self.lab.log().len(), metrics: self.lab.metrics().await }
    }

    /// Compares, and then sells something as if nothing had happened.
    async fn after(&mut self, what: &str, before: Before, reply: &Reply, expected: &Expected) {
        match expected.code {
            Some(code) => {
                assert_eq!(reply.code(), code, "{what}");
                assert_eq!(self.terminal.is_signed(reply), expected.signed, "{what}: signed");
            }
            None => assert_eq!(*reply, Reply::Closed, "{what}"),
        }
        let said = until(&format!("{what}: the log says {:?}", expected.reason), || {
            let said = self.lab.log()[before.log..].to_owned();
            said.contains(expected.reason).then_some(said)
        })
        .await;
        no_card_numbers(what, &said);
        let (name, labels) = expected.metric;
        let counted = metric(&before.metrics, name, labels);
        until_async(&format!("{what}: {name}{labels:?} counts it"), || async {
            (metric(&self.lab.metrics().await, name, labels) == counted + 1).then_some(())
        })
        .await;
        self.terminal.good_sale().await;
    }

    /// One frame on a connection of its own, and everything it must leave behind.
    async fn case(&mut self, what: &str, frame: &[u8], expected: Expected) -> Reply {
        let before = self.before().await;
        let reply = self.terminal.send(frame).await;
        self.after(what, before, &reply, &expected).await;
        reply
    }
}

fn no_card_numbers(what: &str, text: &str) {
    for card in pos::deck::DECK {
        assert!(!text.contains(card.pan), "{what}: the number of {} is in the log", card.id);
        assert!(!text.contains(&card.pan[..card.pan.len() - 4]), "{what}: part of {} is in the log", card.id);
    }
}

/// A refusal at the door, before there is a payment.
fn refused(code: &'static str, signed: bool, reason: &'static str) -> Expected {
    let labels: &'static [(&str, &str)] = Box::leak(Box::new([("code", code), ("reason", reason)]));
    Expected { code: Some(code), signed, reason, metric: ("posp_link_refusals_total", labels) }
}

/// A refusal of a payment that is in the journal.
fn declined(code: &'static str, reason: &'static str) -> Expected {
    let labels: &'static [(&str, &str)] = Box::leak(Box::new([("reason", reason)]));
    Expected { code: Some(code), signed: true, reason, metric: ("posp_refused_total", labels) }
}

fn closed(reason: &'static str) -> Expected {
    let labels: &'static [(&str, &str)] = Box::leak(Box::new([("reason", reason)]));
    Expected { code: None, signed: false, reason, metric: ("posp_link_closed_total", labels) }
}

const MALFORMED: Expected = Expected {
    code: Some("30"),
    signed: false,
    reason: "malformed message",
    metric: ("posp_link_malformed_total", &[]),
};

/// Who sends: merchant, terminal, sign-in, batch, MAC, PIN, numbers.
#[tokio::test]
async fn senders_that_are_not_who_or_where_they_should_be() {
    let mut bench = Bench::start().await;

    let mut stranger = RawTerminal::new(bench.lab.pos, FIRST);
    stranger.merchant = "898100000000099".to_owned();
    let request = stranger.sign_in_request();
    let frame = stranger.unsigned(&request);
    bench.case("unknown merchant", &frame, refused("03", false, "merchant unknown")).await;

    let mut stranger = RawTerminal::new(bench.lab.pos, "19999999");
    let request = stranger.sign_in_request();
    let frame = stranger.unsigned(&request);
    bench.case("unknown terminal", &frame, refused("97", false, "terminal unknown")).await;

    let mut idle = RawTerminal::new(bench.lab.pos, SECOND);
    let request = idle.sale(1_000);
    let frame = idle.signed(&request);
    bench.case("never signed in", &frame, refused("77", false, "not signed in")).await;

    let mut request = bench.terminal.sale(1_000);
    request.draft.put_digits(60, "22000009000500").unwrap();
    let frame = bench.terminal.signed(&request);
    bench.case("another batch", &frame, refused("77", true, "batch differs")).await;

    let request = bench.terminal.sale(1_000);
    let mut frame = bench.terminal.signed(&request);
    *frame.last_mut().unwrap() ^= 1;
    bench.case("wrong MAC", &frame, refused("A0", true, "MAC wrong")).await;

    let request = bench.terminal.sale(1_000);
    let frame = bench.terminal.unsigned(&request);
    bench.case("missing MAC", &frame, refused("A0", true, "MAC missing")).await;

    let mut request = bench.terminal.sale(1_000);
    request.draft.put_bytes(52, &[0x13, 0x57, 0x9B, 0xDF, 0x02, 0x46, 0x8A, 0xCE]).unwrap();
    let frame = bench.terminal.signed(&request);
    bench.case("PIN block", &frame, declined("99", "request cannot be made for the network")).await;

    let request = bench.terminal.sale_with_pin(1_000, "111111");
    let frame = bench.terminal.signed(&request);
    let wrong_pin = Expected {
        code: Some("55"),
        signed: true,
        reason: "code=\"55\"",
        metric: ("posp_payments_total", &[("code", "55")]),
    };
    bench.case("wrong PIN", &frame, wrong_pin).await;

    // None of it is a payment but what the network or the journal's rules declined.
    let states: Vec<String> = bench
        .lab
        .payments(&[])
        .iter()
        .filter(|payment| payment["amount_fen"] == 1_000)
        .map(|payment| {
            format!("{} {}", payment["state"].as_str().unwrap(), payment["code"].as_str().unwrap())
        })
        .collect();
    assert_eq!(states, ["declined 55", "declined 99"]);
}

/// Repeats: the same bytes get the same answer, the same numbers with another content are refused, and neither
/// moves money again.
#[tokio::test]
async fn g4_replays_move_no_money() {
    let mut bench = Bench::start().await;
    let request = bench.terminal.sale(4_200);
    let frame = bench.terminal.signed(&request);
    let first = bench.terminal.send(&frame).await;
    assert_eq!(first.code(), "00");

    let repeat = Expected {
        code: Some("00"),
        signed: true,
        reason: "repeated=true",
        metric: ("posp_repeats_total", &[]),
    };
    let again = bench.case("the same bytes", &frame, repeat).await;
    assert_eq!(hex::encode(first.bytes()), hex::encode(again.bytes()), "the same bytes, the same answer");

    let mut request = request;
    request.draft.put_number(4, 4_300).unwrap();
    let frame = bench.terminal.signed(&request);
    let other = Expected {
        code: Some("94"),
        signed: true,
        reason: "same numbers, other content",
        metric: ("posp_repeats_total", &[]),
    };
    bench.case("the same numbers", &frame, other).await;

    let record = bench.lab.network_says("/api/record").await;
    let amounts: Vec<u64> =
        record.as_array().unwrap().iter().map(|r| r["amount"].as_u64().unwrap()).collect();
    assert_eq!(amounts.iter().filter(|amount| **amount == 4_200).count(), 1);
    assert!(!amounts.contains(&4_300));
}

/// A repeat that overtakes the answer, and a reversal that overtakes it: neither doubles nor loses the payment.
#[tokio::test]
async fn g5_what_overtakes_an_answer() {
    let setup = Setup { network_patience_ms: 30_000, late_answer_ms: 3_000, ..Setup::default() };
    let lab = Lab::start(setup).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;

    // The network answers three seconds late; the same request comes again meanwhile.
    let request = terminal.sale(19_002);
    let frame = terminal.signed(&request);
    let mut slow = Line::dial(lab.pos).await;
    slow.send(&frame).await;
    lab.payment_in(&["--amount-min", "190.02", "--amount-max", "190.02"], "pending").await;
    assert_eq!(terminal.send(&frame).await.code(), "09", "in work");
    let answer = slow.receive().await;
    assert_eq!(answer.code(), "00");
    assert_eq!(terminal.send(&frame).await, answer, "afterwards the same answer");

    // The same, and the terminal gives up and reverses meanwhile.
    let request = terminal.sale(29_002);
    let (trace, frame) = (terminal.trace, terminal.signed(&request));
    slow.send(&frame).await;
    lab.payment_in(&["--amount-min", "290.02", "--amount-max", "290.02"], "pending").await;
    let reversal = terminal.reversal(trace, 29_002);
    assert_eq!(terminal.send(&terminal.signed(&reversal)).await.code(), "00", "it is ours now");
    let answer = slow.receive().await;
    assert_ne!(answer.code(), "00", "an approval that is reversed is none");
    let payment = lab.payment_in(&["--amount-min", "290.02", "--amount-max", "290.02"], "reversed").await;
    let record = lab.record(payment["reference"].as_str().unwrap(), "0200").await.unwrap();
    assert_eq!(record["state"], "reversed");
    assert_eq!(terminal.send(&frame).await.code(), "25", "the request after its own reversal");

    // A reversal that comes before its request: nothing to undo, and the request is refused when it arrives.
    let request = terminal.sale(1_500);
    let (trace, frame) = (terminal.trace, terminal.signed(&request));
    let reversal = terminal.reversal(trace, 1_500);
    assert_eq!(terminal.send(&terminal.signed(&reversal)).await.code(), "00");
    assert_eq!(terminal.send(&frame).await.code(), "25");
    let record = lab.network_says("/api/record").await;
    assert!(record.as_array().unwrap().iter().all(|line| line["amount"] != 1_500), "it never went out");

    // A reversal with another amount undoes nothing.
    let request = terminal.sale(1_600);
    let (trace, frame) = (terminal.trace, terminal.signed(&request));
    assert_eq!(terminal.send(&frame).await.code(), "00");
    let reversal = terminal.reversal(trace, 1_601);
    assert_eq!(terminal.send(&terminal.signed(&reversal)).await.code(), "64");
    lab.payment_in(&["--amount-min", "16.00", "--amount-max", "16.00"], "approved").await;
    terminal.good_sale().await;
}

/// What is sent: each way in which a message can be broken.
#[tokio::test]
async fn g9_messages_that_are_broken() {
    let mut bench = Bench::start().await;

    let request = bench.terminal.sale(1_000);
    let mut frame = bench.terminal.signed(&request);
    frame.push(0);
    relength(&mut frame);
    bench.case("a byte after the last field", &frame, MALFORMED).await;

    // Fields 3 (three bytes) and 4 follow type and bitmap.
    let mut frame = bench.terminal.signed(&request);
    frame[BODY + 10 + 3] = 0xA0;
    bench.case("a nibble that is no digit", &frame, MALFORMED).await;

    // Fields 3, 4, 11, 22, 25 and 26 take 16 bytes before the length of field 35.
    let mut frame = bench.terminal.signed(&request);
    assert_eq!(frame[BODY + 10 + 16], 0x34);
    frame[BODY + 10 + 16] = 0x38;
    bench.case("a length above the field's maximum", &frame, MALFORMED).await;

    let mut frame = bench.terminal.signed(&request);
    frame.truncate(frame.len() - 3);
    relength(&mut frame);
    bench.case("a message that ends inside its last field", &frame, MALFORMED).await;

    let mut frame = bench.terminal.signed(&request);
    frame.truncate(BODY + 2);
    relength(&mut frame);
    bench.case("a message type and nothing else", &frame, MALFORMED).await;

    let mut request = bench.terminal.sale(1_000);
    request.draft.put_bytes(55, &[0x9F, 0x26, 0x08, 0x01, 0x02]).unwrap();
    let frame = bench.terminal.signed(&request);
    bench.case("chip data that ends inside an item", &frame, refused("30", true, "field 55 malformed")).await;

    for field in [3, 4, 11, 22, 25, 49] {
        let mut request = bench.terminal.sale(1_000);
        request.draft.remove(field);
        let frame = bench.terminal.signed(&request);
        let what = format!("without field {field}");
        let reason = if [3, 25].contains(&field) { None } else { Some("mandatory field missing") };
        match reason {
            Some(reason) => bench.case(&what, &frame, refused("30", false, reason)).await,
            // Without the fields that say which transaction it is, there is no transaction.
            None => bench.case(&what, &frame, unknown_transaction()).await,
        };
    }
    // Who does not say who he is cannot be answered with a MAC.
    for (field, signed, reason) in [
        (41, false, "field 41 missing or malformed"),
        (42, false, "field 42 missing or malformed"),
        (60, true, "field 60 missing"),
    ] {
        let mut request = bench.terminal.sale(1_000);
        request.draft.remove(field);
        let frame = bench.terminal.signed(&request);
        bench.case(&format!("without field {field}"), &frame, refused("30", signed, reason)).await;
    }

    let unknown_type = Expected {
        code: Some("40"),
        signed: false,
        reason: "unknown message type",
        metric: ("posp_link_unknown_mti_total", &[]),
    };
    let request = bench.terminal.head(600);
    let frame = bench.terminal.unsigned(&request);
    bench.case("a type that no terminal sends", &frame, unknown_type).await;

    let mut request = bench.terminal.sale(1_000);
    request.draft.put_digits(3, "990000").unwrap();
    let frame = bench.terminal.signed(&request);
    bench.case("a transaction that is in no table", &frame, unknown_transaction()).await;

    let request = bench.terminal.head(210);
    let frame = bench.terminal.unsigned(&request);
    bench.case("an answer", &frame, closed("an answer came from a terminal")).await;

    let mut frame = bench.terminal.unsigned(&request);
    frame[BODY] = 0xFF;
    bench.case("a type that is no number", &frame, closed("message type unreadable")).await;
}

fn unknown_transaction() -> Expected {
    refused("40", true, "transaction not supported")
}

/// Writes the length of a frame anew.
fn relength(frame: &mut [u8]) {
    let length = u16::try_from(frame.len() - 2).unwrap().to_be_bytes();
    frame[..2].copy_from_slice(&length);
}

/// How it is sent: lengths, pace, several at once.
#[tokio::test]
async fn g9_frames_that_are_broken() {
    let mut bench = Bench::start().await;
    let before = bench.before().await;
    let request = bench.terminal.sale(1_000);
    let good = bench.terminal.signed(&request);

    bench.case("too short for a head", &[0, 4, 1, 2, 3, 4], closed("frame has no head")).await;
    let mut tls = vec![0x16, 0x03, 0x01, 0x02, 0x00];
    tls.resize(517, 0x41);
    bench.case("a TLS greeting", &tls, closed("bad frame")).await;
    bench.case("an HTTP request", b"GET / HTTP/1.1\r\nHost: posp\r\n\r\n", closed("bad frame")).await;
    bench.case("a length above the limit", &[0xFF, 0xFF], closed("bad frame")).await;
    bench.case("a length of zero", &[0, 0, 1, 2], closed("bad frame")).await;

    let mut frame = good.clone();
    frame[1] += 1;
    bench.case("more announced than sent", &frame, closed("frame not complete in time")).await;

    let (half, what) = (&good[..good.len() / 2], "the connection ends inside a frame");
    let now = bench.before().await;
    let mut line = Line::dial(bench.lab.pos).await;
    line.send(half).await;
    line.finish().await;
    let reply = line.receive().await;
    bench.after(what, now, &reply, &closed("bad frame")).await;

    // Slow is not broken: byte by byte, as long as it is complete in time.
    let mut line = Line::dial(bench.lab.pos).await;
    for byte in &good {
        line.send(&[*byte]).await;
    }
    assert_eq!(line.receive().await.code(), "00");

    // Two in one write, and on the same connection one more, cut in two.
    let requests: Vec<Request> = (0..3).map(|_| bench.terminal.sale(100)).collect();
    let frames: Vec<Vec<u8>> = requests.iter().map(|request| bench.terminal.signed(request)).collect();
    let traces: Vec<u64> = frames.iter().map(|frame| trace(frame)).collect();
    line.send(&[frames[0].as_slice(), &frames[1], &frames[2][..20]].concat()).await;
    let mut answered = vec![trace(line.receive().await.bytes()), trace(line.receive().await.bytes())];
    line.send(&frames[2][20..]).await;
    answered.push(trace(line.receive().await.bytes()));
    assert_eq!(answered, traces, "answers come in the order of their requests");

    // A crowd that stops half way disturbs nobody and is sent away.
    let reason = [("reason", "frame not complete in time")];
    let sent_away = metric(&bench.lab.metrics().await, "posp_link_closed_total", &reason);
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut line = Line::dial(bench.lab.pos).await;
        line.send(half).await;
        crowd.push(line);
    }
    bench.terminal.good_sale().await;
    for line in &mut crowd {
        assert_eq!(line.receive().await, Reply::Closed);
    }
    until_async("the crowd is counted", || async {
        let now = metric(&bench.lab.metrics().await, "posp_link_closed_total", &reason);
        (now == sent_away + 200).then_some(())
    })
    .await;
    bench.terminal.good_sale().await;
    no_card_numbers("frames", &bench.lab.log()[before.log..]);
}

fn trace(frame: &[u8]) -> u64 {
    iso8583::CUP_POS.parse(&frame[BODY..]).unwrap().number(11).unwrap()
}

/// 2,000 frames of noise and of good requests with a few bytes changed: nothing crashes, nothing hangs, and no
/// changed request is taken for the good one.
#[tokio::test]
async fn g9_a_flood_of_noise() {
    const SEED: u64 = 0x5EED_8583;
    let mut bench = Bench::start().await;
    let mut victim = RawTerminal::new(bench.lab.pos, SECOND);
    victim.sign_in().await;
    // An amount that is sent in changed frames only: approved once at most would be once too often.
    let request: Request = victim.sale(7_777);
    let good = victim.signed(&request);
    let mut random = SplitMix(SEED);
    let (mut answers, mut ends) = (0, 0);
    for number in 0..2_000 {
        let mut frame = if number % 2 == 0 {
            let mut noise: Vec<u8> = (0..random.below(400)).map(|_| random.below(256) as u8).collect();
            noise.splice(0..0, [0, 0]);
            relength(&mut noise);
            noise
        } else {
            let mut changed = good.clone();
            for _ in 0..=random.below(3) {
                let at = BODY + random.below(changed.len() - BODY);
                changed[at] ^= 1 << random.below(8);
            }
            changed
        };
        if number % 7 == 0 {
            frame.truncate(random.below(frame.len()));
        }
        let mut line = Line::dial(bench.lab.pos).await;
        line.send(&frame).await;
        line.finish().await;
        match line.receive_within(Duration::from_secs(30)).await {
            Some(Reply::Frame(_)) => answers += 1,
            Some(Reply::Closed) => ends += 1,
            None => panic!("frame {number} of seed {SEED:#x} hangs: {}", hex::encode(&frame)),
        }
    }
    assert!(answers > 500 && ends > 500, "{answers} answers, {ends} ends");
    bench.terminal.good_sale().await;
    assert!(bench.lab.payments(&["--amount-min", "77.77", "--amount-max", "77.77"]).is_empty());
    victim.sign_in().await;
    victim.good_sale().await;
    let (status, health) = get(&format!("http://{}/healthz", bench.lab.ops)).await.unwrap();
    assert_eq!(status, 200, "{health}");
    let metrics = bench.lab.metrics().await;
    assert!(metric(&metrics, "posp_link_malformed_total", &[]) > 100);
    no_card_numbers("flood", &bench.lab.log());
    assert!(!bench.lab.log().contains("panicked"));
}

/// A small generator whose whole run follows from its seed.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Twenty wrong MACs in a row, from somebody who tries them out, take the terminal's keys away until it signs in.
#[tokio::test]
async fn somebody_tries_macs_out() {
    let mut bench = Bench::start().await;
    let request = bench.terminal.sale(1_000);
    let mut frame = bench.terminal.signed(&request);
    let end = frame.len() - 1;
    let mut codes = Vec::new();
    for _ in 0..21 {
        frame[end] = frame[end].wrapping_add(1);
        codes.push(bench.terminal.send(&frame).await.code());
    }
    assert_eq!(codes[..20], vec!["A0"; 20]);
    assert_eq!(codes[20], "77");
    assert!(bench.lab.log().contains("ALARM: too many wrong MACs"));
    assert_eq!(metric(&bench.lab.metrics().await, "posp_terminal_locked_total", &[]), 1);
    let frame = bench.terminal.signed(&request);
    assert_eq!(bench.terminal.send(&frame).await.code(), "77", "even the right MAC is too late");
    bench.terminal.sign_in().await;
    bench.terminal.good_sale().await;
    // The journal is asked as well as the network: nothing of it became a payment.
    let store = store::Store::open_read_only(bench.lab.data()).unwrap();
    let (merchant, terminal) = (MerchantId::new(MERCHANT).unwrap(), TerminalId::new(FIRST).unwrap());
    let trace = acquiring::Trace::new(trace(&frame)).unwrap();
    assert!(store.by_trace(merchant, terminal, BatchNo::FIRST, trace).await.unwrap().is_none());
    assert!(!bench.lab.log().contains(PAN));
}

/// Limits of the door: connections above the limit are sent away at once, silent ones after their time, and both
/// leave room for business.
#[tokio::test]
async fn g9_connections_above_the_limit_and_silent_ones() {
    let door = "connections_max = 20\nidle_seconds = 5\n";
    let lab = Lab::start(Setup { door, ..Setup::default() }).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    let count = |metrics: &str, name, reason| metric(metrics, name, &[("reason", reason)]);
    let taken = async |places: u64| {
        until_async(&format!("{places} places are taken"), || async {
            (metric(&lab.metrics().await, "posp_link_connections", &[]) == places).then_some(())
        })
        .await;
    };
    // The sign-in's own connection has to be gone first.
    taken(0).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(Line::dial(lab.pos).await);
    }
    taken(20).await;
    let mut one_too_many = Line::dial(lab.pos).await;
    assert_eq!(one_too_many.receive().await, Reply::Closed);
    assert!(count(&lab.metrics().await, "posp_link_refused_total", "too many connections") >= 1);
    assert!(lab.log().contains("too many connections"));
    for line in &mut crowd {
        assert_eq!(line.receive().await, Reply::Closed);
    }
    until_async("the silent ones are counted", || async {
        (count(&lab.metrics().await, "posp_link_closed_total", "idle") == 20).then_some(())
    })
    .await;
    terminal.good_sale().await;
}
