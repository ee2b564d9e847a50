//! Downloads: what the host demands in the header of an answer, fetched, checked, and taken into use.
//!
//! A list is loaded aside and takes the place of the old one when it is complete; a public key whose check sum is
//! wrong leaves the old ones in force, and the host gets no end message. Modelled: the bits of the transaction list,
//! card numbers in lists, packed digits of contactless switches, the smallest floor limit of all applications as the
//! terminal's own.

use iso8583::CardNumber;
use iso8583::subfield::{
    Page62, Paging, PublicKey62, Status62, StatusItem, card_numbers, received_62, write_received_62,
};
use iso8583::tlv;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::card::Entry;
use crate::config::TerminalConfig;
use crate::error::PosError;
use crate::message::Kind;
use crate::outcome::Outcome;
use crate::state::{CONFIG, write_json};
use crate::terminal::Terminal;
use crate::wire::Answer;

/// Pages of one list that are fetched at most: a host that never ends must not hold the terminal.
const PAGES_MAX: usize = 2_000;
/// Things done one after the other for one sign-in.
const ROUNDS_MAX: usize = 16;

/// Something to download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    /// 终端参数.
    Parameters,
    /// CA公钥.
    PublicKeys,
    /// IC卡参数.
    Applications,
    /// 非接参数.
    Contactless,
    /// BIN表.
    Bins,
    /// 黑名单.
    Blacklist,
}

/// What a terminal has downloaded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Downloaded {
    /// The items of the last parameter download, hexadecimal.
    pub parameters: Option<String>,
    /// Public keys, each its record in hexadecimal.
    pub public_keys: Vec<String>,
    /// Applications, each its record in hexadecimal.
    pub applications: Vec<String>,
    /// Contactless switches, hexadecimal.
    pub contactless: Option<String>,
    /// BIN table B.
    pub bins_b: Vec<String>,
    /// BIN table C.
    pub bins_c: Vec<String>,
    /// Refused cards, sealed.
    pub blacklist: Vec<String>,
}

/// How many things of each kind a terminal has downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DownloadCounts {
    /// Parameters came.
    pub parameters: bool,
    /// Public keys.
    pub public_keys: usize,
    /// Chip applications.
    pub applications: usize,
    /// Contactless switches came.
    pub contactless: bool,
    /// Prefixes of both BIN tables.
    pub bins: usize,
    /// Refused cards.
    pub blacklist: usize,
}

/// Why a download came to nothing, for the operator.
fn broken(what: &str) -> PosError {
    PosError::Input(format!("下载失败 / the download failed: {what}"))
}

/// What became of a sequence of messages.
struct Sequence {
    sent: Vec<Outcome>,
    /// Digit 6 of the last answer's header.
    requirement: u8,
}

impl Terminal {
    /// Downloads something, whether the host demands it or not.
    ///
    /// # Errors
    /// No connection, an answer that cannot be used, a record that is wrong: the old list stays in force.
    pub async fn download(&mut self, what: Download) -> Result<Outcome, PosError> {
        let mut run = Sequence { sent: Vec::new(), requirement: 0 };
        self.fetch(what, &mut run).await?;
        let mut last = run.sent.pop().ok_or_else(|| broken("nothing was sent"))?;
        last.preceding = run.sent;
        Ok(last)
    }

    /// Takes a configuration from outside, as at a start, with what the host has said since on top of it.
    ///
    /// # Errors
    /// As [`Terminal::configure`].
    pub fn start_with(&mut self, config: TerminalConfig) -> Result<(), PosError> {
        let bytes = |kept: &Option<String>| kept.as_ref().and_then(|kept| hex::decode(kept).ok());
        let downloaded = &self.state.downloaded;
        let mut config = config;
        if let Some(items) = bytes(&downloaded.parameters) {
            config = configured(&config, &items)?;
        }
        config = limited(&config, &self.chip_tables().0)?;
        if let Some(switches) = bytes(&downloaded.contactless) {
            config = switched(&config, &switches)?;
        }
        self.configure(config)
    }

    /// Tells the host the terminal's state and the parameters that it works by (状态上送).
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub async fn upload_status(&mut self) -> Result<Outcome, PosError> {
        let mut run = Sequence { sent: Vec::new(), requirement: 0 };
        let items = status_items(&self.config, &self.state.downloaded);
        self.step(Kind::Status, "362", Some(items), &mut run).await?;
        run.sent.pop().ok_or_else(|| broken("nothing was sent"))
    }

    /// The tables of the chip kernel as they were downloaded: applications and public keys, each record's bytes.
    pub fn chip_tables(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let records = |list: &[String]| list.iter().filter_map(|record| hex::decode(record).ok()).collect();
        (records(&self.state.downloaded.applications), records(&self.state.downloaded.public_keys))
    }

    /// What is there of downloads.
    pub fn downloaded(&self) -> DownloadCounts {
        let all = &self.state.downloaded;
        DownloadCounts {
            parameters: all.parameters.is_some(),
            public_keys: all.public_keys.len(),
            applications: all.applications.len(),
            contactless: all.contactless.is_some(),
            bins: all.bins_b.len() + all.bins_c.len(),
            blacklist: all.blacklist.len(),
        }
    }

    /// Does what the host demands, one thing after the other, until it demands nothing more. What goes wrong is told
    /// and leaves the rest for the next sign-in.
    pub(crate) async fn obey(&mut self, requirement: u8) -> Vec<Outcome> {
        let mut run = Sequence { sent: Vec::new(), requirement };
        for _ in 0..ROUNDS_MAX {
            let demanded = run.requirement;
            run.requirement = 0;
            let done = match demanded {
                1 => self.fetch(Download::Parameters, &mut run).await,
                2 => {
                    let items = status_items(&self.config, &self.state.downloaded);
                    self.step(Kind::Status, "362", Some(items), &mut run).await.map(drop)
                }
                4 => self.fetch(Download::PublicKeys, &mut run).await,
                5 => self.fetch(Download::Applications, &mut run).await,
                6 => self.step(Kind::Download, "364", None, &mut run).await.map(drop),
                7 => self.fetch(Download::Blacklist, &mut run).await,
                8 => self.fetch(Download::Bins, &mut run).await,
                9 => match self.fetch(Download::Contactless, &mut run).await {
                    Ok(()) => self.fetch(Download::Bins, &mut run).await,
                    Err(error) => Err(error),
                },
                // 0 is nothing, 3 a new sign-in before the next transaction.
                _ => break,
            };
            if let Err(error) = done {
                self.notice(error.to_string());
                break;
            }
        }
        run.sent
    }

    /// One message of a sequence; its answer when it is good.
    async fn step(
        &mut self,
        kind: Kind,
        network_code: &str,
        field_62: Option<Vec<u8>>,
        run: &mut Sequence,
    ) -> Result<Answer, PosError> {
        let batch = self.state.batch;
        let mut request = self.management(kind, network_code);
        if let Some(field) = field_62 {
            request = request.bytes(62, &field);
        }
        let (outcome, answer) = self.manage(request, batch).await?;
        let answer = answer.filter(|_| outcome.approved);
        let told = outcome.response_code.clone().unwrap_or_else(|| outcome.text_en.clone());
        run.sent.push(outcome);
        let answer = answer.ok_or_else(|| broken(&format!("{network_code} was answered {told}")))?;
        run.requirement = answer.requirement;
        Ok(answer)
    }

    async fn fetch(&mut self, what: Download, run: &mut Sequence) -> Result<(), PosError> {
        match what {
            Download::Parameters => {
                let items = self.step(Kind::Download, "360", None, run).await?.private;
                let config = configured(&self.config, &items)?;
                self.state.downloaded.parameters = Some(hex::encode_upper(&items));
                self.keep(config).await?;
                self.step(Kind::Download, "361", None, run).await?;
            }
            Download::PublicKeys => {
                let records = self.fetch_records("372", "370", run).await?;
                self.state.downloaded.public_keys = self.checked_keys(&records)?;
                self.save().await?;
                self.step(Kind::Download, "371", None, run).await?;
            }
            Download::Applications => {
                let records = self.fetch_records("382", "380", run).await?;
                let config = limited(&self.config, &records)?;
                self.state.downloaded.applications = records.iter().map(hex::encode_upper).collect();
                self.keep(config).await?;
                self.step(Kind::Download, "381", None, run).await?;
            }
            Download::Contactless => {
                let switches = self.step(Kind::Download, "394", None, run).await?.private;
                let config = switched(&self.config, &switches)?;
                self.state.downloaded.contactless = Some(hex::encode_upper(&switches));
                self.keep(config).await?;
                self.step(Kind::Download, "395", None, run).await?;
            }
            Download::Bins => {
                self.state.downloaded.bins_b = self.fetch_numbers("396", run).await?.to_vec();
                self.save().await?;
                self.step(Kind::Download, "397", None, run).await?;
                self.state.downloaded.bins_c = self.fetch_numbers("398", run).await?.to_vec();
                self.save().await?;
                self.step(Kind::Download, "399", None, run).await?;
            }
            Download::Blacklist => {
                let numbers = self.fetch_numbers("390", run).await?;
                let sealed = numbers.iter().map(|number| self.seal_pan(number)).collect::<Result<_, _>>()?;
                self.state.downloaded.blacklist = sealed;
                self.save().await?;
                self.step(Kind::Download, "391", None, run).await?;
            }
        }
        Ok(())
    }

    /// Keeps a configuration and the state together with it.
    async fn keep(&mut self, config: TerminalConfig) -> Result<(), PosError> {
        config.check()?;
        write_json(&self.directory.file(CONFIG), &config)?;
        self.config = config;
        self.save().await
    }

    /// Asks for names page by page, then for each record.
    async fn fetch_records(
        &mut self,
        query: &str,
        get: &str,
        run: &mut Sequence,
    ) -> Result<Vec<Vec<u8>>, PosError> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for _ in 0..PAGES_MAX {
            let received = write_received_62(names.len()).into_bytes();
            let field = self.step(Kind::Query, query, Some(received), run).await?.private;
            let page = Page62::parse(&field).map_err(|_| broken("a page of names"))?;
            let before = names.len();
            for item in tlv::iter(page.body) {
                let item = item.map_err(|_| broken("a page of names"))?;
                // An entry begins with 9F06; of what follows only the index of a key names it.
                match (item.tag, names.last_mut()) {
                    (0x9F06, _) => {
                        let mut name = Vec::new();
                        tlv::write(&mut name, item.tag, item.value);
                        names.push(name);
                    }
                    (0x9F22, Some(name)) => tlv::write(name, item.tag, item.value),
                    _ => {}
                }
            }
            if page.paging != Paging::More || names.len() == before {
                break;
            }
        }
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            let field = self.step(Kind::Download, get, Some(name), run).await?.private;
            let page = Page62::parse(&field).map_err(|_| broken("a record"))?;
            // What was taken away since its name was told is not there any more.
            if page.paging != Paging::Nothing {
                records.push(page.body.to_vec());
            }
        }
        Ok(records)
    }

    /// Fetches a list of card numbers page by page.
    async fn fetch_numbers(
        &mut self,
        code: &str,
        run: &mut Sequence,
    ) -> Result<Zeroizing<Vec<String>>, PosError> {
        let mut numbers = Zeroizing::new(Vec::new());
        for _ in 0..PAGES_MAX {
            let received = write_received_62(numbers.len()).into_bytes();
            debug_assert!(received_62(&received).is_ok());
            let field = Zeroizing::new(self.step(Kind::Download, code, Some(received), run).await?.private);
            let page = Page62::parse(&field).map_err(|_| broken("a page of card numbers"))?;
            let before = numbers.len();
            for number in card_numbers(page.body) {
                numbers.push(number.map_err(|_| broken("a card number of a list"))?.to_owned());
            }
            if page.paging != Paging::More || numbers.len() == before {
                break;
            }
        }
        Ok(numbers)
    }

    /// The keys to use out of what came: all, or none when a check sum is wrong; those whose last day is over are
    /// left out with a notice.
    fn checked_keys(&mut self, records: &[Vec<u8>]) -> Result<Vec<String>, PosError> {
        let today = self.now().date();
        let today =
            i32::from(today.year()) * 10_000 + i32::from(today.month()) * 100 + i32::from(today.day());
        let mut kept = Vec::with_capacity(records.len());
        for record in records {
            let key = PublicKey62::parse(record).map_err(|_| broken("a public key"))?;
            let sum = hsm::public_key_checksum(&key.rid, key.index, &key.modulus, &key.exponent);
            let name = format!("{} {:02X}", hex::encode_upper(key.rid), key.index);
            if sum != key.checksum {
                return Err(broken(&format!("the check sum of public key {name} is wrong")));
            }
            if i64::from(key.expiry) < i64::from(today) {
                self.notice(format!("公钥过期 / public key {name} is out of date and not used"));
                continue;
            }
            kept.push(hex::encode_upper(record));
        }
        Ok(kept)
    }

    /// Whether the terminal may do this with this card: the transaction list, keyed numbers, the blacklist.
    pub(crate) fn check_permitted(&self, kind: Kind, pan: &CardNumber, entry: Entry) -> Result<(), PosError> {
        let bit = match kind {
            Kind::Balance => Some(15),
            Kind::Sale => Some(14),
            Kind::Void => Some(13),
            Kind::Refund => Some(12),
            Kind::Preauth => Some(11),
            Kind::PreauthVoid => Some(10),
            Kind::Completion | Kind::CompletionAdvice => Some(9),
            Kind::CompletionVoid => Some(8),
            _ => None,
        };
        let offline = matches!(kind, Kind::OfflineSale | Kind::OfflineChip);
        let unfit = offline && (pan.is_hidden() || !self.config.sells_offline());
        if unfit || bit.is_some_and(|bit| self.config.transactions & (1 << bit) == 0) {
            return Err(PosError::NotOffered(kind.row().zh, kind.row().en));
        }
        // Undoing is never refused because of the card.
        if matches!(kind, Kind::Void | Kind::Refund | Kind::PreauthVoid | Kind::CompletionVoid) {
            return Ok(());
        }
        if entry == Entry::Manual && !self.config.manual_entry {
            return Err(PosError::OtherEntry("不允许手工输入卡号 / card numbers must not be keyed here"));
        }
        for sealed in &self.state.downloaded.blacklist {
            // A number that the reader keeps cannot be looked up here; the host looks at every number.
            if pan.digits() == Some(self.unseal_pan(sealed)?.as_str()) {
                return Err(PosError::Blacklisted);
            }
        }
        Ok(())
    }
}

/// The configuration with the downloaded parameters in it.
fn configured(config: &TerminalConfig, items: &[u8]) -> Result<TerminalConfig, PosError> {
    let mut config = config.clone();
    let mut tip = None;
    for item in Status62::new(items).items() {
        let item = item.map_err(|_| broken("a terminal parameter"))?;
        let text = encoding_rs::GBK.decode(item.value).0.trim_end().to_owned();
        let number = || text.parse::<u32>().map_err(|_| broken(&format!("parameter {:02}", item.code)));
        match item.code {
            12 => config.answer_timeout_ms = u64::from(number()?) * 1_000,
            13 => config.resend_retries = number()?,
            18 => tip = Some(text == "1"),
            19 => config.tip_percent = number()?,
            20 => config.manual_entry = text == "1",
            21 => config.sign_off_after_settlement = text == "1",
            22 => config.merchant_name = text,
            23 => config.reversal_retries = number()?,
            26 => config.transactions = u16::from_str_radix(&text, 16).map_err(|_| broken("parameter 26"))?,
            _ => {}
        }
    }
    if tip == Some(false) {
        config.tip_percent = 0;
    }
    config.check()?;
    Ok(config)
}

/// The configuration with the smallest floor limit (9F1B, binary) of the applications, unless it keeps its own.
fn limited(config: &TerminalConfig, records: &[Vec<u8>]) -> Result<TerminalConfig, PosError> {
    let mut smallest = None;
    for record in records {
        let limit = tlv::find(record, 0x9F1B).map_err(|_| broken("an application"))?;
        if let Some(limit) = limit.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) {
            let limit = u64::from(u32::from_be_bytes(limit));
            smallest = Some(smallest.map_or(limit, |before: u64| before.min(limit)));
        }
    }
    let told = smallest.filter(|_| !config.own_offline_limit);
    let offline_limit_fen = told.unwrap_or(config.offline_limit_fen);
    Ok(TerminalConfig { offline_limit_fen, ..config.clone() })
}

/// The configuration with the no-PIN limit of the contactless switches: none when the function is off.
fn switched(config: &TerminalConfig, switches: &[u8]) -> Result<TerminalConfig, PosError> {
    let number = |tag| -> Result<Option<u64>, PosError> {
        let value = tlv::find(switches, tag).map_err(|_| broken("a contactless switch"))?;
        value.map(|v| hex::encode(v).parse().map_err(|_| broken("a contactless switch"))).transpose()
    };
    let limit = match (number(0xFF_8054)?, number(0xFF_8058)?) {
        (Some(0), _) => 0,
        (_, Some(limit)) => limit,
        (_, None) => config.no_pin_limit_fen,
    };
    Ok(TerminalConfig { no_pin_limit_fen: limit, ..config.clone() })
}

/// Field 62 of a status upload: the parts are well (1), and what the terminal works by.
fn status_items(config: &TerminalConfig, downloaded: &Downloaded) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |code: u8, value: String| {
        // Items of one family's fixed widths; a value that does not fit is not told.
        let _ = StatusItem { code, value: value.as_bytes() }.write(&mut out);
    };
    for part in 1..=5 {
        put(part, "1".to_owned());
    }
    put(12, format!("{:02}", (config.answer_timeout_ms / 1_000).min(99)));
    put(13, config.resend_retries.min(9).to_string());
    put(18, u8::from(config.tip_percent > 0).to_string());
    put(19, format!("{:02}", config.tip_percent.min(99)));
    put(20, u8::from(config.manual_entry).to_string());
    put(21, u8::from(config.sign_off_after_settlement).to_string());
    put(23, config.reversal_retries.min(9).to_string());
    if downloaded.parameters.is_some() {
        put(26, format!("{:04X}", config.transactions));
    }
    out
}
