//! What can be typed: the commands of `posp pos` and their options.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hsm::Pin;
use zeroize::Zeroizing;

use crate::amount::parse_yuan;
use crate::card::{CardInput, Entry};
use crate::config::{ConnectionMode, TerminalConfig};
use crate::download::Download;
use crate::error::PosError;
use crate::keys::{KeyLayout, TmkComponent};
use crate::script;

const EXAMPLES: &str = "\
Examples:
  posp pos enrol --host 127.0.0.1:8583 --merchant 898000000000001 --terminal 00000001
  posp pos load-tmk --component 0123456789ABCDEFFEDCBA9876543210:08D7B4FB
  posp pos sign-in --keys 3des-track
  posp pos sale --amount 100.00 --card L01 --entry chip --pin 123456
  posp pos void --trace 000002 --no-pin
  posp pos settle
  posp pos script morning.txt

A terminal lives in a directory: --dir, or ./var/pos/<terminal>. The exit code is 0 when approved, 1 when declined or
unanswered, 2 when nothing could be done.";

/// A traditional POS terminal on the command line.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PosArgs {
    /// Directory of the terminal [default: the only one in ./var/pos, or ./var/pos/<terminal>]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Options of every command")]
    pub dir: Option<PathBuf>,
    /// Show both frames, decoded and masked
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub show_bytes: bool,
    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a terminal in a new directory
    #[command(
        after_help = "Example:\n  posp pos enrol --host 127.0.0.1:8583 --merchant 898000000000001 --terminal 00000001"
    )]
    Enrol(EnrolArgs),
    /// Load the terminal master key from components
    #[command(
        after_help = "Examples:\n  posp pos load-tmk                      (asks for the components)\n  \
        posp pos load-tmk --component 0123456789ABCDEFFEDCBA9876543210:08D7B4FB\n  posp pos load-tmk --file letter.txt   (one HEX or HEX:KCV a line)"
    )]
    LoadTmk(LoadTmkArgs),
    /// Sign in: fetch working keys, batch number and time
    #[command(after_help = "Example:\n  posp pos sign-in --keys sm4")]
    SignIn {
        /// Which working keys to ask for
        #[arg(long, value_enum, default_value = "3des-track")]
        keys: KeysArg,
    },
    /// Sign off
    SignOff,
    /// Test the line
    Echo,
    /// Download what the host has for terminals; after a sign-in this happens by itself when the host demands it
    #[command(after_help = "Example:\n  posp pos download ca-keys")]
    Download {
        /// What to download
        #[arg(value_enum)]
        what: DownloadArg,
    },
    /// Tell the host the terminal's state and parameters
    StatusUpload,
    /// Ask for the balance of a card
    #[command(after_help = "Example:\n  posp pos balance --card L01 --entry chip --pin 123456")]
    Balance {
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Sell
    #[command(
        after_help = "Examples:\n  posp pos sale --amount 100.00 --card L01 --entry chip --pin 123456\n  \
        posp pos sale --amount 12.50 --card L01 --entry tap --no-pin\n  \
        posp pos sale --amount 8.00 --track2 6224242000000021D29022015699031007 --pin 123456"
    )]
    Sale {
        /// Yuan, for example 12.34
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Sell without asking the host: below the offline limit, with a code given by voice, or by a chip that approves
    #[command(after_help = "Examples:\n  posp pos offline-sale --amount 20.00 --card M01 --entry swipe\n  \
        posp pos offline-sale --amount 500.00 --card M01 --entry swipe --auth-code 123456\n  \
        posp pos offline-sale --amount 9.90 --card L02 --entry tap\n\nIt is uploaded after the next transaction, before settlement, or by `posp pos upload`.")]
    OfflineSale {
        /// Yuan
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// Authorisation code given by voice, six characters
        #[arg(long)]
        auth_code: Option<String>,
        /// The card
        #[command(flatten)]
        card: CardArgs,
    },
    /// Give a sale of the running batch another amount, or a tip
    #[command(
        after_help = "Examples:\n  posp pos adjust --trace 2 --tip 10.00\n  posp pos adjust --trace 2 --total 95.00"
    )]
    Adjust {
        /// Trace (voucher number) of the sale
        #[arg(long)]
        trace: u32,
        /// The tip, yuan
        #[arg(long, value_parser = amount, required_unless_present = "total")]
        tip: Option<u64>,
        /// What the sale comes to, yuan
        #[arg(long, value_parser = amount, conflicts_with = "tip")]
        total: Option<u64>,
    },
    /// Keep a signature's image for a transaction; it is uploaded when the terminal is idle
    #[command(after_help = "Example:\n  posp pos sign --trace 2 --file signature.jbg")]
    Sign {
        /// Trace (voucher number) of the transaction
        #[arg(long)]
        trace: u32,
        /// The image, at most 8,992 bytes
        #[arg(long)]
        file: PathBuf,
    },
    /// Upload what waits: offline sales, adjustments, e-signatures
    Upload,
    /// Void a sale, completion, instalment sale or cash load of the running batch
    #[command(
        after_help = "Examples:\n  posp pos void --trace 2 --no-pin\n  posp pos void --trace 2 --card L01 --entry chip --pin 123456"
    )]
    Void {
        /// Trace (voucher number) of the sale
        #[arg(long)]
        trace: u32,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Sell in parts (分期)
    #[command(
        after_help = "Example:\n  posp pos instalment --amount 1200.00 --periods 6 --item 3C --card L03 --entry chip --pin 654321"
    )]
    Instalment {
        /// Yuan
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// How many parts
        #[arg(long)]
        periods: u8,
        /// The bank's item code
        #[arg(long, default_value = "")]
        item: String,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Sell against points (积分)
    #[command(
        after_help = "Example:\n  posp pos points --amount 12.00 --item GIFT --card L01 --entry chip --pin 123456"
    )]
    Points {
        /// Yuan
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// Points of the card organisations' alliance instead of the bank's
        #[arg(long)]
        alliance: bool,
        /// Item code of the offer
        #[arg(long, default_value = "")]
        item: String,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Load the electronic purse of a card (圈存)
    #[command(
        after_help = "Examples:\n  posp pos load --amount 50.00 --card L02 --pin 123456\n  posp pos load --cash --amount 50.00 --card L02 --no-pin\n  \
        posp pos load --into L02 --amount 50.00 --card M01 --entry swipe --pin 123456"
    )]
    Load {
        /// Yuan
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// With cash taken at the counter instead of money of the card's account
        #[arg(long)]
        cash: bool,
        /// Into the purse of this card of the deck, from the account of the other (非指定账户圈存)
        #[arg(long, value_name = "CARD", conflicts_with = "cash")]
        into: Option<String>,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Set an amount aside on a card (预授权)
    #[command(
        after_help = "Example:\n  posp pos preauth --amount 500.00 --card L01 --entry chip --pin 123456"
    )]
    Preauth {
        /// Yuan
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Void a pre-authorisation (预授权撤销)
    #[command(
        after_help = "Example:\n  posp pos preauth-void --amount 500.00 --auth 123456 --date 1124 --card L01 --entry chip --no-pin"
    )]
    PreauthVoid(AuthorisedArgs),
    /// Take what a pre-authorisation set aside (预授权完成)
    #[command(
        after_help = "Examples:\n  posp pos complete --amount 480.00 --auth 123456 --date 1124 --card L01 --entry chip --no-pin\n  \
        posp pos complete --advice --amount 480.00 --auth 123456 --card L01 --entry chip --no-pin"
    )]
    Complete {
        /// Tell it instead of asking (通知): repeated until its outcome is known, never reversed
        #[arg(long)]
        advice: bool,
        /// What is completed
        #[command(flatten)]
        args: AuthorisedArgs,
    },
    /// Refund a payment, of today or earlier
    #[command(
        after_help = "Examples:\n  posp pos refund --amount 20.00 --rrn 112410000001 --date 1124 --card L01 --entry chip\n  \
        posp pos refund --resume"
    )]
    Refund(RefundArgs),
    /// Send the pending reversal now
    Reversal,
    /// Settle the batch
    Settle,
    /// Show the terminal's state
    Status,
    /// List the transactions of the running batch
    Journal,
    /// Print a slip again
    #[command(
        visible_alias = "reprint",
        after_help = "Examples:\n  posp pos receipt            (the last slip)\n  posp pos receipt --trace 2"
    )]
    Receipt {
        /// Trace of the transaction; the last slip without it
        #[arg(long)]
        trace: Option<u32>,
    },
    /// Run the commands of a file
    #[command(after_help = script::HELP)]
    Script {
        /// The file; `-` reads standard input
        file: PathBuf,
        /// Go on after a result that was not expected
        #[arg(long)]
        keep_going: bool,
    },
    /// List the cards of the test deck
    Deck,
}

/// Working keys to ask for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeysArg {
    /// 60.3 = 001, single DES
    Des,
    /// 60.3 = 003, 3DES
    #[value(name = "3des")]
    TripleDes,
    /// 60.3 = 004, 3DES with a track key
    #[value(name = "3des-track", alias = "3des+track")]
    TripleDesTrack,
    /// 60.3 = 006, SM4
    Sm4,
}

impl From<KeysArg> for KeyLayout {
    fn from(keys: KeysArg) -> Self {
        match keys {
            KeysArg::Des => Self::Des,
            KeysArg::TripleDes => Self::TripleDes,
            KeysArg::TripleDesTrack => Self::TripleDesTrack,
            KeysArg::Sm4 => Self::Sm4,
        }
    }
}

/// What to download.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DownloadArg {
    /// Terminal parameters
    Parameters,
    /// Public keys of the card organisations
    CaKeys,
    /// Chip applications
    Aids,
    /// Contactless switches
    Contactless,
    /// BIN tables
    Bins,
    /// Refused cards
    Blacklist,
}

impl From<DownloadArg> for Download {
    fn from(what: DownloadArg) -> Self {
        match what {
            DownloadArg::Parameters => Self::Parameters,
            DownloadArg::CaKeys => Self::PublicKeys,
            DownloadArg::Aids => Self::Applications,
            DownloadArg::Contactless => Self::Contactless,
            DownloadArg::Bins => Self::Bins,
            DownloadArg::Blacklist => Self::Blacklist,
        }
    }
}

/// How a card is read.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EntryArg {
    /// Magnetic stripe
    Swipe,
    /// Contact chip
    Chip,
    /// Contactless
    Tap,
    /// Keyed number
    Manual,
    /// Stripe after a failed chip
    Fallback,
}

impl From<EntryArg> for Entry {
    fn from(entry: EntryArg) -> Self {
        match entry {
            EntryArg::Swipe => Self::Swipe,
            EntryArg::Chip => Self::Chip,
            EntryArg::Tap => Self::Tap,
            EntryArg::Manual => Self::Manual,
            EntryArg::Fallback => Self::Fallback,
        }
    }
}

/// A new terminal.
#[derive(Args, Debug)]
pub struct EnrolArgs {
    /// Address of the host: name:port for a socket, https://name:port/path for an internet front
    #[arg(long)]
    host: String,
    /// Merchant number, 15 characters
    #[arg(long)]
    merchant: String,
    /// Terminal number, 8 characters
    #[arg(long)]
    terminal: String,
    /// Merchant name for the slips
    #[arg(long)]
    name: Option<String>,
    /// Operator, 2 characters
    #[arg(long)]
    operator: Option<String>,
    /// TPDU, 10 hexadecimal digits
    #[arg(long)]
    tpdu: Option<String>,
    /// A switch of the acquirer's profile that differs from the baseline, NAME=VALUE (header=none, field_60=ascii);
    /// once for each
    #[arg(long = "switch", value_name = "NAME=VALUE", value_parser = switch)]
    switches: Vec<(String, String)>,
    /// Seconds to wait for an answer
    #[arg(long)]
    timeout: Option<u64>,
    /// Make a connection for each request
    #[arg(long)]
    short: bool,
    /// File with the counters of the deck's chips [default: cards.json beside the terminal's directory]
    #[arg(long)]
    card_file: Option<PathBuf>,
    /// PEM file of the authority that signs the front's certificate
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the terminal's own certificate, where the front asks for one
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
}

/// Where the master key comes from.
#[derive(Args, Debug)]
pub struct LoadTmkArgs {
    /// A component, HEX or HEX:KCV; up to three times. Typed on a command line it stays in the shell's history:
    /// for lab keys only
    #[arg(long = "component", value_name = "HEX:KCV")]
    components: Vec<Hidden>,
    /// A file with one component a line
    #[arg(long, conflicts_with = "components")]
    file: Option<PathBuf>,
    /// Check value of the whole key
    #[arg(long)]
    kcv: Option<String>,
}

/// Which card.
#[derive(Args, Debug)]
pub struct CardArgs {
    /// A card of the test deck, L01 to L14 and M01 to M07
    #[arg(long, value_name = "ID")]
    card: Option<String>,
    /// A keyed number
    #[arg(long, conflicts_with = "card")]
    pan: Option<Hidden>,
    /// Expiry of a keyed number, YYMM
    #[arg(long, requires = "pan")]
    expiry: Option<String>,
    /// Track 2, with D or = as separator
    #[arg(long, conflicts_with_all = ["card", "pan"])]
    track2: Option<Hidden>,
    /// How it is read [default: chip for the deck, swipe for a track, manual for a number]
    #[arg(long, value_enum)]
    entry: Option<EntryArg>,
}

/// The PIN.
#[derive(Args, Debug)]
pub struct PinArgs {
    /// The holder's PIN; asked for when neither this nor --no-pin is given
    #[arg(long)]
    pin: Option<Hidden>,
    /// Go without a PIN
    #[arg(long, conflicts_with = "pin")]
    no_pin: bool,
}

/// A refund.
#[derive(Args, Debug)]
pub struct RefundArgs {
    /// Yuan
    #[arg(long, value_parser = amount, required_unless_present_any = ["resume", "give_up"])]
    pub(super) amount: Option<u64>,
    /// Reference number of the payment (参考号)
    #[arg(long, required_unless_present_any = ["resume", "give_up"])]
    pub(super) rrn: Option<String>,
    /// Date of the payment, MMDD [default: today]
    #[arg(long)]
    pub(super) date: Option<String>,
    /// Send the refund without known outcome again
    #[arg(long, conflicts_with_all = ["amount", "rrn", "give_up"])]
    pub(super) resume: bool,
    /// Refund what a chip paid (脱机退货)
    #[arg(long, conflicts_with_all = ["resume", "give_up"])]
    pub(super) chip: bool,
    /// Give up the refund without known outcome
    #[arg(long, conflicts_with_all = ["amount", "rrn"])]
    pub(super) give_up: bool,
    /// The card
    #[command(flatten)]
    pub(super) card: CardArgs,
    /// The PIN
    #[command(flatten)]
    pub(super) pin: PinArgs,
}

/// A pre-authorisation and what is done to it.
#[derive(Args, Debug)]
pub struct AuthorisedArgs {
    /// Yuan
    #[arg(long, value_parser = amount)]
    pub(super) amount: u64,
    /// Authorisation code of the pre-authorisation (授权码)
    #[arg(long)]
    pub(super) auth: String,
    /// Date of it, MMDD [default: today]
    #[arg(long)]
    pub(super) date: Option<String>,
    /// Batch of its slip
    #[arg(long, requires = "trace")]
    pub(super) batch: Option<u32>,
    /// Trace (voucher number) of its slip
    #[arg(long, requires = "batch")]
    pub(super) trace: Option<u32>,
    /// The card
    #[command(flatten)]
    pub(super) card: CardArgs,
    /// The PIN
    #[command(flatten)]
    pub(super) pin: PinArgs,
}

/// A line of a script: a command without the program's name.
#[derive(Parser, Debug)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub command: Command,
}

/// Text that is never shown again: `Debug` hides it, and it is wiped when dropped.
#[derive(Clone)]
pub struct Hidden(Zeroizing<String>);

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn amount(text: &str) -> Result<u64, String> {
    parse_yuan(text)
        .ok_or_else(|| "an amount is yuan with at most two decimals, for example 12.34".to_owned())
}

impl CardArgs {
    pub(super) fn present_if_given(&self) -> Result<Option<(CardInput, Entry)>, PosError> {
        let (card, usual) = match (&self.card, &self.pan, &self.track2) {
            (Some(id), _, _) => (CardInput::deck(id)?, Entry::Chip),
            (None, Some(pan), _) => (CardInput::keyed(&pan.0, self.expiry.as_deref())?, Entry::Manual),
            (None, None, Some(track)) => (CardInput::track(&track.0)?, Entry::Swipe),
            (None, None, None) => return Ok(None),
        };
        Ok(Some((card, self.entry.map_or(usual, Entry::from))))
    }

    pub(super) fn present(&self) -> Result<(CardInput, Entry), PosError> {
        self.present_if_given()?
            .ok_or_else(|| PosError::Input("present a card: --card L01, --track2 or --pan".into()))
    }
}

impl PinArgs {
    pub(super) fn given(&self) -> Result<Option<Pin>, PosError> {
        Ok(self.pin.as_ref().map(|pin| Pin::new(&pin.0)).transpose()?)
    }

    /// The PIN given, or asked for at the keyboard; an empty entry means none.
    pub(super) async fn enter(
        &self,
        card: &CardInput,
        entry: Entry,
        ask: bool,
    ) -> Result<Option<Pin>, PosError> {
        let phone = matches!(card, CardInput::Deck(card) if card.pin.is_none());
        if self.pin.is_some() || self.no_pin || phone || !ask || entry == Entry::Manual {
            return self.given();
        }
        let text = secret("请输入密码 / PIN (empty: none): ".to_owned()).await?;
        if text.is_empty() { Ok(None) } else { Ok(Some(Pin::new(&text)?)) }
    }
}

fn switch(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("a switch is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EnrolArgs {
    /// The number of the terminal to make.
    pub(super) fn terminal(&self) -> &str {
        &self.terminal
    }

    /// The configuration they make.
    pub(super) fn config(self) -> TerminalConfig {
        let mut config = TerminalConfig::new(self.host, self.merchant, self.terminal);
        // The deck is one stack of cards for all terminals of a place, so its counters lie beside their directories.
        config.card_file = Some(self.card_file.unwrap_or_else(|| PathBuf::from("../cards.json")));
        if let Some(name) = self.name {
            config.merchant_name = name;
        }
        if let Some(operator) = self.operator {
            config.operator = operator;
        }
        if let Some(tpdu) = self.tpdu {
            config.tpdu = tpdu;
        }
        config.profile.extend(self.switches);
        if let Some(seconds) = self.timeout {
            config.answer_timeout_ms = seconds.saturating_mul(1_000);
        }
        if self.short {
            config.connection = ConnectionMode::Short;
        }
        config.ca_file = self.ca;
        config.certificate_file = self.certificate;
        config.certificate_key_file = self.certificate_key;
        config
    }
}

impl LoadTmkArgs {
    /// The components given, or asked for at the keyboard when a person is there.
    pub(super) async fn components(&self, ask: bool) -> Result<Vec<TmkComponent>, PosError> {
        if let Some(file) = &self.file {
            let read = std::fs::read_to_string(file);
            let failed = |source| PosError::Storage { what: "reading", path: file.clone(), source };
            let text = Zeroizing::new(read.map_err(failed)?);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            Ok(lines.map(TmkComponent::parse).collect())
        } else if !self.components.is_empty() {
            Ok(self.components.iter().map(|component| TmkComponent::parse(&component.0)).collect())
        } else if ask {
            ask_components().await
        } else {
            Err(PosError::Input("load-tmk in a script needs --component or --file".into()))
        }
    }

    /// The check value of the whole key, when given.
    pub(super) fn check(&self) -> Option<&str> {
        self.kcv.as_deref()
    }
}

async fn ask_components() -> Result<Vec<TmkComponent>, PosError> {
    let mut components = Vec::new();
    for number in 1..=3 {
        let text =
            secret(format!("第{number}段 / component {number}, HEX or HEX:KCV (empty: no more): ")).await?;
        if text.trim().is_empty() {
            break;
        }
        components.push(TmkComponent::parse(&text));
    }
    Ok(components)
}

/// Asks for something that must not appear on the screen.
async fn secret(prompt: String) -> Result<Zeroizing<String>, PosError> {
    let asked =
        tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt).map(Zeroizing::new)).await;
    Ok(asked.map_err(std::io::Error::other)??)
}
