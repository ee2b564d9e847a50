//! Between messages of the CUPS dialect and the core's requests and answers.

use iso8583::subfield::Composite60;
use iso8583::{BuildError, CUPS, Draft, Message, Mti, tlv};

use crate::config::{SimConfig, ZoneAlgorithm};
use crate::crypto::Vault;
use crate::deck::{ISSUER_BINS, mask};
use crate::issuer::{ChipFact, PinFact, TrackFact};
use crate::keys::Zone;
use crate::kinds::{self, CardCheck, KindLine};
use crate::network::{Answer, Balances, ClassKey, Request, TraceKey};
use crate::secret::Secret;
use crate::time::Moment;

/// Fields that an answer repeats from its request.
const ECHOED: [u8; 16] = [2, 3, 4, 7, 11, 12, 13, 18, 25, 32, 33, 37, 41, 42, 49, 60];

/// Yuan.
const CURRENCY: &str = "156";

/// An institution code without leading zeros, as keys compare it.
fn institution(digits: &str) -> String {
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}

fn short(message: &Message<'_>, field: u8) -> Option<u16> {
    message.number(field).and_then(|n| u16::try_from(n).ok())
}

/// Fields 7, 11, 32 and 33; what is absent stays empty.
#[must_use]
pub fn trace_key(message: &Message<'_>) -> TraceKey {
    let digits = |field| message.digits(field).map(|d| d.as_str().to_owned()).unwrap_or_default();
    TraceKey {
        transmission: digits(7),
        trace: message.number(11).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        acquirer: institution(&digits(32)),
        forwarder: institution(&digits(33)),
    }
}

/// Field 90 as class and key: MTI 4, trace 6, transmission time 10, acquirer 11, forwarder 11.
fn original_key(message: &Message<'_>) -> Option<ClassKey> {
    let digits = message.digits(90)?;
    let text = digits.as_str();
    let part = |from: usize, to: usize| text.get(from..to);
    let mti: u16 = part(0, 4)?.parse().ok()?;
    let key = TraceKey {
        transmission: part(10, 20)?.to_owned(),
        trace: part(4, 10)?.parse().ok()?,
        acquirer: institution(part(20, 31)?),
        forwarder: institution(part(31, 42)?),
    };
    Some((kinds::class_of(mti), key))
}

/// The card number of field 2, else of track 2.
#[must_use]
pub fn pan_of(message: &Message<'_>) -> Option<Secret> {
    if let Some(digits) = message.digits(2) {
        return Some(Secret::new(digits.as_str()));
    }
    let track = message.digits(35)?;
    let pan = track.as_str().split('D').next().unwrap_or_default();
    let plausible = (13..=19).contains(&pan.len()) && pan.bytes().all(|b| b.is_ascii_digit());
    plausible.then(|| Secret::new(pan))
}

/// The card number of field 103, to which a transfer goes.
fn other_pan(message: &Message<'_>) -> Option<Secret> {
    message.text(103).map(str::trim).filter(|pan| !pan.is_empty()).map(Secret::new)
}

/// The card number whose chip speaks in field 55: in a load from another card's account that of field 103.
#[must_use]
pub fn chip_pan_of(message: &Message<'_>) -> Option<Secret> {
    match message.number(3) {
        Some(620_000) => other_pan(message),
        _ => pan_of(message),
    }
}

/// The first field that must be there and is not, or that says something the network does not accept.
fn bad_field(message: &Message<'_>, line: Option<&KindLine>, config: &SimConfig) -> Option<u8> {
    let member = &config.member_id;
    let key_fields = [7, 11, 32, 33, 3, 25].into_iter().find(|&n| !message.has(n));
    if key_fields.is_some() {
        return key_fields;
    }
    let line = line?;
    if let Some(&missing) = line.mandatory.iter().find(|&&n| !message.has(n)) {
        return Some(missing);
    }
    if pan_of(message).is_none() {
        return Some(2);
    }
    if message.text(49).is_some_and(|currency| currency != CURRENCY) {
        return Some(49);
    }
    if message.digits(33).is_none_or(|d| institution(d.as_str()) != institution(member)) {
        return Some(33);
    }
    if message.has(90) && original_key(message).is_none() {
        return Some(90);
    }
    if line.kind == kinds::Kind::Points && message.bytes_of(48).and_then(points_item).is_none() {
        return Some(48);
    }
    if line.kind == kinds::Kind::ScriptResult && message.number(70) != Some(951) {
        return Some(70);
    }
    bad_pin_fields(message, config.zone_algorithm).or_else(|| bad_chip_fields(message, line))
}

/// A PIN block goes with fields 26 and 53, and field 22 says whether there is one.
fn bad_pin_fields(message: &Message<'_>, algorithm: ZoneAlgorithm) -> Option<u8> {
    if !message.has(52) {
        return None;
    }
    let missing = [26, 53].into_iter().find(|&n| !message.has(n));
    if let Some(security) = message.digits(53)
        && security.as_str().chars().nth(1) != Some(algorithm.digit())
    {
        return Some(53);
    }
    let entry_agrees = message.number(22).is_some_and(|entry| entry % 10 == 1);
    missing.or(if entry_agrees { None } else { Some(22) })
}

/// A chip or tap carries field 55 and the card's sequence number.
fn bad_chip_fields(message: &Message<'_>, line: &KindLine) -> Option<u8> {
    let by_chip = message.number(22).is_some_and(|entry| matches!(entry / 10, 5 | 7 | 98));
    if !by_chip || line.check != CardCheck::Full {
        return None;
    }
    [55, 23].into_iter().find(|&n| !message.has(n))
}

/// The tags of chip data; none when it breaks somewhere.
fn tags_of(data: &[u8]) -> Vec<u32> {
    let tags: Result<Vec<u32>, _> = tlv::iter(data).map(|item| item.map(|item| item.tag)).collect();
    tags.unwrap_or_default()
}

/// What the issuer and the network need to know of a financial message. Cryptography happens here; the result
/// holds no secret.
pub fn read_request(
    message: &Message<'_>,
    vault: &Vault,
    zone: &Zone,
    config: &SimConfig,
    mac_good: bool,
    now: Moment,
) -> Request {
    let mti = message.mti().value();
    let class = kinds::class_of(mti);
    let processing = message.number(3).and_then(|n| u32::try_from(n).ok()).unwrap_or(999_999);
    let condition = message.number(25).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let line = kinds::find(class, processing, condition, message.has(90));
    let pan = pan_of(message);
    let card = pan.as_ref().and_then(|pan| vault.card(pan.expose()));
    let track = message.digits(35);
    let track_fact = match (&track, card) {
        (None, _) => TrackFact::Absent,
        (Some(track), Some(card)) if track.as_str() == card.track2().expose() => TrackFact::Matches,
        _ => TrackFact::Differs,
    };
    let track_expiry = track.as_ref().and_then(|track| {
        let (_, rest) = track.as_str().split_once('D')?;
        rest.get(..4)?.parse().ok()
    });
    let text = |field| message.text(field).unwrap_or_default().to_owned();
    let (pin, chip) = match (card, mac_good) {
        (Some(card), true) => {
            let chip_card = chip_pan_of(message).and_then(|pan| vault.card(pan.expose()));
            let chip = chip_card.map_or(ChipFact::Absent, |card| vault.examine_chip(message, card));
            (vault.examine_pin(message, card, zone, now), chip)
        }
        _ => (PinFact::Absent, ChipFact::Absent),
    };
    let issuer_known =
        pan.as_ref().is_some_and(|pan| ISSUER_BINS.iter().any(|bin| pan.expose().starts_with(bin)));
    Request {
        mti,
        key: trace_key(message),
        processing,
        condition,
        card: card.map(|card| card.id.clone()),
        other: other_pan(message).and_then(|pan| vault.card(pan.expose())).map(|card| card.id.clone()),
        issuer_known,
        pan: pan.as_ref().map(|pan| mask(pan.expose())).unwrap_or_default(),
        amount: message.number(4).unwrap_or(0),
        entry: short(message, 22).unwrap_or(0),
        expiry: short(message, 14).filter(|&e| e != 0).or(track_expiry),
        terminal: text(41),
        merchant: text(42),
        rrn: text(37),
        auth_code: message.text(38).map(str::to_owned),
        original: original_key(message),
        track: track_fact,
        pin,
        chip,
        private: message.bytes_of(48).map(hex::encode_upper),
        chip_tags: message.bytes_of(55).map(tags_of),
        takes_part: message.text(60).is_some_and(|text| Composite60::parse(text).part("60.3.4") == Some("1")),
        bad_field: bad_field(message, line, config),
        mac_good,
        forced: None,
    }
}

/// Field 54: what is on the account, then what may be spent, 20 characters each.
fn amounts(balances: Balances) -> String {
    let account = if balances.credit { "30" } else { "10" };
    let one = |kind: &str, fen: i64| {
        let sign = if fen < 0 { 'D' } else { 'C' };
        format!("{account}{kind}{CURRENCY}{sign}{:012}", fen.unsigned_abs())
    };
    one("01", balances.ledger) + &one("02", balances.available)
}

/// Ids that an answer carries.
pub struct Parties<'a> {
    /// Institution that answers, for fields 44 and 100.
    pub issuer: &'a str,
}

/// Builds the answer to a financial message, all but field 128.
///
/// # Errors
///
/// A configured id does not fit its field.
pub fn write_answer(
    draft: &mut Draft,
    message: &Message<'_>,
    answer: &Answer,
    parties: &Parties<'_>,
    chip: Option<&[u8]>,
) -> Result<(), BuildError> {
    draft.start(&CUPS, message.mti().response());
    for number in ECHOED {
        if let Some(field) = message.field(number) {
            draft.put_field(&field)?;
        }
    }
    if !message.has(2)
        && let Some(pan) = pan_of(message)
    {
        draft.put_digits(2, pan.expose())?;
    }
    if let Some(part) = answer.part {
        draft.put_number(4, part)?;
    }
    draft.put_digits(15, &answer.day.mmdd())?;
    if let Some(code) = &answer.auth_code {
        draft.put_text(38, code)?;
    }
    draft.put_text(39, &answer.code)?;
    let acquirer = message.digits(32).map(|d| d.as_str().to_owned()).unwrap_or_default();
    draft.put_text(44, &format!("{:<11}{:<11}", parties.issuer, acquirer))?;
    if let Some(balances) = answer.balances {
        draft.put_text(54, &amounts(balances))?;
    }
    if let Some(chip) = chip.filter(|chip| !chip.is_empty()) {
        draft.put_bytes(55, chip)?;
    }
    if let Some(plan) = message.bytes_of(48).filter(|_| answer.code == "00").and_then(instalments) {
        draft.put_bytes(48, &[plan.as_slice(), &figures(&plan, message.number(4).unwrap_or(0))].concat())?;
    }
    if let (Some(item), Some(left)) = (message.bytes_of(48).and_then(points_item), answer.points) {
        let (fen, left) = (message.number(4).unwrap_or(0), left.max(0));
        draft.put_bytes(48, &[b"PB", item, format!("{fen:010}{:012}{left:012}", 0).as_bytes()].concat())?;
    }
    draft.put_digits(100, parties.issuer)?;
    draft.put_text(121, "000")
}

/// Item code of a points sale: field 48 is `PB`, whose points 3 (048 or 065), item code 30. All is paid in points, one
/// a fen, so that the own part is nothing. Modelled.
fn points_item(field: &[u8]) -> Option<&[u8]> {
    let (account, item) = field.strip_prefix(b"PB")?.split_at_checked(3)?;
    (matches!(account, b"048" | b"065") && item.len() == 30).then_some(item)
}

/// Fee of an instalment sale, parts of ten thousand of its amount a period. Modelled.
const FEE_PER_PERIOD: u64 = 50;

/// Field 48 of an instalment sale: `IP`, periods 2, item code 30.
fn instalments(field: &[u8]) -> Option<Vec<u8>> {
    let digits = field.get(2..4)?;
    (field.starts_with(b"IP") && field.len() == 34 && digits.iter().all(u8::is_ascii_digit))
        .then(|| field.to_vec())
}

/// What the first part is and what the fee: 12 digits each. The first part takes what does not divide. Modelled.
fn figures(field: &[u8], fen: u64) -> Vec<u8> {
    let periods =
        field.get(2..4).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok()).unwrap_or(1);
    let periods: u64 = std::cmp::max(periods, 1);
    let first = fen - fen / periods * (periods - 1);
    format!("{first:012}{:012}", fen * periods * FEE_PER_PERIOD / 10_000).into_bytes()
}

/// Builds the answer to a network management message.
///
/// # Errors
///
/// Never for a message that was parsed; the signature is the builder's.
pub fn write_management_answer(
    draft: &mut Draft,
    message: &Message<'_>,
    code: &str,
) -> Result<(), BuildError> {
    draft.start(&CUPS, message.mti().response());
    for number in [7, 11, 33, 53, 70, 100] {
        if let Some(field) = message.field(number) {
            draft.put_field(&field)?;
        }
    }
    draft.put_text(39, code)
}

/// Begins a network management message of the network's own: 7, 11, 33, 70, 100.
///
/// # Errors
///
/// A configured id does not fit its field.
pub fn write_management(
    draft: &mut Draft,
    mti: u16,
    code: u16,
    trace: u32,
    (network, member): (&str, &str),
    now: Moment,
) -> Result<(), BuildError> {
    draft.start(&CUPS, Mti::new(mti));
    draft.put_digits(7, &now.transmission())?;
    draft.put_number(11, u64::from(trace))?;
    draft.put_digits(33, network)?;
    draft.put_number(70, u64::from(code))?;
    draft.put_digits(100, member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn institutions_compare_without_leading_zeros() {
        assert_eq!(institution("00048029999"), "48029999");
        assert_eq!(institution("000"), "0");
    }

    #[test]
    fn the_first_part_takes_what_does_not_divide() {
        let field = instalments(format!("IP06{:30}", "3C").as_bytes()).unwrap();
        assert_eq!(figures(&field, 10_000), b"000000001670000000000300");
        assert!(instalments(b"IP06").is_none() && instalments(&[b'N'; 34]).is_none());
    }

    #[test]
    fn balances_are_twenty_characters_each() {
        let text = amounts(Balances { ledger: -5, available: 1_000_000, credit: true });
        assert_eq!(text, "3001156D0000000000053002156C000001000000");
    }
}
