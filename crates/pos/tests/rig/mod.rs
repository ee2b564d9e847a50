//! A terminal in a temporary directory, wired to the scripted host, with time standing still.

use std::sync::Arc;

use pos::clock::FixedClock;
use pos::{
    CardInput, Entry, KeyLayout, Pin, SaleRequest, Surroundings, Terminal, TerminalConfig, TmkComponent,
};
use tempfile::TempDir;

use crate::host::{Host, TMK};

/// Field 55 of the published contact transcript's request.
#[allow(dead_code)]
pub const REQUEST_55: &str = "9F2608419217144F4F17BD9F2701809F100807010103A00002019F37041A2B3C4D9F36020012950500000480009A032611249C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C89F34034203009F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000124";

pub struct Rig {
    pub host: Host,
    pub terminal: Terminal,
    pub surroundings: Surroundings,
    pub dir: TempDir,
}

#[allow(dead_code)]
impl Rig {
    pub fn config() -> TerminalConfig {
        let mut config = TerminalConfig::new("host:1", "898100000000001", "10000001");
        config.answer_timeout_ms = 40;
        config.repeat_pause_ms = 0;
        config
    }

    pub fn new() -> Self {
        Self::with(Self::config())
    }

    pub fn with(config: TerminalConfig) -> Self {
        let host = Host::new();
        let surroundings = Surroundings {
            clock: Arc::new(FixedClock("2026-11-24T02:15:30Z".parse().unwrap())),
            dial: Some(Arc::new(host.clone())),
            unpredictable: Some([0x1A, 0x2B, 0x3C, 0x4D]),
            security: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let terminal = Terminal::enrol_in(dir.path(), config, surroundings.clone()).unwrap();
        Self { host, terminal, surroundings, dir }
    }

    /// Loads the master key and signs in.
    pub async fn prepare(&mut self, layout: KeyLayout) {
        self.terminal.load_tmk(&[TmkComponent::parse(TMK)], Some("08D7B4FB")).await.unwrap();
        assert!(self.terminal.sign_in(layout).await.unwrap().approved);
    }

    pub async fn signed_in(layout: KeyLayout) -> Self {
        let mut rig = Self::new();
        rig.prepare(layout).await;
        rig
    }

    /// As if the power had gone: the terminal is dropped where it stands and read again from its directory.
    pub fn power_cycle(self) -> Self {
        let Self { host, terminal, surroundings, dir } = self;
        drop(terminal);
        let terminal = Terminal::open_in(dir.path(), surroundings.clone()).unwrap();
        Self { host, terminal, surroundings, dir }
    }

    pub fn sale(&self, amount_fen: u64) -> SaleRequest {
        SaleRequest {
            amount_fen,
            card: CardInput::deck("L02").unwrap(),
            entry: Entry::Swipe,
            pin: Some(Pin::new("123456").unwrap()),
        }
    }
}
