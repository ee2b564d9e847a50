//! From a request to a frame, and from a frame to a judged answer.

use iso8583::FrameError;
use iso8583::frame::{self, LRI_LEN, PosFrame, Tpdu};
use iso8583::{Dialect, Draft, Message, Mti, Profile};

use crate::codes;
use crate::config::TerminalConfig;
use crate::connection::FRAME_MAX;
use crate::error::PosError;
use crate::message::{Kind, Request, Value};
use crate::rules::Event;
use crate::security::{Security, WorkingKeys};

/// Message type of an e-signature in the table of kinds.
const SIGNATURE_MTI: u16 = 820;

/// The message type of a request as the profile has it.
fn mti(request: &Request, profile: &Profile) -> Mti {
    match (request.kind, request.mti) {
        (Kind::Signature, SIGNATURE_MTI) => Mti::new(profile.signature_mti),
        (_, mti) => Mti::new(mti),
    }
}

/// Takes a received payload apart. The block of the access equipment is added on a request's way only.
pub(crate) fn answered<'a>(payload: &'a [u8], profile: &Profile) -> Result<PosFrame<'a>, FrameError> {
    frame::parse_pos(payload, &Profile { lri: false, ..profile.clone() })
}

/// Writes the whole frame; `keys` sign it when the kind carries a MAC.
pub(crate) fn write(
    config: &TerminalConfig,
    request: &Request,
    keys: Option<(&dyn Security, &WorkingKeys)>,
) -> Result<Vec<u8>, PosError> {
    let profile = config.speech()?;
    let mut draft = Draft::new();
    draft.start(Dialect::for_profile(&profile), mti(request, &profile));
    for (field, value) in request.entries() {
        match value {
            Value::Digits(digits) => draft.put_digits(field, digits)?,
            Value::Text(text) => draft.put_text(field, text)?,
            Value::Bytes(text) => {
                let bytes =
                    hex::decode(text).map_err(|_| PosError::Build("a stored field is damaged".into()))?;
                draft.put_bytes(field, &bytes)?;
            }
        }
    }
    let mut tpdu = [0; 5];
    hex::decode_to_slice(&config.tpdu, &mut tpdu)
        .map_err(|_| PosError::Build("the TPDU is not hexadecimal".into()))?;
    let mut out = Vec::with_capacity(512);
    let mark = frame::begin_pos(&mut out, Tpdu::new(tpdu), profile.header.filter(|_| !profile.lri));
    if profile.lri {
        // What the equipment on a dialled line puts in: nobody called from anywhere.
        out.extend_from_slice(&[0; LRI_LEN]);
        out.extend_from_slice(profile.header.map(|header| header.bytes()).as_slice().as_flattened());
    }
    match (request.kind.row().mac, keys) {
        (true, Some((security, keys))) => draft
            .write_with_mac(&mut out, |block| security.mac(&keys.mac, keys.mac_algorithm(&profile), block))?,
        (true, None) => return Err(PosError::MustSignIn("there are no working keys")),
        (false, _) => draft.write(&mut out)?,
    }
    frame::finish_pos(&mut out, mark).map_err(|error| PosError::Build(error.to_string()))?;
    Ok(out)
}

/// What an authentic answer says.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub code: String,
    pub amount: Option<u64>,
    pub time: Option<u64>,
    pub date: Option<u64>,
    pub settle_date: Option<String>,
    pub rrn: Option<String>,
    pub auth_code: Option<String>,
    /// 44.1 and 44.2.
    pub issuer: Option<String>,
    pub acquirer: Option<String>,
    pub totals: Option<String>,
    pub additional_amounts: Option<String>,
    pub chip: Vec<u8>,
    pub batch: Option<u32>,
    /// Field 62: keys, or what is downloaded.
    pub private: Vec<u8>,
    pub card_org: Option<String>,
    pub remark: Option<String>,
    /// Digit 6 of the header: what the host wants done; 0 for nothing.
    pub requirement: u8,
}

/// The judgement over a frame.
pub(crate) enum Judged {
    /// Not an answer to this request; the text says why.
    Unfitting(String),
    /// Fits, but is not authentic.
    MacWrong,
    /// Fits and is authentic.
    Answer(Box<Answer>),
}

impl Judged {
    /// The event for the rules.
    pub(crate) fn event(&self) -> Event<'_> {
        match self {
            Self::Unfitting(_) => Event::Unfitting,
            Self::MacWrong => Event::MacWrong,
            Self::Answer(answer) => Event::Answer(&answer.code),
        }
    }
}

/// Judges a received frame (with its length prefix) against the request it should answer.
pub(crate) fn judge(
    config: &TerminalConfig,
    request: &Request,
    keys: Option<(&dyn Security, &WorkingKeys)>,
    received: &[u8],
) -> Result<Judged, PosError> {
    let unfitting = |why: String| Ok(Judged::Unfitting(why));
    let profile = config.speech()?;
    let payload = match frame::split(received, FRAME_MAX) {
        Ok(Some((_, payload))) => payload,
        Ok(None) => return unfitting("the frame is cut off".into()),
        Err(error) => return unfitting(error.to_string()),
    };
    let parts = match answered(payload, &profile) {
        Ok(parts) => parts,
        Err(error) => return unfitting(error.to_string()),
    };
    let message = match Dialect::for_profile(&profile).parse(parts.body) {
        Ok(message) => message,
        Err(error) => return unfitting(error.to_string()),
    };
    if message.mti() != mti(request, &profile).response() {
        return unfitting(format!("message type {} does not answer {:04}", message.mti(), request.mti));
    }
    let code = message.text(39).unwrap_or_default().to_owned();
    let approves = codes::approves(&code);
    if let (true, Some((security, keys))) = (request.kind.row().mac, keys) {
        let authentic = match (message.mac_block(), message.bytes_of(64)) {
            (Some(block), Some(mac)) => {
                security.verify_mac(&keys.mac, keys.mac_algorithm(&profile), block, mac)?
            }
            _ => !approves && config.accept_unsigned_decline,
        };
        if !authentic {
            return Ok(Judged::MacWrong);
        }
    }
    if code.len() != 2 {
        return unfitting("field 39 is missing".into());
    }
    if let Some(field) = differing(request, &message, &code, approves) {
        return unfitting(format!("field {field} is not that of the request"));
    }
    if approves && request.kind.row().mac {
        for field in [32, 37] {
            if !message.has(field) {
                return unfitting(format!("field {field} is missing in an approval"));
            }
        }
    }
    let demanded = parts.header.map_or(0, |header| header.requirement());
    Ok(Judged::Answer(Box::new(read(&message, code, demanded))))
}

/// The first field that should repeat the request and does not. A decline may leave out what it could not read,
/// but never the identity of the terminal and the trace.
fn differing(request: &Request, message: &Message<'_>, code: &str, approves: bool) -> Option<u8> {
    const NUMBERS: [u8; 4] = [3, 4, 11, 25];
    const TEXTS: [u8; 3] = [41, 42, 49];
    let terse = matches!(request.kind, Kind::Script | Kind::BatchUp);
    let required = |field: u8| approves || matches!(field, 11 | 41 | 42);
    let numbers = NUMBERS.into_iter().filter(|field| request.has(*field) && !(*field == 4 && code == "10"));
    for field in numbers {
        let same = match message.digits(field) {
            Some(digits) => Some(digits.as_str()) == request.get(field),
            // The answers to script results and batch-up details repeat who sent them and not what they say.
            None => !required(field) || (terse && matches!(field, 3 | 4 | 25)),
        };
        if !same {
            return Some(field);
        }
    }
    TEXTS.into_iter().filter(|field| request.has(*field)).find(|field| match message.text(*field) {
        Some(text) => Some(text.trim_end()) != request.get(*field).map(str::trim_end),
        None => required(*field),
    })
}

fn read(message: &Message<'_>, code: String, requirement: u8) -> Answer {
    let trimmed = |text: &str| {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let text = |field: u8| message.text(field).and_then(trimmed);
    let institutions = message.text(44).unwrap_or_default();
    let part = |from: usize, to: usize| institutions.get(from..to.min(institutions.len())).and_then(trimmed);
    let (card_org, remark) = custom63(message.bytes_of(63).unwrap_or_default());
    Answer {
        code,
        amount: message.number(4),
        time: message.number(12),
        date: message.number(13),
        settle_date: message.digits(15).map(|digits| digits.as_str().to_owned()),
        rrn: text(37),
        auth_code: text(38),
        issuer: part(0, 11),
        acquirer: part(11, 22),
        totals: message.digits(48).map(|digits| digits.as_str().to_owned()),
        additional_amounts: text(54),
        chip: message.bytes_of(55).unwrap_or_default().to_vec(),
        batch: message
            .digits(60)
            .and_then(|digits| digits.as_str().get(2..8).and_then(|batch| batch.parse().ok())),
        private: message.bytes_of(62).unwrap_or_default().to_vec(),
        card_org,
        remark,
        requirement,
    }
}

/// 63.1 and the printable part of 63.2, which is GBK text. A field that holds something else gives no text.
fn custom63(bytes: &[u8]) -> (Option<String>, Option<String>) {
    let printable = |bytes: &[u8]| {
        let (text, _, broken) = encoding_rs::GBK.decode(bytes);
        let text = text.trim();
        (!broken && !text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
    };
    match bytes.split_at_checked(3) {
        Some((organisation, text)) => (printable(organisation), printable(text)),
        None => (printable(bytes), None),
    }
}

#[cfg(test)]
mod tests {
    use hsm::{Hsm, KeyAlgorithm, KeyUsage, SoftVault};
    use iso8583::CUP_POS;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::KeyLayout;
    use crate::message::{Kind, field60_financial, field60_management};
    use crate::security::KeyRef;

    fn config(terminal: &str, merchant: &str, tpdu: &str, header: &str) -> TerminalConfig {
        let mut config = TerminalConfig::new("host:1", merchant, terminal);
        config.tpdu = tpdu.into();
        config.profile.insert("header".into(), header.into());
        config
    }

    fn sign_in(config: &TerminalConfig, trace: &str, network_code: &str) -> Request {
        Request::new(Kind::SignIn)
            .digits(11, trace)
            .text(41, config.terminal.clone())
            .text(42, config.merchant.clone())
            .digits(60, field60_management("00", 1, network_code))
            .text(63, "01 ")
    }

    /// Two public sign-in frames, one with and one without header, come out to the byte.
    #[test]
    fn public_sign_in_frames_are_reproduced() {
        let with = config("13300016", "188020130012016", "6000030000", "603100311001");
        let frame = write(&with, &sign_in(&with, "000003", "003"), None).unwrap();
        assert_eq!(
            hex::encode_upper(frame),
            "003C600003000060310031100108000020000000C000120000033133333030303136313838303230313330303132303136001100\
             00000100300003303120"
        );
        let without = config("12345671", "123456789012345", "6000320000", "none");
        let frame = write(&without, &sign_in(&without, "000012", "001"), None).unwrap();
        assert_eq!(
            hex::encode_upper(frame),
            "0036600032000008000020000000C0001200001231323334353637313132333435363738393031323334350011000000010010\
             0003303120"
        );
    }

    struct Bench {
        config: TerminalConfig,
        vault: SoftVault,
        keys: WorkingKeys,
        request: Request,
    }

    impl Bench {
        fn new() -> Self {
            let config = config("00000001", "898000000000001", "6000030000", "603200320001");
            let vault = SoftVault::ephemeral().unwrap();
            let key = |usage| KeyRef(vault.generate(usage, KeyAlgorithm::TripleDes2).unwrap().to_string());
            let keys = WorkingKeys {
                layout: KeyLayout::TripleDes,
                pin: key(KeyUsage::Pin),
                mac: key(KeyUsage::Mac),
                track: None,
            };
            let request = Request::new(Kind::Sale)
                .digits(4, "000000010000")
                .digits(11, "000017")
                .digits(22, "012")
                .digits(25, "00")
                .text(41, "00000001")
                .text(42, "898000000000001")
                .text(49, "156")
                .digits(60, field60_financial("22", 1, 5, false, false));
            Self { config, vault, keys, request }
        }

        fn approval(&self) -> Vec<u8> {
            let mut draft = Draft::new();
            draft.start(&CUP_POS, Mti::new(210));
            draft.put_digits(3, "000000").unwrap();
            draft.put_digits(4, "000000010000").unwrap();
            draft.put_digits(11, "000017").unwrap();
            draft.put_digits(25, "00").unwrap();
            draft.put_digits(32, "01020000").unwrap();
            draft.put_text(37, "112410000001").unwrap();
            draft.put_text(39, "00").unwrap();
            draft.put_text(41, "00000001").unwrap();
            draft.put_text(42, "898000000000001").unwrap();
            draft.put_text(49, "156").unwrap();
            let mut out = Vec::new();
            let mark = frame::begin_pos(&mut out, Tpdu::new([0x60, 0, 0, 0, 3]), Profile::CUP_POS_1.header);
            draft
                .write_with_mac::<PosError>(&mut out, |block| {
                    let rule = self.keys.mac_algorithm(&Profile::CUP_POS_1);
                    Security::mac(&self.vault, &self.keys.mac, rule, block)
                })
                .unwrap();
            frame::finish_pos(&mut out, mark).unwrap();
            out
        }

        fn approves(&self, received: &[u8]) -> bool {
            let keys = Some((&self.vault as &dyn Security, &self.keys));
            match judge(&self.config, &self.request, keys, received).unwrap() {
                Judged::Answer(answer) => codes::approves(&answer.code),
                Judged::Unfitting(_) | Judged::MacWrong => false,
            }
        }
    }

    /// Every single bit of an approval is protected: by the MAC, by the comparison, or by the format.
    #[test]
    fn an_approval_with_one_bit_changed_is_none() {
        const BODY: usize = 13; // length, TPDU and header are not covered by the MAC
        let bench = Bench::new();
        let good = bench.approval();
        assert!(bench.approves(&good));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                let approved = bench.approves(&changed);
                assert!(at < BODY || !approved, "byte {at} bit {bit}");
            }
        }
        for length in 0..good.len() {
            assert!(!bench.approves(&good[..length]));
        }
    }

    proptest! {
        /// Whatever the line delivers, the terminal judges and never breaks.
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bench = Bench::new();
            prop_assert!(!bench.approves(&bytes));
            let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            prop_assert!(!bench.approves(&framed));
        }
    }
}
