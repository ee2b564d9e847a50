//! Parameters that a terminal downloads: applications (60.3 = 380), public keys (370), quickPass switches (394), and
//! what the terminal is.

use std::fmt;

use iso8583::tlv;

/// What the kernel is loaded with.
#[derive(Clone, Debug)]
pub struct KernelParams {
    /// Application records, TLV as in field 62 without the leading `31`.
    pub aids: Vec<Vec<u8>>,
    /// Public key records, TLV as in field 62 without the leading `31`.
    pub capks: Vec<Vec<u8>>,
    /// Revoked certificates.
    pub revoked: Vec<Revoked>,
    /// What the terminal is.
    pub terminal: TerminalData,
    /// quickPass switches.
    pub quickpass: QuickPass,
    /// Today, `YYYYMMDD` in packed decimal: keys past their date are left out.
    pub today: [u8; 4],
    /// A merchant's terminal: laboratory keys and applications are refused.
    pub production: bool,
}

/// A revoked issuer certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Registered application provider.
    pub rid: [u8; 5],
    /// Index of the public key.
    pub index: u8,
    /// Serial number of the certificate.
    pub serial: [u8; 3],
}

/// What the terminal is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalData {
    /// 9F33.
    pub capabilities: [u8; 3],
    /// 9F35.
    pub terminal_type: u8,
    /// 9F40.
    pub additional: [u8; 5],
    /// 9F1A, packed decimal.
    pub country: [u8; 2],
    /// 9F09.
    pub version: [u8; 2],
    /// 9F1E: last eight characters of the serial number.
    pub serial: [u8; 8],
    /// 9F4E.
    pub merchant_name: String,
    /// Offline PIN (the digits pass through the kernel). Off in China.
    pub pin_offline: bool,
    /// Accept the card's certificate when the host cannot be reached (8A = Y3). Off by default.
    pub unable_online_approve: bool,
    /// Every payment goes online.
    pub online_only: bool,
    /// Tries before a chip counts as unreadable.
    pub chip_tries: u8,
    /// A card without a common application may be swiped.
    pub fallback_without_application: bool,
    /// 9F36 in the reversal although no answer has come.
    pub reversal_with_atc: bool,
}

impl TerminalData {
    /// A smart POS: attended, keyed, stripe, chip, antenna.
    pub const fn smart_pos(serial: [u8; 8]) -> Self {
        Self {
            capabilities: [0xE0, 0xF0, 0xC8],
            terminal_type: 0x22,
            additional: [0x60, 0x00, 0xF0, 0xA0, 0x01],
            country: [0x01, 0x56],
            version: [0x00, 0x30],
            serial,
            merchant_name: String::new(),
            pin_offline: false,
            unable_online_approve: false,
            online_only: false,
            chip_tries: 3,
            fallback_without_application: false,
            reversal_with_atc: true,
        }
    }

    /// A reader on a phone (MPOS): attended, online only, since a payment that waits on the phone has the card only under a key
    /// that the next sign-in replaces.
    pub fn mpos(serial: [u8; 8]) -> Self {
        Self {
            capabilities: [0x60, 0xF0, 0xC8],
            terminal_type: 0x21,
            additional: [0x60, 0x00, 0xF0, 0x20, 0x01],
            online_only: true,
            ..Self::smart_pos(serial)
        }
    }

    /// Without an attendant: no signature.
    pub fn unattended(serial: [u8; 8]) -> Self {
        Self {
            capabilities: [0x60, 0x40, 0xC8],
            terminal_type: 0x25,
            additional: [0x60, 0x00, 0xF0, 0x50, 0x01],
            ..Self::smart_pos(serial)
        }
    }
}

/// quickPass: small amounts without PIN and signature (小额免密免签), and the transaction qualifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuickPass {
    /// FF8054: the function is on.
    pub no_pin: bool,
    /// FF8058, fen. 1000.00 since June 2018.
    pub no_pin_limit: u64,
    /// FF8055: pilot 1, only numbers of table A.
    pub pilot_1: bool,
    /// FF8056: pilot 2, every credit card, debit cards of table B.
    pub pilot_2: bool,
    /// Number prefixes of table A.
    pub table_a: Vec<String>,
    /// Number prefixes of table B.
    pub table_b: Vec<String>,
    /// FF8057: verification on the holder's device counts.
    pub on_device: bool,
    /// FF805A: the signature is dropped as well.
    pub no_signature: bool,
    /// FF8059, fen.
    pub no_signature_limit: u64,
    /// FF805D: e-cash before online debit/credit.
    pub ecash_first: bool,
    /// FF803A: seconds in which the same card may finish a torn payment.
    pub torn_seconds: u16,
    /// FF803C: seconds that a torn record stays usable.
    pub torn_record_seconds: u16,
    /// Foreign cards and currencies may go without PIN.
    pub foreign: bool,
    /// 9F66 before the bits of the payment are set. `36000080` is a smart POS.
    pub ttq: [u8; 4],
    /// Every tap goes online (9F66 byte 2, 80).
    pub always_online: bool,
    /// A card that goes the full way (GPO answered with template 80) is served over the antenna, field 22 = 98x; else
    /// it is asked to be inserted.
    pub full_contactless: bool,
}

impl Default for QuickPass {
    fn default() -> Self {
        Self {
            no_pin: true,
            no_pin_limit: 100_000,
            pilot_1: false,
            pilot_2: false,
            table_a: Vec::new(),
            table_b: Vec::new(),
            on_device: true,
            no_signature: true,
            no_signature_limit: 100_000,
            ecash_first: false,
            torn_seconds: 10,
            torn_record_seconds: 60,
            foreign: false,
            ttq: [0x36, 0x00, 0x00, 0x80],
            always_online: true,
            full_contactless: false,
        }
    }
}

/// A bad record of a download.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {number}: {fault}")]
pub struct ParamError {
    /// Which list.
    pub what: RecordKind,
    /// Place in the list, from 0.
    pub number: usize,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Debug for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A list of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Applications.
    Application,
    /// Public keys.
    PublicKey,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "application",
            Self::PublicKey => "public key",
        })
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No TLV.
    #[error("cannot be read as tag, length, value")]
    NotTlv,
    /// A mandatory tag is missing.
    #[error("tag {0:X} is missing")]
    Missing(u32),
    /// A value of the wrong length, or not decimal.
    #[error("tag {0:X} has a value that does not fit")]
    Value(u32),
    /// DF03 differs.
    #[error("the check sum is wrong")]
    CheckSum,
    /// An algorithm that is not served.
    #[error("algorithm {0:02X} is not served")]
    Algorithm(u8),
    /// Laboratory data in a merchant's terminal.
    #[error("laboratory data are refused in production")]
    Laboratory,
}

/// What was taken from a good set of records.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Applications.
    pub applications: usize,
    /// Public keys.
    pub public_keys: usize,
    /// Keys past their date, left out: RID and index.
    pub expired: Vec<([u8; 5], u8)>,
    /// Keys of an algorithm that is not served (SM2), left out: RID and index.
    pub not_served: Vec<([u8; 5], u8)>,
}

/// One application, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// 9F06.
    pub aid: Vec<u8>,
    /// DF01 = 0: names that begin with the AID match too.
    pub partial: bool,
    /// 9F08 of the record, the terminal's version of this application.
    pub version: [u8; 2],
    /// DF11, DF13, DF12: action codes default, denial, online.
    pub tac_default: [u8; 5],
    /// DF13.
    pub tac_denial: [u8; 5],
    /// DF12.
    pub tac_online: [u8; 5],
    /// 9F1B, fen.
    pub floor: u64,
    /// DF15, fen.
    pub threshold: u64,
    /// DF16, per cent.
    pub max_target: u8,
    /// DF17, per cent.
    pub target: u8,
    /// DF14.
    pub ddol: Vec<u8>,
    /// DF18: online PIN supported.
    pub online_pin: bool,
    /// 9F7B, fen.
    pub ecash_limit: Option<u64>,
    /// DF19, fen: contactless floor limit.
    pub contactless_floor: Option<u64>,
    /// DF20, fen: contactless transaction limit.
    pub contactless_limit: Option<u64>,
    /// DF21, fen: contactless limit without verification of the holder.
    pub contactless_cvm: Option<u64>,
}

/// One RSA public key of a card organisation, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaKey {
    /// RID.
    pub rid: [u8; 5],
    /// 9F22.
    pub index: u8,
    /// DF02.
    pub modulus: Vec<u8>,
    /// DF04.
    pub exponent: Vec<u8>,
}

/// RID of the laboratory: nobody's.
pub const LAB_RID: [u8; 5] = [0xF0, 0x50, 0x4F, 0x53, 0x50];
/// UnionPay.
pub const UNIONPAY_RID: [u8; 5] = [0xA0, 0x00, 0x00, 0x03, 0x33];
/// First index of laboratory keys under the UnionPay RID.
pub const LAB_INDEX: u8 = 0xF0;

/// Parsed tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Applications, in the order of the download.
    pub applications: Vec<Application>,
    /// RSA keys in force.
    pub keys: Vec<CaKey>,
}

fn need(record: &[u8], tag: u32) -> Result<&[u8], Fault> {
    tlv::find(record, tag).map_err(|_| Fault::NotTlv)?.ok_or(Fault::Missing(tag))
}

fn fixed<const N: usize>(record: &[u8], tag: u32) -> Result<[u8; N], Fault> {
    need(record, tag)?.try_into().map_err(|_| Fault::Value(tag))
}

fn optional<const N: usize>(record: &[u8], tag: u32) -> Result<Option<[u8; N]>, Fault> {
    match tlv::find(record, tag).map_err(|_| Fault::NotTlv)? {
        None => Ok(None),
        Some(value) => value.try_into().map(Some).map_err(|_| Fault::Value(tag)),
    }
}

/// Packed decimal as a number; none when a digit is not decimal.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |sum, byte| {
        let (high, low) = (byte >> 4, byte & 0x0F);
        (high <= 9 && low <= 9)
            .then(|| sum.checked_mul(100)?.checked_add(u64::from(high) * 10 + u64::from(low)))
            .flatten()
    })
}

fn percent(record: &[u8], tag: u32) -> Result<u8, Fault> {
    let value = optional::<1>(record, tag)?.unwrap_or([0]);
    decimal(&value)
        .filter(|value| *value <= 99)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(Fault::Value(tag))
}

fn money(record: &[u8], tag: u32) -> Result<Option<u64>, Fault> {
    optional::<6>(record, tag)?.map(|value| decimal(&value).ok_or(Fault::Value(tag))).transpose()
}

fn binary(record: &[u8], tag: u32) -> Result<u64, Fault> {
    Ok(optional::<4>(record, tag)?.map_or(0, |value| u64::from(u32::from_be_bytes(value))))
}

/// One application record.
///
/// # Errors
/// See [`Fault`].
pub fn parse_application(record: &[u8]) -> Result<Application, Fault> {
    tlv::validate(record).map_err(|_| Fault::NotTlv)?;
    let aid = need(record, 0x9F06)?.to_vec();
    if !(5..=16).contains(&aid.len()) {
        return Err(Fault::Value(0x9F06));
    }
    let ddol = tlv::find(record, 0xDF14).ok().flatten().unwrap_or(&[]).to_vec();
    Ok(Application {
        aid,
        partial: optional::<1>(record, 0xDF01)?.unwrap_or([0]) == [0],
        version: fixed(record, 0x9F08)?,
        tac_default: fixed(record, 0xDF11)?,
        tac_denial: fixed(record, 0xDF13)?,
        tac_online: fixed(record, 0xDF12)?,
        floor: binary(record, 0x9F1B)?,
        threshold: binary(record, 0xDF15)?,
        max_target: percent(record, 0xDF16)?,
        target: percent(record, 0xDF17)?,
        ddol,
        online_pin: optional::<1>(record, 0xDF18)?.unwrap_or([1]) == [1],
        ecash_limit: money(record, 0x9F7B)?,
        contactless_floor: money(record, 0xDF19)?,
        contactless_limit: money(record, 0xDF20)?,
        contactless_cvm: money(record, 0xDF21)?,
    })
}

/// A public key record, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParsedKey {
    /// An RSA key in force.
    Rsa(CaKey),
    /// Past its date.
    Expired([u8; 5], u8),
    /// An algorithm that is not served.
    NotServed([u8; 5], u8),
}

/// One public key record. `today` is `YYYYMMDD` in packed decimal.
///
/// # Errors
/// See [`Fault`].
pub fn parse_public_key(record: &[u8], today: [u8; 4]) -> Result<ParsedKey, Fault> {
    tlv::validate(record).map_err(|_| Fault::NotTlv)?;
    let rid: [u8; 5] = fixed(record, 0x9F06)?;
    let [index] = fixed(record, 0x9F22)?;
    let expiry: [u8; 4] = match need(record, 0xDF05)? {
        packed @ [_, _, _, _] => packed.try_into().map_err(|_| Fault::Value(0xDF05))?,
        text => {
            let mut packed = [0; 4];
            hex::decode_to_slice(text, &mut packed).map_err(|_| Fault::Value(0xDF05))?;
            packed
        }
    };
    if decimal(&expiry).is_none() {
        return Err(Fault::Value(0xDF05));
    }
    let modulus = need(record, 0xDF02)?;
    let [algorithm] = optional::<1>(record, 0xDF07)?.unwrap_or([1]);
    if algorithm == 0x04 {
        return Ok(ParsedKey::NotServed(rid, index));
    }
    if algorithm != 0x01 {
        return Err(Fault::Algorithm(algorithm));
    }
    let [hash] = optional::<1>(record, 0xDF06)?.unwrap_or([1]);
    if hash != 0x01 {
        return Err(Fault::Algorithm(hash));
    }
    let exponent = need(record, 0xDF04)?;
    if !(64..=248).contains(&modulus.len()) {
        return Err(Fault::Value(0xDF02));
    }
    if !matches!(exponent, [0x03] | [0x01, 0x00, 0x01]) {
        return Err(Fault::Value(0xDF04));
    }
    let sum: [u8; 20] = fixed(record, 0xDF03)?;
    if sum != hsm::public_key_checksum(&rid, index, modulus, exponent) {
        return Err(Fault::CheckSum);
    }
    if expiry < today {
        return Ok(ParsedKey::Expired(rid, index));
    }
    Ok(ParsedKey::Rsa(CaKey { rid, index, modulus: modulus.to_vec(), exponent: exponent.to_vec() }))
}

fn is_lab(rid: &[u8], index: Option<u8>) -> bool {
    rid.starts_with(&LAB_RID)
        || (rid.starts_with(&UNIONPAY_RID) && index.is_some_and(|index| index >= LAB_INDEX))
}

/// The published laboratory record of the debit application; the credit one differs in the name.
#[cfg(feature = "lab")]
const LAB_APPLICATION: &str = "DF0101009F08020030DF1105D84000A800DF1205D84004F800DF130500100000009F1B0400000001DF150400000000DF160100DF170100DF14039F3704DF1801019F7B06000000100000DF1906000000000000DF2006000000500000DF2106000000100000";

impl KernelParams {
    /// What the laboratory's cards need, but for the public keys (`capks`), which come with the cards: applications of
    /// UnionPay and of the laboratory's own RID.
    #[cfg(feature = "lab")]
    pub fn lab(terminal: TerminalData, capks: Vec<Vec<u8>>, today: [u8; 4]) -> Self {
        let names = [
            "9F0608A000000333010101",
            "9F0608A000000333010102",
            "9F0608A000000333010103",
            "9F0607F0504F53500101",
            "9F0607F0504F53500102",
        ];
        let aids =
            names.iter().filter_map(|name| hex::decode(format!("{name}{LAB_APPLICATION}")).ok()).collect();
        Self {
            aids,
            capks,
            revoked: Vec::new(),
            terminal,
            quickpass: QuickPass::default(),
            today,
            production: false,
        }
    }

    /// Reads every record.
    ///
    /// # Errors
    /// One entry for each bad record; a set with a bad record is no set.
    pub fn parse(&self) -> Result<(Tables, Loaded), Vec<ParamError>> {
        let lab_refused = self.production || !cfg!(feature = "lab");
        let (mut tables, mut loaded, mut errors) = (Tables::default(), Loaded::default(), Vec::new());
        for (number, record) in self.aids.iter().enumerate() {
            let what = RecordKind::Application;
            match parse_application(record) {
                Ok(found) if lab_refused && is_lab(&found.aid, None) => {
                    errors.push(ParamError { what, number, fault: Fault::Laboratory });
                }
                Ok(found) => tables.applications.push(found),
                Err(fault) => errors.push(ParamError { what, number, fault }),
            }
        }
        for (number, record) in self.capks.iter().enumerate() {
            let what = RecordKind::PublicKey;
            let parsed = parse_public_key(record, self.today);
            let named = match &parsed {
                Ok(ParsedKey::Rsa(key)) => Some((key.rid, key.index)),
                Ok(ParsedKey::Expired(rid, index) | ParsedKey::NotServed(rid, index)) => Some((*rid, *index)),
                Err(_) => None,
            };
            if lab_refused && named.is_some_and(|(rid, index)| is_lab(&rid, Some(index))) {
                errors.push(ParamError { what, number, fault: Fault::Laboratory });
                continue;
            }
            match parsed {
                Ok(ParsedKey::Rsa(key)) => tables.keys.push(key),
                Ok(ParsedKey::Expired(rid, index)) => loaded.expired.push((rid, index)),
                Ok(ParsedKey::NotServed(rid, index)) => loaded.not_served.push((rid, index)),
                Err(fault) => errors.push(ParamError { what, number, fault }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        loaded.applications = tables.applications.len();
        loaded.public_keys = tables.keys.len();
        Ok((tables, loaded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published laboratory record of the debit application.
    const AID: &str = "9F0608A000000333010101DF0101009F08020030DF1105D84000A800DF1205D84004F800DF130500100000009F1B0400000001DF150400000000DF160100DF170100DF14039F3704DF1801019F7B06000000100000DF1906000000000000DF2006000000500000DF2106000000100000";

    #[test]
    fn the_laboratory_application_record() {
        let record = hex::decode(AID).unwrap();
        assert_eq!(record.len(), 112);
        let found = parse_application(&record).unwrap();
        assert!(found.partial && found.online_pin);
        assert_eq!(
            (found.floor, found.contactless_limit, found.contactless_cvm),
            (1, Some(500_000), Some(100_000))
        );
        assert_eq!(found.tac_denial, [0x00, 0x10, 0x00, 0x00, 0x00]);
        assert_eq!(found.ddol, [0x9F, 0x37, 0x04]);
    }

    #[test]
    fn a_record_without_a_mandatory_tag_names_it() {
        let record = hex::decode(AID.replace("DF130500100000009F", "9F")).unwrap();
        assert_eq!(parse_application(&record), Err(Fault::Missing(0xDF13)));
        let cut = hex::decode(&AID[..AID.len() - 2]).unwrap();
        assert_eq!(parse_application(&cut), Err(Fault::NotTlv));
    }

    proptest::proptest! {
        /// Whatever is downloaded, it is parsed or refused.
        #[test]
        fn any_record_is_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = parse_application(&bytes);
            let _ = parse_public_key(&bytes, [0x20, 0x26, 0x11, 0x24]);
        }
    }
}
