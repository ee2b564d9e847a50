//! Messages without their secrets: what may be stored and shown.
//!
//! [`mask_message`] copies a message and overwrites secret digits and bytes with zeros. The copy has the same
//! length and is still a message of the dialect, so that the journal's bytes can be decoded with the same
//! table. What is not known to be harmless is overwritten: a private field is kept only in the uses whose
//! layout is known here.

use crate::dialect::{Check, Show};
use crate::message::{Field, Message};
use crate::subfield::{BatchDetail48, LINE_PAN_AT, LINE_PAN_LEN, Sm4Pin63};
use crate::tlv;

/// Digits of a card number that are shown at its start and its end.
const PAN_HEAD: usize = 6;
const PAN_TAIL: usize = 4;

/// Shortest card number of which anything but the last digits is shown.
const PAN_LEN_MIN: usize = 13;

/// `pan` with only the first six and last four digits left; shorter numbers show the last four at most.
#[must_use]
pub fn mask_pan(pan: &str) -> String {
    let len = pan.chars().count();
    let hidden = hidden_part(len);
    pan.chars().enumerate().map(|(place, digit)| if hidden.contains(&place) { '*' } else { digit }).collect()
}

/// The places of a card number of `len` digits that must not be shown.
pub(crate) const fn hidden_part(len: usize) -> std::ops::Range<usize> {
    if len >= PAN_LEN_MIN {
        PAN_HEAD..len - PAN_TAIL
    } else if len > PAN_TAIL * 2 {
        0..len - PAN_TAIL
    } else {
        0..len
    }
}

/// Chip data items that hold card data or a PIN, or a key: track 2 and 1 equivalent, card number, name,
/// discretionary data, PIN data, track data of contactless cards; in receipt data of an e-signature, the card
/// number of a transfer.
const SECRET_TAGS: &[u32] =
    &[0x56, 0x57, 0x5A, 0x5F20, 0x99, 0x9F0B, 0x9F1F, 0x9F20, 0x9F6B, 0xFF25, 0xFF8105, 0xFF8106];

/// Whether the value of chip data item `tag` must not be shown.
#[must_use]
pub fn is_secret_tag(tag: u32) -> bool {
    SECRET_TAGS.contains(&tag)
}

/// Appends a copy of `message` to `out` in which card numbers keep only their first six and last four digits
/// and tracks their first six, and PIN blocks, keys and secret chip data are zeros.
pub fn mask_message(message: &Message<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(message.bytes());
    let Some(copy) = out.get_mut(start..) else { return };
    for field in message.fields() {
        let end = message.offset_after(field.number());
        let Some(body) = copy.get_mut(end - field.body().len()..end) else { continue };
        mask_field(message, &field, body);
    }
}

/// Texts that only answers have a use for. In a request nobody reads them, so anything may stand there.
const TEXTS_OF_ANSWERS: [u8; 3] = [43, 44, 54];

fn mask_field(message: &Message<'_>, field: &Field<'_>, body: &mut [u8]) {
    if TEXTS_OF_ANSWERS.contains(&field.number()) && !message.mti().is_response() {
        return mask_digit_runs(body);
    }
    match field.spec().show {
        Show::Pan | Show::Account => zero_digits(field, body, hidden_part(field.len())),
        Show::Track => zero_digits(field, body, PAN_HEAD.min(field.len())..field.len()),
        Show::Secret => zero_digits(field, body, 0..field.len()),
        Show::Chip => mask_tlv(body),
        Show::Free => mask_digit_runs(body),
        Show::Nested => mask_private(message, field, body),
        _ => {}
    }
}

/// Overwrites digits `hidden` of a field with the zero of its coding.
fn zero_digits(field: &Field<'_>, body: &mut [u8], hidden: std::ops::Range<usize>) {
    match field.op.check {
        Check::Bcd | Check::BcdRight | Check::Nibbles => {
            let skip = usize::from(field.op.check == Check::BcdRight && field.len() & 1 == 1);
            for place in hidden {
                if let Some(byte) = body.get_mut((place + skip) / 2) {
                    *byte &= if (place + skip) & 1 == 0 { 0x0f } else { 0xf0 };
                }
            }
        }
        Check::Any => fill(body, hidden, 0),
        _ => fill(body, hidden, b'0'),
    }
}

fn fill(body: &mut [u8], range: std::ops::Range<usize>, value: u8) {
    if let Some(hidden) = body.get_mut(range) {
        hidden.fill(value);
    }
}

/// Overwrites the middle of every run of digits that is as long as a card number.
fn mask_digit_runs(text: &mut [u8]) {
    for run in text.split_mut(|byte| !byte.is_ascii_digit()).filter(|run| run.len() >= PAN_LEN_MIN) {
        let hidden = hidden_part(run.len());
        fill(run, hidden, b'0');
    }
}

/// Overwrites secret items; from the place where the data breaks, everything.
fn mask_tlv(data: &mut [u8]) {
    let mut ranges = Vec::new();
    collect_secrets(data, 0, 0, &mut ranges);
    for range in ranges {
        fill(data, range, 0);
    }
}

/// Templates within templates are followed so deep; below, everything is hidden.
const TLV_DEPTH_MAX: u8 = 4;

fn collect_secrets(data: &[u8], base: usize, depth: u8, ranges: &mut Vec<std::ops::Range<usize>>) {
    let mut used = 0;
    for item in tlv::iter(data) {
        let Ok(item) = item else {
            ranges.push(base + used..base + data.len());
            return;
        };
        used += tlv::item_len(&item, data.get(used..).unwrap_or(&[]));
        let value = base + used - item.value.len()..base + used;
        if is_secret_tag(item.tag) || depth == TLV_DEPTH_MAX {
            ranges.push(value);
        } else if tlv::is_constructed(item.tag) && !is_receipt_tag(item.tag) {
            collect_secrets(item.value, value.start, depth + 1, ranges);
        }
    }
}

/// Receipt data of an e-signature and contactless parameters use FFxx tags for plain values, although the tag
/// says constructed.
pub(crate) const fn is_receipt_tag(tag: u32) -> bool {
    tag >> 8 == 0xFF || tag >> 16 == 0xFF
}

/// Lengths of an item code in field 48 toward the network, of what stands before it (periods, or whose points) and of the
/// figures that an answer adds.
const PLAN_ITEM: usize = 30;
const PLANS: [(&[u8; 2], usize, usize); 2] = [(b"IP", 2, 24), (b"PB", 3, 34)];

/// Whether field 48 toward the network tells of an instalment or points sale. Its item code is free text: where that could
/// hold a card number it is not kept.
fn is_plan(body: &[u8]) -> bool {
    PLANS.iter().any(|(tag, before, figures)| {
        let item = 2 + before..2 + before + PLAN_ITEM;
        let fits = body.len() == item.end || body.len() == item.end + figures;
        let code = body.get(item).unwrap_or_default();
        let runs = code.split(|byte| !byte.is_ascii_digit()).all(|run| run.len() < PAN_LEN_MIN);
        body.starts_with(*tag) && fits && runs && body.iter().all(|byte| matches!(byte, b' '..=b'~'))
    })
}

/// Management codes (60.3) of the messages whose field 62 holds public parameters: terminal parameters and
/// status, CA keys, chip parameters, card lists, contactless parameters.
pub(crate) const PUBLIC_62: std::ops::RangeInclusive<u16> = 360..=399;

/// Management code of the blacklist download.
const BLACKLIST: u16 = 390;

fn mask_private(message: &Message<'_>, field: &Field<'_>, body: &mut [u8]) {
    let len = body.len();
    let network = message.dialect().mac_field() == 128;
    match (field.number(), network) {
        (48, false) => mask_48(message, field, body),
        (59, _) => mask_59(message, body),
        (62, false) if !is_public_62(message, body) => body.fill(0),
        (63, _) if body.starts_with(b"SM") || body.starts_with(b"TK") => {
            fill(body, Sm4Pin63::PREFIX.len().min(len)..len, 0);
        }
        (63, false) => mask_digit_runs(body),
        // Beside keys, tags of the network's 48 may hold names and identity numbers.
        (48, true) if is_plan(body) => {}
        (48, true) => fill(body, 2.min(len)..len, 0),
        _ => {}
    }
}

/// Whether field 62 is in one of its public uses.
pub(crate) fn is_public_62(message: &Message<'_>, body: &[u8]) -> bool {
    let private = crate::subfield::PosField60::of(message).ok().flatten();
    let Some(private) = private else { return false };
    let code = private.network_code.unwrap_or(0);
    // A blacklist is made of card numbers.
    if code == BLACKLIST {
        return false;
    }
    match message.mti().value() {
        800 => body.starts_with(b"Sequence No") || PUBLIC_62.contains(&code),
        810 | 820 | 830 => private.msg_type == 7 || PUBLIC_62.contains(&code),
        320 => body.starts_with(b"61") || body.starts_with(b"71"),
        _ => false,
    }
}

/// Totals and counts are kept, details keep the ends of their card numbers, anything else is hidden.
fn mask_48(message: &Message<'_>, field: &Field<'_>, body: &mut [u8]) {
    if matches!(message.mti().value(), 500 | 510) || field.len() <= 4 {
        return;
    }
    let Ok(Some(details)) = BatchDetail48::of(message) else {
        zero_digits(field, body, 0..field.len());
        return;
    };
    for start in details.starts() {
        let pan = start + LINE_PAN_AT..start + LINE_PAN_AT + LINE_PAN_LEN;
        let filled = pan.clone().take_while(|place| field.digit(*place) == Some(b'0')).count();
        let hidden = hidden_part(LINE_PAN_LEN - filled);
        zero_digits(field, body, pan.start + filled + hidden.start..pan.start + filled + hidden.end);
    }
}

/// Keeps known items; an SM4 PIN is hidden, and so are a customer's code and the card digits from which a
/// serial number was derived. A field that is not in items is hidden as a whole.
fn mask_59(message: &Message<'_>, body: &mut [u8]) {
    let plain = if message.dialect().mac_field() == 128 { b'0' } else { 0 };
    let Some(digits) = message.dialect().tlv59_digits() else { return body.fill(plain) };
    let head = 2 + usize::from(digits);
    let mut ranges = Vec::new();
    let mut used = 0;
    for item in tlv::ascii_iter(body, digits) {
        let Ok(item) = item else {
            ranges.push(used..body.len());
            break;
        };
        let start = used + head;
        used = start + item.value.len();
        match &item.tag {
            b"A1" => ranges.push(start..used),
            b"A3" | b"QR" => {
                let hidden = hidden_part(item.value.len());
                ranges.push(start + hidden.start..start + hidden.end);
            }
            b"A2" => {
                let mut inner = start;
                for part in tlv::ascii_iter(item.value, digits) {
                    let Ok(part) = part else {
                        ranges.push(inner..used);
                        break;
                    };
                    let value = inner + head;
                    inner = value + part.value.len();
                    if &part.tag == b"03" {
                        ranges.push(value..inner.saturating_sub(PAN_TAIL).max(value));
                    }
                }
            }
            b"A4" | b"A5" => {}
            _ if item.tag.starts_with(b"Q") => {}
            _ => ranges.push(start..used),
        }
    }
    for range in ranges {
        fill(body, range, b'0');
    }
}
