//! A host in a few lines, written on the codec and the raw cryptography alone. It answers as a good host would,
//! unless the test has put a fault in the queue, and keeps every request it saw.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};

use hsm::primitives::{DesKey, Sm4Key, mac};
use iso8583::frame::{self, PosHeader};
use iso8583::{CUP_POS, Draft, Format, Message, Mti, Profile};
use pos::{BoxFuture, Dial, Link};

/// TMK of the published vectors and its working keys, as field 62 carries them.
pub const TMK: &str = "0123456789ABCDEFFEDCBA9876543210";
pub const BLOB_40: &str = "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E0000000000000000ADC67D84";
pub const BLOB_40_DOUBLE_MAC: &str =
    "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E17B9F1B1A1B2D33CE18DE25E";
pub const TDK_20: &str = "17B9F1B1A1B2D33C00396833D152DA8E6B941819";
pub const BLOB_SM4: &str = "D052DCC19D0EEB7A565720640D8B7E29DD60708CBD7B374D8DF254E7B90C3BF03C814F7E855C3763\
                            449734911A4402599E9A30CBAB1192BCF7C127A8";

/// What goes wrong with one request.
#[derive(Clone, Debug)]
#[allow(dead_code)] // each test file uses its own part of the list
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// The connection is refused.
    Refuse,
    /// The line breaks while the terminal sends.
    BreakOnSend,
    /// The host takes the request and never answers.
    Silent,
    /// The host takes the request and closes.
    Close,
    /// A signed answer with this code.
    Code(&'static str),
    /// An answer with this code and without field 64.
    Unsigned(&'static str),
    /// An approval whose MAC is wrong.
    WrongMac,
    /// An approval with this digit or text field changed.
    Change(u8, &'static str),
    /// An approval without this field.
    Without(u8),
    /// Another message type, signed.
    Mti(u16),
    /// Bytes that are no message.
    Garbage,
    /// An approval with this field 55.
    Chip(&'static str),
    /// A partial approval of this amount.
    Partial(u64),
    /// The header demands this.
    Require(u8),
    /// Field 62 of the sign-in answer.
    Keys(&'static str),
    /// Field 60.2 of the sign-in answer.
    Batch(u32),
    /// Domestic result digit of the 0510.
    Totals(u8),
    /// The answer's TPDU is not swapped.
    Unswapped,
}

/// Which MAC key the host uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)]
pub enum MacKey {
    Des,
    Double,
    Sm4,
}

/// One request as it came.
#[derive(Clone)]
pub struct Seen {
    pub frame: Vec<u8>,
}

#[allow(dead_code)]
impl Seen {
    pub fn with<T>(&self, read: impl FnOnce(&Message<'_>) -> T) -> T {
        let (_, payload) = frame::split(&self.frame, 4096).unwrap().unwrap();
        let parts = frame::parse_pos(payload, &Profile::CUP_POS_1).unwrap();
        read(&CUP_POS.parse(parts.body).unwrap())
    }

    pub fn mti(&self) -> u16 {
        self.with(|message| message.mti().value())
    }

    /// A field as digits, text or hexadecimal, whichever fits; empty when absent.
    pub fn get(&self, number: u8) -> String {
        self.with(|message| {
            let Some(field) = message.field(number) else { return String::new() };
            match (number, message.text(number)) {
                (48, _) => long_digits(&field),
                (52 | 55, _) => hex::encode_upper(field.body()),
                (_, Some(text)) => text.to_owned(),
                _ => field
                    .digits()
                    .map_or_else(|| hex::encode_upper(field.body()), |digits| digits.as_str().to_owned()),
            }
        })
    }

    pub fn fields(&self) -> Vec<u8> {
        self.with(|message| message.fields().map(|field| field.number()).collect())
    }

    /// The message without its MAC: what must stay the same when it is sent again.
    pub fn body(&self) -> Vec<u8> {
        let end = if self.fields().contains(&64) { self.frame.len() - 8 } else { self.frame.len() };
        self.frame[2..end].to_vec()
    }
}

fn long_digits(field: &iso8583::Field<'_>) -> String {
    (0..field.len()).map(|at| char::from(field.digit(at).unwrap())).collect()
}

struct Inner {
    faults: VecDeque<Fault>,
    seen: Vec<Seen>,
    mac_key: MacKey,
    rrn: u64,
    batch: u32,
    dials: u32,
    books: BTreeMap<u64, Entry>,
    watcher: Option<Watcher>,
}

/// Called with the message type of each request, before it is answered.
pub type Watcher = Box<dyn Fn(u16) + Send>;

/// What the host's books say of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)]
pub struct Entry {
    pub mti: u16,
    pub processing: u64,
    pub amount: u64,
    pub reversed: bool,
    /// How often it arrived.
    pub times: u32,
}

/// The host; cheap to clone, all clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Mutex<Inner>>);

#[allow(dead_code)]
impl Host {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            faults: VecDeque::new(),
            seen: Vec::new(),
            mac_key: MacKey::Des,
            rrn: 112_410_000_000,
            batch: 1,
            dials: 0,
            books: BTreeMap::new(),
            watcher: None,
        })))
    }

    /// Queues faults for the next requests, in order.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().faults.extend(faults);
    }

    /// Uses this MAC key from now on, and gives it out in sign-ins.
    pub fn use_mac_key(&self, key: MacKey) {
        self.0.lock().unwrap().mac_key = key;
    }

    /// The reference number of the next answer.
    pub fn next_rrn(&self, rrn: u64) {
        self.0.lock().unwrap().rrn = rrn - 1;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().last().unwrap().clone()
    }

    /// Message types so far.
    pub fn mtis(&self) -> Vec<u16> {
        self.seen().iter().map(Seen::mti).collect()
    }

    pub fn forget(&self) {
        self.0.lock().unwrap().seen.clear();
    }

    /// What the host moved, by trace.
    pub fn books(&self) -> BTreeMap<u64, Entry> {
        self.0.lock().unwrap().books.clone()
    }

    pub fn at_each_request(&self, watcher: Option<Watcher>) {
        self.0.lock().unwrap().watcher = watcher;
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    pub fn dials(&self) -> u32 {
        self.0.lock().unwrap().dials
    }

    /// What the host does with a request: an answer, a closed line, or nothing at all.
    pub fn answer(&self, request: &[u8]) -> Option<io::Result<Vec<u8>>> {
        const GARBAGE: [u8; 18] = [0, 16, 0x60, 0, 0, 0, 3, 0x60, 0x32, 0, 0x32, 0, 1, 2, 3, 4, 5, 6];
        let mut inner = self.0.lock().unwrap();
        let fault = inner.faults.pop_front().unwrap_or(Fault::None);
        inner.seen.push(Seen { frame: request.to_vec() });
        let seen_before = inner.books.contains_key(&inner.trace_of(request));
        let is_refund = inner.seen.last().unwrap().mti() == 220;
        let fault = match fault {
            // A repeat is answered as the first was: what was done is not declined afterwards, but a demand to
            // sign in comes before the repeat is looked at.
            Fault::Code(code)
                if is_refund && seen_before && !matches!(code, "09" | "94" | "77" | "99" | "A0") =>
            {
                Fault::None
            }
            fault => fault,
        };
        inner.keep_books(request, &fault);
        if let Some(watcher) = &inner.watcher {
            watcher(inner.seen.last().unwrap().mti());
        }
        match fault {
            Fault::Silent => None,
            Fault::Close => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Fault::Garbage => Some(Ok(GARBAGE.to_vec())),
            fault => Some(Ok(inner.respond(request, &fault))),
        }
    }
}

impl Inner {
    fn trace_of(&self, request: &[u8]) -> u64 {
        Seen { frame: request.to_vec() }.get(11).parse().unwrap_or_default()
    }

    /// Moves money as the answer says, or would have said.
    fn keep_books(&mut self, request: &[u8], fault: &Fault) {
        if matches!(fault, Fault::Code(code) | Fault::Unsigned(code) if *code != "00") {
            return;
        }
        let (_, payload) = frame::split(request, 4096).unwrap().unwrap();
        let parts = frame::parse_pos(payload, &Profile::CUP_POS_1).unwrap();
        let message = CUP_POS.parse(parts.body).unwrap();
        let trace = message.number(11).unwrap_or_default();
        match message.mti().value() {
            mti @ (100 | 200 | 220) if message.number(3) != Some(310_000) => {
                let entry = self.books.entry(trace).or_insert(Entry {
                    mti,
                    processing: message.number(3).unwrap(),
                    amount: message.number(4).unwrap(),
                    reversed: false,
                    times: 0,
                });
                entry.times += 1;
            }
            400 => {
                if let Some(entry) = self.books.get_mut(&trace) {
                    assert_eq!(entry.amount, message.number(4).unwrap());
                    entry.reversed = true;
                }
            }
            _ => {}
        }
    }

    fn respond(&mut self, request: &[u8], fault: &Fault) -> Vec<u8> {
        let (_, payload) = frame::split(request, 4096).unwrap().unwrap();
        let parts = frame::parse_pos(payload, &Profile::CUP_POS_1).unwrap();
        let message = CUP_POS.parse(parts.body).unwrap();
        let code = match fault {
            Fault::Code(code) | Fault::Unsigned(code) => code,
            Fault::Partial(_) => "10",
            _ => "00",
        };
        let field60 = message.digits(60).unwrap();
        let network_code = field60.as_str().get(8..11).unwrap_or_default().to_owned();
        let mti = match fault {
            Fault::Mti(mti) => Mti::new(*mti),
            _ => message.mti().response(),
        };
        let financial = matches!(message.mti().value(), 100 | 200 | 220 | 400);
        let mut draft = Draft::new();
        draft.start(&CUP_POS, mti);
        for number in [2, 3, 4, 11, 14, 23, 25, 41, 42, 49, 53, 60] {
            if let Some(field) = message.field(number) {
                draft.put_field(&field).unwrap();
            }
        }
        // A script result keeps the reference number of its payment.
        let reference = message.text(37).filter(|_| message.mti().value() == 620).map(str::to_owned);
        self.rrn += u64::from(reference.is_none());
        draft.put_digits(12, "101530").unwrap();
        draft.put_digits(13, "1124").unwrap();
        draft.put_digits(32, "01020000").unwrap();
        draft.put_text(37, &reference.unwrap_or_else(|| self.rrn.to_string())).unwrap();
        draft.put_text(39, code).unwrap();
        if financial {
            draft.put_digits(15, "1124").unwrap();
            draft.put_text(44, "03080000   01020000   ").unwrap();
        }
        if message.number(3) == Some(30_000) && financial {
            draft.put_text(38, "A1B2C3").unwrap();
        }
        if message.number(3) == Some(310_000) {
            draft.put_text(54, "1002156C000001000000").unwrap();
        }
        match (message.mti().value(), network_code.as_str()) {
            (800, _) => {
                let keys = match (fault, network_code.as_str()) {
                    (Fault::Keys(keys), _) => (*keys).to_owned(),
                    (_, "001") => single_blob(),
                    (_, "003") if self.mac_key == MacKey::Double => BLOB_40_DOUBLE_MAC.to_owned(),
                    (_, "003") => BLOB_40.to_owned(),
                    (_, "004") => BLOB_40.to_owned() + TDK_20,
                    _ => BLOB_SM4.to_owned(),
                };
                draft.put_bytes(62, &hex::decode(keys).unwrap()).unwrap();
                if let Fault::Batch(batch) = fault {
                    self.batch = *batch;
                }
                draft.put_digits(60, &format!("00{:06}{network_code}", self.batch)).unwrap();
            }
            (500, _) => {
                let mut totals = long_digits(&message.field(48).unwrap());
                let result = if let Fault::Totals(result) = fault { *result } else { 1 };
                totals.replace_range(30..31, &result.to_string());
                totals.replace_range(61..62, "1");
                draft.put_digits(48, &totals).unwrap();
            }
            (320, _) => {
                if let Some(field) = message.field(48) {
                    draft.put_field(&field).unwrap();
                }
                if matches!(network_code.as_str(), "202" | "207") {
                    self.batch += 1;
                }
            }
            _ => {}
        }
        match fault {
            Fault::Change(number, value) if CUP_POS.spec(*number).unwrap().format == Format::N => {
                draft.put_digits(*number, value).unwrap();
            }
            Fault::Change(number, value) => draft.put_text(*number, value).unwrap(),
            Fault::Without(number) => draft.remove(*number),
            Fault::Chip(chip) => draft.put_bytes(55, &hex::decode(chip).unwrap()).unwrap(),
            Fault::Partial(fen) => draft.put_number(4, *fen).unwrap(),
            _ => {}
        }
        let tpdu = if matches!(fault, Fault::Unswapped) { parts.tpdu } else { parts.tpdu.swapped() };
        let requirement = if let Fault::Require(digit) = fault { *digit } else { 0 };
        let header: Option<PosHeader> = parts.header.map(|header| header.with_requirement(requirement));
        let mut out = Vec::new();
        let mark = frame::begin_pos(&mut out, tpdu, header);
        // Script results and e-signatures move no money and are signed all the same.
        if message.has(64) && !matches!(fault, Fault::Unsigned(_)) {
            let wrong = matches!(fault, Fault::WrongMac);
            let key = self.mac_key;
            draft
                .write_with_mac::<iso8583::BuildError>(&mut out, |block| {
                    let value = sign(key, block);
                    Ok(if wrong { value.map(|byte| byte ^ 1) } else { value })
                })
                .unwrap();
        } else {
            draft.write(&mut out).unwrap();
        }
        frame::finish_pos(&mut out, mark).unwrap();
        out
    }
}

/// The MAC of a block under the keys of the published vectors.
pub fn sign(key: MacKey, block: &[u8]) -> [u8; 8] {
    match key {
        MacKey::Des => mac::cup_ecb(&DesKey::single(&[0x33; 8]), block),
        MacKey::Double => {
            let mut double = [0x33; 16];
            double[8..].fill(0x44);
            mac::cup_ecb(&DesKey::double(&double), block)
        }
        MacKey::Sm4 => {
            // The MAC key of vector S5: the bytes 11 to 20, as they are read in hexadecimal.
            let key: [u8; 16] = hex::decode("1112131415161718191A1B1C1D1E1F20").unwrap().try_into().unwrap();
            mac::sm4_cup(&Sm4Key::new(&key), block)
        }
    }
}

/// A 24-byte field 62 of single-length keys: 66 eight times for PINs, 33 eight times for MACs.
fn single_blob() -> String {
    let tmk: [u8; 16] = hex::decode(TMK).unwrap().try_into().unwrap();
    let tmk = DesKey::double(&tmk);
    [[0x66; 8], [0x33; 8]]
        .map(|key| {
            let check = DesKey::single(&key).encrypt([0; 8]);
            hex::encode_upper(tmk.encrypt(key)) + &hex::encode_upper(&check[..4])
        })
        .concat()
}

impl Dial for Host {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        let refused = {
            let mut inner = self.0.lock().unwrap();
            let refused = matches!(inner.faults.front(), Some(Fault::Refuse));
            if refused {
                inner.faults.pop_front();
            }
            inner.dials += 1;
            refused
        };
        let host = self.clone();
        Box::pin(async move {
            if refused {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(HostLink { host, answer: None }) as Box<dyn Link>)
        })
    }
}

struct HostLink {
    host: Host,
    answer: Option<io::Result<Vec<u8>>>,
}

impl Link for HostLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            {
                let mut inner = self.host.0.lock().unwrap();
                if matches!(inner.faults.front(), Some(Fault::BreakOnSend)) {
                    inner.faults.pop_front();
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            self.answer = self.host.answer(frame);
            Ok(())
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let answer = self.answer.take();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => pending().await,
            }
        })
    }

    fn is_usable(&mut self) -> bool {
        // A refusal waits for a new connection, so a kept one must not swallow it.
        !matches!(self.host.0.lock().unwrap().faults.front(), Some(Fault::Refuse))
    }
}
