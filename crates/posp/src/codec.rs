//! `posp 8583`: messages to plain words and back.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use iso8583::describe::{self, Description, Language};
use iso8583::frame::{self, CupsHeader, PosHeader, Tpdu};
use iso8583::text::{self, Envelope};
use iso8583::{CUP_POS, CUPS, Dialect, Mti};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

use crate::config::Config;
use crate::screen::{Screen, Tone};

/// Arguments of `posp 8583`.
#[derive(Args)]
#[command(after_help = "Examples:
  posp 8583 decode frame.hex
  echo 003C600601000060320032… | posp 8583 decode --json
  posp 8583 decode --json --clear frame.hex | posp 8583 encode")]
pub struct CodecArgs {
    #[command(subcommand)]
    command: CodecCommand,
}

#[derive(Subcommand)]
enum CodecCommand {
    /// Hexadecimal in, plain words out. Takes whole frames or bare messages of both dialects.
    Decode(DecodeArgs),
    /// JSON in (as `decode --json --clear` prints it), hexadecimal out.
    Encode(EncodeArgs),
}

#[derive(Args)]
struct DecodeArgs {
    /// File with hexadecimal text, one message; standard input when left out or `-`.
    file: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// With --json: raw values, unmasked. For test material only.
    #[arg(long, requires = "json")]
    clear: bool,
    /// Read terminal messages as this profile of the configuration has them.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Language of the table.
    #[arg(long, value_enum, default_value = "both")]
    language: LanguageArg,
}

#[derive(Args)]
struct EncodeArgs {
    /// File with JSON; standard input when left out or `-`.
    file: Option<PathBuf>,
    /// Write only the message, without length, TPDU and header.
    #[arg(long)]
    bare: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LanguageArg {
    Zh,
    En,
    Both,
}

impl From<LanguageArg> for Language {
    fn from(arg: LanguageArg) -> Self {
        match arg {
            LanguageArg::Zh => Language::Chinese,
            LanguageArg::En => Language::English,
            LanguageArg::Both => Language::Both,
        }
    }
}

/// The clear form of a message, which `encode` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClearMessage {
    /// `cup-pos-1`, `cups`, or the name of a profile.
    dialect: String,
    /// Four digits.
    mti: String,
    /// TPDU of a terminal frame, ten hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpdu: Option<String>,
    /// Header of a terminal frame, twelve hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// Destination and source of a network frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    route: Option<(String, String)>,
    /// Field number to value.
    fields: BTreeMap<u8, String>,
}

/// Runs `posp 8583`.
pub fn run(
    config: impl Fn() -> anyhow::Result<Config>,
    args: CodecArgs,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    match args.command {
        CodecCommand::Decode(args) => {
            let dialect = match &args.profile {
                Some(name) => of_profile(&config()?, name)?,
                None => &CUP_POS,
            };
            decode(args, dialect, screen)?;
        }
        CodecCommand::Encode(args) => encode(config, args, screen)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn input(file: Option<PathBuf>) -> anyhow::Result<String> {
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            Ok(text)
        }
    }
}

/// The dialect of a configured profile.
fn of_profile(config: &Config, name: &str) -> anyhow::Result<&'static Dialect> {
    let profiles = config.profiles()?;
    let place = profiles
        .find(name)
        .with_context(|| format!("there is no profile {name}; there are: {}", profiles.names().join(", ")))?;
    Ok(profiles.at(place).dialect)
}

fn decode(args: DecodeArgs, dialect: &'static Dialect, screen: &mut Screen) -> anyhow::Result<()> {
    let decoded = text::decode_hex_with(&input(args.file)?, dialect)?;
    let message = decoded.message()?;
    let envelope = match decoded.envelope {
        Envelope::Bare => "no frame around it".to_owned(),
        Envelope::Pos { length, tpdu, header } => {
            let header = header.map_or("none".to_owned(), |header| hex::encode_upper(header.bytes()));
            format!(
                "TPDU {}, header {header}{}",
                hex::encode_upper(tpdu.bytes()),
                if length { "" } else { ", no length" }
            )
        }
        Envelope::Cups { header, length } => format!(
            "from {} to {}{}",
            String::from_utf8_lossy(&header.source).trim_end(),
            String::from_utf8_lossy(&header.destination).trim_end(),
            if length { "" } else { ", no length" }
        ),
    };
    if args.clear {
        let mut clear = ClearMessage {
            dialect: decoded.dialect.name().to_owned(),
            mti: message.mti().to_string(),
            tpdu: None,
            header: None,
            route: None,
            fields: message.fields().map(|field| (field.number(), text::raw_value(&field))).collect(),
        };
        match decoded.envelope {
            Envelope::Bare => {}
            Envelope::Pos { tpdu, header, .. } => {
                clear.tpdu = Some(hex::encode_upper(tpdu.bytes()));
                clear.header = header.map(|header| hex::encode_upper(header.bytes()));
            }
            Envelope::Cups { header, .. } => {
                let text = |id: &[u8]| String::from_utf8_lossy(id).trim_end().to_owned();
                clear.route = Some((text(&header.destination), text(&header.source)));
            }
        }
        screen.line(serde_json::to_string_pretty(&clear)?)?;
        return Ok(());
    }
    let description = describe::describe(&message);
    if args.json {
        let object = json!({"envelope": envelope, "message": description_json(&description)});
        screen.line(serde_json::to_string_pretty(&object)?)?;
    } else {
        let line = screen.paint(Tone::Faint, envelope);
        screen.line(line)?;
        screen.line(description.to_table(args.language.into()).trim_end())?;
    }
    Ok(())
}

fn encode(
    config: impl Fn() -> anyhow::Result<Config>,
    args: EncodeArgs,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let clear: ClearMessage = serde_json::from_str(&input(args.file)?)
        .context("the message is not as `decode --json --clear` prints it")?;
    let dialect: &'static Dialect = match [&CUP_POS, &CUPS].into_iter().find(|d| d.name() == clear.dialect) {
        Some(dialect) => dialect,
        None => of_profile(&config()?, &clear.dialect)
            .with_context(|| format!("dialect is {}, {} or a profile", CUP_POS.name(), CUPS.name()))?,
    };
    let mti = match clear.mti.parse::<u16>() {
        Ok(mti) if clear.mti.len() == 4 => Mti::new(mti),
        _ => bail!("mti has four digits"),
    };
    let fields = clear.fields.iter().map(|(number, value)| (*number, value.as_str()));
    let body = text::encode(dialect, mti, fields)?;
    let mut out = Vec::new();
    match (&clear.tpdu, &clear.route) {
        (Some(tpdu), _) if !args.bare => {
            let header = match &clear.header {
                Some(header) => Some(PosHeader::new(fixed(header, "header has twelve hexadecimal digits")?)),
                None => None,
            };
            let tpdu = Tpdu::new(fixed(tpdu, "tpdu has ten hexadecimal digits")?);
            let mark = frame::begin_pos(&mut out, tpdu, header);
            out.extend_from_slice(&body);
            frame::finish_pos(&mut out, mark)?;
        }
        (None, Some((destination, source))) if !args.bare => {
            let mark = frame::begin_cups(&mut out, &CupsHeader::new(destination, source));
            out.extend_from_slice(&body);
            frame::finish_cups(&mut out, mark)?;
        }
        _ => out = body,
    }
    screen.line(hex::encode_upper(&out))?;
    Ok(())
}

fn fixed<const N: usize>(text: &str, rule: &'static str) -> anyhow::Result<[u8; N]> {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).context(rule)
}

/// A described message as JSON, masked.
pub fn description_json(description: &Description) -> serde_json::Value {
    let fields: Vec<_> = description
        .fields
        .iter()
        .map(|field| {
            let children: Vec<_> = field
                .children
                .iter()
                .map(|item| {
                    json!({"label": item.label, "zh": item.name_zh, "en": item.name_en, "value": item.value})
                })
                .collect();
            json!({
                "field": field.number, "zh": field.name_zh, "en": field.name_en, "length": field.length,
                "value": field.value, "items": children,
            })
        })
        .collect();
    json!({
        "dialect": description.dialect, "mti": description.mti.to_string(), "zh": description.mti_zh,
        "en": description.mti_en, "length": description.length, "fields": fields,
    })
}
