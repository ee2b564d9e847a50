//! Message mapping between a payment and CUPS, pure.
//!
//! Which fields a message carries follows the flow table of the network's field reference; what it leaves
//! open is decided in its section of decisions (trace number our own, 90 from our own journal).

use acquiring::kind::{KINDS, Kind, NetworkForm};
use acquiring::payment::{Answer, NetworkKey};
use acquiring::transition::Forward;
use acquiring::{AuthCode, Beijing, InstitutionId, ResponseCode, Rrn, Secret};
use hsm::{EncryptedPinBlock, PinFormat};

use iso8583::frame::CupsHeader;
use iso8583::mask::is_secret_tag;

use iso8583::subfield::{Composite60, OriginalData90};
use iso8583::{BuildError, CUPS, Digits, Draft, Message, Mti, tlv};
use jiff::Timestamp;

use crate::{Correlation, ForwardRequest, NetworkRequest, OriginalRef};

/// Field 53 with a PIN under 3DES, and with one under SM4.
const SECURITY_3DES: &str = "2600000000000000";
const SECURITY_SM4: &str = "2400000000000000";
/// Field 26: longest PIN.
const PIN_LENGTH_MAX: u64 = 12;

/// Who we are to the network.
#[derive(Clone, Debug)]
pub struct Parties {
    /// Our institution code.
    pub member: InstitutionId,
    /// The network's.
    pub network: InstitutionId,
}

impl Parties {
    /// The header of what we send.
    pub fn header(&self) -> CupsHeader {
        CupsHeader::new(self.network.as_str(), self.member.as_str())
    }
}

/// Why a message cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The transaction has no form toward this network.
    #[error("{0:?} does not go to the card network")]
    NoForm(Kind),
    /// The PIN block has a form that the network does not know.
    #[error("the network does not take PIN blocks of this form")]
    PinFormat,
    /// A field cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A message before its MAC, with what will tie its answer to it.
pub struct Mapped {
    /// The fields but 128.
    pub draft: Draft,
    /// Key at the network.
    pub key: NetworkKey,
    /// Its answer's key.
    pub correlation: Correlation,
}

fn form(kind: Kind) -> Result<NetworkForm, MappingError> {
    kind.spec().network.ok_or(MappingError::NoForm(kind))
}

/// The reference number that goes to the network: the void of a sale or completion repeats the original's.
fn network_rrn(form: NetworkForm, own: Rrn, original: Option<&OriginalRef>) -> Rrn {
    match original {
        Some(original) if form.repeats_reference => original.rrn,
        _ => own,
    }
}

fn correlation(request_mti: u16, trace: u32, rrn: Rrn) -> Correlation {
    let mut reference = [b' '; 12];
    for (to, from) in reference.iter_mut().zip(rrn.as_str().bytes()) {
        *to = from;
    }
    // A repeat (0421, 0221) is answered as the first: 0430, 0230.
    Correlation { mti: request_mti / 10 * 10 + 10, trace, reference }
}

/// Composite field 60: what we can say of the terminal. Parts that we have no facts for stay zero.
fn field_60(traits: [u8; 3]) -> Composite60 {
    let [capability, chip_condition, partial] = traits;
    let mut field = Composite60::zeros();
    for (part, value) in [
        ("60.2.2", capability.to_string()),
        ("60.2.3", chip_condition.to_string()),
        ("60.2.5", TERMINAL_TYPE_POS.to_owned()),
        ("60.3.4", partial.to_string()),
    ] {
        let fits = field.set(part, &value);
        debug_assert!(fits, "{part}");
    }
    field
}

/// 60.2.5: a POS terminal.
const TERMINAL_TYPE_POS: &str = "03";

/// Makes a financial request. `pin` is the block under the zone PIN key.
pub fn financial(
    parties: &Parties,
    request: &NetworkRequest,
    pin: Option<&EncryptedPinBlock>,
) -> Result<Mapped, MappingError> {
    let form = form(request.kind)?;
    let local = Beijing::of(request.at);
    let key = NetworkKey { trace: request.id.network_trace(), transmission: local.transmission() };
    let rrn = network_rrn(form, request.rrn, request.original.as_ref());
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(form.mti));
    draft.put_digits(2, request.pan.reveal())?;
    draft.put_number(3, u64::from(form.processing_code))?;
    if request.kind != Kind::Balance {
        draft.put_number(4, request.amount.fen())?;
    }
    draft.put_number(7, key.transmission)?;
    draft.put_number(11, u64::from(key.trace))?;
    draft.put_number(12, u64::from(local.hhmmss()))?;
    draft.put_number(13, u64::from(local.mmdd()))?;
    if let Some(expiry) = request.expiry {
        draft.put_number(14, u64::from(expiry.yymm()))?;
    }
    draft.put_number(18, u64::from(request.mcc))?;
    draft.put_number(22, u64::from(request.entry_mode.code()))?;
    if let Some(sequence) = request.card_sequence {
        draft.put_number(23, u64::from(sequence))?;
    }
    draft.put_number(25, u64::from(request.condition))?;
    draft.put_digits(32, parties.member.as_str())?;
    draft.put_digits(33, parties.member.as_str())?;
    if let Some(track) = &request.track2 {
        draft.put_digits(35, track.reveal_text())?;
    }
    draft.put_text(37, rrn.as_str())?;
    if let Some(code) = &request.auth_code {
        draft.put_text(38, code.as_str())?;
    }
    draft.put_text(41, request.terminal.as_str())?;
    draft.put_text(42, request.merchant.as_str())?;
    draft.put_text(43, &request.merchant_name)?;
    if let (Some(tag), Some(plan)) = (form.plan_tag, &request.plan) {
        draft.put_bytes(48, &[tag.as_bytes(), plan.as_bytes()].concat())?;
    }
    draft.put_text(49, "156")?;
    if let Some(pin) = pin.filter(|_| form.takes_pin) {
        draft.put_number(26, PIN_LENGTH_MAX)?;
        match pin.format {
            PinFormat::Iso0 => {
                draft.put_bytes(52, pin.bytes())?;
                draft.put_digits(53, SECURITY_3DES)?;
            }
            PinFormat::Sm4Extended => {
                draft.put_bytes(52, &[0; 8])?;
                draft.put_digits(53, SECURITY_SM4)?;
                draft.put_bytes(63, &[b"SM016", pin.bytes()].concat())?;
            }
            _ => return Err(MappingError::PinFormat),
        }
    }
    if let Some(chip) = &request.chip {
        draft.put_bytes(55, chip.reveal())?;
    }
    draft.put_text(60, field_60(request.terminal_traits).as_str())?;
    if let Some(original) = request.original.as_ref().filter(|_| form.names_original) {
        draft.put_digits(90, &original_data(parties, original)?)?;
    }
    // The accounts of a transfer: from, to (modelled for a load; no public source shows it on this side).
    if let Some(purse) = &request.transfer_in {
        draft.put_text(102, request.pan.reveal())?;
        draft.put_text(103, purse.reveal())?;
    }
    Ok(Mapped { draft, key, correlation: correlation(form.mti, key.trace, rrn) })
}

/// Field 90: MTI, trace number, transmission time, acquirer and forwarder of the original.
fn original_data(parties: &Parties, original: &OriginalRef) -> Result<Digits, MappingError> {
    // An institution code is at most eleven digits, so it always fits.
    let member = parties.member.as_str().parse().unwrap_or(0);
    let data = OriginalData90 {
        mti: Mti::new(form(original.kind)?.mti),
        trace: original.key.trace,
        transmission: original.key.transmission,
        acquirer: member,
        forwarder: member,
    };
    Ok(data.to_digits())
}

/// The MTI of a message, or of its repeat when it was sent before.
const fn repeated(mti: u16, tries: u32) -> u16 {
    if tries == 0 { mti } else { mti + 1 }
}

/// Makes a reversal (0420), a repeat (0221), an advice (0220) or a script result (0620); the second and later attempts of a message are its repeats: 0421, 0221, 0621.
pub fn forward(parties: &Parties, request: &ForwardRequest<'_>) -> Result<Mapped, MappingError> {
    let payment = request.payment;
    let form = form(payment.kind)?;
    let rrn = network_rrn(form, payment.rrn, request.original.as_ref());
    let local = Beijing::of(payment.created);
    let mut draft = Draft::new();
    let (mti, transmission) = match request.action {
        Forward::Reversal => {
            // The same transmission time in every repeat: it is when this message was composed.
            (repeated(420, request.tries), Beijing::of(request.composed).transmission())
        }
        Forward::Repeat => (form.mti + 1, payment.network.transmission),
        Forward::Advice => (repeated(form.mti, request.tries), payment.network.transmission),
        Forward::Script => (repeated(620, request.tries), Beijing::of(request.composed).transmission()),
    };
    draft.start(&CUPS, Mti::new(mti));
    draft.put_digits(2, request.pan.reveal())?;
    draft.put_number(3, u64::from(form.processing_code))?;
    draft.put_number(4, payment.amount.fen())?;
    draft.put_number(7, transmission)?;
    draft.put_number(11, u64::from(payment.network.trace))?;
    draft.put_number(12, u64::from(local.hhmmss()))?;
    draft.put_number(13, u64::from(local.mmdd()))?;
    if let Some(expiry) =
        payment.expiry.filter(|_| matches!(request.action, Forward::Advice | Forward::Repeat))
    {
        draft.put_number(14, u64::from(expiry.yymm()))?;
    }
    draft.put_number(18, u64::from(request.mcc))?;
    draft.put_number(22, u64::from(payment.entry_mode.code()))?;
    if let Some(sequence) = payment.card_sequence {
        draft.put_number(23, u64::from(sequence))?;
    }
    draft.put_number(25, u64::from(payment.condition))?;
    draft.put_digits(32, parties.member.as_str())?;
    draft.put_digits(33, parties.member.as_str())?;
    draft.put_text(37, rrn.as_str())?;
    // A repeat tells the code that its first sending told: the original's.
    let own = payment.answer.as_ref().and_then(|a| a.auth_code);
    if let Some(code) = own.or_else(|| request.original.and_then(|original| original.auth_code)) {
        draft.put_text(38, code.as_str())?;
    }
    if let (Forward::Script, Some(answer)) = (request.action, &payment.answer) {
        draft.put_text(39, answer.code.as_str())?;
    }
    draft.put_text(41, payment.terminal.as_str())?;
    draft.put_text(42, payment.merchant.as_str())?;
    draft.put_text(43, request.merchant_name)?;
    let said = Said::of(request);
    if let Some(private) = &said.private {
        draft.put_bytes(48, private)?;
    }
    draft.put_text(49, "156")?;
    if let Some(chip) = said.chip.filter(|chip| !chip.reveal().is_empty()) {
        draft.put_bytes(55, chip.reveal())?;
    }
    draft.put_text(60, field_60(payment.terminal_traits).as_str())?;
    if request.action == Forward::Script {
        draft.put_number(70, SCRIPT_RESULT)?;
    }
    let named = match request.action {
        // The same as the first sending named. An adjustment names its sale, which is how the network tells it from
        // an offline sale (modelled: no public source shows an adjustment on this side).
        Forward::Advice | Forward::Repeat => request.original.filter(|_| form.names_original),
        Forward::Reversal | Forward::Script => {
            Some(OriginalRef { kind: payment.kind, key: payment.network, rrn: payment.rrn, auth_code: own })
        }
    };
    if let Some(original) = named {
        draft.put_digits(90, &original_data(parties, &original)?)?;
    }
    let key = NetworkKey { trace: payment.network.trace, transmission };
    Ok(Mapped { draft, key, correlation: correlation(mti, payment.network.trace, rrn) })
}

/// Field 55 of a reversal, in this order: verification results, serial number of the terminal, issuer application data,
/// transaction counter, result of issuer scripts (the terminal specification's table of tag sets).
const REVERSAL_TAGS: [u32; 5] = [0x95, 0x9F1E, 0x9F10, 0x9F36, 0xDF31];

/// What a forwarded message says again of the request that it is about.
struct Said {
    /// Field 48.
    private: Option<Vec<u8>>,
    /// Field 55.
    chip: Option<Secret>,
}

impl Said {
    fn of(request: &ForwardRequest<'_>) -> Said {
        let own = || request.chip.cloned();
        let first = request.first.and_then(|bytes| CUPS.parse(bytes).ok());
        let of_first = |field| first.as_ref().and_then(|message| message.bytes_of(field));
        match request.action {
            Forward::Advice | Forward::Script => Said { private: None, chip: own() },
            Forward::Reversal => {
                // What the terminal says when it reverses is newer than what it said when it asked. Of a request that had no
                // chip data there is none to say again, whatever a terminal brings.
                let told = own().filter(|_| first.is_none() || of_first(55).is_some());
                let newest = [told.as_ref().map(Secret::reveal), of_first(55)];
                Said { private: of_first(48).and_then(plain_private), chip: reversal_chip(newest) }
            }
            Forward::Repeat => {
                Said { private: of_first(48).and_then(plain_private), chip: of_first(55).map(plain_chip) }
            }
        }
    }
}

/// Field 48 as it was, unless the journal had to overwrite it.
fn plain_private(field: &[u8]) -> Option<Vec<u8>> {
    plan(field).filter(|text| text.bytes().all(|byte| byte != 0)).map(|_| field.to_vec())
}

/// The items of chip data that a reversal tells, each as it was told last; none where none was told. Data that breaks is
/// told up to there.
fn reversal_chip(newest: [Option<&[u8]>; 2]) -> Option<Secret> {
    let told = |tag| {
        let mut items = newest.into_iter().flatten().flat_map(|data| tlv::iter(data).map_while(Result::ok));
        items.find(|item| item.tag == tag)
    };
    let mut out = Vec::new();
    for item in REVERSAL_TAGS.into_iter().filter_map(told) {
        tlv::write(&mut out, item.tag, item.value);
    }
    (!out.is_empty()).then(|| Secret::new(out))
}

/// The items of chip data that the journal has as they were: without card number and track.
fn plain_chip(data: &[u8]) -> Secret {
    let mut out = Vec::new();
    for item in tlv::iter(data).map_while(Result::ok) {
        if !is_secret_tag(item.tag) && !tlv::is_constructed(item.tag) {
            tlv::write(&mut out, item.tag, item.value);
        }
    }
    Secret::new(out)
}

/// Makes a management request 0820 with this code in field 70.
pub fn management(
    parties: &Parties,
    code: u16,
    trace: u32,
    at: Timestamp,
) -> Result<(Draft, Correlation), MappingError> {
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(820));
    draft.put_number(7, Beijing::of(at).transmission())?;
    draft.put_number(11, u64::from(trace))?;
    draft.put_digits(33, parties.member.as_str())?;
    if code == KEY_RESET {
        draft.put_digits(53, SECURITY_3DES)?;
    }
    draft.put_number(70, u64::from(code))?;
    if matches!(code, SIGN_ON | SIGN_OFF) {
        draft.put_digits(100, parties.network.as_str())?;
    }
    Ok((draft, management_correlation(830, trace, code)))
}

/// What ties a management answer to its request: 11 and 70.
pub fn management_correlation(mti: u16, trace: u32, code: u16) -> Correlation {
    let mut reference = [b'0'; 12];
    let text = format!("{code:012}");
    for (to, from) in reference.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    Correlation { mti, trace, reference }
}

/// Field 70 of a script result.
const SCRIPT_RESULT: u64 = 951;

/// Field 70: sign-on, sign-off, key reset, cut-over begin and end, echo.
pub const SIGN_ON: u16 = 1;
/// Sign-off.
pub const SIGN_OFF: u16 = 2;
/// Key reset 重置密钥.
pub const KEY_RESET: u16 = 101;
/// Cut-over 日切 begins.
pub const CUT_OVER_BEGIN: u16 = 201;
/// Cut-over ends.
pub const CUT_OVER_END: u16 = 202;
/// Echo.
pub const ECHO: u16 = 301;

/// What ties an answer of the network to a request, when its fields tell it.
pub fn answer_correlation(message: &Message<'_>) -> Option<Correlation> {
    let mti = message.mti().value();
    let trace = u32::try_from(message.number(11)?).ok()?;
    if mti / 100 == 8 {
        return Some(management_correlation(mti, trace, u16::try_from(message.number(70)?).ok()?));
    }
    let rrn = Rrn::new(message.text(37)?).ok()?;
    // `correlation` adds the 10 that an answer has over its request.
    Some(correlation(mti.checked_sub(10)?, trace, rrn))
}

/// The outcome that an answer tells; `None` when it has no response code.
pub fn answer(message: &Message<'_>, at: Timestamp) -> Option<Answer> {
    let text = |n| message.text(n);
    Some(Answer {
        code: ResponseCode::new(text(39)?)?,
        auth_code: text(38).and_then(|code| AuthCode::new(code).ok()),
        settle_date: message.number(15).and_then(|date| u16::try_from(date).ok()),
        issuer: message.digits(100).map(|id| id.as_str().to_owned()),
        // The terminal takes 20 characters; the network may send several blocks of 20, the last counts.
        balance: text(54)
            .and_then(|all| all.len().checked_sub(20).and_then(|at| all.get(at..)))
            .map(str::to_owned),
        chip: message.bytes_of(55).map(<[u8]>::to_vec),
        plan: message.bytes_of(48).and_then(plan),
        at,
    })
}

/// What stands after a tag of the transaction table in field 48.
fn plan(field: &[u8]) -> Option<String> {
    let known =
        |tag: &str| KINDS.iter().filter_map(|line| line.network).any(|form| form.plan_tag == Some(tag));
    let text = std::str::from_utf8(field).ok()?;
    let (tag, rest) = text.split_at_checked(2)?;
    known(tag).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_60_has_the_length_of_the_fixtures() {
        let field = field_60([5, 2, 1]);
        assert!((27..=30).contains(&field.as_str().len()), "{}", field.as_str().len());
        assert_eq!(field.part("60.2.2"), Some("5"));
        assert_eq!(field.part("60.2.3"), Some("2"));
        assert_eq!(field.part("60.2.5"), Some("03"));
        assert_eq!(field.part("60.3.4"), Some("1"), "the terminal supports approvals in part");
    }

    #[test]
    fn field_90_names_the_original() {
        let parties = Parties {
            member: InstitutionId::new("48029999").unwrap(),
            network: InstitutionId::new("00010000").unwrap(),
        };
        let original = OriginalRef {
            kind: Kind::Sale,
            key: NetworkKey { trace: 17, transmission: 1_123_120_000 },
            rrn: Rrn::new("112300000017").unwrap(),
            auth_code: None,
        };
        assert_eq!(
            original_data(&parties, &original).unwrap().as_str(),
            "020000001711231200000004802999900048029999"
        );
    }

    #[test]
    fn an_answer_is_recognised_by_its_request() {
        let rrn = Rrn::new("112300000017").unwrap();
        assert_eq!(correlation(200, 5, rrn).mti, 210);
        assert_eq!(correlation(420, 5, rrn), correlation(421, 5, rrn));
        assert_eq!(correlation(221, 5, rrn).mti, 230);
    }

    fn request(kind: Kind) -> NetworkRequest {
        let original = kind.spec().stands_on.map(|on| OriginalRef {
            kind: on.kinds[0],
            key: NetworkKey { trace: 17, transmission: 1_123_120_000 },
            rrn: Rrn::new("112300000017").unwrap(),
            auth_code: AuthCode::new("A1B2C3").ok(),
        });
        NetworkRequest {
            kind,
            id: acquiring::PaymentId(18),
            rrn: Rrn::new("112300000018").unwrap(),
            amount: acquiring::Amount::from_fen(10_000).unwrap(),
            currency: 156,
            pan: acquiring::Pan::new("6224242000000021").unwrap(),
            expiry: None,
            entry_mode: acquiring::EntryMode::new(21).unwrap(),
            card_sequence: None,
            condition: kind.spec().condition.unwrap(),
            terminal_traits: [5, 0, 0],
            track2: None,
            pin: None,
            chip: None,
            merchant: acquiring::MerchantId::new("898100000000001").unwrap(),
            merchant_name: "M".into(),
            mcc: 5411,
            terminal: acquiring::TerminalId::new("10000001").unwrap(),
            plan: Some(format!("{:<32}", "063C")),
            transfer_in: (kind == Kind::TransferLoad)
                .then(|| acquiring::Pan::new("6224242000000039").unwrap()),
            auth_code: original.and_then(|original| original.auth_code),
            original,
            at: "2026-11-24T02:15:00Z".parse().unwrap(),
        }
    }

    /// The flow table, kind by kind: type, processing code, condition, whose reference number, whether 38 and 90 name
    /// the original, whether a PIN and the plan go along.
    #[test]
    fn each_kind_goes_out_as_the_flow_table_has_it() {
        let parties = Parties {
            member: InstitutionId::new("48029999").unwrap(),
            network: InstitutionId::new("00010000").unwrap(),
        };
        let pin = EncryptedPinBlock::new(PinFormat::Iso0, &[7; 8]).unwrap();
        let (own, theirs) = ("112300000018", "112300000017");
        for (kind, mti, processing, condition, rrn, code, named, with_pin, plan) in [
            (Kind::Sale, 200, 0, 0, own, false, false, true, false),
            (Kind::Preauth, 100, 30_000, 6, own, false, false, true, false),
            (Kind::PreauthVoid, 100, 200_000, 6, own, true, true, true, false),
            (Kind::Completion, 200, 0, 6, own, true, false, true, false),
            (Kind::CompletionAdvice, 220, 0, 6, own, true, false, false, false),
            (Kind::CompletionVoid, 200, 200_000, 6, theirs, true, true, true, false),
            (Kind::Refund, 220, 200_000, 0, own, true, true, true, false),
            (Kind::ChipRefund, 220, 200_000, 0, own, true, true, true, false),
            (Kind::Instalment, 200, 0, 64, own, false, false, true, true),
            (Kind::InstalmentVoid, 200, 200_000, 64, theirs, true, true, true, false),
            (Kind::PointsSale, 200, 0, 65, own, false, false, true, true),
            (Kind::Load, 200, 600_000, 91, own, false, false, true, false),
            (Kind::TransferLoad, 200, 620_000, 91, own, false, false, true, false),
            (Kind::CashLoad, 200, 630_000, 91, own, false, false, true, false),
            (Kind::CashLoadVoid, 200, 170_000, 91, theirs, true, true, true, false),
        ] {
            let mapped = financial(&parties, &request(kind), Some(&pin)).unwrap();
            let mut bytes = Vec::new();
            mapped.draft.write(&mut bytes).unwrap();
            let message = CUPS.parse(&bytes).unwrap();
            assert_eq!(message.mti().value(), mti, "{kind:?}");
            assert_eq!(message.number(3), Some(processing), "{kind:?}");
            assert_eq!(message.number(25), Some(condition), "{kind:?}");
            assert_eq!(message.text(37), Some(rrn), "{kind:?}");
            assert_eq!((message.has(38), message.has(90)), (code, named), "{kind:?}");
            assert_eq!((message.has(52), message.has(26)), (with_pin, with_pin), "{kind:?}");
            let tag = kind.spec().network.and_then(|form| form.plan_tag).unwrap_or("no tag");
            let told = format!("{tag}06");
            let tells = message.bytes_of(48).is_some_and(|field| field.starts_with(told.as_bytes()));
            assert_eq!(tells, plan, "{kind:?}");
            let accounts = (message.text(102), message.text(103));
            let transfer = Some("6224242000000021").zip(Some("6224242000000039"));
            assert_eq!(
                accounts.0.zip(accounts.1),
                transfer.filter(|_| kind == Kind::TransferLoad),
                "{kind:?}"
            );
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    fn bytes(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// What a reversal and a repeat say again of the first sending, as the journal has that: field 48, the reduced chip data, and
    /// nothing of card or track.
    #[test]
    fn a_forwarded_message_says_again_what_may_be_kept() {
        let parties = Parties {
            member: InstitutionId::new("48029999").unwrap(),
            network: InstitutionId::new("00010000").unwrap(),
        };
        let chip = bytes(
            "9F260800010203040506079505000004800057106224242000000021D29022010000000F9F3602001B9F10020701",
        );
        let make = |asked: Option<&[u8]>, kind: Kind, action, of_terminal: Option<&Secret>, item: &str| {
            let first = NetworkRequest {
                chip: asked.map(Secret::new),
                plan: Some(item.to_owned()),
                expiry: acquiring::Expiry::new(2912),
                ..request(kind)
            };
            let (mut bytes, mut masked) = (Vec::new(), Vec::new());
            financial(&parties, &first, None).unwrap().draft.write(&mut bytes).unwrap();
            iso8583::mask::mask_message(&CUPS.parse(&bytes).unwrap(), &mut masked);
            let payment = payment_of(&first);
            let asked = ForwardRequest {
                action,
                payment: &payment,
                pan: &first.pan,
                merchant_name: "M",
                mcc: 5411,
                original: first.original,
                composed: first.at,
                tries: 0,
                chip: of_terminal,
                first: Some(&masked),
            };
            let mut out = Vec::new();
            forward(&parties, &asked).unwrap().draft.write(&mut out).unwrap();
            let message = CUPS.parse(&out).unwrap();
            let text = |field| message.bytes_of(field).map(hex).unwrap_or_default();
            (message.mti().value(), message.has(14), text(48), text(55))
        };
        let item = format!("06{:<30}", "3C");
        let told = make(Some(&chip), Kind::Instalment, Forward::Reversal, None, &item);
        let field_48 = hex(format!("IP{item}").as_bytes());
        assert_eq!(told, (420, false, field_48, "950500000480009F100207019F3602001B".to_owned()));
        // The terminal's own 0400 knows better, and tells no more than a reversal may; what it leaves out was told before.
        let newer = Secret::new(bytes("9F260100DF310100950580000480005A01FF"));
        let told = make(Some(&chip), Kind::Sale, Forward::Reversal, Some(&newer), "");
        let all = "950580000480009F100207019F3602001BDF310100";
        assert_eq!((told.2.as_str(), told.3.as_str()), ("", all));
        // Of a request without chip data there is none to say again, and of one with other items no more than the terminal tells.
        let told = make(None, Kind::Sale, Forward::Reversal, Some(&newer), "");
        assert_eq!(told.3, "");
        let told = make(Some(&bytes("9F2701809A03261124")), Kind::Sale, Forward::Reversal, None, "");
        assert_eq!(told.3, "");
        // An item that could be a card number is not kept, and so not told: the door refuses such a sale.
        let told = make(
            Some(&chip),
            Kind::Instalment,
            Forward::Reversal,
            None,
            &format!("06{:<30}", "6224242000000021"),
        );
        assert_eq!(told.2, "");
        let told = make(Some(&chip), Kind::ChipRefund, Forward::Repeat, None, "");
        let all = "9F26080001020304050607950500000480009F3602001B9F10020701".to_owned();
        assert_eq!(told, (221, true, String::new(), all));
    }

    /// What the door lets through as the item of an instalment or points sale is what the journal can keep: else a reversal
    /// would say less than its request.
    #[test]
    fn an_item_that_is_let_in_is_kept() {
        for code in
            ["3C", "123456789012", "1234567890123", "6224242000000021", "A 123456789012 3456", "GIFT-1"]
        {
            let mut bytes = Vec::new();
            let told = NetworkRequest { plan: Some(format!("06{code:<30}")), ..request(Kind::Instalment) };
            let parties = Parties {
                member: InstitutionId::new("48029999").unwrap(),
                network: InstitutionId::new("00010000").unwrap(),
            };
            financial(&parties, &told, None).unwrap().draft.write(&mut bytes).unwrap();
            let mut masked = Vec::new();
            iso8583::mask::mask_message(&CUPS.parse(&bytes).unwrap(), &mut masked);
            let of = |bytes| CUPS.parse(bytes).unwrap().bytes_of(48).unwrap().to_vec();
            assert_eq!(of(&masked) == of(&bytes), !acquiring::card::may_hold_number(code), "{code}");
        }
    }

    /// The journal's record of a request.
    fn payment_of(request: &NetworkRequest) -> acquiring::PaymentRecord {
        acquiring::PaymentRecord {
            id: request.id,
            merchant: request.merchant,
            terminal: request.terminal,
            batch: acquiring::BatchNo::FIRST,
            trace: acquiring::Trace::new(18).unwrap(),
            kind: request.kind,
            state: acquiring::PaymentState::Reversing,
            amount: request.amount,
            adjusted: None,
            currency: 156,
            card: None,
            expiry: request.expiry,
            entry_mode: request.entry_mode,
            card_sequence: None,
            condition: request.condition,
            terminal_traits: request.terminal_traits,
            request_digest: [0; 32],
            line: "unionpay".into(),
            network: NetworkKey { trace: 18, transmission: 1_124_101_500 },
            rrn: request.rrn,
            original: None,
            claimed_by: None,
            refunded: acquiring::Amount::ZERO,
            answer: None,
            reversal_reason: None,
            reversed_on: None,
            limited: false,
            foreign: false,
            created: request.at,
        }
    }

    #[test]
    fn the_figures_of_an_instalment_sale_stand_after_its_tag() {
        assert_eq!(plan(b"IP06ITEM").as_deref(), Some("06ITEM"));
        assert_eq!(plan(b"PBGIFT").as_deref(), Some("GIFT"));
        assert_eq!((plan(b"NK0123456789ABCDEF"), plan(b"I")), (None, None));
    }
}
