//! From a parsed message to the engine's types, pure: who sends, what is asked, with which numbers.

use acquiring::kind::{Kind, KindSpec, Signature};
use acquiring::settlement::{BatchTotals, BlockTotals, SideTotal};
use acquiring::{
    Amount, AuthCode, BatchNo, EntryMode, Expiry, MerchantId, Pan, ResponseCode, Rrn, Secret, TerminalId,
    Trace,
};
use engine::Refusal;
use engine::advice::{ScriptResult, SignaturePart};
use engine::batch::Detail;
use engine::payment::{OriginalNumbers, PaymentRequest, TransferIn};
use engine::reversal::ReversalRequest;
use hsm::{EncryptedPinBlock, PinFormat};
use iso8583::subfield::{BatchDetail48, BatchEnd48, Original61, PosField60, Totals48};
use iso8583::{Message, Profile, Sm4PinCarrier, tlv};

use crate::profile::Spoken;

const fn format(reason: &'static str) -> Refusal {
    Refusal::new(ResponseCode::FORMAT_ERROR, reason)
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Field 42.
    pub merchant: MerchantId,
    /// Field 41.
    pub terminal: TerminalId,
}

impl Sender {
    /// Reads merchant and terminal.
    ///
    /// # Errors
    /// 30 when one is missing or malformed.
    pub fn read(message: &Message<'_>) -> Result<Sender, Refusal> {
        let terminal = message.text(41).and_then(|id| TerminalId::new(id).ok());
        let merchant = message.text(42).and_then(|id| MerchantId::new(id).ok());
        Ok(Sender {
            terminal: terminal.ok_or(format("field 41 missing or malformed"))?,
            merchant: merchant.ok_or(format("field 42 missing or malformed"))?,
        })
    }
}

/// Who sends and what is asked.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The line of the transaction table.
    pub spec: &'static KindSpec,
    /// Field 42.
    pub merchant: MerchantId,
    /// Field 41.
    pub terminal: TerminalId,
    /// Field 60.
    pub field_60: PosField60,
    /// 60.3 as the transaction table has it; a profile may ask for SM4 keys by another code.
    pub network_code: u16,
}

impl Head {
    /// Reads field 60 and finds the transaction in the table.
    ///
    /// # Errors
    /// 30 for a missing or malformed field, 40 for a transaction that is not in the table.
    pub fn read(message: &Message<'_>, sender: Sender, spoken: &Spoken) -> Result<Head, Refusal> {
        let field_60 = PosField60::of(message).map_err(|_| format("field 60 malformed"))?;
        let field_60 = field_60.ok_or(format("field 60 missing"))?;
        let first_two = |number: u64| u8::try_from(number / 10_000).ok();
        let signature = spoken.canonical(Signature {
            mti: message.mti().value(),
            processing: message.number(3).and_then(first_two),
            condition: message.number(25).and_then(|code| u8::try_from(code).ok()),
            message_type: Some(field_60.msg_type),
            network_code: field_60.network_code,
        });
        let unknown = Refusal::new(ResponseCode::NOT_SUPPORTED, "transaction not supported");
        let spec = Kind::classify(signature).ok_or(unknown)?;
        let Sender { merchant, terminal } = sender;
        Ok(Head { spec, merchant, terminal, field_60, network_code: signature.network_code.unwrap_or(0) })
    }

    /// Field 60 as the answer to a sign-in has it: a profile may answer the code that asks for SM4 keys with another.
    pub fn answered_60(&self, spoken: &Spoken) -> PosField60 {
        let (asked, answered) = spoken.profile.sm4_sign_in;
        match self.field_60.network_code {
            Some(code) if code == asked => PosField60 { network_code: Some(answered), ..self.field_60 },
            _ => self.field_60,
        }
    }

    /// The batch number of 60.2.
    ///
    /// # Errors
    /// 30 when it is zero.
    pub fn batch(&self) -> Result<BatchNo, Refusal> {
        BatchNo::new(u64::from(self.field_60.batch)).map_err(|_| format("batch number malformed"))
    }
}

/// The first field that the table demands and the message lacks. A missing MAC is not the door's matter: it is
/// a message that nobody vouches for, and answered A0 like one whose MAC is wrong.
///
/// A terminal that does not know card numbers is let off field 2.
pub fn missing_field(spec: &KindSpec, message: &Message<'_>, profile: &Profile) -> Option<u8> {
    let missing = |field: &u8| *field != MAC && !message.has(*field);
    let excused = |field: u8| field == 2 && hides_number(message, profile);
    spec.mandatory.iter().find(|field| missing(field) && !excused(*field))
}

/// Whether the terminal's reader keeps card numbers to itself: device type 03 (MPOS) in field 59, A2.01. (That such a
/// terminal sends no field 2, and is sent none, is modelled.)
pub fn hides_number(message: &Message<'_>, profile: &Profile) -> bool {
    let Some(digits) = profile.tlv59_digits else { return false };
    let find = |data, tag| tlv::ascii_find(data, digits, tag).ok().flatten();
    let device = message.bytes_of(59).and_then(|field| find(field, b"A2"));
    device.and_then(|device| find(device, b"01")) == Some(b"03")
}

/// The field of the MAC.
const MAC: u8 = 64;

/// Field 11.
pub fn trace(message: &Message<'_>) -> Result<Trace, Refusal> {
    let number = message.number(11).ok_or(format("field 11 missing"))?;
    Trace::new(number).map_err(|_| format("trace number malformed"))
}

fn amount(message: &Message<'_>) -> Option<Amount> {
    message.number(4).and_then(Amount::from_fen)
}

/// Digit `at` (from 0) of field 53.
fn security_digit(message: &Message<'_>, at: usize) -> u8 {
    message.digits(53).and_then(|d| d.as_bytes().get(at).map(|b| b.wrapping_sub(b'0'))).unwrap_or(0)
}

/// A PIN: field 52, or for SM4 the carrier of the profile (59 tag A1 or 63 `SM016`).
fn pin(message: &Message<'_>, profile: &Profile) -> Result<Option<EncryptedPinBlock>, Refusal> {
    let Some(block) = message.bytes_of(52) else { return Ok(None) };
    if !message.has(26) {
        return Err(format("field 52 without field 26"));
    }
    let refused = |reason| Refusal::new(ResponseCode::PIN_FORMAT, reason);
    let malformed = |_| refused("PIN block malformed");
    if security_digit(message, 0) == 0 {
        return Err(format("field 52 without a PIN in field 53"));
    }
    let digit = security_digit(message, 1);
    if digit != profile.sm4_digit {
        // 3 and 4 both say SM4, each in other families; one that is not the profile's is no DES block either.
        if matches!(digit, 3 | 4) {
            return Err(refused("field 53 says SM4 as another profile does"));
        }
        return EncryptedPinBlock::new(PinFormat::Iso0, block).map(Some).map_err(malformed);
    }
    let carrier = match (profile.sm4_pin, profile.tlv59_digits) {
        (Sm4PinCarrier::Field63, _) => message.bytes_of(63).and_then(|all| all.strip_prefix(b"SM016")),
        (Sm4PinCarrier::Tag59A1, Some(digits)) => {
            message.bytes_of(59).and_then(|all| tlv::ascii_find(all, digits, b"A1").ok().flatten())
        }
        (Sm4PinCarrier::Tag59A1, None) => None,
    };
    let carrier = carrier.ok_or(refused("SM4 PIN without its carrier"))?;
    EncryptedPinBlock::new(PinFormat::Sm4Extended, carrier).map(Some).map_err(malformed)
}

/// The account number that the chip tells: tag 5A, or 57 up to its separator.
fn chip_pan(chip: &[u8]) -> Option<Pan> {
    let digits = |value: &[u8]| {
        let mut text = String::with_capacity(value.len() * 2);
        for byte in value {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('F').to_ascii_uppercase());
            }
        }
        text
    };
    let find = |tag| tlv::find(chip, tag).ok().flatten();
    if let Some(value) = find(0x5A) {
        return Pan::new(digits(value).trim_end_matches('F')).ok();
    }
    find(0x57).and_then(|value| Pan::from_track2(&digits(value)).ok())
}

/// The card that a non-designated load fills: field 48 says how it is read (three digits as in field 22), field 62 which
/// it is (tag 5A or 57, modelled). Its chip data, should it tell a number, must tell the same.
fn transfer_in(message: &Message<'_>) -> Result<TransferIn, Refusal> {
    let entry_mode = message.digits(48).filter(|digits| digits.as_str().len() == 3);
    let entry_mode = entry_mode.and_then(|digits| digits.as_str().parse().ok()).and_then(EntryMode::new);
    let pan = message.bytes_of(62).and_then(chip_pan).ok_or(format("field 62 names no card"))?;
    if message.bytes_of(55).and_then(chip_pan).is_some_and(|told| told != pan) {
        return Err(Refusal::new(ResponseCode::CARD_CHECK, "account numbers disagree"));
    }
    Ok(TransferIn { pan, entry_mode: entry_mode.ok_or(format("field 48 malformed"))? })
}

/// Field 61, as far as it goes; zeros mean "not told".
fn original(message: &Message<'_>) -> Result<Option<OriginalNumbers>, Refusal> {
    let read = Original61::of(message).map_err(|_| format("field 61 malformed"))?;
    Ok(read.map(|read| OriginalNumbers {
        batch: BatchNo::new(u64::from(read.batch)).ok(),
        trace: Trace::new(u64::from(read.trace)).ok(),
        date: read.date.filter(|date| *date != 0),
    }))
}

/// Field 54 of a request: the tip in fen, twelve digits (modelled: its length is in no public source).
fn tip(message: &Message<'_>) -> Result<Option<Amount>, Refusal> {
    let Some(text) = message.text(54) else { return Ok(None) };
    let fen = text.trim().parse().ok().and_then(Amount::from_fen).ok_or(format("field 54 malformed"))?;
    Ok(Some(fen))
}

/// What became of the commands for a chip.
pub fn script_result(message: &Message<'_>, masked: Vec<u8>) -> Result<ScriptResult, Refusal> {
    message.check_chip_data().map_err(|_| format("field 55 malformed"))?;
    let numbers = original(message)?.ok_or(format("field 61 missing"))?;
    Ok(ScriptResult {
        batch: numbers.batch.ok_or(format("original batch missing"))?,
        trace: numbers.trace.ok_or(format("original trace missing"))?,
        rrn: message.text(37).and_then(|rrn| Rrn::new(rrn).ok()),
        chip: message.bytes_of(55).map(Secret::new).ok_or(format("field 55 missing"))?,
        masked,
    })
}

/// A part of an e-signature.
pub fn signature_part(head: &Head, message: &Message<'_>) -> Result<SignaturePart, Refusal> {
    message.check_chip_data().map_err(|_| format("field 55 malformed"))?;
    Ok(SignaturePart {
        batch: head.batch()?,
        trace: trace(message)?,
        rrn: message.text(37).and_then(|rrn| Rrn::new(rrn).ok()),
        code: head.field_60.network_code.ok_or(format("part number missing"))?,
        image: message.bytes_of(62).map(<[u8]>::to_vec).ok_or(format("field 62 missing"))?,
    })
}

/// A financial request.
pub fn payment(
    head: &Head,
    message: &Message<'_>,
    profile: &Profile,
    digest: [u8; 32],
    masked: Vec<u8>,
) -> Result<PaymentRequest, Refusal> {
    message.check_chip_data().map_err(|_| format("field 55 malformed"))?;
    let small = |number: u8| message.number(number).and_then(|n| u16::try_from(n).ok());
    let pan = match message.digits(2) {
        Some(digits) => {
            let pan = Pan::new(digits.as_str());
            Some(pan.map_err(|_| Refusal::new(ResponseCode::INVALID_CARD, "account number malformed"))?)
        }
        None => None,
    };
    let entry_mode = small(22).and_then(EntryMode::new).ok_or(format("field 22 missing"))?;
    let currency = message.text(49).and_then(|code| code.parse().ok()).ok_or(format("field 49 malformed"))?;
    let chip = message.bytes_of(55);
    let text_62 = message.bytes_of(62).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let plan = match head.spec.kind {
        Kind::Instalment => text_62.map(str::to_owned),
        Kind::PointsSale => {
            text_62.map(|item| format!("{:03}{item}", head.field_60.account_type.unwrap_or(0)))
        }
        _ => None,
    };
    let (chip_pan, transfer_in) = match head.spec.kind {
        // Field 55 is of the card that field 62 names.
        Kind::TransferLoad => (None, Some(transfer_in(message)?)),
        _ => (chip.and_then(chip_pan), None),
    };
    Ok(PaymentRequest {
        batch: head.batch()?,
        trace: trace(message)?,
        amount: amount(message),
        currency,
        pan,
        number_hidden: hides_number(message, profile),
        expiry: small(14).and_then(Expiry::new),
        entry_mode,
        card_sequence: small(23),
        condition: small(25).and_then(|code| u8::try_from(code).ok()).unwrap_or(0),
        terminal_traits: [
            head.field_60.capability.unwrap_or(0),
            head.field_60.chip_condition.unwrap_or(0),
            head.field_60.partial_approval.unwrap_or(0),
        ],
        track2: message.digits(35).map(|track| Secret::new(track.as_bytes())),
        track_encrypted: security_digit(message, 2) == 1,
        pin: pin(message, profile)?,
        chip_pan,
        chip: chip.map(Secret::new),
        original: original(message)?,
        original_rrn: message.text(37).and_then(|rrn| Rrn::new(rrn).ok()),
        plan,
        transfer_in,
        tip: tip(message)?,
        auth_code: message.text(38).and_then(|code| AuthCode::new(code).ok()),
        digest,
        masked,
    })
}

/// A reversal.
pub fn reversal(head: &Head, message: &Message<'_>, masked: Vec<u8>) -> Result<ReversalRequest, Refusal> {
    let reason = message.text(39).and_then(ResponseCode::new).ok_or(format("field 39 malformed"))?;
    Ok(ReversalRequest {
        batch: head.batch()?,
        trace: trace(message)?,
        amount: amount(message).ok_or(format("field 4 missing"))?,
        reason,
        chip: message.bytes_of(55).map(Secret::new),
        masked,
    })
}

/// The 62 digits of 0500.
pub fn totals(message: &Message<'_>) -> Result<BatchTotals, Refusal> {
    let read = Totals48::of(message).map_err(|_| format("field 48 malformed"))?;
    let read = read.ok_or(format("field 48 missing"))?;
    let side = |amount: u64, count: u16| SideTotal {
        amount: Amount::from_fen(amount).unwrap_or(Amount::MAX),
        count: u32::from(count),
    };
    let block = |block: &iso8583::subfield::TotalsBlock| BlockTotals {
        debit: side(block.debit_fen, block.debit_count),
        credit: side(block.credit_fen, block.credit_count),
    };
    Ok(BatchTotals { domestic: block(&read.domestic), foreign: block(&read.foreign) })
}

/// What a terminal without card numbers has in the place of one.
fn is_zeros(digits: &str) -> bool {
    digits.bytes().all(|digit| digit == b'0')
}

/// Details of a batch-up message 201: up to eight lines in field 48.
pub fn magnetic_details(message: &Message<'_>, profile: &Profile) -> Result<Vec<Detail>, Refusal> {
    let malformed = || format("field 48 malformed");
    let read = BatchDetail48::of(message).map_err(|_| malformed())?.ok_or(format("field 48 missing"))?;
    read.lines()
        .map(|line| {
            let line = line.map_err(|_| malformed())?;
            Ok(Detail {
                trace: Trace::new(u64::from(line.trace)).map_err(|_| malformed())?,
                pan: match Pan::new(line.pan.as_str()) {
                    Ok(pan) => Some(pan),
                    Err(_) if is_zeros(line.pan.as_str()) && hides_number(message, profile) => None,
                    Err(_) => return Err(malformed()),
                },
                amount: Amount::from_fen(line.fen).ok_or_else(malformed)?,
                foreign: Some(line.foreign),
            })
        })
        .collect()
}

/// The detail of a batch-up message that carries one transaction: chip (203, 205) or offline (000).
pub fn single_detail(message: &Message<'_>) -> Result<Detail, Refusal> {
    // Where it may be missing, the head was asked.
    let pan = message.digits(2).map(|pan| Pan::new(pan.as_str()));
    let own = trace(message)?;
    // An offline detail has its own trace number and tells the transaction's in field 61.
    let told = original(message)?.and_then(|numbers| numbers.trace);
    let amount = match amount(message) {
        Some(amount) => amount,
        None => detail62(message).and_then(amount_in_62).ok_or(format("amount missing"))?,
    };
    Ok(Detail {
        trace: told.unwrap_or(own),
        pan: pan.transpose().map_err(|_| format("account number malformed"))?,
        amount,
        foreign: detail62(message).and_then(class_in_62),
    })
}

/// Field 62 of a chip detail: `61` (`71` of a notice), card class 2, result 2, amount 12, currency 3.
fn detail62<'a>(message: &Message<'a>) -> Option<&'a str> {
    let text = std::str::from_utf8(message.bytes_of(62)?).ok()?;
    (text.starts_with("61") || text.starts_with("71")).then_some(text)
}

fn amount_in_62(text: &str) -> Option<Amount> {
    text.get(6..18)?.parse().ok().and_then(Amount::from_fen)
}

/// Card class 01 is a foreign card, 00 a domestic one; another says nothing.
fn class_in_62(text: &str) -> Option<bool> {
    match text.get(2..4)? {
        "00" => Some(false),
        "01" => Some(true),
        _ => None,
    }
}

/// The count of uploaded details in a batch-up end, field 48 n4.
pub fn uploaded(message: &Message<'_>) -> Result<u32, Refusal> {
    let read = BatchEnd48::of(message).map_err(|_| format("field 48 malformed"))?;
    read.map(|end| u32::from(end.count)).ok_or(format("field 48 missing"))
}
