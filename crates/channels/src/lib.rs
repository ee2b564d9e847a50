//! The doors out: one module per payment network, each behind [`Channel`].
//!
//! The engine knows this trait and nothing below it. A payment passes a channel in two steps, so that the
//! journal can stand between them: [`Channel::prepare`] makes the message (and may refuse, having sent
//! nothing), the engine makes the intent durable, then [`Channel::send`] lets it out.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::payment::{Answer, NetworkKey, PaymentRecord};
use acquiring::transition::Forward;
use acquiring::{
    Amount, AuthCode, EntryMode, Expiry, MerchantId, Pan, PaymentId, ResponseCode, Rrn, Secret, TerminalId,
};
use hsm::{EncryptedPinBlock, WrappedKey};
use jiff::Timestamp;

pub mod unionpay_card;

/// A boxed future, so that channels can be held behind `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A payment on its way out, with everything that a network may need of it.
pub struct NetworkRequest {
    /// What it is.
    pub kind: Kind,
    /// Our number.
    pub id: PaymentId,
    /// Reference number, set by us.
    pub rrn: Rrn,
    /// Amount; zero for a balance inquiry.
    pub amount: Amount,
    /// Currency, ISO 4217 numeric.
    pub currency: u16,
    /// Account number.
    pub pan: Pan,
    /// Expiry, when known.
    pub expiry: Option<Expiry>,
    /// Entry mode, field 22.
    pub entry_mode: EntryMode,
    /// Card sequence number.
    pub card_sequence: Option<u16>,
    /// Condition code, field 25.
    pub condition: u8,
    /// Digits 60.4 to 60.6 of the terminal.
    pub terminal_traits: [u8; 3],
    /// Track 2 in the clear, `D` as separator.
    pub track2: Option<Secret>,
    /// PIN block and the terminal's key it is under.
    pub pin: Option<TerminalPin>,
    /// Chip data, field 55.
    pub chip: Option<Secret>,
    /// Merchant number.
    pub merchant: MerchantId,
    /// Merchant name.
    pub merchant_name: String,
    /// Merchant category code.
    pub mcc: u16,
    /// Terminal number.
    pub terminal: TerminalId,
    /// Periods and item of an instalment sale, as field 62 of the terminal has them.
    pub plan: Option<String>,
    /// The card whose purse a non-designated load fills.
    pub transfer_in: Option<Pan>,
    /// Authorisation code of the original, for a void, refund or completion.
    pub auth_code: Option<AuthCode>,
    /// The original, for a void, refund or completion.
    pub original: Option<OriginalRef>,
    /// The present moment.
    pub at: Timestamp,
}

/// A PIN as it came from the terminal.
pub struct TerminalPin {
    /// The encrypted block.
    pub block: EncryptedPinBlock,
    /// The terminal's PIN key.
    pub key: WrappedKey,
}

/// How the network knows the original of a void, refund or completion.
#[derive(Clone, Copy, Debug)]
pub struct OriginalRef {
    /// What it was.
    pub kind: Kind,
    /// Its key at the network.
    pub key: NetworkKey,
    /// Its reference number.
    pub rrn: Rrn,
    /// Its authorisation code.
    pub auth_code: Option<AuthCode>,
}

/// A message ready to leave.
pub struct Prepared {
    /// How the network will know it.
    pub key: NetworkKey,
    /// The whole frame.
    pub frame: Vec<u8>,
    /// The message with its secrets overwritten, for the journal.
    pub masked: Vec<u8>,
    /// How its answer will be recognised.
    pub correlation: Correlation,
}

/// What ties an answer to its request: MTI of the answer, trace number and reference number (or, for
/// management messages, the management code in digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Correlation {
    /// MTI of the answer.
    pub mti: u16,
    /// Field 11.
    pub trace: u32,
    /// Field 37, or field 70 left-padded for management.
    pub reference: [u8; 12],
}

/// Why a request cannot be made; nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct PrepareError {
    /// Answer for the terminal.
    pub code: ResponseCode,
    /// For the operator; no card data.
    pub reason: String,
}

/// How sending ended.
#[derive(Debug)]
pub enum Outcome {
    /// The network answered, and its MAC is right.
    Answered(NetworkAnswer),
    /// The request may have arrived; no answer came in time. The reason is for the journal.
    NoAnswer(&'static str),
    /// The request did not leave us.
    NotSent(ResponseCode, &'static str),
}

/// An answer of the network.
#[derive(Debug)]
pub struct NetworkAnswer {
    /// The outcome.
    pub answer: Answer,
    /// Field 4, which is another amount than that of the request when a part was approved.
    pub amount: Option<Amount>,
    /// The message with its secrets overwritten, for the journal.
    pub masked: Vec<u8>,
}

/// An answer nobody waits for: late, doubled, or of a request we do not know.
#[derive(Debug)]
pub struct Unsolicited {
    /// The line it came over.
    pub line: String,
    /// Its MTI.
    pub mti: u16,
    /// Field 11.
    pub trace: u32,
    /// Field 37.
    pub rrn: Option<Rrn>,
    /// Field 39.
    pub code: Option<ResponseCode>,
    /// The message with its secrets overwritten.
    pub masked: Vec<u8>,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineStatus {
    /// Ready for payments.
    pub ready: bool,
    /// In words, for `posp doctor` and the health page.
    pub detail: String,
    /// Settlement date the network last told, MMDD.
    pub settle_date: Option<u16>,
}

/// What a forwarded message (reversal or repeat) is made from.
pub struct ForwardRequest<'a> {
    /// Reversal or repeat.
    pub action: Forward,
    /// The payment that is reversed or repeated.
    pub payment: &'a PaymentRecord,
    /// Its account number.
    pub pan: &'a Pan,
    /// Merchant name.
    pub merchant_name: &'a str,
    /// Merchant category code.
    pub mcc: u16,
    /// The original of the payment, when it has one.
    pub original: Option<OriginalRef>,
    /// When the message was composed: its transmission time, the same for every repeat of it.
    pub composed: Timestamp,
    /// How many times it was sent before.
    pub tries: u32,
    /// Chip data that goes with it.
    pub chip: Option<&'a Secret>,
    /// Of a reversal or repeat the request as it went out first, its secrets overwritten, as the journal has it.
    pub first: Option<&'a [u8]>,
}

/// A payment network.
pub trait Channel: Send + Sync + 'static {
    /// Name of the line, as journal and store-and-forward queue keep it.
    fn line(&self) -> &str;

    /// Makes the message of a payment. Nothing leaves.
    fn prepare(&self, request: &NetworkRequest) -> Result<Prepared, PrepareError>;

    /// Makes the message of a reversal or repeat. Nothing leaves.
    fn prepare_forward(&self, request: &ForwardRequest<'_>) -> Result<Prepared, PrepareError>;

    /// Sends and waits for the answer, at most `patience`.
    fn send<'a>(&'a self, prepared: &'a Prepared, patience: Duration) -> BoxFuture<'a, Outcome>;

    /// Where the line stands.
    fn status(&self) -> LineStatus;

    /// Waits until the line is ready for traffic.
    fn ready(&self) -> BoxFuture<'_, ()>;
}
