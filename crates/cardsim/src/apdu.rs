//! A command as the card reads it, and status words.

/// Status words that the cards use.
pub(crate) mod sw {
    pub const OK: u16 = 0x9000;
    pub const INVALIDATED: u16 = 0x6283;
    pub const ISSUER_AUTHENTICATION_FAILED: u16 = 0x6300;
    pub const WRONG_LENGTH: u16 = 0x6700;
    pub const CONDITIONS: u16 = 0x6985;
    pub const PIN_BLOCKED: u16 = 0x6983;
    pub const REFERENCE_INVALIDATED: u16 = 0x6984;
    pub const SECURE_MESSAGING: u16 = 0x6988;
    pub const WRONG_DATA: u16 = 0x6A80;
    pub const CARD_BLOCKED: u16 = 0x6A81;
    pub const FILE_NOT_FOUND: u16 = 0x6A82;
    pub const RECORD_NOT_FOUND: u16 = 0x6A83;
    pub const WRONG_P1P2: u16 = 0x6A86;
    pub const DATA_NOT_FOUND: u16 = 0x6A88;
    pub const INS_UNKNOWN: u16 = 0x6D00;
    pub const CLA_UNKNOWN: u16 = 0x6E00;
    pub const TECHNICAL: u16 = 0x6F00;
}

/// One command, short form.
#[derive(Clone, Copy)]
pub(crate) struct Command<'a> {
    pub cla: u8,
    pub ins: u8,
    pub p1: u8,
    pub p2: u8,
    pub data: &'a [u8],
    /// Header and Lc as they came, for the MAC of scripts.
    pub head: [u8; 5],
}

impl<'a> Command<'a> {
    /// Splits the bytes: header, then nothing, Le, data, or data and Le.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let [cla, ins, p1, p2, rest @ ..] = bytes else { return None };
        let data = match rest {
            [] | [_] => &[][..],
            [length, body @ ..] => {
                let length = usize::from(*length);
                if body.len() > length.saturating_add(1) {
                    return None;
                }
                body.get(..length)?
            }
        };
        let lc = u8::try_from(data.len()).ok()?;
        Some(Self { cla: *cla, ins: *ins, p1: *p1, p2: *p2, data, head: [*cla, *ins, *p1, *p2, lc] })
    }
}

/// What the card says to a command: data, then the status word.
pub(crate) type Answered = Result<Vec<u8>, u16>;

/// Bytes on the wire.
pub(crate) fn on_the_wire(answer: Answered) -> Vec<u8> {
    let (mut data, word) = match answer {
        Ok(data) => (data, sw::OK),
        Err(word) => (Vec::new(), word),
    };
    data.extend(word.to_be_bytes());
    data
}
