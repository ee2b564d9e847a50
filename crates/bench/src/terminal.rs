//! A terminal of the load: keys, numbers, frames, and the judgement of answers.

use std::time::Instant;

use anyhow::{Context, bail};
use hsm::{
    Hsm, KeyAlgorithm, KeyBlobLayout, KeyComponent, KeyUsage, MacAlgorithm, Pin, PinFormat, SoftVault,
    WorkingKeys, WrappedKey,
};
use iso8583::frame::{self, PosHeader, Tpdu};
use iso8583::{CUP_POS, Draft, Message, Mti};

use crate::mix::Kind;

/// Bytes before the message: length 2, TPDU 5, header 6.
const HEAD: usize = 13;
const TPDU: Tpdu = Tpdu::new([0x60, 0, 0x03, 0, 0]);
const HEADER: PosHeader = PosHeader::new([0x60, 0x32, 0x00, 0x32, 0x00, 0x01]);
/// Approved sales that a terminal keeps to void or refund later.
const KEPT: usize = 8;
/// Payments after which a batch is settled: its totals count to 999.
pub const BATCH_MAX: u32 = 950;

/// A card of the load.
#[derive(Clone)]
pub struct Card {
    /// Account number.
    pub pan: String,
    /// Track 2 with `D`.
    pub track: String,
    /// Expiry, YYMM.
    pub expiry: u64,
    /// PIN.
    pub pin: Pin,
}

impl Card {
    /// Card number `index` of the load; a test number of the simulated issuer.
    ///
    /// # Errors
    /// The PIN is not one.
    pub fn numbered(index: u32, pin: &str) -> anyhow::Result<Card> {
        let stem = format!("62242499{:07}", index % 10_000_000);
        let pan = format!("{stem}{}", check_digit(&stem));
        Ok(Card { track: format!("{pan}D29121010000000123"), pan, expiry: 2912, pin: Pin::new(pin)? })
    }
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Card(..)")
    }
}

fn check_digit(stem: &str) -> u32 {
    let sum: u32 = stem
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            match at % 2 {
                0 if digit > 4 => digit * 2 - 9,
                0 => digit * 2,
                _ => digit,
            }
        })
        .sum();
    (10 - sum % 10) % 10
}

/// Who a terminal is and the two components of its master key, as hexadecimal texts.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct Enrolled {
    /// Merchant number.
    pub merchant: String,
    /// Terminal number.
    pub terminal: String,
    /// Components of the terminal master key.
    pub components: [String; 2],
}

impl std::fmt::Debug for Enrolled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Enrolled({} {})", self.merchant, self.terminal)
    }
}

/// Counts and sums of a batch, in fen, as a terminal prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sales.
    pub debit_fen: u64,
    /// How many.
    pub debit_count: u32,
    /// Voids and refunds.
    pub credit_fen: u64,
    /// How many.
    pub credit_count: u32,
}

/// An approved sale.
#[derive(Clone)]
struct Sold {
    trace: u32,
    fen: u64,
    rrn: String,
    auth: String,
    /// MMDD.
    date: u64,
    card: u32,
}

/// A request whose answer has not come.
#[derive(Clone)]
pub struct Pending {
    /// What.
    pub kind: Kind,
    /// When it should have left.
    pub scheduled: Instant,
    trace: u32,
    fen: u64,
    card: u32,
    /// Field 39 that must come.
    code: &'static str,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The code that had to come.
    Expected,
    /// The node took no more work (96) and said so.
    Refused,
    /// Something else, in words without any value of a field but the code.
    Wrong(String),
}

/// What all terminals share.
pub struct Shared {
    /// The security module of the terminals.
    pub vault: SoftVault,
    /// Cards.
    pub cards: Vec<Card>,
}

/// A terminal.
pub struct Terminal {
    merchant: String,
    id: String,
    master: WrappedKey,
    keys: Option<WorkingKeys>,
    batch: u32,
    trace: u32,
    in_batch: u32,
    sold: Vec<Sold>,
    /// Totals of the running batch.
    pub totals: Totals,
    /// The request under way.
    pub pending: Option<Pending>,
    /// What must be reversed before anything else.
    undo: Option<Pending>,
}

fn io(error: hsm::HsmError) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// A frame could not be made.
#[derive(Debug)]
struct Unmade(String);

impl From<iso8583::BuildError> for Unmade {
    fn from(error: iso8583::BuildError) -> Self {
        Unmade(error.to_string())
    }
}

impl From<std::io::Error> for Unmade {
    fn from(error: std::io::Error) -> Self {
        Unmade(error.to_string())
    }
}

impl Terminal {
    /// A terminal with its master key loaded.
    ///
    /// # Errors
    /// The components are not of a key.
    pub fn new(shared: &Shared, enrolled: &Enrolled) -> anyhow::Result<Terminal> {
        let components: Vec<KeyComponent> =
            enrolled.components.iter().map(|text| KeyComponent::from_hex(text)).collect::<Result<_, _>>()?;
        let master = shared.vault.import_components(
            KeyUsage::TerminalMaster,
            KeyAlgorithm::TripleDes2,
            &components,
        )?;
        Ok(Terminal {
            merchant: enrolled.merchant.clone(),
            id: enrolled.terminal.clone(),
            master,
            keys: None,
            batch: 1,
            trace: 0,
            in_batch: 0,
            sold: Vec::new(),
            totals: Totals::default(),
            pending: None,
            undo: None,
        })
    }

    /// Whether something with a batch in the journal was done since the last settlement.
    #[must_use]
    pub fn has_batch(&self) -> bool {
        self.totals != Totals::default()
    }

    /// The chore that goes before the next payment.
    #[must_use]
    pub fn chore(&self) -> Option<Kind> {
        if self.undo.is_some() {
            return Some(Kind::Reversal);
        }
        (self.in_batch >= BATCH_MAX).then_some(Kind::Settlement)
    }

    /// The kind that can really be done: without a sale there is nothing to void or refund.
    #[must_use]
    pub fn possible(&self, kind: Kind) -> Kind {
        match kind {
            Kind::Void | Kind::Refund if self.sold.is_empty() => Kind::Sale,
            other => other,
        }
    }

    fn head(&mut self, draft: &mut Draft, mti: u16) -> anyhow::Result<()> {
        self.trace = if self.trace >= 999_999 { 1 } else { self.trace + 1 };
        draft.start(&CUP_POS, Mti::new(mti));
        draft.put_number(11, u64::from(self.trace))?;
        draft.put_text(41, &self.id)?;
        draft.put_text(42, &self.merchant)?;
        Ok(())
    }

    /// Writes the frame of the next request into `out` and keeps it as pending. `code` must come as the answer.
    ///
    /// # Errors
    /// A frame that cannot be made: a fault of the generator.
    #[allow(clippy::too_many_arguments)] // what a payment is made of; a struct would only rename them
    pub fn compose(
        &mut self,
        shared: &Shared,
        draft: &mut Draft,
        out: &mut Vec<u8>,
        kind: Kind,
        (card, fen): (u32, u64),
        code: &'static str,
        scheduled: Instant,
    ) -> anyhow::Result<()> {
        out.clear();
        let mut pending = Pending { kind, scheduled, trace: 0, fen, card, code };
        match kind {
            Kind::Sale | Kind::Balance => {
                self.card_fields(shared, draft, kind, card, 200)?;
                if kind == Kind::Sale {
                    draft.put_number(4, fen)?;
                }
            }
            Kind::Void => {
                let sold = self.sold.pop().context("no sale to void")?;
                (pending.fen, pending.card) = (sold.fen, sold.card);
                self.card_fields(shared, draft, kind, sold.card, 200)?;
                draft.put_number(4, sold.fen)?;
                draft.put_text(37, &sold.rrn)?;
                draft.put_text(38, &sold.auth)?;
                draft.put_digits(61, &format!("{:06}{:06}", self.batch, sold.trace))?;
            }
            Kind::Refund => {
                let sold = self.sold.pop().context("no sale to refund")?;
                (pending.fen, pending.card) = (sold.fen, sold.card);
                self.card_fields(shared, draft, kind, sold.card, 220)?;
                draft.put_number(4, sold.fen)?;
                draft.put_text(37, &sold.rrn)?;
                draft.put_digits(61, &format!("000000000000{:04}", sold.date))?;
                draft.put_text(63, "CUP")?;
            }
            Kind::Reversal => {
                let undo = self.undo.take().context("nothing to reverse")?;
                let card = shared.cards.get(undo.card as usize).context("no such card")?;
                self.head(draft, 400)?;
                draft.put_number(11, u64::from(undo.trace))?;
                draft.put_digits(2, &card.pan)?;
                draft.put_number(3, if undo.kind == Kind::Void { 200_000 } else { 0 })?;
                draft.put_number(4, undo.fen)?;
                draft.put_number(14, card.expiry)?;
                draft.put_digits(22, "021")?;
                draft.put_number(25, 0)?;
                draft.put_text(39, "98")?;
                draft.put_text(49, "156")?;
                let message_type = if undo.kind == Kind::Void { 23 } else { 22 };
                draft.put_digits(60, &format!("{message_type}{:06}000500", self.batch))?;
                if undo.kind == Kind::Void {
                    draft.put_digits(61, &format!("{:06}{:06}", self.batch, undo.trace))?;
                }
                pending = Pending { kind, scheduled, code, ..undo };
            }
            Kind::SignIn => {
                self.head(draft, 800)?;
                draft.put_digits(60, &format!("00{:06}003", self.batch))?;
                draft.put_text(63, "01 ")?;
            }
            Kind::Settlement => {
                let Totals { debit_fen, debit_count, credit_fen, credit_count } = self.totals;
                self.head(draft, 500)?;
                let totals =
                    format!("{debit_fen:012}{debit_count:03}{credit_fen:012}{credit_count:03}0{:031}", 0);
                draft.put_digits(48, &totals)?;
                draft.put_text(49, "156")?;
                draft.put_digits(60, &format!("00{:06}201", self.batch))?;
                draft.put_text(63, "01 ")?;
            }
            Kind::BatchEnd => {
                self.head(draft, 320)?;
                draft.put_digits(48, "0000")?;
                draft.put_digits(60, &format!("00{:06}207", self.batch))?;
            }
        }
        if kind != Kind::Reversal {
            pending.trace = self.trace;
        }
        let mark = frame::begin_pos(out, TPDU, Some(HEADER));
        match (&self.keys, kind.is_drawn() || kind == Kind::Reversal) {
            (Some(keys), true) => {
                let signed = draft.write_with_mac(out, |block| {
                    shared.vault.mac(&keys.mac, MacAlgorithm::CupEcb, block).map_err(|e| Unmade::from(io(e)))
                });
                if let Err(Unmade(why)) = signed {
                    bail!("a request cannot be signed: {why}");
                }
            }
            (None, true) => bail!("a payment before the sign-in"),
            (_, false) => draft.write(out)?,
        }
        frame::finish_pos(out, mark)?;
        self.pending = Some(pending);
        Ok(())
    }

    fn card_fields(
        &mut self,
        shared: &Shared,
        draft: &mut Draft,
        kind: Kind,
        card: u32,
        mti: u16,
    ) -> anyhow::Result<()> {
        let (processing, message_type) = match kind {
            Kind::Balance => (310_000, "01"),
            Kind::Void => (200_000, "23"),
            Kind::Refund => (200_000, "25"),
            _ => (0, "22"),
        };
        self.head(draft, mti)?;
        let card = shared.cards.get(card as usize).context("no such card")?;
        let keys = self.keys.as_ref().context("not signed in")?;
        if matches!(kind, Kind::Void | Kind::Refund) {
            draft.put_digits(2, &card.pan)?;
            draft.put_number(14, card.expiry)?;
        }
        draft.put_number(3, processing)?;
        draft.put_digits(22, "021")?;
        draft.put_number(25, 0)?;
        draft.put_number(26, 12)?;
        draft.put_digits(35, &card.track)?;
        draft.put_text(49, "156")?;
        let block = shared.vault.encrypt_pin(&card.pin, &card.pan, &keys.pin, PinFormat::Iso0)?;
        draft.put_bytes(52, block.bytes())?;
        draft.put_digits(53, "2600000000000000")?;
        draft.put_digits(60, &format!("{message_type}{:06}000500", self.batch))?;
        Ok(())
    }

    /// Judges the answer to the pending request; `frame` begins with its length. Gives what was asked, what was
    /// heard, and field 39.
    pub fn hear(&mut self, shared: &Shared, frame: &[u8]) -> Option<(Pending, Heard, [u8; 2])> {
        let pending = self.pending.take()?;
        let (heard, code) = match self.judge(shared, frame, &pending) {
            Ok(judged) => judged,
            Err(error) => (Heard::Wrong(format!("{}: {error:#}", pending.kind.name())), *b"??"),
        };
        Some((pending, heard, code))
    }

    fn judge(
        &mut self,
        shared: &Shared,
        frame: &[u8],
        pending: &Pending,
    ) -> anyhow::Result<(Heard, [u8; 2])> {
        let body = frame.get(HEAD..).context("a frame without a message")?;
        let message = CUP_POS.parse(body)?;
        if !message.mti().is_response()
            || message.number(11) != Some(u64::from(pending.trace))
            || message.text(41) != Some(self.id.as_str())
            || message.text(42) != Some(self.merchant.as_str())
        {
            bail!("the answer belongs to another request");
        }
        let text = message.text(39).context("an answer without a code")?;
        let code = text.as_bytes().first_chunk::<2>().copied().unwrap_or(*b"??");
        if pending.kind.is_drawn() || pending.kind == Kind::Reversal {
            let keys = self.keys.as_ref().context("not signed in")?;
            let (block, mac) =
                message.mac_block().zip(message.bytes_of(64)).context("an answer without MAC")?;
            if !shared.vault.verify_mac(&keys.mac, MacAlgorithm::CupEcb, block, mac)? {
                bail!("an answer with a wrong MAC, code {text}");
            }
        }
        if pending.code != text {
            if text == "96" {
                return Ok((Heard::Refused, code));
            }
            self.give_up(pending);
            return Ok((Heard::Wrong(format!("{} answered {text}", pending.kind.name())), code));
        }
        match text {
            "00" => self.approved(shared, &message, pending)?,
            _ if text == "68" => self.give_up(pending),
            _ => {}
        }
        Ok((Heard::Expected, code))
    }

    /// Without a usable outcome a sale or void is reversed next.
    fn give_up(&mut self, pending: &Pending) {
        if matches!(pending.kind, Kind::Sale | Kind::Void) {
            self.undo = Some(pending.clone());
        }
    }

    /// The line broke, or no answer came in time.
    pub fn lost(&mut self) -> Option<Pending> {
        let pending = self.pending.take()?;
        self.give_up(&pending);
        Some(pending)
    }

    fn approved(&mut self, shared: &Shared, message: &Message<'_>, pending: &Pending) -> anyhow::Result<()> {
        match pending.kind {
            Kind::Sale => {
                self.in_batch += 1;
                self.totals.debit_fen += pending.fen;
                self.totals.debit_count += 1;
                if self.sold.len() >= KEPT {
                    self.sold.remove(0);
                }
                self.sold.push(Sold {
                    trace: pending.trace,
                    fen: pending.fen,
                    rrn: message.text(37).context("an approval without field 37")?.to_owned(),
                    auth: message.text(38).unwrap_or_default().to_owned(),
                    date: message.number(13).context("an approval without field 13")?,
                    card: pending.card,
                });
            }
            Kind::Void | Kind::Refund => {
                self.in_batch += 1;
                self.totals.credit_fen += pending.fen;
                self.totals.credit_count += 1;
            }
            Kind::SignIn => {
                let blob = message.bytes_of(62).context("a sign-in without keys")?;
                let keys =
                    WorkingKeys::from_blob(&shared.vault, KeyBlobLayout::Double40, blob, &self.master)?;
                self.keys = Some(keys);
                let field = message.digits(60).context("a sign-in without field 60")?;
                self.batch = field.as_str().get(2..8).context("a short field 60")?.parse()?;
            }
            Kind::Settlement => {
                let field = message.digits(48).context("a settlement without field 48")?;
                let results = (field.as_str().get(30..31), field.as_str().get(61..62));
                if results.0 != Some("1") || matches!(results.1, Some("2" | "3")) {
                    bail!("the batch does not balance: terminal and journal differ");
                }
            }
            Kind::BatchEnd => {
                self.batch = if self.batch >= 999_999 { 1 } else { self.batch + 1 };
                self.in_batch = 0;
                self.totals = Totals::default();
                self.sold.clear();
            }
            Kind::Balance | Kind::Reversal => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_of_the_load_has_a_good_check_digit_and_shows_nothing() {
        // 6224 2499 0000 000: doubled from the right 0 0 0 0 9→9 4→8 2→4 … the digit makes the sum a multiple of ten.
        let card = Card::numbered(12, "123456").unwrap();
        let sum: u32 = card
            .pan
            .bytes()
            .rev()
            .enumerate()
            .map(|(at, byte)| {
                let digit = u32::from(byte - b'0') * (1 + at as u32 % 2);
                digit / 10 + digit % 10
            })
            .sum();
        assert_eq!((card.pan.len(), sum % 10), (16, 0));
        assert_eq!(format!("{card:?}"), "Card(..)");
    }
}
