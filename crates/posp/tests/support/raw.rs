//! A terminal without good manners: it composes any frame, right or wrong, and sends it as it likes.

use std::net::SocketAddr;
use std::time::Duration;

use hsm::{
    Hsm, KeyAlgorithm, KeyBlobLayout, KeyComponent, KeyUsage, MacAlgorithm, Pin, PinFormat, SoftVault,
    WorkingKeys, WrappedKey,
};
use iso8583::frame::{self, PosHeader, Tpdu};
use iso8583::{CUP_POS, Draft, Mti};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{FIRST, MERCHANT, PATIENCE, TMK};

/// The stripe card of the deck that approves.
pub const PAN: &str = "6224242000000120";
/// Its track 2.
pub const TRACK: &str = "6224242000000120D29121010000000123";
/// Its laboratory PIN.
pub const PIN: &str = "123456";

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A whole frame, with its length.
    Frame(Vec<u8>),
    /// The node closed the connection.
    Closed,
}

impl Reply {
    /// Field 39 of the answer.
    pub fn code(&self) -> String {
        let Reply::Frame(bytes) = self else { panic!("no answer but the end of the connection") };
        let message = CUP_POS.parse(&bytes[13..]).unwrap();
        assert!(message.mti().is_response());
        message.text(39).unwrap().to_owned()
    }

    /// The bytes of the answer.
    pub fn bytes(&self) -> &[u8] {
        let Reply::Frame(bytes) = self else { panic!("no answer but the end of the connection") };
        bytes
    }
}

/// A request in the making.
pub struct Request {
    /// The fields; change them at will.
    pub draft: Draft,
}

/// The terminal.
pub struct RawTerminal {
    pub vault: SoftVault,
    pub tmk: WrappedKey,
    pub keys: Option<WorkingKeys>,
    /// Field 62 of the last sign-in.
    pub blob: Vec<u8>,
    pub address: SocketAddr,
    pub terminal: String,
    pub merchant: String,
    pub batch: u32,
    pub trace: u32,
}

impl RawTerminal {
    /// A terminal with the laboratory's master key.
    pub fn new(address: SocketAddr, terminal: &str) -> Self {
        let vault = SoftVault::ephemeral().unwrap();
        let components = TMK.map(|text| KeyComponent::from_hex(text).unwrap());
        let tmk =
            vault.import_components(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2, &components).unwrap();
        RawTerminal {
            vault,
            tmk,
            keys: None,
            blob: Vec::new(),
            address,
            terminal: terminal.to_owned(),
            merchant: MERCHANT.to_owned(),
            batch: 1,
            trace: 0,
        }
    }

    /// The first terminal, signed in.
    pub async fn signed_in(address: SocketAddr) -> Self {
        let mut terminal = RawTerminal::new(address, FIRST);
        terminal.sign_in().await;
        terminal
    }

    /// Signs in for 3DES keys without a track key.
    pub async fn sign_in(&mut self) {
        let request = self.sign_in_request();
        let reply = self.send(&self.unsigned(&request)).await;
        assert_eq!(reply.code(), "00");
        let message = CUP_POS.parse(&reply.bytes()[13..]).unwrap();
        self.blob = message.bytes_of(62).unwrap().to_vec();
        let keys = WorkingKeys::from_blob(&self.vault, KeyBlobLayout::Double40, &self.blob, &self.tmk);
        self.keys = Some(keys.unwrap());
        self.batch = message.digits(60).unwrap().as_str()[2..8].parse().unwrap();
    }

    pub fn sign_in_request(&mut self) -> Request {
        let mut request = self.head(800);
        request.draft.put_digits(60, &format!("00{:06}003", self.batch)).unwrap();
        request.draft.put_text(63, "01 ").unwrap();
        request
    }

    /// Type, trace, terminal and merchant.
    pub fn head(&mut self, mti: u16) -> Request {
        self.trace += 1;
        let mut draft = Draft::new();
        draft.start(&CUP_POS, Mti::new(mti));
        draft.put_number(11, u64::from(self.trace)).unwrap();
        draft.put_text(41, &self.terminal).unwrap();
        draft.put_text(42, &self.merchant).unwrap();
        Request { draft }
    }

    /// A swiped sale with PIN that the network approves.
    pub fn sale(&mut self, fen: u64) -> Request {
        self.sale_with_pin(fen, PIN)
    }

    /// The same with any PIN.
    pub fn sale_with_pin(&mut self, fen: u64, pin: &str) -> Request {
        let mut request = self.head(200);
        let draft = &mut request.draft;
        draft.put_number(3, 0).unwrap();
        draft.put_number(4, fen).unwrap();
        draft.put_digits(22, "021").unwrap();
        draft.put_number(25, 0).unwrap();
        draft.put_number(26, 12).unwrap();
        draft.put_digits(35, TRACK).unwrap();
        draft.put_text(49, "156").unwrap();
        draft.put_digits(53, "2600000000000000").unwrap();
        draft.put_digits(60, &format!("22{:06}000500", self.batch)).unwrap();
        let block = match &self.keys {
            Some(keys) => {
                let pin = Pin::new(pin).unwrap();
                self.vault.encrypt_pin(&pin, PAN, &keys.pin, PinFormat::Iso0).unwrap().bytes().to_vec()
            }
            None => vec![0x5A; 8],
        };
        draft.put_bytes(52, &block).unwrap();
        request
    }

    /// The reversal of a swiped sale that was sent with this trace number and amount.
    pub fn reversal(&mut self, trace: u32, fen: u64) -> Request {
        let mut request = self.head(400);
        let draft = &mut request.draft;
        draft.put_number(3, 0).unwrap();
        draft.put_number(4, fen).unwrap();
        draft.put_number(11, u64::from(trace)).unwrap();
        draft.put_digits(22, "021").unwrap();
        draft.put_number(25, 0).unwrap();
        draft.put_text(39, "98").unwrap();
        draft.put_text(49, "156").unwrap();
        draft.put_digits(60, &format!("22{:06}000500", self.batch)).unwrap();
        request
    }

    /// The frame with a good MAC (zeros before the first sign-in).
    pub fn signed(&self, request: &Request) -> Vec<u8> {
        self.frame(|out| {
            request
                .draft
                .write_with_mac(out, |block| match &self.keys {
                    Some(keys) => self
                        .vault
                        .mac(&keys.mac, MacAlgorithm::CupEcb, block)
                        .map_err(|error| std::io::Error::other(error.to_string()))
                        .map_err(Failed::from),
                    None => Ok([0; 8]),
                })
                .unwrap();
        })
    }

    /// The frame without field 64.
    pub fn unsigned(&self, request: &Request) -> Vec<u8> {
        self.frame(|out| request.draft.write(out).unwrap())
    }

    /// A frame around a message.
    pub fn frame(&self, message: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Some(PosHeader::new([0x60, 0x32, 0x00, 0x32, 0x00, 0x01]));
        let mark = frame::begin_pos(&mut out, Tpdu::new([0x60, 0, 0x03, 0, 0]), header);
        message(&mut out);
        frame::finish_pos(&mut out, mark).unwrap();
        out
    }

    /// Whether an answer carries a MAC under the terminal's key.
    pub fn is_signed(&self, reply: &Reply) -> bool {
        let message = CUP_POS.parse(&reply.bytes()[13..]).unwrap();
        match (message.mac_block(), message.bytes_of(64), &self.keys) {
            (Some(block), Some(mac), Some(keys)) => {
                self.vault.verify_mac(&keys.mac, MacAlgorithm::CupEcb, block, mac).unwrap()
            }
            _ => false,
        }
    }

    /// One frame on a connection of its own.
    pub async fn send(&self, frame: &[u8]) -> Reply {
        let mut line = Line::dial(self.address).await;
        line.send(frame).await;
        line.receive().await
    }

    /// A sale that must be approved.
    pub async fn good_sale(&mut self) -> Vec<u8> {
        let request = self.sale(100);
        let frame = self.signed(&request);
        let reply = self.send(&frame).await;
        assert_eq!(reply.code(), "00", "a good sale does not work any more");
        assert!(self.is_signed(&reply));
        frame
    }
}

/// Why a request could not be signed.
#[derive(Debug)]
pub struct Failed(pub String);

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Failed(error.to_string())
    }
}

impl From<iso8583::BuildError> for Failed {
    fn from(error: iso8583::BuildError) -> Self {
        Failed(error.to_string())
    }
}

/// A connection.
pub struct Line {
    stream: TcpStream,
}

impl Line {
    pub async fn dial(address: SocketAddr) -> Line {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Line { stream }
    }

    /// Sends bytes; a peer that has closed already is no failure of the test.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Says that no more bytes come.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next frame, or the end.
    pub async fn receive(&mut self) -> Reply {
        self.receive_within(PATIENCE).await.expect("neither an answer nor the end came")
    }

    /// The same, or nothing in this time.
    pub async fn receive_within(&mut self, patience: Duration) -> Option<Reply> {
        let read = async {
            let mut bytes = vec![0; 2];
            if self.stream.read_exact(&mut bytes).await.is_err() {
                return Reply::Closed;
            }
            let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            bytes.resize(2 + length, 0);
            self.stream.read_exact(&mut bytes[2..]).await.expect("an answer is whole");
            Reply::Frame(bytes)
        };
        tokio::time::timeout(patience, read).await.ok()
    }
}
