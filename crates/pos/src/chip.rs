//! The terminal's side of a chip payment, as far as online transactions with the lab deck need it.
//!
//! **This is not an EMV kernel.** It selects no application, verifies no certificate and reads no record: it takes
//! the deck card's data as read, and does what decides an online payment: verification results, first cryptogram,
//! field 55, issuer authentication, scripts, second cryptogram. Terminal data are those of an attended terminal
//! (9F33 `E0F0C8`, 9F35 `22`), the floor limit is one fen so that every amount goes online.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use iso8583::tlv;
use jiff::civil::DateTime;

use crate::card::Entry;
use crate::chip_card::{AcAnswer, ChipCard, Cryptogram};
use crate::deck::{Behaviour, DeckCard};
use crate::error::PosError;
use crate::presented::{Chip, Verdict};
use crate::state::{ChipRecord, read_json, write_json};

/// 9F33: keyboard, stripe and chip; every way to verify a holder; SDA, DDA, CDA.
const CAPABILITIES: [u8; 3] = [0xE0, 0xF0, 0xC8];
/// 9F09: PBOC 3.0.
const VERSION: [u8; 2] = [0x00, 0x30];
/// 9F35: attended, offline with online capability.
const TERMINAL_TYPE: u8 = 0x22;
/// 82 of the deck's applications.
const AIP: [u8; 2] = [0x7C, 0x00];
/// Counter a fresh card starts from; the first transaction raises it.
const FIRST_ATC: u16 = 0x0011;

/// What the payment is about.
pub(crate) struct Setting<'a> {
    pub amount_fen: u64,
    /// 9C: the first two digits of the processing code.
    pub kind: u8,
    pub now: DateTime,
    pub trace: u32,
    pub unpredictable: [u8; 4],
    pub with_pin: bool,
    pub entry: Entry,
    /// Last eight characters of the device's serial number.
    pub serial: &'a str,
}

/// A chip payment under way.
pub(crate) struct ChipPayment {
    card: ChipCard,
    deck: &'static DeckCard,
    entry: Entry,
    tvr: [u8; 5],
    tsi: [u8; 2],
    cvm: [u8; 3],
    atc: u16,
    last: AcAnswer,
    amount: [u8; 6],
    date: [u8; 3],
    kind: u8,
    unpredictable: [u8; 4],
    trace: u32,
    serial: String,
    script_result: Option<String>,
}

/// `value` as packed decimal digits, right-justified.
fn bcd<const N: usize>(value: u64) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = value;
    for byte in out.iter_mut().rev() {
        let pair = (rest % 100) as u8;
        *byte = ((pair / 10) << 4) | (pair % 10);
        rest /= 100;
    }
    out
}

impl ChipPayment {
    /// Reads the card and asks for the first cryptogram. `atc` is the counter the card has just reached.
    pub(crate) fn start(deck: &'static DeckCard, atc: u16, setting: &Setting<'_>) -> Result<Self, PosError> {
        let date = setting.now.date();
        let year = u64::from(date.year().unsigned_abs()) % 100;
        let (month, day) = (u64::from(date.month().unsigned_abs()), u64::from(date.day().unsigned_abs()));
        let mut payment = Self {
            card: ChipCard::start(deck, atc, setting.entry == Entry::Tap)?,
            deck,
            entry: setting.entry,
            tvr: [0; 5],
            tsi: [0; 2],
            cvm: [0; 3],
            atc,
            last: AcAnswer { kind: Cryptogram::Aac, value: [0; 8], iad: [0; 8] },
            amount: bcd(setting.amount_fen),
            date: bcd(year * 10_000 + month * 100 + day),
            kind: setting.kind,
            unpredictable: setting.unpredictable,
            trace: setting.trace,
            serial: setting.serial.to_owned(),
            script_result: None,
        };
        if setting.entry == Entry::Tap {
            payment.cvm = if setting.with_pin { [0x42, 0x03, 0x00] } else { [0x1F, 0x00, 0x02] };
        } else {
            let expired = deck.expiry.parse().is_ok_and(|expiry: u64| expiry < year * 100 + month);
            let pin = if setting.with_pin { 0x04 } else { 0x08 };
            let floor = if setting.amount_fen > 0 { 0x80 } else { 0x00 };
            payment.tvr = [0x00, if expired { 0x40 } else { 0x00 }, pin, floor, 0x00];
            payment.cvm = if setting.with_pin { [0x42, 0x03, 0x00] } else { [0x1E, 0x03, 0x00] };
            payment.tsi = [0xE8, 0x00];
        }
        payment.last = payment.card.first(&payment.signed_data())?;
        Ok(payment)
    }

    /// Data that every cryptogram of this payment covers, in the order of CDOL1 and of the issuer's check.
    fn signed_data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(37);
        data.extend(self.amount);
        data.extend([0; 6]);
        data.extend([0x01, 0x56]);
        data.extend(self.tvr);
        data.extend([0x01, 0x56]);
        data.extend(self.date);
        data.push(self.kind);
        data.extend(self.unpredictable);
        data.extend(AIP);
        data
    }

    fn run_script(&mut self, before_second: bool, script: &[u8]) -> Result<(), PosError> {
        let mut identifier = [0_u8; 4];
        let mut outcome = 0x20_u8; // every command executed
        let mut number = 0_u8;
        for item in tlv::iter(script).map_while(Result::ok) {
            match item.tag {
                0x9F18 => identifier.iter_mut().zip(item.value).for_each(|(to, from)| *to = *from),
                0x86 => {
                    number = number.saturating_add(1);
                    if !self.card.script(before_second, item.value)? {
                        outcome = 0x10 | number.min(0x0F);
                        break;
                    }
                }
                _ => {}
            }
        }
        let [first, _] = &mut self.tsi;
        *first |= 0x04;
        if outcome != 0x20 {
            let [.., last] = &mut self.tvr;
            *last |= if before_second { 0x20 } else { 0x10 };
        }
        let result = self.script_result.get_or_insert_default();
        result.push_str(&format!("{outcome:02X}{}", hex::encode_upper(identifier)));
        Ok(())
    }
}

impl Chip for ChipPayment {
    fn goes_online(&self) -> bool {
        self.last.kind == Cryptogram::Arqc
    }

    fn field55(&self) -> Vec<u8> {
        let aid = hex::decode(self.deck.aid).unwrap_or_default();
        let trace = bcd::<4>(u64::from(self.trace));
        let mut out = Vec::with_capacity(160);
        tlv::write(&mut out, 0x9F26, &self.last.value);
        tlv::write(&mut out, 0x9F27, &[self.last.kind.cid()]);
        tlv::write(&mut out, 0x9F10, &self.last.iad);
        tlv::write(&mut out, 0x9F37, &self.unpredictable);
        tlv::write(&mut out, 0x9F36, &self.atc.to_be_bytes());
        tlv::write(&mut out, 0x95, &self.tvr);
        tlv::write(&mut out, 0x9A, &self.date);
        tlv::write(&mut out, 0x9C, &[self.kind]);
        tlv::write(&mut out, 0x9F02, &self.amount);
        tlv::write(&mut out, 0x5F2A, &[0x01, 0x56]);
        tlv::write(&mut out, 0x82, &AIP);
        tlv::write(&mut out, 0x9F1A, &[0x01, 0x56]);
        tlv::write(&mut out, 0x9F03, &[0; 6]);
        tlv::write(&mut out, 0x9F33, &CAPABILITIES);
        tlv::write(&mut out, 0x9F34, &self.cvm);
        tlv::write(&mut out, 0x9F35, &[TERMINAL_TYPE]);
        tlv::write(&mut out, 0x9F1E, self.serial.as_bytes());
        tlv::write(&mut out, 0x84, &aid);
        tlv::write(&mut out, 0x9F09, &VERSION);
        tlv::write(&mut out, 0x9F41, &trace);
        out
    }

    fn reversal55(&self, with_atc: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        tlv::write(&mut out, 0x95, &self.tvr);
        tlv::write(&mut out, 0x9F1E, self.serial.as_bytes());
        tlv::write(&mut out, 0x9F10, &self.last.iad);
        if with_atc {
            tlv::write(&mut out, 0x9F36, &self.atc.to_be_bytes());
        }
        if let Some(result) = self.script_result.as_deref().and_then(|result| hex::decode(result).ok()) {
            tlv::write(&mut out, 0xDF31, &result);
        }
        out
    }

    // A tapped card has left by now, and the host's word is final.
    fn finish(&mut self, _code: &str, approved: bool, field55: &[u8]) -> Result<Verdict, PosError> {
        if self.entry == Entry::Tap {
            return Ok(Verdict::Agrees);
        }
        if self.deck.behaviour == Behaviour::LeavesAfterArqc {
            return Ok(if approved { Verdict::Refuses } else { Verdict::Agrees });
        }
        let items: Vec<_> = tlv::iter(field55).map_while(Result::ok).collect();
        let find = |tag| items.iter().find(|item| item.tag == tag).map(|item| item.value);
        if let Some(data) = find(0x91) {
            let [first, _] = &mut self.tsi;
            *first |= 0x10;
            if !self.card.authenticate_issuer(data)? {
                let [.., last] = &mut self.tvr;
                *last |= 0x40;
            }
        }
        if let Some(script) = find(0x71) {
            self.run_script(true, script)?;
        }
        self.last = self.card.second(approved, &self.signed_data())?;
        if let Some(script) = find(0x72) {
            self.run_script(false, script)?;
        }
        Ok(if approved && self.last.kind != Cryptogram::Tc { Verdict::Refuses } else { Verdict::Agrees })
    }

    fn approve_offline(&mut self) -> Result<ChipRecord, PosError> {
        self.last = self.card.second(true, &self.signed_data())?;
        Ok(self.record("Y1"))
    }

    fn script_report(&self) -> Option<Vec<u8>> {
        let result = self.script_result.as_deref().and_then(|result| hex::decode(result).ok())?;
        let mut out = Vec::with_capacity(96);
        tlv::write(&mut out, 0x9F33, &CAPABILITIES);
        tlv::write(&mut out, 0x95, &self.tvr);
        tlv::write(&mut out, 0x9F37, &self.unpredictable);
        tlv::write(&mut out, 0x9F1E, self.serial.as_bytes());
        tlv::write(&mut out, 0x9F10, &self.last.iad);
        tlv::write(&mut out, 0x9F26, &self.last.value);
        tlv::write(&mut out, 0x9F36, &self.atc.to_be_bytes());
        tlv::write(&mut out, 0x82, &AIP);
        tlv::write(&mut out, 0xDF31, &result);
        tlv::write(&mut out, 0x9F1A, &[0x01, 0x56]);
        tlv::write(&mut out, 0x9A, &self.date);
        Some(out)
    }

    fn sequence(&self) -> u8 {
        self.deck.sequence
    }

    fn record(&self, code: &str) -> ChipRecord {
        let mut upload = self.field55();
        tlv::write(&mut upload, 0x8A, code.as_bytes());
        ChipRecord {
            field55: hex::encode_upper(upload),
            sequence: self.deck.sequence,
            cryptogram_name: if self.last.kind == Cryptogram::Tc { "TC" } else { "ARQC" }.to_owned(),
            cryptogram: hex::encode_upper(self.last.value),
            aid: self.deck.aid.to_owned(),
            label: self.deck.label.to_owned(),
            tvr: hex::encode_upper(self.tvr),
            tsi: hex::encode_upper(self.tsi),
            atc: format!("{:04X}", self.atc),
            un: hex::encode_upper(self.unpredictable),
            aip: hex::encode_upper(AIP),
            iad: hex::encode_upper(self.last.iad),
            script_result: self.script_result.clone(),
            on_device: self.deck.behaviour == Behaviour::PhoneOnly,
        }
    }
}

/// Raises the counter of a card and returns the new value. The file belongs to all terminals that share the deck,
/// so it is changed under a lock, and durably before the card answers: a chip never repeats a counter.
pub(crate) fn raise_counter(path: &Path, card: &str) -> Result<u16, PosError> {
    let failed = |what| move |source| PosError::Storage { what, path: path.to_owned(), source };
    let guard = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path.with_extension("lock"))
        .map_err(failed("opening the lock of"))?;
    guard.lock().map_err(failed("locking"))?;
    let mut counters: BTreeMap<String, u16> =
        if fs::exists(path).map_err(failed("looking for"))? { read_json(path)? } else { BTreeMap::new() };
    let counter = counters.entry(card.to_owned()).or_insert(FIRST_ATC);
    *counter = counter
        .checked_add(1)
        .ok_or_else(|| PosError::Input(format!("the chip of {card} has reached its last transaction")))?;
    let reached = *counter;
    write_json(path, &counters)?;
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deck;

    fn setting(with_pin: bool, entry: Entry, trace: u32, amount_fen: u64, un: [u8; 4]) -> Setting<'static> {
        Setting {
            amount_fen,
            kind: 0,
            now: jiff::civil::date(2026, 11, 24).at(10, 15, 30, 0),
            trace,
            unpredictable: un,
            with_pin,
            entry,
            serial: "POSPLAB1",
        }
    }

    /// The published transcript of a contact sale of 100.00 with card L01, request to TC.
    #[test]
    fn the_contact_transcript_to_the_last_byte() {
        let card = deck::find("L01").unwrap();
        let setting = setting(true, Entry::Chip, 124, 10_000, [0x1A, 0x2B, 0x3C, 0x4D]);
        let mut payment = ChipPayment::start(card, 0x0012, &setting).unwrap();
        let request = "9F2608419217144F4F17BD9F2701809F100807010103A00002019F37041A2B3C4D9F36020012950500000480009A032611249C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34034203009F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000124";
        assert_eq!(hex::encode_upper(payment.field55()), request);
        assert_eq!(
            hex::encode_upper(payment.reversal55(true)),
            "950500000480009F1E08504F53504C4142319F100807010103A00002019F36020012"
        );
        let answer =
            hex::decode("910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A").unwrap();
        assert_eq!(payment.finish("00", true, &answer).unwrap(), Verdict::Agrees);
        let record = payment.record("00");
        let upload = request
            .replace("419217144F4F17BD", "B06EAB7939A3EC73")
            .replace("9F270180", "9F270140")
            .replace("07010103A0000201", "0701010360000201")
            + "8A023030";
        assert_eq!(record.field55, upload);
        assert_eq!((record.tsi.as_str(), record.script_result.as_deref()), ("FC00", Some("2000000001")));
        assert_eq!(
            hex::encode_upper(payment.reversal55(true)),
            "950500000480009F1E08504F53504C4142319F100807010103600002019F36020012DF31052000000001"
        );
    }

    /// A wrong issuer cryptogram makes the card refuse, and the reversal says so (vector K8).
    #[test]
    fn a_wrong_issuer_cryptogram_is_refused_by_the_card() {
        let setting = setting(true, Entry::Chip, 124, 10_000, [0x1A, 0x2B, 0x3C, 0x4D]);
        let mut payment = ChipPayment::start(deck::find("L01").unwrap(), 0x0012, &setting).unwrap();
        let answer = hex::decode("910A00000000000000003030").unwrap();
        assert_eq!(payment.finish("00", true, &answer).unwrap(), Verdict::Refuses);
        assert_eq!(
            hex::encode_upper(payment.reversal55(true)),
            "950500000480409F1E08504F53504C4142319F100807010103280002019F36020012"
        );
        assert_eq!(payment.record("00").cryptogram, "8822CD2E9D2FA1BD");
    }

    /// The published contactless sale of 12.50 below the no-PIN limit (vector K19).
    #[test]
    fn the_contactless_transcript() {
        let setting = setting(false, Entry::Tap, 125, 1_250, [0x5E, 0x6F, 0x70, 0x81]);
        let payment = ChipPayment::start(deck::find("L01").unwrap(), 0x0013, &setting).unwrap();
        assert_eq!(
            hex::encode_upper(payment.field55()),
            "9F2608DC67EE54468713439F2701809F100807010103A00000019F37045E6F70819F36020013950500000000009A032611249C01009F02060000000012505F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34031F00029F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000125"
        );
    }

    /// K9: the card that declines at the first cryptogram.
    #[test]
    fn a_card_may_decline_before_anything_goes_out() {
        let setting = setting(true, Entry::Chip, 124, 10_000, [0x1A, 0x2B, 0x3C, 0x4D]);
        let payment = ChipPayment::start(deck::find("L07").unwrap(), 0x0012, &setting).unwrap();
        assert!(!payment.goes_online());
        assert_eq!(hex::encode_upper(payment.last.iad), "0701010300000201");
    }

    #[test]
    fn counters_only_rise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cards.json");
        assert_eq!(raise_counter(&path, "L01").unwrap(), 0x0012);
        assert_eq!(raise_counter(&path, "L01").unwrap(), 0x0013);
        assert_eq!(raise_counter(&path, "L02").unwrap(), 0x0012);
    }

    proptest::proptest! {
        /// Whatever stands in the answer's field 55, the card is asked and nothing breaks; without the right issuer
        /// cryptogram it may still approve (it was not asked to check), with a wrong one never.
        #[test]
        fn any_field_55_is_survived(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            arpc in proptest::prelude::any::<[u8; 10]>(),
        ) {
            let setting = setting(true, Entry::Chip, 124, 10_000, [0x1A, 0x2B, 0x3C, 0x4D]);
            let start = || ChipPayment::start(deck::find("L01").unwrap(), 0x0012, &setting).unwrap();
            let mut payment = start();
            payment.finish("00", true, &bytes).unwrap();
            payment.record("00");
            let mut field = Vec::new();
            tlv::write(&mut field, 0x91, &arpc);
            proptest::prop_assert_eq!(start().finish("00", true, &field).unwrap(), Verdict::Refuses);
        }
    }
}
