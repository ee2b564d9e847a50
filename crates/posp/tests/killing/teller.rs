//! A virtual terminal at work: seeded mixed traffic by the rules of a terminal, and a list of what it was told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use pos::{
    BalanceRequest, Dial, Entry, HttpDialer, KeyLayout, Kind, Outcome, PosError, RefundRequest, SaleRequest,
    Status, Surroundings, TcpDialer, Terminal, TerminalConfig, TmkComponent, VoidRequest,
};

use super::cards::{self, Presented};
use super::front;
use super::line::ShakyDialer;
use super::processes::MERCHANT;
use super::random::Random;

/// How long a terminal waits for an answer, milliseconds: longer than the node waits for the network.
const ANSWER_MS: u64 = 2_500;
/// How long a terminal rests when it cannot reach the node.
const REST: Duration = Duration::from_millis(20);
/// How long a terminal rests when the node cannot reach the network: the customers would be declined in a row.
const LONG_REST: Duration = Duration::from_millis(100);
/// A batch is settled at the latest with so many transactions.
const BATCH_MAX: usize = 120;
/// How long the terminals may take in the end to have nothing pending.
const TIDY_MAX: Duration = Duration::from_secs(120);
/// Amounts, last four digits in fen, for which the network goes wrong, and how often of a hundred faults.
const FAULTS: [(u64, u64); 8] =
    [(9_001, 24), (9_002, 18), (9_003, 22), (9_004, 14), (9_005, 2), (9_006, 2), (9_007, 14), (9_008, 4)];

/// What a terminal knows of one of its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Approved: the slip is printed.
    Approved,
    /// Declined, by the host or by the terminal itself before anything left.
    Declined,
    /// Nothing usable was heard; a reversal or a repeat follows.
    Unknown,
    /// Reversed, and the reversal acknowledged.
    Undone,
    /// The terminal gave its reversal up and told the operator.
    GivenUp,
}

/// One transaction as its terminal saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it was.
    pub kind: Kind,
    /// Fen.
    pub amount: u64,
    /// What was heard.
    pub heard: Heard,
    /// Field 39, when there was an answer.
    pub code: Option<String>,
    /// Field 37.
    pub rrn: Option<String>,
    /// Field 38.
    pub auth_code: Option<String>,
    /// The card.
    pub card: Presented,
}

/// When service came back after a kill, shared by all terminals.
#[derive(Default)]
pub struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// Forgets what was seen so far.
    pub fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The first approval since [`Pulse::reset`].
    pub fn first(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }
}

/// What all terminals are told from outside.
#[derive(Default)]
pub struct Shop {
    /// No new transaction any more.
    pub closing: AtomicBool,
    /// Service after a kill.
    pub pulse: Pulse,
}

/// A terminal with its operator.
pub struct Teller {
    /// Terminal number.
    pub id: String,
    number: usize,
    terminal: Terminal,
    random: Random,
    /// By batch and trace.
    pub seen: BTreeMap<(u32, u32), Seen>,
    /// What must not happen to a terminal, in words.
    pub odd: Vec<String>,
    /// Refunds that the operator gave up.
    pub refunds_given_up: u32,
    /// Batches settled.
    pub settled: u32,
}

impl Teller {
    /// Enrols terminal `number` below the directory of the run and loads its master key.
    pub async fn hire(
        run: &Path,
        hosts: &[String],
        (id, components): &(String, [String; 2]),
        number: usize,
        seed: u64,
    ) -> anyhow::Result<Teller> {
        let host = hosts.first().context("no host")?;
        let mut config = TerminalConfig::new(host.as_str(), MERCHANT, id.as_str());
        config.answer_timeout_ms = ANSWER_MS;
        config.connect_timeout_seconds = 2;
        config.repeat_pause_ms = 200;
        // A node that is killed every second answers no three attempts in a row now and then; a terminal that gives up
        // leaves its payment to a person, which is no proof.
        config.reversal_retries = 1_000;
        config.capability = 6;
        // Cards of the deck go from shop to shop: all terminals keep one counter for each.
        config.card_file = Some("../cards.json".into());
        let mut nodes: Vec<Box<dyn Dial>> = Vec::new();
        let timeout = Duration::from_secs(2);
        for host in hosts {
            nodes.push(match host.starts_with("https:") {
                false => Box::new(TcpDialer { address: host.clone(), timeout }),
                true => {
                    let tls = front::tls_files(run, id);
                    config.ca_file.clone_from(&tls.authorities);
                    Box::new(HttpDialer { uri: host.parse()?, tls, timeout })
                }
            });
        }
        let random = Arc::new(Mutex::new(Random::part(seed, 2_000_000 + number as u64)));
        // The terminals are spread over the nodes, and move when theirs dies.
        let dialer = ShakyDialer { nodes, at: AtomicUsize::new(number), random };
        let surroundings = Surroundings { dial: Some(Arc::new(dialer)), ..Surroundings::default() };
        let mut terminal = Terminal::enrol_in(run.join("pos").join(id), config, surroundings)?;
        let components: Vec<TmkComponent> = components.iter().map(|text| TmkComponent::parse(text)).collect();
        terminal.load_tmk(&components, None).await?;
        Ok(Teller {
            id: id.clone(),
            number,
            terminal,
            random: Random::part(seed, 3_000_000 + number as u64),
            seen: BTreeMap::new(),
            odd: Vec::new(),
            refunds_given_up: 0,
            settled: 0,
        })
    }

    /// Works until the shop closes.
    pub async fn work(&mut self, shop: &Shop) -> anyhow::Result<()> {
        while !shop.closing.load(Ordering::Relaxed) {
            let done = self.step(shop).await;
            self.take(done).await?;
        }
        Ok(())
    }

    /// Brings everything to its end: the pending reversal, the open refund, the settlement under way.
    pub async fn tidy(&mut self, shop: &Shop) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.terminal.pending_reversal().is_some()
            || self.terminal.open_refund().is_some()
            || self.terminal.settlement_open()
        {
            if begun.elapsed() > TIDY_MAX {
                if self.terminal.open_refund().is_some() {
                    self.terminal.give_up_refund().await?;
                    self.refunds_given_up += 1;
                }
                self.odd.push(format!(
                    "after {TIDY_MAX:?} something is still pending: {:?}",
                    self.terminal.pending_reversal()
                ));
                return Ok(());
            }
            let done = self.duty(shop).await.map(|_| ());
            self.take(done).await?;
        }
        Ok(())
    }

    /// Settles the running batch.
    pub async fn close_batch(&mut self, shop: &Shop) -> anyhow::Result<()> {
        let before = self.settled;
        let begun = Instant::now();
        while self.settled == before && begun.elapsed() < TIDY_MAX {
            let done = match self.duty(shop).await {
                Ok(false) => self.settle().await,
                other => other.map(|_| ()),
            };
            self.take(done).await?;
        }
        if self.settled == before {
            self.odd.push("the batch could not be settled".to_owned());
        }
        Ok(())
    }

    /// What an error means: most are a reason to try again after a rest.
    async fn take(&mut self, done: Result<(), PosError>) -> anyhow::Result<()> {
        match done {
            Ok(()) => {}
            Err(
                PosError::NoConnection { .. }
                | PosError::ReversalPending { .. }
                | PosError::SettlementCutOff(_)
                | PosError::RefundOpen { .. }
                | PosError::SettlementOpen
                | PosError::MustSignIn(_),
            ) => {
                // The next poll of the node; the run itself is bounded.
                tokio::time::sleep(REST).await;
            }
            // The host went on to the next batch before the terminal heard so; going on with the settlement
            // clears it.
            Err(PosError::BatchUnsettled { .. }) if self.terminal.settlement_open() => {
                let settled = self.settle().await;
                if settled.is_err() {
                    tokio::time::sleep(REST).await; // the next poll of the node
                }
            }
            Err(error @ (PosError::BatchUnsettled { .. } | PosError::KeysRefused(_))) => {
                self.odd.push(error.to_string());
                tokio::time::sleep(REST).await; // the next poll of the node
            }
            Err(error) => return Err(error).with_context(|| format!("terminal {}", self.id)),
        }
        Ok(())
    }

    /// What goes before anything else. True when there was something.
    async fn duty(&mut self, shop: &Shop) -> Result<bool, PosError> {
        if self.terminal.sign_in_needed().is_some() {
            let outcome = self.terminal.sign_in(KeyLayout::TripleDesTrack).await?;
            if outcome.status == Status::NoAnswer {
                tokio::time::sleep(REST).await; // the next poll of the node
            }
            return Ok(true);
        }
        if let Some(pending) = self.terminal.pending_reversal() {
            if let Some(outcome) = self.terminal.send_reversal().await? {
                let given_up = !outcome.approved && self.terminal.pending_reversal().is_none();
                let seen = self.seen.get_mut(&(outcome.batch, pending.trace));
                match seen {
                    Some(seen) if outcome.approved => seen.heard = Heard::Undone,
                    Some(seen) if given_up => {
                        seen.heard = Heard::GivenUp;
                        seen.code = outcome.response_code.clone();
                    }
                    Some(_) => {}
                    None => self.odd.push(format!("a reversal of the unknown trace {:06}", pending.trace)),
                }
                if !outcome.approved {
                    tokio::time::sleep(REST).await; // the next poll of the node
                }
            }
            return Ok(true);
        }
        if let Some((trace, _)) = self.terminal.open_refund() {
            // New keys in between: the refund that is repeated was written under the old ones.
            if self.random.per_mille(250) {
                self.terminal.sign_in(KeyLayout::TripleDesTrack).await?;
            }
            let outcome = self.terminal.resume_refund().await?;
            let card = self.seen.get(&(outcome.batch, trace)).map(|seen| seen.card.clone());
            match card {
                Some(card) => self.note(&outcome, card, shop),
                None => self.odd.push(format!("an open refund of the unknown trace {trace:06}")),
            }
            return Ok(true);
        }
        if self.terminal.settlement_open() || self.terminal.journal().len() >= BATCH_MAX {
            self.settle().await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn settle(&mut self) -> Result<(), PosError> {
        let outcome = self.terminal.settle().await?;
        if outcome.approved {
            self.settled += 1;
        }
        for notice in outcome.notices.iter().filter(|notice| notice.contains("refused by the host")) {
            self.odd.push(format!("batch {:06}: {notice}", outcome.batch));
        }
        Ok(())
    }

    /// One transaction, after whatever goes before it.
    async fn step(&mut self, shop: &Shop) -> Result<(), PosError> {
        if self.duty(shop).await? {
            return Ok(());
        }
        match self.random.below(1_000) {
            0..550 => {
                let card = cards::good(&mut self.random, self.number);
                self.sell(card, shop).await
            }
            550..610 => {
                let card = cards::bad(&mut self.random, self.number);
                self.sell(card, shop).await
            }
            610..745 => self.void(shop).await,
            745..860 => self.refund(shop).await,
            860..925 => self.balance(shop).await,
            925..950 => self.terminal.sign_in(KeyLayout::TripleDesTrack).await.map(|_| ()),
            950..960 => self.terminal.echo().await.map(|_| ()),
            960..980 => self.settle().await,
            _ => {
                self.terminal.hang_up();
                Ok(())
            }
        }
    }

    fn amount(&mut self) -> u64 {
        let plain = 100 + self.random.below(8_800);
        if !self.random.per_mille(110) {
            return plain;
        }
        let mut drawn = self.random.below(FAULTS.iter().map(|(_, share)| share).sum());
        for (tail, share) in FAULTS {
            if drawn < share {
                return tail + 10_000 * self.random.below(5);
            }
            drawn -= share;
        }
        plain
    }

    async fn sell(&mut self, card: Presented, shop: &Shop) -> Result<(), PosError> {
        let amount_fen = self.amount();
        let sale = SaleRequest { amount_fen, card: card.card()?, entry: card.entry, pin: card.pin()? };
        let outcome = self.terminal.sale(sale).await?;
        self.note(&outcome, card, shop);
        if matches!(outcome.response_code.as_deref(), Some("91" | "92")) {
            tokio::time::sleep(LONG_REST).await; // the next customer is the next poll of the line
        }
        Ok(())
    }

    async fn void(&mut self, shop: &Shop) -> Result<(), PosError> {
        let open: Vec<u32> = self
            .terminal
            .journal()
            .iter()
            .filter(|record| record.kind == Kind::Sale && !record.voided)
            .map(|record| record.trace)
            .collect();
        let Some(&trace) = self.random.pick(&open) else { return Ok(()) };
        let Some(sale) = self.seen.get(&(self.terminal.batch(), trace)).cloned() else {
            self.odd.push(format!("the journal holds the unknown trace {trace:06}"));
            return Ok(());
        };
        let with_card = self.random.per_mille(500) && sale.card.entry != Entry::Tap;
        let request = match with_card {
            true => {
                VoidRequest { trace, card: Some((sale.card.card()?, sale.card.entry)), pin: sale.card.pin()? }
            }
            false => VoidRequest::by_trace(trace),
        };
        let outcome = self.terminal.void(request).await?;
        self.note(&outcome, sale.card, shop);
        Ok(())
    }

    async fn refund(&mut self, shop: &Shop) -> Result<(), PosError> {
        // Sales of this batch and of earlier ones, voided ones among them: some refunds must be declined.
        let sales: Vec<Seen> = self
            .seen
            .values()
            .filter(|seen| seen.kind == Kind::Sale && seen.heard == Heard::Approved && seen.rrn.is_some())
            .cloned()
            .collect();
        let recent = sales.get(sales.len().saturating_sub(40)..).unwrap_or_default();
        let Some(sale) = self.random.pick(recent) else { return Ok(()) };
        let Some(rrn) = sale.rrn.clone() else { return Ok(()) };
        let amount_fen = 1 + self.random.below(sale.amount);
        let request = RefundRequest {
            amount_fen,
            card: sale.card.card()?,
            entry: sale.card.entry,
            pin: None,
            // A reference number begins with its day.
            original_date: rrn.get(..4).unwrap_or_default().to_owned(),
            original_rrn: rrn,
        };
        let outcome = self.terminal.refund(request).await?;
        self.note(&outcome, sale.card.clone(), shop);
        Ok(())
    }

    async fn balance(&mut self, shop: &Shop) -> Result<(), PosError> {
        let card = cards::good(&mut self.random, self.number);
        let request = BalanceRequest { card: card.card()?, entry: card.entry, pin: card.pin()? };
        let outcome = self.terminal.balance(request).await?;
        self.note(&outcome, card, shop);
        Ok(())
    }

    fn note(&mut self, outcome: &Outcome, card: Presented, shop: &Shop) {
        let heard = match outcome.status {
            Status::Approved => Heard::Approved,
            Status::Declined | Status::DeclinedByChip => Heard::Declined,
            Status::NoAnswer | Status::ChipRefused => Heard::Unknown,
            Status::Unusable => {
                self.odd.push(format!(
                    "batch {:06} trace {:06} {:?}: the answer cannot be used: {}",
                    outcome.batch,
                    outcome.trace,
                    outcome.kind,
                    outcome.notices.last().map_or(outcome.text_en.as_str(), String::as_str)
                ));
                Heard::Unknown
            }
        };
        if heard == Heard::Approved {
            shop.pulse.beat();
        }
        let seen = Seen {
            kind: outcome.kind,
            amount: outcome.amount_fen.unwrap_or(0),
            heard,
            code: outcome.response_code.clone(),
            rrn: outcome.rrn.clone(),
            auth_code: outcome.auth_code.clone(),
            card,
        };
        self.seen.insert((outcome.batch, outcome.trace), seen);
    }
}
