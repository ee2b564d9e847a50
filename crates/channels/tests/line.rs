//! The CUPS line against a scripted network on real sockets: sign-on and keys, many requests in flight,
//! answers in any order, late and forged answers, drops, bounces, new keys. The network is written here, on
//! the codec and the vault alone, so that it shares no rule with the line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::{
    Amount, Beijing, Clock, EntryMode, InstitutionId, MerchantId, Pan, PaymentId, ResponseCode, SystemClock,
    TerminalId,
};
use channels::unionpay_card::{LineConfig, UnionPayCard};
use channels::{Channel, NetworkRequest, Outcome, TerminalPin, Unsolicited};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, MacAlgorithm, Pin, PinFormat, SoftVault, WrappedKey};
use iso8583::frame::{self, CupsFrame, CupsHeader};
use iso8583::{CUPS, Draft, Mti};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const ZMK: [&str; 2] = ["11111111111111112222222222222222", "1032547698BADCFEDCFE98BA54761032"];
const PAN: &str = "6224242000000021";

/// A message as the network reads it: kept as bytes, parsed when looked at.
#[derive(Clone)]
struct Received {
    header: CupsHeader,
    body: Vec<u8>,
}

impl Received {
    fn number(&self, field: u8) -> u64 {
        CUPS.parse(&self.body).unwrap().number(field).unwrap()
    }

    fn mti(&self) -> u16 {
        CUPS.parse(&self.body).unwrap().mti().value()
    }
}

/// One end of a connection.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Peer { stream, buffer: Vec::new() }
    }

    /// The next message; nothing when the other side closed.
    async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some((used, found)) = frame::split_cups(&self.buffer, 4_096).unwrap() {
                let received = match found {
                    CupsFrame::Heartbeat => None,
                    CupsFrame::Message(payload) => {
                        let (header, body) = frame::parse_cups(payload).unwrap();
                        Some(Received { header, body: body.to_vec() })
                    }
                };
                self.buffer.drain(..used);
                if received.is_some() {
                    return received;
                }
                continue;
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, header: CupsHeader, draft: &Draft) {
        let mut out = Vec::new();
        let mark = frame::begin_cups(&mut out, &header);
        draft.write(&mut out).unwrap();
        frame::finish_cups(&mut out, mark).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }
}

/// The network: its vault, its keys, its connection to the member.
struct Network {
    vault: SoftVault,
    zmk: WrappedKey,
    pin: WrappedKey,
    mac: WrappedKey,
    listener: TcpListener,
    /// Keeps the connection on which keys were sent.
    to_member: Option<Peer>,
}

fn components() -> Vec<KeyComponent> {
    ZMK.iter().map(|text| KeyComponent::from_hex(text).unwrap()).collect()
}

impl Network {
    async fn new() -> Network {
        let vault = SoftVault::ephemeral().unwrap();
        let zmk =
            vault.import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &components()).unwrap();
        let pin = vault.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
        let mac = vault.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Network { vault, zmk, pin, mac, listener, to_member: None }
    }

    fn sign(&self, draft: &mut Draft, key: &WrappedKey) {
        let mut body = Vec::new();
        draft.write(&mut body).unwrap();
        let mut text = Vec::new();
        iso8583::cups::mac_text(&CUPS.parse(&body).unwrap(), &mut text);
        let mac = self.vault.mac(key, MacAlgorithm::CupsCbc, &text).unwrap();
        draft.put_bytes(128, &mac).unwrap();
    }

    /// Takes the member's connection, its sign-on, and gives it keys.
    async fn welcome(&mut self, member_listener: SocketAddr) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut peer = Peer::new(stream);
        let sign_on = peer.receive().await.unwrap();
        assert_eq!((sign_on.mti(), sign_on.number(70)), (820, 1));
        self.acknowledge(&mut peer, &sign_on).await;
        self.give_keys(&mut peer, member_listener).await;
        peer
    }

    async fn acknowledge(&self, peer: &mut Peer, request: &Received) {
        let parsed = CUPS.parse(&request.body).unwrap();
        let mut draft = Draft::new();
        draft.start(&CUPS, parsed.mti().response());
        for number in [7, 11, 33, 53, 70, 100] {
            if let Some(field) = parsed.field(number) {
                draft.put_field(&field).unwrap();
            }
        }
        draft.put_text(39, "00").unwrap();
        peer.send(request.header.swapped(), &draft).await;
    }

    /// Takes the request for keys and sends both over the network's own connection.
    async fn give_keys(&mut self, peer: &mut Peer, member_listener: SocketAddr) {
        let wanted = peer.receive().await.unwrap();
        assert_eq!((wanted.mti(), wanted.number(70)), (820, 101));
        self.acknowledge(peer, &wanted).await;
        assert_eq!(self.send_key(member_listener, 2, true).await, "00");
        assert_eq!(self.send_key(member_listener, 1, true).await, "00");
    }

    /// Sends one key (1 PIN, 2 MAC), its proof right or wrong; gives the member's answer.
    async fn send_key(&mut self, member_listener: SocketAddr, kind: u8, honest: bool) -> String {
        let key = if kind == 1 { self.pin.clone() } else { self.mac.clone() };
        let exported = self.vault.export(&key, &self.zmk).unwrap();
        let mut draft = Draft::new();
        draft.start(&CUPS, Mti::new(800));
        draft.put_digits(7, "1124101500").unwrap();
        draft.put_number(11, 77).unwrap();
        draft.put_digits(33, "00010000").unwrap();
        draft.put_bytes(48, &[b"NK", exported.cipher.as_slice()].concat()).unwrap();
        draft.put_digits(53, &format!("{kind}600000000000000")).unwrap();
        draft.put_number(70, 101).unwrap();
        draft.put_bytes(96, &[0; 8]).unwrap();
        let mac = self.mac.clone();
        self.sign(&mut draft, &mac);
        if !honest {
            draft.put_bytes(128, b"00000000").unwrap();
        }
        if self.to_member.is_none() {
            self.to_member = Some(Peer::new(TcpStream::connect(member_listener).await.unwrap()));
        }
        let peer = self.to_member.as_mut().unwrap();
        peer.send(CupsHeader::new("48029999", "00010000"), &draft).await;
        let answer = peer.receive().await.unwrap();
        assert_eq!(answer.mti(), 810);
        CUPS.parse(&answer.body).unwrap().text(39).unwrap().to_owned()
    }

    /// Answers a financial request, signed.
    async fn answer(&self, peer: &mut Peer, request: &Received, code: &str) {
        let mut draft = self.answer_draft(request, code);
        let mac = self.mac.clone();
        self.sign(&mut draft, &mac);
        peer.send(request.header.swapped(), &draft).await;
    }

    fn answer_draft(&self, request: &Received, code: &str) -> Draft {
        let parsed = CUPS.parse(&request.body).unwrap();
        let mut draft = Draft::new();
        draft.start(&CUPS, parsed.mti().response());
        for number in [2, 3, 4, 7, 11, 25, 32, 33, 37, 41, 42, 49] {
            if let Some(field) = parsed.field(number) {
                draft.put_field(&field).unwrap();
            }
        }
        draft.put_text(39, code).unwrap();
        draft.put_number(15, 1125).unwrap();
        draft
    }

    /// The member's MAC is right.
    fn verifies(&self, request: &Received) -> bool {
        let parsed = CUPS.parse(&request.body).unwrap();
        let mut text = Vec::new();
        iso8583::cups::mac_text(&parsed, &mut text);
        let mac = parsed.bytes_of(128).unwrap();
        self.vault.verify_mac(&self.mac, MacAlgorithm::CupsCbc, &text, mac).unwrap()
    }
}

struct Member {
    channel: Arc<UnionPayCard>,
    vault: Arc<SoftVault>,
    unsolicited: mpsc::Receiver<Unsolicited>,
}

async fn member(network: &Network) -> Member {
    member_with(network, Vec::new()).await
}

/// More than the line's queue of requests.
const BURST: i64 = 3_000;

async fn member_with(network: &Network, peers: Vec<std::net::IpAddr>) -> Member {
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let zmk = vault.import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &components()).unwrap();
    let id = |text| InstitutionId::new(text).unwrap();
    let config = LineConfig {
        reconnect: Duration::from_millis(10),
        in_flight_max: usize::try_from(BURST).unwrap(),
        peers,
        ..LineConfig::new(
            network.listener.local_addr().unwrap().to_string(),
            "127.0.0.1:0".parse().unwrap(),
            id("48029999"),
            id("00010000"),
            zmk,
        )
    };
    let (sender, unsolicited) = mpsc::channel(16);
    let channel = UnionPayCard::start(config, vault.clone(), Arc::new(SystemClock), sender).await.unwrap();
    Member { channel, vault, unsolicited }
}

/// A network, and a member that has signed on and has its keys.
async fn ready_line() -> (Network, Member, Peer) {
    let mut network = Network::new().await;
    let member = member(&network).await;
    let peer = network.welcome(member.channel.listener()).await;
    member.channel.ready().await;
    (network, member, peer)
}

fn sale(id: i64, pin: Option<TerminalPin>) -> NetworkRequest {
    let at = "2026-11-24T02:15:30Z".parse().unwrap();
    NetworkRequest {
        kind: Kind::Sale,
        id: PaymentId(id),
        rrn: PaymentId(id).rrn(1124),
        amount: Amount::from_fen(12_800).unwrap(),
        currency: 156,
        pan: Pan::new(PAN).unwrap(),
        expiry: None,
        entry_mode: EntryMode::new(if pin.is_some() { 21 } else { 12 }).unwrap(),
        card_sequence: None,
        condition: 0,
        terminal_traits: [5, 0, 0],
        track2: None,
        pin,
        chip: None,
        merchant: MerchantId::new("898100000000001").unwrap(),
        merchant_name: "示范商户".to_owned(),
        mcc: 5411,
        terminal: TerminalId::new("10000001").unwrap(),
        auth_code: None,
        plan: None,
        transfer_in: None,
        original: None,
        at,
    }
}

/// Sends a sale without a PIN and waits for its outcome in the background.
fn send(member: &Member, id: i64, patience: Duration) -> JoinHandle<Outcome> {
    let channel = Arc::clone(&member.channel);
    tokio::spawn(async move {
        let prepared = channel.prepare(&sale(id, None)).unwrap();
        channel.send(&prepared, patience).await
    })
}

const PATIENCE: Duration = Duration::from_secs(20);

fn code(outcome: Outcome) -> ResponseCode {
    match outcome {
        Outcome::Answered(answer) => answer.answer.code,
        other => panic!("{other:?}"),
    }
}

/// Sign-on, keys, then requests whose answers come back in reverse order: each finds its own. The settlement
/// date that the network tells is kept.
#[tokio::test]
async fn answers_in_any_order_find_their_requests() {
    let (network, member, mut peer) = ready_line().await;
    let mut running = Vec::new();
    for id in 1..=20 {
        running.push(send(&member, id, PATIENCE));
    }
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(peer.receive().await.unwrap());
    }
    for request in requests.iter().rev() {
        assert!(network.verifies(request));
        let id = request.number(11) - 1;
        network.answer(&mut peer, request, &format!("{:02}", 40 + id)).await;
    }
    for (at, running) in running.into_iter().enumerate() {
        assert_eq!(code(running.await.unwrap()).as_str(), format!("{:02}", 41 + at));
    }
    assert_eq!(member.channel.status().settle_date, Some(1125));
}

/// As many requests as a group of payments may have, all at the same moment, and more than the line's queue takes: each
/// waits for its place and is answered. (With 10,000 terminals at 7,000 sales a second some were declined with 91.)
#[tokio::test]
async fn a_burst_that_is_larger_than_the_queue_waits_for_its_place() {
    let (network, member, mut peer) = ready_line().await;
    let running: Vec<_> = (1..=BURST).map(|id| send(&member, id, PATIENCE)).collect();
    for _ in 1..=BURST {
        let request = peer.receive().await.unwrap();
        network.answer(&mut peer, &request, "00").await;
    }
    for outcome in running {
        assert_eq!(code(outcome.await.unwrap()), ResponseCode::APPROVED);
    }
    // One more than may be under way does not leave.
    let running: Vec<_> = (1..=BURST).map(|id| send(&member, id, PATIENCE)).collect();
    let mut requests = vec![peer.receive().await.unwrap()];
    let outcome = send(&member, BURST + 1, PATIENCE).await.unwrap();
    assert!(matches!(outcome, Outcome::NotSent(ResponseCode::ISSUER_DOWN, "too many requests in flight")));
    while requests.len() < running.len() {
        requests.push(peer.receive().await.unwrap());
    }
    for request in &requests {
        network.answer(&mut peer, request, "00").await;
    }
    for outcome in running {
        assert_eq!(code(outcome.await.unwrap()), ResponseCode::APPROVED);
    }
}

/// The PIN leaves under the zone key: what the network decrypts is what the cardholder entered. A block that
/// is none is refused before anything leaves.
#[tokio::test]
async fn the_pin_is_translated_to_the_zone_key() {
    let (network, member, mut peer) = ready_line().await;
    let terminal_key = member.vault.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
    let pin = Pin::new("123456").unwrap();
    let block = member.vault.encrypt_pin(&pin, PAN, &terminal_key, PinFormat::Iso0).unwrap();
    let prepared =
        member.channel.prepare(&sale(1, Some(TerminalPin { block, key: terminal_key.clone() }))).unwrap();
    let channel = Arc::clone(&member.channel);
    let sent = tokio::spawn(async move { code(channel.send(&prepared, PATIENCE).await) });
    let request = peer.receive().await.unwrap();
    let parsed = CUPS.parse(&request.body).unwrap();
    let expected = network.vault.encrypt_pin(&pin, PAN, &network.pin, PinFormat::Iso0).unwrap();
    assert_eq!(parsed.bytes_of(52).unwrap(), expected.bytes());
    network.answer(&mut peer, &request, "00").await;
    assert_eq!(sent.await.unwrap(), ResponseCode::APPROVED);

    let garbage = hsm::EncryptedPinBlock::iso0([7; 8]);
    let refused = member.channel.prepare(&sale(2, Some(TerminalPin { block: garbage, key: terminal_key })));
    assert_eq!(refused.err().unwrap().code, ResponseCode::PIN_FORMAT);
}

/// An answer with a wrong MAC is no answer; one that comes after the patience ended goes to the record of
/// unexpected answers, as does a second one.
#[tokio::test]
async fn forged_late_and_doubled_answers() {
    let (network, mut member, mut peer) = ready_line().await;
    let sending = send(&member, 1, Duration::from_millis(500));
    let request = peer.receive().await.unwrap();
    let mut forged = network.answer_draft(&request, "00");
    forged.put_bytes(128, b"0123ABCD").unwrap();
    peer.send(request.header.swapped(), &forged).await;
    assert!(matches!(sending.await.unwrap(), Outcome::NoAnswer(_)));
    network.answer(&mut peer, &request, "00").await;
    let late = member.unsolicited.recv().await.unwrap();
    assert_eq!((late.mti, late.trace, late.code), (210, 2, Some(ResponseCode::APPROVED)));

    let sending = send(&member, 5, PATIENCE);
    let request = peer.receive().await.unwrap();
    network.answer(&mut peer, &request, "51").await;
    network.answer(&mut peer, &request, "51").await;
    assert_eq!(code(sending.await.unwrap()), ResponseCode::INSUFFICIENT_FUNDS);
    assert_eq!(member.unsolicited.recv().await.unwrap().trace, 6);
}

/// The line drops with a request in flight: its outcome is unknown at once. The line comes back by itself,
/// signs on again and gets new keys.
#[tokio::test]
async fn a_dropped_line_makes_requests_unknown_and_comes_back() {
    let (mut network, member, mut peer) = ready_line().await;
    let sending = send(&member, 1, PATIENCE);
    peer.receive().await.unwrap();
    drop(peer);
    assert!(matches!(sending.await.unwrap(), Outcome::NoAnswer("the line dropped")));

    network.mac = network.vault.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mut peer = network.welcome(member.channel.listener()).await;
    member.channel.ready().await;
    let sending = send(&member, 2, PATIENCE);
    let request = peer.receive().await.unwrap();
    assert!(network.verifies(&request));
    network.answer(&mut peer, &request, "00").await;
    assert_eq!(code(sending.await.unwrap()), ResponseCode::APPROVED);
}

/// While the line is down nothing leaves, and the caller knows it.
#[tokio::test]
async fn nothing_leaves_while_the_line_is_down() {
    let mut network = Network::new().await;
    let member = member(&network).await;
    assert!(member.channel.prepare(&sale(1, None)).is_err(), "no keys yet");
    let peer = network.welcome(member.channel.listener()).await;
    member.channel.ready().await;
    let prepared = member.channel.prepare(&sale(1, None)).unwrap();
    drop((peer, network));
    while member.channel.status().ready {
        tokio::task::yield_now().await;
    }
    let outcome = member.channel.send(&prepared, PATIENCE).await;
    assert!(matches!(outcome, Outcome::NotSent(ResponseCode::ISSUER_DOWN, _)), "{outcome:?}");
}

/// A message that the network bounces with a reject code in its header was not processed.
#[tokio::test]
async fn a_bounced_message_was_not_processed() {
    let (_network, member, mut peer) = ready_line().await;
    let sending = send(&member, 1, PATIENCE);
    let request = peer.receive().await.unwrap();
    let mut out = Vec::new();
    let header = CupsHeader { reject_code: *b"00030", ..request.header.swapped() };
    let mark = frame::begin_cups(&mut out, &header);
    out.extend_from_slice(&request.body);
    frame::finish_cups(&mut out, mark).unwrap();
    peer.stream.write_all(&out).await.unwrap();
    assert!(matches!(sending.await.unwrap(), Outcome::NotSent(ResponseCode::MALFUNCTION, _)));
}

/// A key whose proof is wrong is refused, and the old keys stay in force.
#[tokio::test]
async fn a_key_without_its_proof_is_refused() {
    let (mut network, member, mut peer) = ready_line().await;
    let address = member.channel.listener();
    assert_eq!(network.send_key(address, 1, false).await, "A0");
    assert_eq!(network.send_key(address, 2, false).await, "A0");
    let sending = send(&member, 1, PATIENCE);
    let request = peer.receive().await.unwrap();
    assert!(network.verifies(&request));
    network.answer(&mut peer, &request, "00").await;
    assert_eq!(code(sending.await.unwrap()), ResponseCode::APPROVED);
}

/// When the network says that our MAC is wrong, new keys are asked for without dropping the line.
#[tokio::test]
async fn a_wrong_mac_at_the_network_renews_the_keys() {
    let mut network = Network::new().await;
    let member = member(&network).await;
    let address = member.channel.listener();
    let mut peer = network.welcome(address).await;
    member.channel.ready().await;
    let sending = send(&member, 1, PATIENCE);
    let request = peer.receive().await.unwrap();
    network.answer(&mut peer, &request, "A0").await;
    assert_eq!(code(sending.await.unwrap()), ResponseCode::MAC_ERROR);
    network.mac = network.vault.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    network.give_keys(&mut peer, address).await;
    let sending = send(&member, 2, PATIENCE);
    let request = peer.receive().await.unwrap();
    assert!(network.verifies(&request));
    network.answer(&mut peer, &request, "00").await;
    assert_eq!(code(sending.await.unwrap()), ResponseCode::APPROVED);
}

/// MMDD so many days from today, in Beijing.
fn day(ahead: i64) -> u16 {
    Beijing::of(SystemClock.now() + jiff::SignedDuration::from_hours(24 * ahead)).mmdd()
}

/// Says 0820 with this code, and a date or none; gives the answer's code.
async fn manage(peer: &mut Peer, management: u64, date: Option<u16>) -> String {
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(820));
    draft.put_digits(7, "1124230000").unwrap();
    draft.put_number(11, management).unwrap();
    if let Some(date) = date {
        draft.put_digits(15, &format!("{date:04}")).unwrap();
    }
    draft.put_number(70, management).unwrap();
    peer.send(CupsHeader::new("48029999", "00010000"), &draft).await;
    let answer = peer.receive().await.unwrap();
    assert_eq!((answer.mti(), answer.number(70), answer.number(11)), (830, management, management));
    CUPS.parse(&answer.body).unwrap().text(39).unwrap().to_owned()
}

/// Cut-over and echo of the network are answered 00, and the new settlement date is in force at once. The message has no
/// MAC: a date that cannot be is refused, and so is any from whoever has not brought a key with a good proof.
#[tokio::test]
async fn the_network_cuts_over_and_a_stranger_does_not() {
    let mut network = Network::new().await;
    let member = member(&network).await;
    let _peer = network.welcome(member.channel.listener()).await;
    member.channel.ready().await;
    let in_force = || member.channel.status().settle_date;
    let mut stranger = Peer::new(TcpStream::connect(member.channel.listener()).await.unwrap());
    for ahead in [0, 1] {
        assert_eq!(manage(&mut stranger, 201, Some(day(ahead))).await, "12");
    }
    assert_eq!(manage(&mut stranger, 301, None).await, "00");
    assert_eq!(in_force(), None);

    let peer = network.to_member.as_mut().unwrap();
    assert_eq!(manage(peer, 201, Some(day(1))).await, "00");
    assert_eq!(in_force(), Some(day(1)));
    assert_eq!(manage(peer, 202, Some(day(1))).await, "00");
    assert_eq!(manage(peer, 202, None).await, "00");
    assert_eq!(manage(peer, 301, None).await, "00");
    for cannot_be in [day(0), day(-1), day(2), day(30), 1_399] {
        assert_eq!(manage(peer, 201, Some(cannot_be)).await, "12", "{cannot_be}");
    }
    assert_eq!(in_force(), Some(day(1)));
}

/// Where the network's addresses are known, nobody else is heard at its listener.
#[tokio::test]
async fn who_comes_from_elsewhere_is_not_heard() {
    let network = Network::new().await;
    let elsewhere = member_with(&network, vec!["192.0.2.1".parse().unwrap()]).await;
    let mut stranger = Peer::new(TcpStream::connect(elsewhere.channel.listener()).await.unwrap());
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(820));
    draft.put_number(70, 301).unwrap();
    let mut out = Vec::new();
    let mark = frame::begin_cups(&mut out, &CupsHeader::new("48029999", "00010000"));
    draft.write(&mut out).unwrap();
    frame::finish_cups(&mut out, mark).unwrap();
    // The connection may be gone before this is written, or after.
    let _ = stranger.stream.write_all(&out).await;
    let mut bytes = Vec::new();
    let _ = stranger.stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty(), "a stranger was answered");

    let here = member_with(&network, vec!["127.0.0.1".parse().unwrap()]).await;
    let mut peer = Peer::new(TcpStream::connect(here.channel.listener()).await.unwrap());
    assert_eq!(manage(&mut peer, 201, Some(day(1))).await, "00", "its address speaks for it");
}
