//! A card as data: who it belongs to, its applications and records, its keys by name, and how it behaves.
//!
//! A profile can be read from a TOML file. The records of an application are a list of tags and values; a value is
//! hexadecimal, or a name that stands for something of the card: `$pan`, `$psn`, `$expiry`, `$effective`, `$service`,
//! `$track2`, `$holder`, `$cvm`, `$ca`, `$issuer_cert`, `$issuer_remainder`, `$icc_cert`, `$icc_remainder`, `$ssad`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use iso8583::tlv;
use serde::{Deserialize, Serialize};

use crate::behaviour::Behaviour;
use crate::lab::{self, CertificateHead, LabKey};

/// Why a profile is no card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read as a profile.
    #[error("the profile cannot be read: {0}")]
    Text(String),
    /// A value that should be hexadecimal, decimal, of another length, or a known name.
    #[error("{0} has a value that does not fit")]
    Value(String),
    /// A record that is signed holds what is made by signing it.
    #[error("record {0} is signed and holds a certificate")]
    Circular(String),
}

fn bad(what: &str) -> ProfileError {
    ProfileError::Value(what.to_owned())
}

/// How the card's keys come from the issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Derive {
    /// Option A.
    #[default]
    A,
    /// Option B, for numbers over 16 digits.
    B,
}

/// Cipher of the cryptograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Algorithm {
    /// Triple DES.
    #[default]
    #[serde(rename = "3des")]
    TripleDes,
    /// SM4, modelled.
    #[serde(rename = "sm4")]
    Sm4,
}

/// Keys of the card by the rules they follow. The master keys are the public ones of the laboratory (`lab-1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Derivation.
    pub derive: Derive,
    /// Cryptogram version: 1, 10, 17 or 18.
    pub cvn: u8,
    /// Key index in 9F10.
    pub dki: u8,
    /// Cipher.
    pub alg: Algorithm,
}

impl Default for Keys {
    fn default() -> Self {
        Self { derive: Derive::A, cvn: 1, dki: 1, alg: Algorithm::TripleDes }
    }
}

/// State of a card that was never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Start {
    /// Transaction counter; the first transaction has one more.
    pub atc: u16,
    /// Counter of the last online transaction; zero is a new card.
    pub last_online_atc: u16,
    /// PIN tries left, of three.
    pub pin_tries: u8,
}

impl Default for Start {
    fn default() -> Self {
        Self { atc: 0x0011, last_online_atc: 0x0011, pin_tries: 3 }
    }
}

/// A record of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSpec {
    /// Short file identifier and record number, `3.1`.
    pub at: String,
    /// Tag and value, in the order they stand in the record.
    pub items: Vec<(String, String)>,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Identifier, hexadecimal.
    pub aid: String,
    /// Label, tag 50.
    pub label: String,
    /// Preferred name, tag 9F12, with code table 1.
    #[serde(default)]
    pub preferred_name: Option<String>,
    /// Priority, tag 87: low four bits, 80 asks for confirmation.
    #[serde(default = "one")]
    pub priority: u8,
    /// 82, hexadecimal.
    #[serde(default = "aip")]
    pub aip: String,
    /// 94 of the contact way, hexadecimal.
    #[serde(default = "afl")]
    pub afl: String,
    /// 9F38 of the contact way, hexadecimal; the cards of the deck have none.
    #[serde(default)]
    pub pdol: String,
    /// 8E, hexadecimal.
    #[serde(default = "cvm")]
    pub cvm: String,
    /// Records.
    #[serde(default = "standard_records")]
    pub records: Vec<RecordSpec>,
}

fn one() -> u8 {
    1
}

fn aip() -> String {
    "7C00".to_owned()
}

fn afl() -> String {
    "080101001001030018010101".to_owned()
}

fn cvm() -> String {
    "000000000000000042031E031F00".to_owned()
}

/// What the antenna adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contactless {
    /// It has a directory (2PAY.SYS.DDF01).
    pub ppse: bool,
    /// 9F38, hexadecimal.
    pub pdol: String,
    /// 94 of an offline approval, hexadecimal.
    pub afl: String,
    /// 9F6C, hexadecimal.
    pub ctq: String,
    /// Largest amount in fen that it approves by itself, when the terminal does not insist on an ARQC.
    pub offline_limit: u64,
}

impl Default for Contactless {
    fn default() -> Self {
        Self {
            ppse: true,
            pdol: "9F66049F02069F03069F1A0295055F2A029A039C019F3704".to_owned(),
            afl: "08010100100102001801010120010100".to_owned(),
            ctq: "0000".to_owned(),
            offline_limit: 50_000,
        }
    }
}

/// Certificates by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oda {
    /// Index of the organisation's key.
    #[serde(default = "f1")]
    pub ca: u8,
    /// Name of the issuer's key, 1024 bits.
    pub issuer: String,
    /// Name of the card's key, 768 bits.
    pub icc: String,
    /// Data authentication code, hexadecimal.
    #[serde(default = "dac")]
    pub dac: String,
    /// Serial number of both certificates, hexadecimal.
    #[serde(default = "serial")]
    pub serial: String,
    /// Month and year.
    #[serde(default = "issuer_expiry")]
    pub issuer_cert_exp: String,
    /// Month and year.
    #[serde(default = "icc_expiry")]
    pub icc_cert_exp: String,
}

fn f1() -> u8 {
    0xF1
}

fn dac() -> String {
    "DAC1".to_owned()
}

fn serial() -> String {
    "000001".to_owned()
}

fn issuer_expiry() -> String {
    "1230".to_owned()
}

fn icc_expiry() -> String {
    "1229".to_owned()
}

/// A card.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name in the deck.
    pub id: String,
    /// Account number, digits.
    pub pan: String,
    /// Sequence number, 5F34.
    #[serde(default = "one")]
    pub psn: u8,
    /// YYMM of stripe and slip.
    pub expiry: String,
    /// 5F24, YYMMDD.
    pub expiry_date: String,
    /// 5F25, YYMMDD.
    pub effective_date: String,
    /// Service code.
    pub service_code: String,
    /// What follows the service code on track 2.
    pub discretionary: String,
    /// 5F20.
    pub holder: String,
    /// PIN; none when the card has none.
    #[serde(default)]
    pub pin: Option<String>,
    /// It has contacts.
    #[serde(default = "yes")]
    pub contact: bool,
    /// It has a directory in its contact side.
    #[serde(default = "yes")]
    pub pse: bool,
    /// Answer to reset, hexadecimal.
    #[serde(default = "atr")]
    pub atr: String,
    /// Keys.
    #[serde(default)]
    pub keys: Keys,
    /// State at the start.
    #[serde(default)]
    pub start: Start,
    /// Certificates.
    pub oda: Oda,
    /// Applications.
    pub apps: Vec<App>,
    /// The antenna, when it has one.
    #[serde(default)]
    pub contactless: Option<Contactless>,
    /// Switches.
    #[serde(default)]
    pub behaviour: Vec<Behaviour>,
    /// One line for people, Chinese.
    #[serde(default)]
    pub note_zh: String,
    /// One line for people, English.
    #[serde(default)]
    pub note_en: String,
}

fn yes() -> bool {
    true
}

/// T=1 with eight historical bytes that say what it is.
fn atr() -> String {
    "3B8801504F53504C414231EB".to_owned()
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("id", &self.id)
            .field("behaviour", &self.behaviour)
            .finish_non_exhaustive()
    }
}

impl Profile {
    /// Reads a profile from the text of a TOML file.
    ///
    /// # Errors
    /// The text is none; what its values mean is checked by [`Card::new`](crate::Card::new).
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        toml::from_str(text).map_err(|error| ProfileError::Text(error.message().to_owned()))
    }

    /// Reads a profile from a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn from_file(path: &std::path::Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ProfileError::Text(format!("{}: {error}", path.display())))?;
        Self::from_toml(&text)
    }

    /// The profile as a TOML file.
    ///
    /// # Errors
    /// Never for a profile that was read.
    pub fn to_toml(&self) -> Result<String, ProfileError> {
        toml::to_string(self).map_err(|error| ProfileError::Text(error.to_string()))
    }

    /// Track 2 with `D` as separator, as field 35 carries it.
    pub fn track2(&self) -> String {
        format!("{}D{}{}{}", self.pan, self.expiry, self.service_code, self.discretionary)
    }
}

/// The records of the deck's cards.
pub fn standard_records() -> Vec<RecordSpec> {
    let record = |at: &str, items: &[(&str, &str)]| RecordSpec {
        at: at.to_owned(),
        items: items.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect(),
    };
    vec![
        record("1.1", &[("57", "$track2"), ("5F20", "$holder"), ("9F1F", "30303030303030303030")]),
        record("2.1", &[("8F", "$ca"), ("9F32", "03"), ("92", "$issuer_remainder"), ("90", "$issuer_cert")]),
        record(
            "2.2",
            &[("9F46", "$icc_cert"), ("9F47", "03"), ("9F48", "$icc_remainder"), ("9F49", "9F3704")],
        ),
        record("2.3", &[("93", "$ssad")]),
        record(
            "3.1",
            &[
                ("5A", "$pan"),
                ("5F34", "$psn"),
                ("5F24", "$expiry"),
                ("5F25", "$effective"),
                ("5F28", "0156"),
                ("9F07", "FF00"),
                ("8E", "$cvm"),
                ("9F0D", "D86004A800"),
                ("9F0E", "0010000000"),
                ("9F0F", "D86804F800"),
                ("9F4A", "82"),
                ("8C", "9F02069F03069F1A0295055F2A029A039C019F37049F2103"),
                ("8D", "8A029F02069F03069F1A0295055F2A029A039C019F3704"),
                ("9F08", "0030"),
                ("5F30", "$service"),
                ("9F42", "0156"),
            ],
        ),
    ]
}

/// An application with everything worked out.
pub(crate) struct Resolved {
    pub aid: Vec<u8>,
    pub aip: [u8; 2],
    pub afl: Vec<u8>,
    pub tap_afl: Vec<u8>,
    pub pdol: Vec<u8>,
    pub tap_pdol: Vec<u8>,
    pub cdol1: Vec<u8>,
    pub cdol2: Vec<u8>,
    /// Short file identifier and number to the record, template 70.
    pub records: BTreeMap<(u8, u8), Vec<u8>>,
}

/// What every application of a card shares.
pub(crate) struct Shared {
    pub icc: Arc<LabKey>,
    pub track2: Vec<u8>,
    pub ctq: [u8; 2],
}

/// Digits two to a byte, filled with F on the right.
pub(crate) fn packed(digits: &str) -> Option<Vec<u8>> {
    let mut text = digits.to_owned();
    if text.len() % 2 == 1 {
        text.push('F');
    }
    hex::decode(text).ok()
}

fn bytes(text: &str, what: &str) -> Result<Vec<u8>, ProfileError> {
    hex::decode(text).map_err(|_| bad(what))
}

fn array<const N: usize>(text: &str, what: &str) -> Result<[u8; N], ProfileError> {
    bytes(text, what)?.try_into().map_err(|_| bad(what))
}

fn place(at: &str) -> Result<(u8, u8), ProfileError> {
    at.split_once('.')
        .and_then(|(sfi, number)| Some((sfi.parse().ok()?, number.parse().ok()?)))
        .filter(|(sfi, number)| (1..=30).contains(sfi) && *number > 0)
        .ok_or_else(|| bad(at))
}

/// Places of the records that enter data authentication.
fn signed_places(afl: &[u8]) -> Vec<(u8, u8)> {
    let (entries, _) = afl.as_chunks::<4>();
    entries
        .iter()
        .flat_map(|[sfi, first, last, count]| {
            (*first..=*last).take(usize::from(*count)).map(move |number| (sfi >> 3, number))
        })
        .collect()
}

impl Profile {
    pub(crate) fn shared(&self) -> Result<Shared, ProfileError> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !(13..=19).contains(&self.pan.len()) || !digits(&self.pan) {
            return Err(bad("pan"));
        }
        if self.track2().len() > 37 || !digits(&self.discretionary) || !digits(&self.service_code) {
            return Err(bad("track 2"));
        }
        if self.pin.as_ref().is_some_and(|pin| !(4..=12).contains(&pin.len()) || !digits(pin)) {
            return Err(bad("pin"));
        }
        let ctq = self.contactless.as_ref().map_or(Ok([0; 2]), |tap| array(&tap.ctq, "ctq"))?;
        Ok(Shared {
            icc: lab::key(&self.oda.icc, 768),
            track2: packed(&self.track2()).ok_or_else(|| bad("track 2"))?,
            ctq,
        })
    }

    fn item(&self, value: &str, app: &App) -> Result<Option<Vec<u8>>, ProfileError> {
        Ok(Some(match value {
            "$pan" => packed(&self.pan).ok_or_else(|| bad("pan"))?,
            "$psn" => vec![((self.psn / 10) << 4) | (self.psn % 10)],
            "$expiry" => array::<3>(&self.expiry_date, "expiry_date")?.to_vec(),
            "$effective" => array::<3>(&self.effective_date, "effective_date")?.to_vec(),
            "$service" => array::<2>(&format!("0{}", self.service_code), "service_code")?.to_vec(),
            "$track2" => packed(&self.track2()).ok_or_else(|| bad("track 2"))?,
            "$holder" => self.holder.clone().into_bytes(),
            "$cvm" => bytes(&app.cvm, "cvm")?,
            "$ca" => vec![self.oda.ca],
            name if name.starts_with('$') => return Ok(None),
            plain => bytes(plain, plain)?,
        }))
    }

    /// Works an application out: certificates, signed data, records. `aip` is that of the moment, since a switch may
    /// have changed it.
    pub(crate) fn resolve(&self, app: &App, aip: [u8; 2], shared: &Shared) -> Result<Resolved, ProfileError> {
        let afl = bytes(&app.afl, "afl")?;
        let signed = signed_places(&afl);
        let mut plain: BTreeMap<(u8, u8), Vec<u8>> = BTreeMap::new();
        let mut static_data = Vec::new();
        let mut objects: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for spec in &app.records {
            let at = place(&spec.at)?;
            let mut content = Vec::new();
            let mut complete = true;
            for (tag, value) in &spec.items {
                let number = u32::from_str_radix(tag, 16).map_err(|_| bad(tag))?;
                match self.item(value, app)? {
                    Some(value) => {
                        tlv::write(&mut content, number, &value);
                        objects.insert(number, value);
                    }
                    None => complete = false,
                }
            }
            if signed.contains(&at) {
                if !complete {
                    return Err(ProfileError::Circular(spec.at.clone()));
                }
                static_data.extend_from_slice(&content);
            }
            if complete {
                plain.insert(at, content);
            }
        }
        static_data.extend(aip);
        let made = self.certificates(shared, &static_data)?;
        let mut records = BTreeMap::new();
        for spec in &app.records {
            let at = place(&spec.at)?;
            let content = match plain.remove(&at) {
                Some(content) => content,
                None => {
                    let mut content = Vec::new();
                    for (tag, value) in &spec.items {
                        let number = u32::from_str_radix(tag, 16).map_err(|_| bad(tag))?;
                        let value = match self.item(value, app)? {
                            Some(value) => value,
                            None => made.get(value.as_str()).cloned().ok_or_else(|| bad(value))?,
                        };
                        tlv::write(&mut content, number, &value);
                    }
                    content
                }
            };
            let mut record = Vec::new();
            tlv::write(&mut record, 0x70, &content);
            records.insert(at, record);
        }
        let tap = self.contactless.clone().unwrap_or_default();
        let aid = bytes(&app.aid, "aid")?;
        if !(5..=16).contains(&aid.len()) {
            return Err(bad("aid"));
        }
        Ok(Resolved {
            aid,
            aip,
            afl,
            tap_afl: bytes(&tap.afl, "contactless.afl")?,
            pdol: bytes(&app.pdol, "pdol")?,
            tap_pdol: bytes(&tap.pdol, "contactless.pdol")?,
            cdol1: objects.remove(&0x8C).unwrap_or_default(),
            cdol2: objects.remove(&0x8D).unwrap_or_default(),
            records,
        })
    }

    fn certificates(
        &self,
        shared: &Shared,
        static_data: &[u8],
    ) -> Result<BTreeMap<&'static str, Vec<u8>>, ProfileError> {
        let ca = lab::ca(self.oda.ca).ok_or_else(|| bad("oda.ca"))?;
        let issuer = lab::key(&self.oda.issuer, 1024);
        let serial = array(&self.oda.serial, "oda.serial")?;
        let mut issuer_id = self.pan.get(..6).unwrap_or_default().to_owned();
        issuer_id.push_str("FF");
        let (issuer_cert, issuer_remainder) = lab::certify(
            &ca,
            &CertificateHead {
                format: 0x02,
                subject: &bytes(&issuer_id, "pan")?,
                expiry: array(&self.oda.issuer_cert_exp, "oda.issuer_cert_exp")?,
                serial,
            },
            &issuer,
            &[],
        );
        let mut number = packed(&self.pan).ok_or_else(|| bad("pan"))?;
        number.resize(10, 0xFF);
        let (icc_cert, icc_remainder) = lab::certify(
            &issuer,
            &CertificateHead {
                format: 0x04,
                subject: &number,
                expiry: array(&self.oda.icc_cert_exp, "oda.icc_cert_exp")?,
                serial,
            },
            &shared.icc,
            static_data,
        );
        let [dac_high, dac_low] = array(&self.oda.dac, "oda.dac")?;
        let ssad = issuer.sign(&[0x03, 0x01, dac_high, dac_low], static_data);
        Ok(BTreeMap::from([
            ("$issuer_cert", issuer_cert),
            ("$issuer_remainder", issuer_remainder),
            ("$icc_cert", icc_cert),
            ("$icc_remainder", icc_remainder),
            ("$ssad", ssad),
        ]))
    }
}
