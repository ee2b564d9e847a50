//! A host of a few lines with books of its own: it knows what stands, what was taken back, and what was settled. It gives
//! new keys with every sign-in, checks every MAC, and can have the power of the terminal go at the moment a request
//! arrives, before or after it has been booked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hsm::primitives::{DesKey, mac};
use iso8583::frame::{self};
use iso8583::{CUP_POS, Draft, Message, Profile, tlv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cutter::{Cutter, Wire};

pub const TMK: &str = "0123456789ABCDEFFEDCBA9876543210";
const APPLICATIONS: &str = include_str!("../../../sim/lab/aids.hex");
const KEYS: &str = include_str!("../../../sim/lab/ca-keys.hex");

/// A line of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 60.1.
    pub kind: String,
    pub amount: u64,
    pub reversed: bool,
    /// Trace of what it refers to.
    pub original: Option<u64>,
    pub reference: String,
    pub auth_code: Option<String>,
}

/// The books of the running batch, and how it is with the terminal.
#[derive(Clone, Debug)]
pub struct Books {
    pub batch: u32,
    pub entries: BTreeMap<u64, Entry>,
    /// Settled batches: totals that were agreed.
    pub settled: Vec<(u32, BTreeMap<u64, Entry>)>,
    /// What a terminal must never do.
    pub complaints: Vec<String>,
    /// Message types, in order.
    pub seen: Vec<u16>,
    /// The lists that terminals download let a card approve up to this amount by itself, in fen.
    pub floor: u64,
    sign_ins: u8,
    reference: u64,
}

impl Books {
    fn new() -> Self {
        Self {
            batch: 1,
            entries: BTreeMap::new(),
            settled: Vec::new(),
            complaints: Vec::new(),
            seen: Vec::new(),
            floor: 0,
            sign_ins: 0,
            reference: 112_410_000_000,
        }
    }

    /// What stands: trace and amount.
    pub fn standing(&self) -> BTreeMap<u64, u64> {
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.reversed)
            .map(|(trace, entry)| (*trace, entry.amount))
            .collect()
    }

    /// What a void that stands has undone.
    pub fn voided(&self, trace: u64) -> bool {
        self.entries.values().any(|entry| {
            !entry.reversed
                && entry.original == Some(trace)
                && matches!(&*entry.kind, "23" | "21" | "11" | "51")
        })
    }

    /// The first entry of a kind.
    pub fn find(&self, kind: &str) -> (u64, Entry) {
        let found = self.entries.iter().find(|(_, entry)| entry.kind == kind).unwrap();
        (*found.0, found.1.clone())
    }

    fn totals(&self) -> String {
        let (mut debit, mut credit) = ((0, 0), (0, 0));
        for entry in self.entries.values().filter(|entry| !entry.reversed) {
            let side = match &*entry.kind {
                "22" | "20" | "30" | "36" | "51" => &mut debit,
                "23" | "21" | "25" | "27" | "46" => &mut credit,
                _ => continue,
            };
            side.0 += entry.amount;
            side.1 += 1;
        }
        format!("{:012}{:03}{:012}{:03}", debit.0, debit.1, credit.0, credit.1)
    }

    fn mac_key(&self) -> [u8; 8] {
        [0x31 + 2 * self.sign_ins; 8]
    }

    /// Field 62 of a sign-in: PIN key, MAC key of single length, track key, each with its check value.
    fn keys(&self) -> Vec<u8> {
        let tmk = DesKey::double(&hex::decode(TMK).unwrap().try_into().unwrap());
        let mut out = Vec::new();
        let mut double = |seed: u8| {
            let mut key = [seed; 16];
            key[8..].fill(seed ^ 0x16);
            out.extend(tmk.encrypt(key[..8].try_into().unwrap()));
            out.extend(tmk.encrypt(key[8..].try_into().unwrap()));
            out.extend(&DesKey::double(&key).encrypt([0; 8])[..4]);
        };
        double(0x51 + 2 * self.sign_ins);
        let single = self.mac_key();
        let mut mac = Vec::from(tmk.encrypt(single));
        mac.extend([0; 8]);
        mac.extend(&DesKey::single(&single).encrypt([0; 8])[..4]);
        double(0x91 + 2 * self.sign_ins);
        out.splice(20..20, mac);
        out
    }
}

#[derive(Clone)]
pub struct Host {
    pub address: String,
    books: Arc<Mutex<Books>>,
}

impl Host {
    pub async fn open(cutter: Arc<Cutter>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let books = Arc::new(Mutex::new(Books::new()));
        let own = Self { address, books };
        let host = own.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(host.clone().serve(stream, Arc::clone(&cutter)));
            }
        });
        own
    }

    pub fn books(&self) -> Books {
        self.books.lock().unwrap().clone()
    }

    pub fn set(&self, books: Books) {
        *self.books.lock().unwrap() = books;
    }

    async fn serve(self, mut stream: TcpStream, cutter: Arc<Cutter>) {
        loop {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).await.is_err() {
                return;
            }
            let mut request = length.to_vec();
            request.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
            if stream.read_exact(&mut request[2..]).await.is_err() {
                return;
            }
            let answer = match cutter.arrived(&named(&request)) {
                Wire::GoesOn => answer(&mut self.books.lock().unwrap(), &request),
                Wire::Lost => return cutter.gone().await,
                Wire::Booked => {
                    answer(&mut self.books.lock().unwrap(), &request);
                    return cutter.gone().await;
                }
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn with<T>(request: &[u8], read: impl FnOnce(&Message<'_>) -> T) -> T {
    let (_, payload) = frame::split(request, 4096).unwrap().unwrap();
    let parts = frame::parse_pos(payload, &Profile::CUP_POS_1).unwrap();
    read(&CUP_POS.parse(parts.body).unwrap())
}

/// Message type and 60, for the story of a cut.
fn named(request: &[u8]) -> String {
    with(request, |message| {
        format!("{} {}", message.mti(), message.digits(60).map(|d| d.as_str().to_owned()).unwrap_or_default())
    })
}

fn digits(message: &Message<'_>, number: u8) -> String {
    message.digits(number).map(|digits| digits.as_str().to_owned()).unwrap_or_default()
}

fn records(text: &str) -> Vec<Vec<u8>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| hex::decode(line.trim()).ok())
        .collect()
}

/// The name of a record: 9F06, and 9F22 of a key.
fn name(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for tag in [0x9F06, 0x9F22] {
        if let Some(value) = tlv::find(record, tag).unwrap() {
            tlv::write(&mut out, tag, value);
        }
    }
    out
}

fn downloaded(code: &str, asked: &[u8], floor: u64) -> Option<Vec<u8>> {
    let list = match code {
        "372" | "370" => records(KEYS),
        "382" | "380" => records(&APPLICATIONS.replace("DF1906000000000000", &format!("DF1906{floor:012}"))),
        _ => return None,
    };
    let mut out = vec![0x31];
    if code.ends_with('2') {
        list.iter().for_each(|record| out.extend(name(record)));
    } else {
        out.extend(list.iter().find(|record| name(record) == asked).unwrap());
    }
    Some(out)
}

fn answer(books: &mut Books, request: &[u8]) -> Vec<u8> {
    let (_, payload) = frame::split(request, 4096).unwrap().unwrap();
    let parts = frame::parse_pos(payload, &Profile::CUP_POS_1).unwrap();
    let message = CUP_POS.parse(parts.body).unwrap();
    let mti = message.mti().value();
    let field_60 = digits(&message, 60);
    let (kind, batch, code) = (&field_60[..2], field_60[2..8].parse::<u32>().unwrap(), field_60.get(8..11));
    let trace = message.number(11).unwrap();
    books.seen.push(mti);
    let key = books.mac_key();
    let signed = message.has(64);
    let authentic = !signed
        || message
            .mac_block()
            .zip(message.bytes_of(64))
            .is_some_and(|(block, value)| mac::cup_ecb(&DesKey::single(&key), block)[..] == *value);
    let mut draft = Draft::new();
    draft.start(&CUP_POS, message.mti().response());
    for number in [2, 3, 4, 11, 14, 23, 25, 41, 42, 49, 53, 60] {
        if let Some(field) = message.field(number) {
            draft.put_field(&field).unwrap();
        }
    }
    books.reference += 1;
    let mut reference = books.reference.to_string();
    let mut response = if authentic { "00" } else { "A0" };
    let mut auth_code = None;
    let fresh = mti != 400 && mti != 620;
    if authentic && matches!(mti, 100 | 200 | 220) && message.number(3) != Some(310_000) {
        let original = Some(digits(&message, 61))
            .filter(|field| field.len() >= 12)
            .and_then(|field| field[6..12].parse().ok())
            .filter(|original| *original > 0)
            .or_else(|| {
                let code = message.text(38)?;
                let mut entries = books.entries.iter();
                entries.find(|(_, entry)| entry.auth_code.as_deref() == Some(code)).map(|(trace, _)| *trace)
            });
        if message.number(3) == Some(30_000) {
            auth_code = Some(format!("{:06}", trace + 700_000));
        }
        if batch != books.batch {
            books.complaints.push(format!("trace {trace} of batch {batch} after batch {}", books.batch));
        }
        let amount = message.number(4).unwrap();
        let before = books.entries.get(&trace).cloned();
        match (kind, before) {
            // A tip changes its sale.
            ("34", _) => match original.and_then(|original| books.entries.get_mut(&original)) {
                Some(sale) => sale.amount = amount,
                None => books.complaints.push("a tip without its sale".into()),
            },
            (_, Some(before)) => {
                if (mti != 220 && kind != "36") || before.kind != kind || before.amount != amount {
                    books.complaints.push(format!("trace {trace} a second time"));
                }
                reference = before.reference;
            }
            (kind, None) => {
                let entry = Entry {
                    kind: kind.to_owned(),
                    amount,
                    reversed: false,
                    original,
                    reference: reference.clone(),
                    auth_code: auth_code.clone(),
                };
                books.entries.insert(trace, entry);
            }
        }
    }
    if authentic && mti == 400 {
        match books.entries.get_mut(&trace) {
            Some(entry) => entry.reversed = true,
            None => response = "25",
        }
    }
    draft.put_digits(12, "101530").unwrap();
    draft.put_digits(13, "1124").unwrap();
    draft.put_digits(32, "01020000").unwrap();
    draft.put_text(37, &reference).unwrap();
    draft.put_text(39, response).unwrap();
    if let Some(code) = &auth_code {
        draft.put_text(38, code).unwrap();
    }
    if signed && fresh {
        draft.put_digits(15, "1124").unwrap();
    }
    if message.number(3) == Some(310_000) {
        draft.put_text(54, "1002156C000001000000").unwrap();
    }
    if kind == "22" && message.has(62) {
        draft.put_bytes(62, b"03A0000000000000100000000000000000000000").unwrap();
    }
    match (mti, code.unwrap_or_default()) {
        (800, "004") => {
            books.sign_ins += 1;
            draft.put_bytes(62, &books.keys()).unwrap();
            draft.put_digits(60, &format!("00{:06}004", books.batch)).unwrap();
        }
        (800 | 820, code) => {
            if let Some(list) = downloaded(code, message.bytes_of(62).unwrap_or_default(), books.floor) {
                draft.put_bytes(62, &list).unwrap();
            }
        }
        (500, _) => {
            let field = message.field(48).unwrap();
            let mut totals: String =
                (0..field.len()).map(|at| char::from(field.digit(at).unwrap())).collect();
            if totals[..30] != books.totals() {
                books.complaints.push(format!("totals {} are {}", &totals[..30], books.totals()));
            }
            totals.replace_range(30..31, "1");
            totals.replace_range(61..62, "1");
            draft.put_digits(48, &totals).unwrap();
        }
        (320, "207" | "202") if batch == books.batch => {
            let entries = std::mem::take(&mut books.entries);
            books.settled.push((batch, entries));
            books.batch += 1;
        }
        _ => {}
    }
    if let (320, Some(field)) = (mti, message.field(48)) {
        draft.put_field(&field).unwrap();
    }
    let mut out = Vec::new();
    let mark = frame::begin_pos(&mut out, parts.tpdu.swapped(), parts.header);
    // A terminal with older keys is told so in the clear; it could not read it under the new ones.
    if signed && authentic {
        draft
            .write_with_mac::<iso8583::BuildError>(&mut out, |block| {
                Ok(mac::cup_ecb(&DesKey::single(&key), block))
            })
            .unwrap();
    } else {
        draft.write(&mut out).unwrap();
    }
    frame::finish_pos(&mut out, mark).unwrap();
    out
}
