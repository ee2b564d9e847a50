//! The message that speed is measured on: a chip sale with PIN, 19 fields, 294 bytes.
//!
//! Its shape is that of a full sale of today's terminals: card number, track, chip data of 134 bytes, PIN
//! block, MAC. The bench, the instruction gate and the allocation test share it.

use iso8583::subfield::PosField60;
use iso8583::{BuildError, CUP_POS, Digits, Draft, Message, Mti, ParseError, tlv};

/// Chip data of a sale, 134 bytes.
pub const CHIP: [u8; 134] = *b"\
\x9F\x26\x08\x41\x92\x17\x14\x4F\x4F\x17\xBD\x9F\x27\x01\x80\x9F\x10\x08\x07\x01\x01\x03\xA0\x00\x02\x01\x9F\
\x37\x04\x1A\x2B\x3C\x4D\x9F\x36\x02\x00\x12\x95\x05\x00\x00\x04\x80\x00\x9A\x03\x26\x11\x24\x9C\x01\x00\x9F\
\x02\x06\x00\x00\x00\x01\x00\x00\x5F\x2A\x02\x01\x56\x82\x02\x7C\x00\x9F\x1A\x02\x01\x56\x9F\x03\x06\x00\x00\
\x00\x00\x00\x00\x9F\x33\x03\xE0\xF0\xC8\x9F\x34\x03\x42\x03\x00\x9F\x35\x01\x22\x9F\x1E\x08POSPLAB1\x84\x08\
\xA0\x00\x00\x03\x33\x01\x01\x01\x9F\x09\x02\x00\x30\x9F\x41\x04\x00\x00\x01\x24";

/// Puts the nineteen fields; the MAC is the last.
pub fn put_fields(draft: &mut Draft) -> Result<(), BuildError> {
    draft.start(&CUP_POS, Mti::new(200));
    draft.put_digits(2, "6224242000000021")?;
    draft.put_number(3, 0)?;
    draft.put_number(4, 10_000)?;
    draft.put_number(11, 124)?;
    draft.put_digits(14, "2902")?;
    draft.put_digits(22, "051")?;
    draft.put_digits(23, "001")?;
    draft.put_number(25, 0)?;
    draft.put_number(26, 12)?;
    draft.put_digits(35, "6224242000000021D29022015699031007123")?;
    draft.put_text(41, "10001234")?;
    draft.put_text(42, "898100000000001")?;
    draft.put_text(49, "156")?;
    draft.put_bytes(52, &[0x01, 0x0f, 0xfe, 0x95, 0x95, 0x5c, 0xe8, 0xa5])?;
    draft.put_digits(53, "2600000000000000")?;
    draft.put_bytes(55, &CHIP)?;
    draft.put_text(59, "A2033010020402010POSPLAB10003006000002")?;
    draft.put_digits(60, "22000001000501")
}

/// Appends the sale to `out`, with a MAC that stands for itself.
pub fn build(draft: &mut Draft, out: &mut Vec<u8>) -> Result<(), BuildError> {
    put_fields(draft)?;
    draft.write_with_mac(out, |_| Ok::<_, BuildError>(*b"35DF922F"))
}

/// What a host takes out of a sale before it decides anything.
#[allow(dead_code)] // one of its users counts instead of reading
pub struct Request<'a> {
    pub pan: Option<Digits>,
    pub processing: Option<u64>,
    pub amount: Option<u64>,
    pub trace: Option<u64>,
    pub expiry: Option<u64>,
    pub entry_mode: Option<u64>,
    pub card_sequence: Option<u64>,
    pub condition: Option<u64>,
    pub track2: Option<Digits>,
    pub terminal: Option<&'a str>,
    pub merchant: Option<&'a str>,
    pub currency: Option<&'a str>,
    pub pin_block: Option<&'a [u8]>,
    pub security: Option<u64>,
    pub chip: Option<&'a [u8]>,
    pub private: Option<PosField60>,
    pub mac_block: Option<&'a [u8]>,
    pub mac: Option<&'a [u8]>,
    pub chip_items: usize,
}

/// Reads the typed request, field 55 walked through.
#[allow(dead_code)]
pub fn request<'a>(message: &Message<'a>) -> Result<Request<'a>, ParseError> {
    let chip = message.bytes_of(55);
    let mut chip_items = 0;
    for item in tlv::iter(chip.unwrap_or(&[])) {
        item.map_err(|error| message.place(55, error))?;
        chip_items += 1;
    }
    Ok(Request {
        pan: message.digits(2),
        processing: message.number(3),
        amount: message.number(4),
        trace: message.number(11),
        expiry: message.number(14),
        entry_mode: message.number(22),
        card_sequence: message.number(23),
        condition: message.number(25),
        track2: message.digits(35),
        terminal: message.text(41),
        merchant: message.text(42),
        currency: message.text(49),
        pin_block: message.bytes_of(52),
        security: message.number(53),
        chip,
        private: PosField60::of(message)?,
        mac_block: message.mac_block(),
        mac: message.bytes_of(64),
        chip_items,
    })
}
