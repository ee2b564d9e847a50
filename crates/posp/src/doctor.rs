//! `posp doctor`: walks from the configuration to the network and names the first broken link.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Config, HsmBackend};
use crate::module;
use crate::ops::Health;
use crate::screen::{Screen, Tone, pad};

/// Arguments of `posp doctor`.
#[derive(Args)]
#[command(after_help = "Exit status: 0 when every link holds, 1 when one is broken.")]
pub struct DoctorArgs {
    /// Milliseconds to wait for each answer.
    #[arg(long, default_value_t = 2_000)]
    patience_ms: u64,
}

enum Finding {
    Good(String),
    Bad { what: String, remedy: String },
}

fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::Bad { what: what.into(), remedy: remedy.into() }
}

/// Runs `posp doctor`.
pub async fn run(config: &Config, args: DoctorArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let patience = Duration::from_millis(args.patience_ms);
    let mut findings = vec![("主密钥 master key", master_key(config).await)];
    findings.push(("区域主密钥 zone master key", zone_key(config)));
    findings.push(("流水库 journal", journal(config).await));
    findings.extend(doors(config, patience).await);
    findings.push(("规范 profiles", merchants_profiles(config).await));
    findings.push((
        "银联 network",
        port(&config.unionpay.network, "is the address right, is the network (or `posp sim`) up?", patience)
            .await,
    ));
    findings.extend(health(config, patience).await);

    let mut broken = 0;
    for (name, finding) in findings {
        match finding {
            Finding::Good(detail) => {
                let mark = screen.paint(Tone::Good, "✔");
                screen.line(format!("{mark} {} {detail}", pad(name, 30)))?;
            }
            Finding::Bad { what, remedy } => {
                broken += 1;
                let mark = screen.paint(Tone::Bad, "✘");
                screen.line(format!("{mark} {} {what}", pad(name, 30)))?;
                screen.line(format!("  {} → {remedy}", pad("", 30)))?;
            }
        }
    }
    if broken == 0 {
        let line = screen.paint(Tone::Good, "Every link holds. 一切正常。");
        screen.line(line)?;
        return Ok(ExitCode::SUCCESS);
    }
    let line =
        screen.paint(Tone::Bad, format!("{broken} broken; begin with the first. 请从第一项开始处理。"));
    screen.line(line)?;
    Ok(ExitCode::FAILURE)
}

/// The master key in force for all nodes on the store; none as well where that cannot be read, which is the matter of
/// another link.
async fn in_force(config: &Config) -> Option<String> {
    config.open_store_to_read(None).ok()?.master_in_force().await.ok()?
}

async fn master_key(config: &Config) -> Finding {
    let opened = match in_force(config).await {
        Some(in_force) => module::open_with(config, &in_force),
        None => module::open(config),
    };
    match opened {
        Ok(vault) => Finding::Good(format!("{}, check value {}", module::place(config), vault.fingerprint())),
        Err(error) => bad(
            format!("{error:#}"),
            match config.hsm.backend {
                HsmBackend::Vault => {
                    "restore the file from its copy, or from another machine; a new node makes one with `posp key init`"
                }
                HsmBackend::Pkcs11 => "see the keys hsm.*; a new token is prepared with `posp key init`",
            },
        ),
    }
}

fn zone_key(config: &Config) -> Finding {
    match config.line() {
        Ok(line) => Finding::Good(format!("check value {}", line.zone_master_key.kcv())),
        Err(error) => bad(
            error.to_string(),
            "enter its components with `posp key zone` and put the line into the configuration",
        ),
    }
}

async fn journal(config: &Config) -> Finding {
    let store = match config.open_store_to_read(None) {
        Ok(store) => store,
        Err(error) => {
            return bad(
                error.to_string(),
                "are node.data and store.url right? `posp up` makes the journal at its first start",
            );
        }
    };
    match store.counts(jiff::Timestamp::UNIX_EPOCH).await {
        Ok(counts) if counts.parked > 0 => bad(
            format!("{} reversals are parked", counts.parked),
            "`posp forward list --parked`, then clear it with the network and `posp forward release`",
        ),
        Ok(counts) => {
            let payments: u64 = counts.payments.iter().map(|(_, n)| n).sum();
            Finding::Good(format!("{payments} payments, {} reversals waiting", counts.waiting))
        }
        Err(error) => bad(error.to_string(), "look at the disk; restore the journal from its backup"),
    }
}

/// Each listener with what is spoken there.
async fn doors(config: &Config, patience: Duration) -> Vec<(&'static str, Finding)> {
    const DOOR: &str = "终端入口 door for terminals";
    let listeners = match config.listeners() {
        Ok(listeners) => listeners,
        Err(error) => {
            return vec![(
                DOOR,
                bad(format!("{error:#}"), "see docs/profiles.md for listeners and profiles"),
            )];
        }
    };
    let mut findings = Vec::new();
    for listener in listeners {
        let finding = port(&listener.address.to_string(), "is `posp up` running?", patience).await;
        findings.push((
            DOOR,
            match finding {
                Finding::Good(text) => Finding::Good(format!("{text}, profile {}", listener.name)),
                broken => broken,
            },
        ));
    }
    findings
}

/// Merchants whose own profile the node cannot serve.
async fn merchants_profiles(config: &Config) -> Finding {
    let stored = match config.open_store_to_read(None) {
        Ok(store) => store.merchants().await,
        Err(error) => Err(error),
    };
    let merchants = match stored {
        Ok(merchants) => merchants,
        Err(error) => return bad(error.to_string(), "the journal cannot be read; see above"),
    };
    let own = merchants.iter().filter_map(|m| m.profile.as_deref().map(|profile| (m.id, profile)));
    let own: Vec<_> = own.collect();
    for (merchant, profile) in &own {
        if let Err(error) = config.check_merchant_profile(profile) {
            return bad(
                format!("merchant {merchant}: {error:#}"),
                "`posp merchant add NUMBER --profile NAME`, or --no-profile; its terminals are answered 31",
            );
        }
    }
    match config.profiles() {
        Ok(profiles) => Finding::Good(format!(
            "{}; {} of {} merchants have their own",
            profiles.names().join(", "),
            own.len(),
            merchants.len()
        )),
        Err(error) => bad(format!("{error:#}"), "see docs/profiles.md for what a profile can say"),
    }
}

async fn port(address: &str, remedy: &str, patience: Duration) -> Finding {
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::Good(format!("{address} takes connections")),
        Ok(Err(error)) => bad(format!("{address}: {error}"), remedy),
        Err(_) => bad(format!("{address} does not answer"), remedy),
    }
}

/// Asks the running node itself.
async fn health(config: &Config, patience: Duration) -> Vec<(&'static str, Finding)> {
    let url = format!("http://{}/healthz", config.ops.listen);
    let asked = async {
        let client = reqwest::Client::builder().timeout(patience).no_proxy().build()?;
        client.get(&url).send().await?.json::<Health>().await
    };
    match asked.await {
        Err(error) => vec![(
            "节点 node",
            bad(format!("{url}: {}", error.without_url()), "is `posp up` running with this configuration?"),
        )],
        Ok(health) => health
            .parts
            .into_iter()
            .map(|part| {
                let finding = if part.ok {
                    Finding::Good(format!("{}: {}", part.name, part.detail))
                } else {
                    bad(format!("{}: {}", part.name, part.detail), "see the log of the node for the reason")
                };
                ("节点 node", finding)
            })
            .collect(),
    }
}
