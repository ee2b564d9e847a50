//! Does what the flow says: shows its screens, works the devices, asks the host, writes down.
//!
//! A shell runs in a thread of its own until the power goes. Whatever it was doing then is dropped where it stood; what the
//! next one has to settle is on disk ([`crate::slate`], and the protocol's own state).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hal::{
    Beep, Beeper, CancelToken, CryptoBox, DeviceManager, ErrorKind, HalError, Lease, LeaseTerms, Led,
    LedState, OpenDevice, PrintJob, Printer, SecureStore, Session,
};
use kernel::QuickPass;
use pos::{Download, KeyLayout, PosError, Record, Security, Terminal};
use receipt::{Part, ReceiptDoc};
use tokio::runtime::Handle;

use crate::chip::ChipPayment;
use crate::faults::device;
use crate::flow::{
    Desk, Effect, Ending, Errand, Event, Flow, HostSays, HostStatus, Mark, Order, Outcome, Print, Reading,
    Recovered, Rules, Trade, Trouble, TroubleKind, Why,
};
use crate::host::{self, until_power_cut};
use crate::operators::Operators;
use crate::panel::{Panel, Said};
use crate::signature::SignatureForm;
use crate::slate::{Entry, Slate};
use crate::view::Standing;

mod books;
mod cards;
mod desk;
mod send;

/// How long a slip may take, paper changes included.
const PRINTING: Duration = Duration::from_secs(120);
/// Name of the operators in the secure store.
const OPERATORS: &str = "app.operators";

/// Other apps, as far as the shell has to do with them.
pub trait Callers: Send + Sync {
    /// An order of theirs has come so far; their own books have it when this returns. Where they cannot write it down, the
    /// order goes no further. Its end may come more than once: again after a start, and once more when an outcome that
    /// was not known has been settled.
    ///
    /// # Errors
    /// Their disk, in words.
    fn marked(&self, order: &Order, mark: &Mark, facts: &Facts<'_>) -> Result<(), String>;

    /// An order of theirs cannot be written down, and does not begin.
    fn dropped(&self, order: &Order, text: &str);

    /// An order of theirs is over, everything printed that shall be.
    fn returned(&self, order: &Order);

    /// What they asked for beside trading is done, or is not.
    fn done(&self, errand: &Errand, said: Result<&HostSays, &Trouble>);
}

/// What is known of an order beside its end.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// As the batch has it, when it stands.
    pub record: Option<&'a Record>,
    /// Its slip, both copies.
    pub slip: Option<ReceiptDoc>,
    /// How its card was read.
    pub reading: Option<Reading>,
}

/// Nobody but the cashier.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCallers;

impl Callers for NoCallers {
    fn marked(&self, _: &Order, _: &Mark, _: &Facts<'_>) -> Result<(), String> {
        Ok(())
    }

    fn dropped(&self, _: &Order, _: &str) {}

    fn returned(&self, _: &Order) {}

    fn done(&self, _: &Errand, _: Result<&HostSays, &Trouble>) {}
}

/// Looks over the app's shoulder, step by step: for diagnosis, and for tests that take the power away between two steps.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// This is about to be done. `false` takes the power away before it is.
    fn before(&self, effect: &Effect) -> bool;

    /// This was done, and that came of it. `false` takes the power away before anybody hears of it.
    fn after(&self, effect: &Effect, event: &Event) -> bool;
}

/// What an acquirer sets for its terminals.
#[derive(Clone, Debug)]
pub struct ShellConfig {
    /// The counter's rules.
    pub rules: Rules,
    /// The keys that a sign-in asks for.
    pub layout: KeyLayout,
    /// quickPass; its limits are the slip's too.
    pub quickpass: QuickPass,
    /// A merchant's terminal: laboratory cards and keys are refused.
    pub production: bool,
    /// The form in which signatures go to the host.
    pub signature: SignatureForm,
    /// How long a card is waited for.
    pub card: Duration,
    /// How long a PIN is waited for.
    pub pin: Duration,
    /// How long the terminal rests at its menu before it looks at what waits to go to the host.
    pub rest: Duration,
    /// Who watches the steps: nobody but in a laboratory.
    pub watch: Option<Arc<dyn Watch>>,
}

impl Default for ShellConfig {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            layout: KeyLayout::TripleDesTrack,
            quickpass: QuickPass::default(),
            production: false,
            signature: SignatureForm::default(),
            card: Duration::from_secs(60),
            pin: Duration::from_secs(60),
            rest: Duration::from_secs(20),
            watch: None,
        }
    }
}

/// What surrounds the app.
pub struct Surroundings {
    /// The devices, through the broker of this app.
    pub devices: Arc<dyn DeviceManager>,
    /// The app's session with them.
    pub session: Session,
    /// The keys, as the terminal has them.
    pub security: Arc<dyn Security>,
    /// Screen and keys.
    pub panel: Panel,
    /// Other apps.
    pub callers: Arc<dyn Callers>,
    /// Where the protocol runs.
    pub runtime: Handle,
    /// Pulled when the power goes.
    pub power: CancelToken,
}

/// What the customer has presented.
enum Presented {
    Nothing,
    Stripe(Box<hal::MagData>),
    Keyed(crate::view::KeyedPan, Option<String>),
    /// In the slot (or, `false`, in the field), not read yet.
    Card(bool),
    Chip(Arc<Mutex<ChipPayment>>),
}

/// A running app.
pub struct Shell {
    flow: Flow,
    config: ShellConfig,
    around: Surroundings,
    terminal: Terminal,
    slate: Slate,
    operators: Operators,
    presented: Presented,
    /// The card that pays and its PIN, while the one that is loaded is in hand.
    payer: Option<(Presented, Option<hsm::EncryptedPinBlock>)>,
    pin_block: Option<hsm::EncryptedPinBlock>,
    in_slot: bool,
    /// A card that left the antenna after it had approved.
    torn: Option<cards::Torn>,
    /// What answers have said of earlier transactions: trace, and how they ended.
    heard: Vec<(u32, Ending)>,
}

/// The power is gone.
struct Dark;

type Lit<T> = Result<T, Dark>;

impl std::fmt::Debug for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shell").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Shell {
    /// Puts an app together. `prefix` numbers the cashier's orders and must not have come before on this terminal.
    ///
    /// # Errors
    /// What was kept cannot be read: it is another device's, or damaged.
    pub fn new(
        config: ShellConfig,
        around: Surroundings,
        terminal: Terminal,
        prefix: impl Into<String>,
    ) -> Result<Self, String> {
        let slate = Slate::open(terminal.directory(), around.security.as_ref())?;
        let operators = load_operators(&around).map_err(|error| error.to_string())?;
        let flow = Flow::new(config.rules.clone(), prefix);
        Ok(Self {
            flow,
            config,
            around,
            terminal,
            slate,
            operators,
            presented: Presented::Nothing,
            payer: None,
            pin_block: None,
            in_slot: false,
            torn: None,
            heard: Vec::new(),
        })
    }

    /// Runs until the power goes.
    pub fn run(mut self) {
        let mut step = self.flow.start();
        loop {
            if self.around.power.is_cancelled() {
                return;
            }
            let standing = self.standing();
            self.around.panel.show(&step.view, standing, self.flow.is_free());
            let Ok(event) = self.watched(step.effect) else { return };
            self.settle_open();
            if self.flow.is_free() {
                self.presented = Presented::Nothing;
                self.payer = None;
                self.pin_block = None;
                self.torn = None;
            }
            let config = self.terminal.config();
            self.flow.obey(config.manual_entry, config.sells_offline(), config.offline_limit_fen);
            step = self.flow.step(event);
        }
    }

    fn standing(&self) -> Standing {
        let config = self.terminal.config();
        let operator = self.flow.operator();
        let wishes = self.flow.order().map(|order| &order.wishes);
        Standing {
            signed_in: self.terminal.sign_in_needed().is_none(),
            sells_offline: config.sells_offline(),
            operator: operator.map_or_else(|| config.operator.clone(), |operator| operator.number.clone()),
            supervisor: operator.is_some_and(|operator| operator.supervisor),
            batch: self.terminal.batch(),
            count: self.terminal.journal().len(),
            reversal: self.terminal.pending_reversal().is_some(),
            refund_open: self.terminal.open_refund().is_some(),
            settlement_open: self.terminal.is_settling(),
            waiting: self.terminal.waiting_uploads() + usize::from(self.terminal.pending_script()),
            merchant_name: config.merchant_name.clone(),
            merchant: config.merchant.clone(),
            terminal: config.terminal.clone(),
            lang: wishes.and_then(|wishes| wishes.lang),
            note: wishes.and_then(|wishes| wishes.note.clone()),
            card: self.flow.card().map(str::to_owned),
        }
    }

    fn watched(&mut self, effect: Effect) -> Lit<Event> {
        let Some(watch) = self.config.watch.clone() else { return self.perform(effect) };
        let cut = |lit: bool, power: &CancelToken| {
            if lit {
                return Ok(());
            }
            power.cancel_as(ErrorKind::ServiceLost);
            Err(Dark)
        };
        cut(watch.before(&effect), &self.around.power)?;
        let event = self.perform(effect.clone())?;
        cut(watch.after(&effect, &event), &self.around.power)?;
        Ok(event)
    }

    fn perform(&mut self, effect: Effect) -> Lit<Event> {
        match effect {
            Effect::Wait => self.wait(),
            Effect::Recover => self.recover(),
            Effect::Journal(mark) => {
                self.keep_torn(&mark)?;
                Ok(self.journal(&mark))
            }
            Effect::Login { operator, password, supervisor } => {
                Ok(self.login(&operator, &password, supervisor))
            }
            Effect::Prepare => self.prepare(),
            Effect::Number => {
                let (batch, trace) = (self.terminal.batch(), self.terminal.next_trace());
                Ok(Event::Ready { batch, trace, preceding: Vec::new() })
            }
            Effect::Find(trace) => Ok(self.find(trace)),
            Effect::Detect { fallback, stripe, slot, field, second } => {
                if second {
                    self.keep_payer();
                }
                self.detect(fallback, stripe, slot, field)
            }
            Effect::Kernel(call) => self.kernel(call),
            Effect::Pin { bypass } => self.pin(bypass),
            Effect::Send(reading) => self.send(reading),
            Effect::Reverse => self.reverse(),
            Effect::RemoveCard => self.remove_card(),
            Effect::Print { part, again } => self.print(part, again),
            Effect::Reprint(trace) => self.reprint(trace, Print::Merchant),
            Effect::Desk(desk) => self.desk(desk),
            Effect::Return => Ok(self.give_back()),
            Effect::Sign { trace, code } => self.sign(trace, &code),
            Effect::Scan => self.scan(),
            Effect::Waiting => Ok(Event::Waiting(host::waiting(&self.terminal))),
            Effect::List(page) => Ok(Event::Page(Box::new(host::page(self.terminal.journal(), page)))),
        }
    }

    /// Runs a call of the protocol.
    fn ask<T>(&mut self, call: impl AsyncFnOnce(&mut Terminal) -> T) -> Lit<T> {
        let (runtime, power) = (self.around.runtime.clone(), self.around.power.clone());
        until_power_cut(&runtime, &power, call(&mut self.terminal)).ok_or(Dark)
    }

    /// An error of a device, unless it is the power that is gone.
    fn lit(&self, error: HalError) -> Lit<HalError> {
        if self.around.power.is_cancelled() { Err(Dark) } else { Ok(error) }
    }

    /// What becomes of a wait for a person that has ended with an error.
    fn nobody(&self, error: HalError) -> Lit<Event> {
        let error = self.lit(error)?;
        Ok(match error.kind {
            ErrorKind::UserCancelled => Event::NoCard(Why::Cancelled),
            ErrorKind::Timeout => Event::NoCard(Why::TimedOut),
            _ => Event::Failed(device(&error)),
        })
    }

    fn open<D: hal::DeviceClass + ?Sized>(&self) -> Result<Lease<D>, HalError> {
        self.around.devices.open::<D>(&self.around.session, 0, LeaseTerms::open_end())
    }

    fn wait(&mut self) -> Lit<Event> {
        let patience = self.flow.patience();
        loop {
            let call = hal::Call::with(patience.unwrap_or(self.config.rest), &self.around.power);
            match self.around.panel.wait(&call) {
                Ok(Said::Input(input)) => return Ok(Event::Input(input)),
                Ok(Said::Order(order)) => return Ok(Event::Order(order)),
                Ok(Said::Errand(errand)) => self.errand(&errand)?,
                Err(_) if self.around.power.is_cancelled() => return Err(Dark),
                Err(_) if patience.is_some() => return Ok(Event::Idle),
                // Nobody is at the counter: what waits for the host goes now.
                Err(_) if self.flow.is_free() && self.terminal.is_settling() => return Ok(Event::Unsettled),
                Err(_) => self.rest()?,
            }
        }
    }

    /// What a terminal does while nobody wants anything: the pending reversal, uploads.
    fn rest(&mut self) -> Lit<()> {
        if !self.flow.is_free() || self.terminal.sign_in_needed().is_some() {
            return Ok(());
        }
        if self.terminal.pending_reversal().is_some() {
            let reversed = self.ask(async |terminal| terminal.send_reversal().await)?;
            if let Ok(Some(outcome)) = &reversed {
                self.hear(outcome);
                self.settle_open();
            }
            tracing::info!(
                done = matches!(reversed, Ok(Some(ref outcome)) if outcome.approved),
                "a pending reversal was sent"
            );
        } else if self.terminal.waiting_uploads() > 0 || self.terminal.pending_script() {
            let _ = self.ask(async |terminal| terminal.upload_all().await)?;
        }
        Ok(())
    }

    fn login(&mut self, number: &str, password: &str, supervisor: bool) -> Event {
        let checked = self.operators.check(number, password, supervisor);
        if let Err(error) = keep_operators(&self.around, &self.operators) {
            return Event::Failed(device(&error));
        }
        match checked {
            Ok(operator) => Event::Operator(operator),
            Err(refusal) => {
                tracing::warn!(operator = number, %refusal, "an operator was refused");
                Event::Failed(Trouble { kind: TroubleKind::Input, text: refusal.to_string() })
            }
        }
    }

    fn find(&self, trace: u32) -> Event {
        match self.terminal.journal().iter().find(|record| record.trace == trace) {
            Some(record) if record.voided => Event::Failed(Trouble {
                kind: TroubleKind::NotPossible,
                text: "原交易已撤销 / it was voided already".to_owned(),
            }),
            Some(record) => Event::Found(Box::new(host::line(record))),
            None => Event::Failed(host::trouble(&PosError::NotFound(trace))),
        }
    }

    fn sign_in(&mut self) -> Lit<Result<(), Trouble>> {
        let layout = self.config.layout;
        match self.ask(async |terminal| terminal.sign_in(layout).await)? {
            Ok(outcome) if outcome.approved => {}
            Ok(outcome) => {
                let text = outcome.text();
                return Ok(Err(Trouble { kind: TroubleKind::MustSignIn, text }));
            }
            Err(error) => return Ok(Err(host::trouble(&error))),
        }
        // A terminal without chip tables reads no chip: it gets them with its first sign-in.
        if self.terminal.downloaded().applications == 0 {
            for what in [Download::PublicKeys, Download::Applications] {
                if let Err(error) = self.ask(async |terminal| terminal.download(what).await)? {
                    tracing::warn!(%error, "the chip tables were not downloaded");
                }
            }
        }
        Ok(Ok(()))
    }

    /// Nothing behind the next transaction: signed in, reversals delivered.
    fn prepare(&mut self) -> Lit<Event> {
        for _ in 0..3 {
            if self.terminal.sign_in_needed().is_some()
                && let Err(trouble) = self.sign_in()?
            {
                return Ok(Event::Failed(trouble));
            }
            match self.ask(async |terminal| terminal.clear_for_next().await)? {
                Ok(preceding) => {
                    preceding.iter().for_each(|outcome| self.hear(outcome));
                    let preceding = preceding.iter().map(|outcome| host::says(outcome, None)).collect();
                    let (batch, trace) = (self.terminal.batch(), self.terminal.next_trace());
                    return Ok(Event::Ready { batch, trace, preceding });
                }
                Err(PosError::MustSignIn(_)) => {}
                Err(error) => return Ok(Event::Failed(host::trouble(&error))),
            }
        }
        Ok(Event::Failed(Trouble {
            kind: TroubleKind::MustSignIn,
            text: "签到后仍被要求签到 / the host keeps demanding a sign-in".to_owned(),
        }))
    }

    fn reverse(&mut self) -> Lit<Event> {
        if self.terminal.sign_in_needed().is_some()
            && let Err(trouble) = self.sign_in()?
        {
            return Ok(Event::Failed(trouble));
        }
        Ok(match self.ask(async |terminal| terminal.send_reversal().await)? {
            Ok(Some(outcome)) => {
                self.hear(&outcome);
                let mut said = host::says(&outcome, None);
                if !outcome.approved {
                    said.status = Some(HostStatus::NoAnswer);
                }
                Event::Host(Box::new(said))
            }
            Ok(None) => {
                Event::Host(Box::new(HostSays { status: Some(HostStatus::Approved), ..HostSays::default() }))
            }
            Err(error) => Event::Failed(host::trouble(&error)),
        })
    }

    fn desk(&mut self, desk: Desk) -> Lit<Event> {
        if desk != Desk::SignIn
            && desk != Desk::SignOff
            && desk != Desk::Echo
            && self.terminal.sign_in_needed().is_some()
            && !self.terminal.is_settling()
            && let Err(trouble) = self.sign_in()?
        {
            return Ok(Event::Failed(trouble));
        }
        let layout = self.config.layout;
        let done = match desk {
            Desk::SignIn => self.ask(async |terminal| terminal.sign_in(layout).await)?,
            Desk::SignOff => self.ask(async |terminal| terminal.sign_off().await)?,
            Desk::Echo => self.ask(async |terminal| terminal.echo().await)?,
            Desk::Settle => self.settle()?,
            Desk::Download => self.download()?,
            Desk::Upload => match self.ask(async |terminal| terminal.upload_all().await)? {
                Ok(outcomes) => {
                    outcomes.iter().for_each(|outcome| self.hear(outcome));
                    return Ok(told(&outcomes));
                }
                Err(error) => Err(error),
            },
            Desk::Repeat if self.terminal.open_refund().is_some() => {
                self.ask(async |terminal| terminal.resume_refund().await)?
            }
            Desk::Repeat => match self.ask(async |terminal| terminal.send_reversal().await)? {
                Ok(Some(outcome)) => Ok(outcome),
                Ok(None) => return Ok(told(&[])),
                Err(error) => Err(error),
            },
        };
        Ok(match done {
            Ok(outcome) => {
                self.hear(&outcome);
                Event::Told(Box::new(host::says(&outcome, None)))
            }
            Err(error) => Event::Failed(host::trouble(&error)),
        })
    }

    /// Settles, or goes on with a settlement that was cut off. A host that asks for a sign-in half way gets it, once.
    fn settle(&mut self) -> Lit<Result<pos::Outcome, PosError>> {
        let settled = self.ask(async |terminal| terminal.settle().await)?;
        let Err(PosError::SettlementCutOff(why)) = &settled else { return Ok(settled) };
        tracing::warn!(%why, "a settlement was cut off");
        if self.terminal.is_settling() && self.terminal.sign_in_needed().is_some() && self.sign_in()?.is_ok()
        {
            return self.ask(async |terminal| terminal.settle().await);
        }
        Ok(settled)
    }

    /// Everything that there is to download; one list that the host has not does not keep the others away.
    fn download(&mut self) -> Lit<Result<pos::Outcome, PosError>> {
        let mut said = self.ask(async |terminal| terminal.download(Download::Parameters).await)?;
        for what in [Download::PublicKeys, Download::Applications] {
            let done = self.ask(async |terminal| terminal.download(what).await)?;
            if matches!(&said, Ok(outcome) if outcome.approved) {
                said = done;
            }
        }
        Ok(said)
    }

    fn print(&mut self, part: Part, again: bool) -> Lit<Event> {
        let document = if again {
            self.ask(async |terminal| terminal.mark_last().await)?.map_err(|error| host::trouble(&error))
        } else {
            self.terminal.last_document().ok_or_else(|| Trouble {
                kind: TroubleKind::Other,
                text: "nothing was printed yet".to_owned(),
            })
        };
        match document {
            Ok(document) => self.put_on_paper(&document.part(part)),
            Err(trouble) => Ok(Event::Failed(trouble)),
        }
    }

    /// Prints an earlier transaction, or the last slip, again: one mark, whichever copies.
    fn reprint(&mut self, trace: Option<u32>, print: Print) -> Lit<Event> {
        let document = match trace {
            Some(trace) => self.ask(async |terminal| terminal.mark(trace).await)?,
            None => self.ask(async |terminal| terminal.mark_last().await)?,
        };
        match document {
            Ok(document) => {
                let mut next = print.after(None);
                while let Some(part) = next {
                    let done = self.put_on_paper(&document.part(part))?;
                    if !matches!(done, Event::Done) {
                        return Ok(done);
                    }
                    next = print.after(Some(part));
                }
                Ok(Event::Done)
            }
            Err(error) => Ok(Event::Failed(host::trouble(&error))),
        }
    }

    fn put_on_paper(&mut self, document: &ReceiptDoc) -> Lit<Event> {
        let printed = self.open::<dyn Printer>().and_then(|printer| {
            let call = printer.call_with(PRINTING, &self.around.power);
            let document = self.with_signature(document);
            let document = ReceiptDoc { width: printer.get()?.abilities().width, ..document };
            printer.get()?.print(&PrintJob::once(document), &call)
        });
        match printed {
            Ok(()) => Ok(Event::Done),
            Err(error) => {
                let error = self.lit(error)?;
                Ok(Event::Failed(Trouble { kind: TroubleKind::Device, text: error.kind.name().to_owned() }))
            }
        }
    }

    /// After a start: what was under way when the power went gets its end.
    fn recover(&mut self) -> Lit<Event> {
        let Some(entry) = self.slate.entry().cloned().filter(|entry| !entry.returned) else {
            return Ok(self.recovered(None));
        };
        let ending = match entry.ending.clone() {
            Some(ending) => ending,
            None => {
                let settled = match entry.numbers {
                    None => Ending::here(Why::Interrupted),
                    Some(numbers) => self.settle_interrupted(&entry.order, numbers)?,
                };
                let mark = Mark::Ended(Box::new(settled.clone()));
                if let Err(error) = self.slate.mark(&mark, self.around.security.as_ref()) {
                    tracing::error!(%error, "the end of an interrupted order cannot be written down");
                }
                tracing::warn!(outcome = ?settled.outcome, "an order was under way when the power went");
                settled
            }
        };
        // Whether they had heard it before the power went, nobody knows: they hear it again.
        self.tell_end(&entry.order, entry.numbers, &ending);
        // Nothing had been about to leave: there is nothing to be told but that it is over.
        if entry.numbers.is_none() {
            self.give_back();
            return Ok(self.recovered(None));
        }
        let printable = ending.outcome == Outcome::Approved && self.last_slip_is_of(&entry);
        let unprinted = entry.unprinted().filter(|_| printable);
        Ok(self.recovered(Some(Recovered { order: entry.order, ending, unprinted })))
    }

    fn recovered(&self, order: Option<Recovered>) -> Event {
        Event::Recovered { order: order.map(Box::new), settling: self.terminal.is_settling() }
    }

    /// Whether what was printed last, or would have been, is the slip of this order and not of one before it.
    fn last_slip_is_of(&self, entry: &Entry) -> bool {
        let last = self.terminal.last_record().map(|last| (last.batch, last.trace));
        let of_original = entry.numbers.zip(entry.order.original.trace);
        last.is_some()
            && (last == entry.numbers || last == of_original.map(|((batch, _), trace)| (batch, trace)))
    }

    /// What the protocol knows of a transaction that had been about to leave.
    fn settle_interrupted(&mut self, order: &Order, (batch, trace): (u32, u32)) -> Lit<Ending> {
        if self.terminal.open_refund().is_some_and(|(open, _)| open == trace) {
            if self.terminal.sign_in_needed().is_some() {
                let _ = self.sign_in()?;
            }
            let resumed = self.ask(async |terminal| terminal.resume_refund().await)?;
            tracing::info!(answered = resumed.is_ok(), "a refund was sent again after a start");
        }
        if self.terminal.pending_reversal().is_some_and(|pending| pending.trace == trace) {
            let reversed =
                matches!(self.reverse()?, Event::Host(said) if said.status == Some(HostStatus::Approved));
            let (outcome, why) =
                if reversed { (Outcome::Declined, Why::Reversed) } else { (Outcome::Unknown, Why::NoAnswer) };
            return Ok(Ending { outcome, why, host: None });
        }
        let record = |trace| {
            self.terminal.journal().iter().find(move |record| (record.batch, record.trace) == (batch, trace))
        };
        let original = order.original.trace.and_then(record);
        let stands = match order.trade {
            // What never left the terminal is voided here alone, and has no record but the original's.
            Trade::Void | Trade::PreauthCompleteVoid | Trade::CashLoadVoid => {
                record(trace).or_else(|| original.filter(|original| original.voided))
            }
            Trade::Tip => original.filter(|_| self.terminal.is_queued(trace)),
            _ => record(trace),
        };
        if let Some(record) = stands {
            let host = Some(host::says_of(record));
            return Ok(Ending { outcome: Outcome::Approved, why: Why::Host, host });
        }
        if self.terminal.open_refund().is_some_and(|(open, _)| open == trace) {
            return Ok(Ending { outcome: Outcome::Unknown, why: Why::NoAnswer, host: None });
        }
        // Never sent, declined, or reversed since: it does not stand.
        Ok(Ending::here(Why::Interrupted))
    }

    /// A sound and a light; a device without them is silent.
    fn signal(&self, kind: Beep, led: Option<u8>) {
        if let Ok(beeper) = self.open::<dyn Beeper>() {
            let _ = beeper.get().and_then(|beeper| beeper.beep(kind, Duration::from_millis(80)));
        }
        if let Ok(lights) = self.open::<dyn Led>()
            && let Ok(light) = lights.get()
        {
            for number in 0..light.count() {
                let state = if led == Some(number) { LedState::On } else { LedState::Off };
                let _ = light.set(number, state);
            }
        }
    }
}

fn told(outcomes: &[pos::Outcome]) -> Event {
    let mut said = HostSays { status: Some(HostStatus::Approved), ..HostSays::default() };
    if let Some(last) = outcomes.last() {
        said = host::says(last, None);
    }
    Event::Told(Box::new(said))
}

fn store(around: &Surroundings) -> Result<Lease<dyn SecureStore>, HalError> {
    around.devices.open::<dyn SecureStore>(&around.session, 0, LeaseTerms::open_end())
}

fn load_operators(around: &Surroundings) -> Result<Operators, HalError> {
    let store = store(around)?;
    if let Some(text) = store.get()?.get(OPERATORS)?
        && let Ok(operators) = serde_json::from_slice(&text)
    {
        return Ok(operators);
    }
    let crypto = around.devices.open::<dyn CryptoBox>(&around.session, 0, LeaseTerms::open_end())?;
    let mut failed = None;
    let operators = Operators::factory(|| match crypto.get().and_then(|crypto| crypto.random(16)) {
        Ok(random) => random.as_slice().try_into().unwrap_or_default(),
        Err(error) => {
            failed = Some(error);
            [0; 16]
        }
    });
    match failed {
        Some(error) => Err(error),
        None => {
            keep_operators(around, &operators)?;
            Ok(operators)
        }
    }
}

fn keep_operators(around: &Surroundings, operators: &Operators) -> Result<(), HalError> {
    let text = serde_json::to_vec(operators).map_err(|error| {
        HalError::new(ErrorKind::BadParam, hal::DeviceKind::SecureStore).text(error.to_string())
    })?;
    store(around)?.get()?.put(OPERATORS, &text)
}
