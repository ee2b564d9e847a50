//! A small member of the network, written for these tests on the codec alone: it signs on, takes keys on its own
//! listener, builds and signs requests, reads answers. It knows nothing of the simulator's inside.
#![allow(dead_code)] // each test file uses its part

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hsm::{
    CardContext, CryptogramVersion, Hsm, KeyAlgorithm, KeyComponent, KeyUsage, MacAlgorithm, Pin, PinFormat,
    SoftVault, WrappedKey,
};
use iso8583::frame::{self, CupsFrame, CupsHeader, split_cups};
use iso8583::{CUPS, Draft, Mti};
use sim::{SimConfig, SimHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub const MEMBER: &str = "48029999";
pub const NETWORK: &str = "00010000";
pub const MERCHANT: &str = "898000000000001";
pub const TERMINAL: &str = "00000001";
const PATIENCE: Duration = Duration::from_secs(10);

/// PAN, expiry, service code and discretionary data, PIN.
pub const L01: Plastic = Plastic("6224242000000013", "2912", "2200000000123", "123456");
pub const L02: Plastic = Plastic("6224242000000021", "2902", "2015699031007", "123456");
pub const L04: Plastic = Plastic("6224242000000047", "2910", "2200000000123", "123456");
pub const L05: Plastic = Plastic("6224242000000054", "2912", "2200000000123", "123456");
pub const L06: Plastic = Plastic("6224242000000062", "2912", "2200000000123", "123456");
pub const L10: Plastic = Plastic("6224242000000104", "2401", "2200000000123", "123456");
pub const L11: Plastic = Plastic("6224242000000112", "2912", "2200000000123", "123456");
pub const L12: Plastic = Plastic("6212140000000000014", "3006", "2010000000123", "888888");
pub const L13: Plastic = Plastic("6212140000000000022", "3006", "2200000000123", "0000");
pub const M01: Plastic = Plastic("6224242000000120", "2912", "1010000000123", "123456");
pub const M02: Plastic = Plastic("6224242000000138", "2912", "1010000000123", "123456");
pub const M03: Plastic = Plastic("6224242000000146", "2912", "1010000000123", "123456");
pub const M04: Plastic = Plastic("6224242000000153", "2912", "1010000000123", "123456");
pub const M05: Plastic = Plastic("6224242000000161", "2912", "1010000000123", "123456");
pub const M06: Plastic = Plastic("6224242000000179", "2912", "1010000000123", "123456");

#[derive(Clone, Copy)]
pub struct Plastic(pub &'static str, pub &'static str, pub &'static str, pub &'static str);

impl Plastic {
    pub fn track2(&self) -> String {
        format!("{}D{}{}", self.0, self.1, self.2)
    }
}

/// A request as fields; text of a binary field is hexadecimal.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub mti: u16,
    pub fields: BTreeMap<u8, String>,
}

impl Request {
    pub fn with(mut self, field: u8, value: &str) -> Self {
        self.fields.insert(field, value.to_owned());
        self
    }

    pub fn without(mut self, field: u8) -> Self {
        self.fields.remove(&field);
        self
    }

    pub fn mti(mut self, mti: u16) -> Self {
        self.mti = mti;
        self
    }

    pub fn get(&self, field: u8) -> &str {
        self.fields.get(&field).map_or("", String::as_str)
    }

    /// Field 90 that names this request.
    fn as_original(&self) -> String {
        format!("{:04}{}{}{:0>11}{:0>11}", self.mti, self.get(11), self.get(7), self.get(32), self.get(33))
    }
}

/// An answer, header included.
#[derive(Clone, Debug)]
pub struct Reply {
    pub mti: u16,
    pub reject: String,
    pub fields: BTreeMap<u8, String>,
    pub mac_good: Option<bool>,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.get(39)
    }

    pub fn get(&self, field: u8) -> &str {
        self.fields.get(&field).map_or("", String::as_str)
    }
}

fn mac_algorithm(key: &WrappedKey) -> MacAlgorithm {
    if key.algorithm() == KeyAlgorithm::Sm4 { MacAlgorithm::CupsSm4 } else { MacAlgorithm::CupsCbc }
}

fn is_binary(field: u8) -> bool {
    matches!(field, 48 | 52 | 55 | 63 | 96 | 128)
}

fn is_text(field: u8) -> bool {
    matches!(field, 37 | 38 | 39 | 41 | 42 | 43 | 44 | 49 | 54 | 60 | 102 | 103 | 121)
}

#[derive(Default)]
struct Keys {
    mac: Vec<WrappedKey>,
    pin: Vec<WrappedKey>,
}

pub struct Member {
    pub sim: SimHandle,
    pub vault: Arc<SoftVault>,
    imk: WrappedKey,
    keys: Arc<Mutex<Keys>>,
    sm4: bool,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    ready: VecDeque<Reply>,
    pub heartbeats: usize,
    trace: u32,
    atc: u16,
    /// What the network originated, as `(mti, field 70, field 15)`.
    pub notices: mpsc::Receiver<(u16, String, String)>,
}

fn lab_key(vault: &SoftVault, usage: KeyUsage, text: &str) -> WrappedKey {
    let mut bytes = hex::decode(text).unwrap();
    bytes.iter_mut().for_each(|b| *b ^= 0x5A);
    let parts = [KeyComponent::new(&bytes).unwrap(), KeyComponent::new(&[0x5A; 16]).unwrap()];
    vault.import_components(usage, KeyAlgorithm::TripleDes2, &parts).unwrap()
}

/// Starts a simulator on free ports and a member that is signed on and has keys.
pub async fn ready() -> Member {
    ready_with(|_| {}).await
}

pub async fn ready_with(change: impl FnOnce(&mut SimConfig)) -> Member {
    let mut member = connected(change).await;
    member.sign_on().await;
    member.take_keys().await;
    member
}

/// Starts a simulator and a member that has only connected.
pub async fn connected(change: impl FnOnce(&mut SimConfig)) -> Member {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    let mut config = SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        control: Some("127.0.0.1:0".parse().unwrap()),
        member_listener: own.to_string(),
        ..SimConfig::default()
    };
    config.timing.reconnect = 20;
    config.timing.late_answer = 60;
    change(&mut config);
    let sm4 = config.zone_algorithm == sim::ZoneAlgorithm::Sm4;
    let sim = sim::start(config, Arc::new(SoftVault::ephemeral().unwrap())).await.unwrap();
    Member::new(sim, listener, sm4).await
}

impl Member {
    async fn new(sim: SimHandle, listener: TcpListener, sm4: bool) -> Self {
        let algorithm = if sm4 { KeyAlgorithm::Sm4 } else { KeyAlgorithm::TripleDes2 };
        let vault = Arc::new(SoftVault::ephemeral().unwrap());
        let parts: Vec<KeyComponent> =
            sim::LAB_ZMK_COMPONENTS.iter().map(|c| KeyComponent::from_hex(c).unwrap()).collect();
        let zmk = vault.import_components(KeyUsage::ZoneMaster, algorithm, &parts).unwrap();
        let imk = lab_key(&vault, KeyUsage::IssuerMaster, "0123456789ABCDEFFEDCBA9876543210");
        let keys = Arc::new(Mutex::new(Keys::default()));
        let (sender, notices) = mpsc::channel(64);
        tokio::spawn(answer_network(listener, Arc::clone(&vault), zmk, Arc::clone(&keys), sender));
        let stream = Some(TcpStream::connect(sim.addr()).await.unwrap());
        Member {
            sim,
            vault,
            imk,
            keys,
            sm4,
            stream,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            heartbeats: 0,
            trace: 0,
            atc: 0,
            notices,
        }
    }

    pub async fn reconnect(&mut self) {
        self.buffer.clear();
        self.ready.clear();
        self.stream = Some(TcpStream::connect(self.sim.addr()).await.unwrap());
    }

    pub async fn notice(&mut self) -> (u16, String, String) {
        tokio::time::timeout(PATIENCE, self.notices.recv()).await.unwrap().unwrap()
    }

    pub async fn sign_on(&mut self) {
        let reply = self.ask(&self.management(1)).await;
        assert_eq!((reply.mti, reply.code()), (830, "00"));
    }

    /// Asks for keys and waits until both resets have been answered and are in force at the network.
    pub async fn take_keys(&mut self) {
        let reply = self.ask(&self.management(101).with(53, "2600000000000000")).await;
        assert_eq!((reply.mti, reply.code()), (830, "00"));
        for _ in 0..2 {
            assert_eq!(self.notice().await.1, "101");
        }
        self.until(|sim| sim.status().has_keys).await;
    }

    /// Polls a state of the simulator that changes without telling us.
    pub async fn until(&self, reached: impl Fn(&SimHandle) -> bool) {
        let wait = async {
            while !reached(&self.sim) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    pub fn management(&self, code: u16) -> Request {
        let mut fields = BTreeMap::new();
        for (field, value) in
            [(7, "1124101530"), (11, "000001"), (33, MEMBER), (70, &format!("{code:03}")), (100, NETWORK)]
        {
            fields.insert(field, value.to_owned());
        }
        Request { mti: 820, fields }
    }

    fn base(&mut self, mti: u16, processing: &str, amount: u64) -> Request {
        self.trace += 1;
        let trace = format!("{:06}", self.trace);
        let mut fields = BTreeMap::new();
        for (field, value) in [
            (3, processing),
            (4, &format!("{amount:012}")),
            (7, "1124101530"),
            (11, &trace),
            (12, "101530"),
            (13, "1124"),
            (18, "5411"),
            (22, "012"),
            (25, "00"),
            (32, MEMBER),
            (33, MEMBER),
            (37, &format!("112410{trace}")),
            (41, TERMINAL),
            (42, MERCHANT),
            (43, &format!("{:<40}", "LAB SHOP NO 1")),
            (49, "156"),
            (60, "000005000300000000000000000004"),
        ] {
            fields.insert(field, value.to_owned());
        }
        Request { mti, fields }
    }

    /// A sale by fallback swipe with PIN: what every card of the deck may do without a chip.
    pub fn sale(&mut self, card: Plastic, amount: u64) -> Request {
        let request = self.base(200, "000000", amount);
        let pin = self.pin_block(card, card.3);
        let request =
            request.with(2, card.0).with(14, card.1).with(22, "801").with(26, "12").with(35, &card.track2());
        if self.sm4 {
            let carrier = hex::encode_upper(b"SM016") + &pin;
            request.with(52, "0000000000000000").with(53, "2400000000000000").with(63, &carrier)
        } else {
            request.with(52, &pin).with(53, "2600000000000000")
        }
    }

    /// A sale by chip with a right cryptogram and the right PIN.
    pub fn chip_sale(&mut self, card: Plastic, amount: u64) -> Request {
        self.atc += 1;
        let atc = self.atc;
        let chip = self.chip_data(card, amount, atc);
        self.sale(card, amount).with(22, "051").with(23, "001").with(55, &chip)
    }

    /// A tap without PIN.
    pub fn tap_sale(&mut self, card: Plastic, amount: u64) -> Request {
        self.chip_sale(card, amount).with(22, "072").without(26).without(52).without(53)
    }

    pub fn balance(&mut self, card: Plastic) -> Request {
        self.sale(card, 0).with(3, "300000").without(4)
    }

    pub fn void(&mut self, of: &Request) -> Request {
        let amount = of.get(4).parse().unwrap();
        self.base(200, "200000", amount).with(2, of.get(2)).with(37, of.get(37)).with(90, &of.as_original())
    }

    pub fn refund(&mut self, of: &Request, amount: u64) -> Request {
        self.base(220, "200000", amount).with(2, of.get(2)).with(90, &of.as_original())
    }

    pub fn reversal(&mut self, of: &Request) -> Request {
        let amount = of.get(4).parse().unwrap();
        // Same second and trace as the original, as an acquirer that forwards the terminal's trace would have.
        let request = self
            .base(420, of.get(3), amount)
            .with(2, of.get(2))
            .with(7, of.get(7))
            .with(11, of.get(11))
            .with(25, of.get(25))
            .with(37, of.get(37))
            .with(90, &of.as_original());
        let request = if of.get(48).is_empty() { request } else { request.with(48, of.get(48)) };
        if of.get(55).is_empty() { request } else { request.with(55, "95050000048000") }
    }

    pub fn preauth(&mut self, card: Plastic, amount: u64) -> Request {
        self.sale(card, amount).mti(100).with(3, "030000").with(25, "06")
    }

    pub fn preauth_void(&mut self, of: &Request) -> Request {
        self.void(of).mti(100).with(25, "06")
    }

    pub fn completion(&mut self, of: &Request, auth: &str, amount: u64) -> Request {
        self.base(200, "000000", amount).with(2, of.get(2)).with(25, "06").with(38, auth)
    }

    pub fn pin_block(&self, card: Plastic, pin: &str) -> String {
        let keys = self.keys.lock().unwrap();
        let key = keys.pin.last().expect("keys were taken");
        let format = PinFormat::for_key(key.algorithm()).unwrap();
        let block = self.vault.encrypt_pin(&Pin::new(pin).unwrap(), card.0, key, format).unwrap();
        hex::encode_upper(block.bytes())
    }

    /// Field 55 of a contact sale, with the data of the specification's transcript where it is not the caller's.
    pub fn chip_data(&self, card: Plastic, amount: u64, atc: u16) -> String {
        let data = hex::decode(format!(
            "{amount:012}000000000000015600000480000156261124001A2B3C4D7C00{atc:04X}03A00002"
        ))
        .unwrap();
        let context = CardContext::new(card.0, 1, atc, CryptogramVersion::V01);
        let arqc = self.vault.generate_ac(&self.imk, &context, &data).unwrap();
        format!(
            "9F2608{}9F2701809F100807010103A00002019F37041A2B3C4D9F3602{atc:04X}950500000480009A03261124\
             9C01009F0206{amount:012}5F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C8",
            hex::encode_upper(arqc)
        )
    }

    pub fn card_context(card: Plastic, atc: u16) -> CardContext<'static> {
        CardContext::new(card.0, 1, atc, CryptogramVersion::V01)
    }

    pub fn issuer_key(&self) -> &WrappedKey {
        &self.imk
    }

    pub fn mac_keys(&self) -> Vec<WrappedKey> {
        self.keys.lock().unwrap().mac.clone()
    }

    /// The frame of a request, signed with the newest MAC key unless it is network management.
    pub fn frame(&self, request: &Request) -> Vec<u8> {
        let key = self.keys.lock().unwrap().mac.last().cloned();
        self.frame_signed(request, key.filter(|_| request.mti / 100 != 8).as_ref())
    }

    pub fn frame_signed(&self, request: &Request, key: Option<&WrappedKey>) -> Vec<u8> {
        frame_of(&CupsHeader::new(NETWORK, MEMBER), request, &self.vault, key)
    }

    pub async fn send(&mut self, request: &Request) {
        let frame = self.frame(request);
        self.send_bytes(&frame).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.as_mut().unwrap().write_all(bytes).await.unwrap();
    }

    pub async fn ask(&mut self, request: &Request) -> Reply {
        self.send(request).await;
        self.receive().await.expect("an answer, but the line was closed")
    }

    /// The next answer; `None` when the line was closed.
    pub async fn receive(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.next_frame()).await.expect("an answer in time")
    }

    /// The next heartbeat or end of line.
    pub async fn until_heartbeat(&mut self) {
        let before = self.heartbeats;
        while self.heartbeats == before {
            let wait = tokio::time::timeout(PATIENCE, self.fill());
            assert!(wait.await.unwrap(), "line closed instead of a heartbeat");
            self.take_frames();
        }
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = self.stream.as_mut().unwrap().read(&mut chunk).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read > 0
    }

    fn take_frames(&mut self) {
        while let Some((used, found)) = split_cups(&self.buffer, 9999).unwrap() {
            match found {
                CupsFrame::Heartbeat => self.heartbeats += 1,
                CupsFrame::Message(payload) => {
                    let keys = self.keys.lock().unwrap();
                    let reply = read_reply(payload, &self.vault, &keys.mac);
                    self.ready.push_back(reply);
                }
            }
            self.buffer.drain(..used);
        }
    }

    async fn next_frame(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.ready.pop_front() {
                return Some(reply);
            }
            if !self.fill().await {
                return None;
            }
            self.take_frames();
        }
    }

    /// Shows that nothing else was answered: an echo sent now is the next thing that comes back. Requests of
    /// one connection are handled in order, so this needs no waiting.
    pub async fn assert_silent(&mut self) {
        let reply = self.ask(&self.management(301)).await;
        assert_eq!((reply.mti, reply.get(70)), (830, "301"), "something else was answered");
    }

    /// Balance of a card in fen by the simulator's books.
    pub fn money(&self, id: &str) -> i64 {
        self.sim.cards().iter().find(|c| c.id == id).unwrap().balance
    }

    pub fn held(&self, id: &str) -> i64 {
        self.sim.cards().iter().find(|c| c.id == id).unwrap().held
    }
}

pub fn frame_of(
    header: &CupsHeader,
    request: &Request,
    vault: &SoftVault,
    key: Option<&WrappedKey>,
) -> Vec<u8> {
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(request.mti));
    for (&field, value) in &request.fields {
        if is_binary(field) {
            draft.put_bytes(field, &hex::decode(value).unwrap()).unwrap();
        } else if is_text(field) {
            draft.put_text(field, value).unwrap();
        } else {
            draft.put_digits(field, value).unwrap();
        }
    }
    if let Some(key) = key {
        let mut body = Vec::new();
        draft.write(&mut body).unwrap();
        let mut text = Vec::new();
        iso8583::cups::mac_text(&CUPS.parse(&body).unwrap(), &mut text);
        let mac = vault.mac(key, mac_algorithm(key), &text).unwrap();
        draft.put_bytes(128, &mac).unwrap();
    }
    let mut out = Vec::new();
    let mark = frame::begin_cups(&mut out, header);
    draft.write(&mut out).unwrap();
    frame::finish_cups(&mut out, mark).unwrap();
    out
}

fn read_reply(payload: &[u8], vault: &SoftVault, mac_keys: &[WrappedKey]) -> Reply {
    let (header, body) = frame::parse_cups(payload).unwrap();
    let reject = String::from_utf8(header.reject_code.to_vec()).unwrap();
    let Ok(message) = CUPS.parse(body) else {
        return Reply { mti: 0, reject, fields: BTreeMap::new(), mac_good: None };
    };
    let fields = message
        .fields()
        .map(|field| {
            let body = field.body();
            let binary = is_binary(field.number());
            let text =
                if binary { hex::encode_upper(body) } else { String::from_utf8_lossy(body).into_owned() };
            (field.number(), text)
        })
        .collect();
    let mac_good = message.bytes_of(128).map(|mac| {
        let mut text = Vec::new();
        iso8583::cups::mac_text(&message, &mut text);
        mac_keys.iter().any(|key| vault.verify_mac(key, mac_algorithm(key), &text, mac).unwrap())
    });
    Reply { mti: message.mti().value(), reject, fields, mac_good }
}

/// The member's own listener: takes keys when their proof is right, answers 0830 to everything else.
async fn answer_network(
    listener: TcpListener,
    vault: Arc<SoftVault>,
    zmk: WrappedKey,
    keys: Arc<Mutex<Keys>>,
    notices: mpsc::Sender<(u16, String, String)>,
) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut buffer = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            buffer.extend_from_slice(&chunk[..read]);
            while let Some((used, found)) = split_cups(&buffer, 9999).unwrap() {
                let answer = match found {
                    CupsFrame::Heartbeat => None,
                    CupsFrame::Message(payload) => {
                        let (notice, frame) = answer_one(payload, &vault, &zmk, &keys);
                        notices.try_send(notice).unwrap();
                        Some(frame)
                    }
                };
                if let Some(answer) = answer {
                    stream.write_all(&answer).await.unwrap();
                }
                buffer.drain(..used);
            }
        }
    }
}

fn answer_one(
    payload: &[u8],
    vault: &SoftVault,
    zmk: &WrappedKey,
    keys: &Mutex<Keys>,
) -> ((u16, String, String), Vec<u8>) {
    let (header, body) = frame::parse_cups(payload).unwrap();
    let message = CUPS.parse(body).unwrap();
    let mut code = "00";
    if message.mti().value() == 800 {
        let field_48 = message.bytes_of(48).unwrap();
        assert_eq!(&field_48[..2], b"NK");
        assert_eq!(field_48.len(), 18);
        let which = message.digits(53).unwrap();
        let algorithm = match &which.as_str()[1..2] {
            "6" => KeyAlgorithm::TripleDes2,
            "4" => KeyAlgorithm::Sm4,
            other => panic!("{other}"),
        };
        let mut keys = keys.lock().unwrap();
        let usage = if which.as_str().starts_with('1') { KeyUsage::Pin } else { KeyUsage::Mac };
        let key = vault.import(usage, algorithm, &field_48[2..], zmk).unwrap();
        let signer = if usage == KeyUsage::Mac { Some(&key) } else { keys.mac.last() };
        let mut text = Vec::new();
        iso8583::cups::mac_text(&message, &mut text);
        let proof = message.bytes_of(128).unwrap();
        let good = signer.is_some_and(|key| vault.verify_mac(key, mac_algorithm(key), &text, proof).unwrap());
        if !good {
            code = "A0";
        } else if usage == KeyUsage::Pin {
            keys.pin.push(key);
        } else {
            keys.mac.push(key);
        }
    }
    let text = |n| message.digits(n).map(|d| d.as_str().to_owned()).unwrap_or_default();
    let notice = (message.mti().value(), text(70), text(15));
    let mut fields = BTreeMap::from([(39, code.to_owned())]);
    for field in [7, 11, 33, 70, 100] {
        if message.has(field) {
            fields.insert(field, text(field));
        }
    }
    let answer = Request { mti: message.mti().response().value(), fields };
    (notice, frame_of(&header.swapped(), &answer, vault, None))
}

/// The address of the control interface with a path.
pub fn url(sim: &SimHandle, path: &str) -> String {
    let control: SocketAddr = sim.control_addr().unwrap();
    format!("http://{control}{path}")
}
