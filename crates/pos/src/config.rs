//! What a terminal is told once, when it is enrolled. Kept as `config.json` in its directory; every key has a
//! default but the three that identify it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use iso8583::Profile;

use serde::{Deserialize, Serialize};

use crate::connection::{Dial, TcpDialer};
use crate::error::PosError;
use crate::http::{HttpDialer, TlsFiles, is_http};

/// Whether a connection is made for each request or kept for a sequence of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionMode {
    /// One connection per request.
    Short,
    /// Kept open until it fails or the terminal closes.
    #[default]
    Kept,
}

/// The configuration of one terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalConfig {
    /// The host: `name:port` for a socket, or `https://name:port/path` for an internet front.
    pub host: String,
    /// Merchant number, field 42: 15 characters.
    pub merchant: String,
    /// Terminal number, field 41: 8 characters.
    pub terminal: String,
    /// Merchant name printed on slips.
    #[serde(default = "default_merchant_name")]
    pub merchant_name: String,
    /// Operator number, two digits; sign-in and settlement carry it in field 63.
    #[serde(default = "default_operator")]
    pub operator: String,
    /// TPDU, 10 hexadecimal digits.
    #[serde(default = "default_tpdu")]
    pub tpdu: String,
    /// The acquirer's profile: its switches that differ from the baseline, each with its value
    /// (`{"header": "none", "field_60": "ascii"}`).
    #[serde(default)]
    pub profile: BTreeMap<String, String>,
    /// Connection per request, or kept.
    #[serde(default)]
    pub connection: ConnectionMode,
    /// Seconds to wait for a connection.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Milliseconds to wait for an answer. The usual terminal parameter is 60 s.
    #[serde(default = "default_answer_timeout")]
    pub answer_timeout_ms: u64,
    /// How often a reversal is tried before it is dropped with a notice.
    #[serde(default = "default_retries")]
    pub reversal_retries: u32,
    /// How often a refund or a batch-up item is sent before the terminal gives up on it.
    #[serde(default = "default_retries")]
    pub resend_retries: u32,
    /// Milliseconds between two sendings of a refund that the host answers with 09 (in process).
    #[serde(default = "default_repeat_pause")]
    pub repeat_pause_ms: u64,
    /// 60.4: 2 stripe, 5 contact chip, 6 contact and contactless.
    #[serde(default = "default_capability")]
    pub capability: u8,
    /// Tracks are encrypted when the sign-in gave a track key.
    #[serde(default = "yes")]
    pub encrypt_tracks: bool,
    /// A decline without field 64 is taken as an answer (a host that does not know the terminal has no key to sign
    /// with). An approval without a right field 64 never is.
    #[serde(default = "yes")]
    pub accept_unsigned_decline: bool,
    /// 9F36 is sent in the reversal's field 55 even when no answer had come.
    #[serde(default = "yes")]
    pub reversal_with_atc: bool,
    /// Sign off by itself after a settlement.
    #[serde(default = "yes")]
    pub sign_off_after_settlement: bool,
    /// A card whose stripe says it has a chip is not swiped here. When off, the host decides (and answers 45).
    #[serde(default)]
    pub insist_on_chip: bool,
    /// Transactions the journal holds before settlement is forced.
    #[serde(default = "default_journal_max")]
    pub journal_max: usize,
    /// Serial number of the device; its last eight characters are tag 9F1E.
    #[serde(default = "default_serial")]
    pub serial: String,
    /// Device type of the terminal register, two digits: field 59 tells it (A2.01). `03`: the reader keeps card numbers to
    /// itself. Not told by default.
    #[serde(default)]
    pub device_type: Option<String>,
    /// Contactless amount, in fen, up to which neither PIN nor signature is asked.
    #[serde(default = "default_no_pin_limit")]
    pub no_pin_limit_fen: u64,
    /// Amount in fen up to which the terminal approves a sale by itself.
    #[serde(default = "default_offline_limit")]
    pub offline_limit_fen: u64,
    /// That limit stands, whatever floor limit the downloaded chip applications have: where those send every payment to the
    /// host and sales without it are agreed upon all the same.
    #[serde(default)]
    pub own_offline_limit: bool,
    /// A tip is at most so many per cent of its sale.
    #[serde(default = "default_tip_percent")]
    pub tip_percent: u32,
    /// What waits (offline sales, adjustments, e-signatures) is uploaded after each transaction.
    #[serde(default = "yes")]
    pub upload_when_idle: bool,
    /// What the host demands in the header of a sign-in's answer is done at once.
    #[serde(default = "yes")]
    pub obey_requirements: bool,
    /// Slips carry their numbers as a two-dimensional code.
    #[serde(default)]
    pub slip_code: bool,
    /// Card numbers may be keyed.
    #[serde(default = "yes")]
    pub manual_entry: bool,
    /// First digits of foreign cards (外卡): up to six each. They tell where neither the host's answer (63.1) nor the chip does.
    /// Modelled; none by default.
    #[serde(default)]
    pub foreign_bins: Vec<String>,
    /// A sale may be approved in part (60.6): the host answers 10 and what the card has left, and the slip is over that.
    #[serde(default)]
    pub partial_approval: bool,
    /// Which transactions are offered, one bit each (parameter 26).
    #[serde(default = "default_transactions")]
    pub transactions: u16,
    /// Where the counters of the deck's chips are kept. Terminals that share the deck share the file; a relative
    /// path starts at the terminal's directory. Default: `cards.json` in the terminal's directory.
    #[serde(default)]
    pub card_file: Option<PathBuf>,
    /// PEM file of the authority that signs the front's certificate; needed for `https`.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the terminal's own certificate, where the front asks for one.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub certificate_key_file: Option<PathBuf>,
}

fn default_merchant_name() -> String {
    "实验商户一号店".into()
}
fn default_operator() -> String {
    "01".into()
}
fn default_tpdu() -> String {
    "6000030000".into()
}
fn default_connect_timeout() -> u64 {
    10
}
fn default_answer_timeout() -> u64 {
    60_000
}
fn default_retries() -> u32 {
    3
}
fn default_repeat_pause() -> u64 {
    2_000
}
fn default_capability() -> u8 {
    5
}
fn yes() -> bool {
    true
}
fn default_journal_max() -> usize {
    500
}
fn default_serial() -> String {
    "POSPLAB1".into()
}
fn default_no_pin_limit() -> u64 {
    100_000
}

fn default_offline_limit() -> u64 {
    10_000
}
fn default_transactions() -> u16 {
    0xFFFF
}
fn default_tip_percent() -> u32 {
    15
}

impl TerminalConfig {
    /// A configuration with every default, for one host, merchant and terminal.
    pub fn new(host: impl Into<String>, merchant: impl Into<String>, terminal: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            merchant: merchant.into(),
            terminal: terminal.into(),
            merchant_name: default_merchant_name(),
            operator: default_operator(),
            tpdu: default_tpdu(),
            profile: BTreeMap::new(),
            connection: ConnectionMode::default(),
            connect_timeout_seconds: default_connect_timeout(),
            answer_timeout_ms: default_answer_timeout(),
            reversal_retries: default_retries(),
            resend_retries: default_retries(),
            repeat_pause_ms: default_repeat_pause(),
            capability: default_capability(),
            encrypt_tracks: true,
            accept_unsigned_decline: true,
            reversal_with_atc: true,
            sign_off_after_settlement: true,
            insist_on_chip: false,
            journal_max: default_journal_max(),
            serial: default_serial(),
            device_type: None,
            no_pin_limit_fen: default_no_pin_limit(),
            offline_limit_fen: default_offline_limit(),
            own_offline_limit: false,
            tip_percent: default_tip_percent(),
            upload_when_idle: true,
            obey_requirements: true,
            slip_code: false,
            manual_entry: true,
            foreign_bins: Vec::new(),
            partial_approval: false,
            transactions: default_transactions(),
            card_file: None,
            ca_file: None,
            certificate_file: None,
            certificate_key_file: None,
        }
    }

    /// Checks what the wire could not carry.
    ///
    /// # Errors
    /// [`PosError::Input`] naming the key that is wrong.
    pub fn check(&self) -> Result<(), PosError> {
        let plain =
            |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_graphic());
        let hexadecimal = |text: &str, length: usize| plain(text, length) && hex::decode(text).is_ok();
        let rules = [
            (plain(&self.merchant, 15), "merchant: 15 characters"),
            (plain(&self.terminal, 8), "terminal: 8 characters"),
            (self.host.contains(':'), "host: name:port, or https://name:port/path"),
            (
                !is_http(&self.host) || self.host.parse::<Uri>().is_ok(),
                "host: not an address that can be posted to",
            ),
            (
                !self.host.starts_with("https:") || self.ca_file.is_some(),
                "ca_file: needed for https, names the file of the acquirer's authority",
            ),
            (
                self.certificate_file.is_some() == self.certificate_key_file.is_some(),
                "certificate_file and certificate_key_file belong together",
            ),
            (plain(&self.operator, 2), "operator: 2 characters"),
            (hexadecimal(&self.tpdu, 10), "tpdu: 10 hexadecimal digits"),
            (matches!(self.capability, 2 | 5 | 6), "capability: 2, 5 or 6"),
            (self.reversal_retries > 0 && self.resend_retries > 0, "retries: at least 1"),
            (self.answer_timeout_ms > 0, "answer_timeout_ms: more than 0"),
            (self.serial.is_ascii() && self.serial.len() >= 8, "serial: at least 8 characters"),
            (self.device_type.as_ref().is_none_or(|kind| plain(kind, 2)), "device_type: two digits"),
            (
                self.foreign_bins.iter().all(|digits| {
                    (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
                }),
                "foreign_bins: one to six digits each",
            ),
            (
                self.journal_max > 0 && self.journal_max <= 999,
                "journal_max: 1 to 999 (totals count in three digits)",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(PosError::Input((*rule).into())),
            None => self.speech().map(|_| ()),
        }
    }

    /// Whether the reader keeps card numbers to itself (device type 03, MPOS).
    pub fn hides_numbers(&self) -> bool {
        self.device_type.as_deref() == Some("03")
    }

    /// Whether the terminal may approve a sale itself and upload it later: the acquirer's list of transactions allows it, and
    /// the terminal knows the card's number. A track that the reader enciphered can be read by the host until the next sign-in
    /// only, which the host may demand at any time before it takes anything else; a sale that waits would be lost with it.
    pub fn sells_offline(&self) -> bool {
        self.transactions & (1 << 7) != 0 && !self.hides_numbers()
    }

    /// The acquirer's profile with its switches set.
    ///
    /// # Errors
    /// [`PosError::Input`] naming the switch that is wrong, or the two that contradict each other.
    pub fn speech(&self) -> Result<Profile, PosError> {
        let mut profile = Profile::CUP_POS_1;
        for (name, value) in &self.profile {
            profile.set(name, value).map_err(|error| PosError::Input(format!("profile: {error}")))?;
        }
        profile.check().map_err(|error| PosError::Input(format!("profile: {error}")))?;
        Ok(profile)
    }

    /// What makes the connections to this host.
    pub fn dialer(&self) -> Arc<dyn Dial> {
        let timeout = Duration::from_secs(self.connect_timeout_seconds);
        match self.host.parse::<Uri>().ok().filter(|_| is_http(&self.host)) {
            None => Arc::new(TcpDialer { address: self.host.clone(), timeout }),
            Some(uri) => {
                let tls = TlsFiles {
                    authorities: self.ca_file.clone(),
                    certificate: self.certificate_file.clone(),
                    key: self.certificate_key_file.clone(),
                };
                Arc::new(HttpDialer { uri, tls, timeout })
            }
        }
    }

    /// How long an answer is awaited.
    pub fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wire_cannot_carry_is_refused_by_name() {
        let good = TerminalConfig::new("127.0.0.1:8583", "898000000000001", "00000001");
        good.check().unwrap();
        let mut bad = good.clone();
        bad.merchant.push('1');
        assert!(bad.check().unwrap_err().to_string().contains("merchant"));
        let mut bad = good.clone();
        bad.profile.insert("field_60".into(), "ebcdic".into());
        assert!(bad.check().unwrap_err().to_string().contains("field_60 cannot be ebcdic"));
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<TerminalConfig>(&text).unwrap().tpdu, "6000030000");
        let minimal = r#"{"host":"h:1","merchant":"898000000000001","terminal":"00000001"}"#;
        serde_json::from_str::<TerminalConfig>(minimal).unwrap().check().unwrap();
    }
}
