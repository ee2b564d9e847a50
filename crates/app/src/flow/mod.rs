//! The counter as a state machine: one order at a time, from the key or the caller to the slip.
//!
//! [`Flow::step`] takes what happened and says what to show and what to do; it does nothing itself, knows no clock, no
//! device and no host, so that every order can be played, cut off at any step and played on. What would be lost with
//! the power is written down first: an order before its card is read, its numbers before it is sent, its end before
//! anybody is told.
//!
//! ```text
//! menu ─▶ ask (original, supervisor, amount) ─▶ accepted ─▶ prepared ─▶ card ─▶ (kernel ─▶ PIN) ─▶ numbers ─▶ sent
//!   ▲                                                                                                     │
//!   └── returned ◀── result ◀── slips ◀── card taken ◀── ended ◀── (reversed) ◀───────────────────────────┘
//! ```

mod desk;
mod ending;
mod scan;
mod trade;
mod trades;
pub mod words;

use std::time::Duration;

use receipt::Part;

use crate::operators::Operator;
use crate::view::{Busy, Hint, Input, Line, View};
pub use trades::{Points, Trade, Ways};
pub use words::{
    Card, Chore, Desk, Effect, Ending, Errand, Event, HostSays, HostStatus, KernelCall, KernelSays, Lang,
    Mark, Names, Order, Original, Outcome, PinSays, Print, Reading, Recovered, SignSays, Step, Trouble,
    TroubleKind, Why, Wishes,
};

/// What the acquirer lets the counter do.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Somebody must log in before the keys work.
    pub login: bool,
    /// Voids and refunds at the keys need a supervisor.
    pub supervisor: bool,
    /// A void needs the card again.
    pub void_with_card: bool,
    /// A PIN is asked for where the stripe is swiped.
    pub swipe_pin: bool,
    /// Voids, completions and refunds with a card ask for its PIN.
    pub pin_on_undo: bool,
    /// Tries at a chip before its stripe is taken.
    pub chip_tries: u8,
    /// Card numbers may be keyed, where the acquirer's parameters allow it too.
    pub keyed: bool,
    /// Who must sign does so on the screen.
    pub esign: bool,
    /// Up to which amount, in fen, a sale needs no authorisation code when the host is not asked.
    pub offline_max: u64,
    /// Highest amount, in fen.
    pub amount_max: u64,
    /// How long a question stands.
    pub question: Duration,
    /// How long a result stands.
    pub result: Duration,
    /// How long the first copy waits to be torn off before the second is printed.
    pub tear: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            login: false,
            supervisor: true,
            void_with_card: false,
            swipe_pin: true,
            pin_on_undo: false,
            chip_tries: 3,
            keyed: true,
            esign: false,
            offline_max: 10_000,
            amount_max: 999_999_999_999,
            question: Duration::from_secs(90),
            result: Duration::from_secs(30),
            tear: Duration::from_secs(15),
        }
    }
}

/// Where the flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Off,
    Recovering,
    Unprinted(Part),
    Login,
    Menu,
    // An order.
    Accepting,
    Original,
    Finding,
    ConfirmOriginal,
    Supervisor,
    Amount,
    Periods,
    Points,
    Voice,
    Preparing,
    Card,
    Kernel,
    Select,
    Pin,
    Aborting,
    Numbering,
    Sending,
    Reversing,
    Ending,
    Removing,
    /// Which try.
    Signing(u8),
    Printing(Part),
    Printed(Part),
    Paper(Part),
    Tear(Part),
    Result,
    Returning,
    // Desk functions.
    Counting,
    Waiting,
    Scanning,
    Listing,
    List,
    Detail,
    Reprinting,
    Totals,
    ConfirmSettle,
    SettleSupervisor,
    Desk(Desk),
    SettlePrinting,
    Told,
    Trouble,
}

impl Place {
    /// What the cashier is asked before the card: nothing has happened yet, and it can be given up.
    const fn asks_the_cashier(self) -> bool {
        matches!(
            self,
            Self::Original
                | Self::ConfirmOriginal
                | Self::Supervisor
                | Self::Amount
                | Self::Periods
                | Self::Points
                | Self::Voice
        )
    }
}

/// The counter.
#[derive(Debug)]
pub struct Flow {
    rules: Rules,
    /// The acquirer's parameters allow keyed numbers.
    manual_entry: bool,
    /// The terminal may sell without asking the host.
    offline: bool,
    place: Place,
    operator: Option<Operator>,
    order: Option<Order>,
    /// The order is in the journal.
    accepted: bool,
    /// A supervisor agreed.
    allowed: bool,
    /// The original as the batch has it.
    original: Option<Line>,
    numbers: (u32, u32),
    reading: Option<Reading>,
    card: String,
    /// The card that pays is read and its PIN taken: the one that is loaded comes now.
    second: bool,
    /// The code of a telephone was asked for.
    voiced: bool,
    chip_failures: u8,
    fallback: bool,
    /// A card left the antenna after it had approved: only that card may go on.
    torn: bool,
    hint: Hint,
    ending: Option<Ending>,
    /// What was shown before a question of the desk.
    page: usize,
    told: Option<(Desk, HostSays)>,
    /// A settlement that was cut off goes on before the menu.
    unsettled: bool,
    /// The settlement under way goes on by itself, without anybody having pressed a key.
    by_itself: bool,
    /// Numbers the cashier's orders.
    prefix: String,
    count: u64,
}

impl Flow {
    /// A counter whose cashier's orders are numbered `prefix-1`, `prefix-2`, …; the prefix must not come twice in the
    /// life of a terminal.
    pub fn new(rules: Rules, prefix: impl Into<String>) -> Self {
        Self {
            rules,
            manual_entry: true,
            offline: true,
            place: Place::Off,
            operator: None,
            order: None,
            accepted: false,
            allowed: false,
            original: None,
            numbers: (0, 0),
            reading: None,
            card: String::new(),
            second: false,
            voiced: false,
            chip_failures: 0,
            fallback: false,
            torn: false,
            hint: Hint::Nothing,
            ending: None,
            page: 0,
            told: None,
            unsettled: false,
            by_itself: false,
            prefix: prefix.into(),
            count: 0,
        }
    }

    /// What the acquirer's parameters say now: whether numbers may be keyed, whether the terminal sells without the host, and
    /// up to which amount in fen.
    pub(crate) fn obey(&mut self, manual_entry: bool, offline: bool, offline_max: u64) {
        self.manual_entry = manual_entry;
        self.offline = offline;
        self.rules.offline_max = offline_max;
    }

    /// The first step after the power came on.
    pub fn start(&mut self) -> Step {
        self.busy(Place::Recovering, Busy::Starting, Effect::Recover)
    }

    /// Whether another app's order would be taken on now.
    pub fn is_free(&self) -> bool {
        matches!(self.place, Place::Menu | Place::Login)
    }

    /// The order under way.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// How the card of the order under way was read.
    pub fn reading(&self) -> Option<Reading> {
        self.reading
    }

    /// The card of the order under way, masked, once it is known.
    pub fn card(&self) -> Option<&str> {
        Some(self.card.as_str()).filter(|card| !card.is_empty())
    }

    /// Who is logged in.
    pub fn operator(&self) -> Option<&Operator> {
        self.operator.as_ref()
    }

    /// How long the present screen waits for a person; for ever when there is nothing to lose.
    pub fn patience(&self) -> Option<Duration> {
        match self.place {
            Place::Menu | Place::Login | Place::Paper(_) | Place::Unprinted(_) => None,
            Place::Tear(_) => Some(self.rules.tear),
            Place::Result => {
                let wished = self.order.as_ref().and_then(|order| order.wishes.result_ms);
                Some(wished.map_or(self.rules.result, |ms| Duration::from_millis(ms.into())))
            }
            Place::Told | Place::Trouble => Some(self.rules.result),
            _ => Some(self.rules.question),
        }
    }

    /// What to do after an event. An event that does not fit leaves everything as it is and waits again.
    pub fn step(&mut self, event: Event) -> Step {
        match (self.place, event) {
            (Place::Recovering, Event::Recovered { order, settling }) => {
                self.unsettled = settling;
                match order {
                    Some(recovered) => self.recovered(*recovered),
                    None => self.opened(),
                }
            }
            (Place::Menu | Place::Login, Event::Unsettled) => {
                self.unsettled = true;
                self.opened()
            }
            (Place::Unprinted(part), Event::Input(Input::Confirm)) => {
                self.busy(Place::Printing(part), Busy::Printing, Effect::Print { part, again: true })
            }
            // The slip stays in the terminal and can be printed from the menu.
            (Place::Unprinted(_), Event::Input(Input::Cancel)) => self.show_result(),
            (Place::Unprinted(part), _) => self.unprinted(part),
            (Place::Login, Event::Input(Input::Login { operator, password })) => {
                let effect = Effect::Login { operator, password, supervisor: false };
                self.busy(Place::Login, Busy::Working, effect)
            }
            (Place::Login, Event::Operator(operator)) => {
                self.operator = Some(operator);
                self.menu(None)
            }
            (Place::Login, Event::Failed(_)) => self.ask(Place::Login, View::Login { wrong: true }),
            (Place::Menu | Place::Login, Event::Order(order)) => self.begin(*order),
            (Place::Menu, Event::Input(input)) => self.chosen(input),
            (Place::Scanning, event) => self.scanned(event),
            (
                Place::Counting
                | Place::Waiting
                | Place::Listing
                | Place::List
                | Place::Detail
                | Place::Reprinting
                | Place::Totals
                | Place::ConfirmSettle
                | Place::SettleSupervisor
                | Place::Desk(_)
                | Place::SettlePrinting
                | Place::Told
                | Place::Trouble,
                event,
            ) => self.at_desk(event),
            (
                Place::Ending
                | Place::Reversing
                | Place::Removing
                | Place::Signing(_)
                | Place::Printing(_)
                | Place::Printed(_)
                | Place::Paper(_)
                | Place::Tear(_)
                | Place::Result
                | Place::Returning,
                event,
            ) => self.after(event),
            (_, event) if self.order.is_some() => self.trade(event),
            _ => self.opened(),
        }
    }

    /// An order from before the power went goes on where people come in: its slip, its result, whoever ordered it.
    fn recovered(&mut self, recovered: Recovered) -> Step {
        self.order = Some(recovered.order);
        self.accepted = true;
        self.ending = Some(recovered.ending);
        match recovered.unprinted {
            Some(part) => self.unprinted(part),
            None => self.show_result(),
        }
    }

    fn unprinted(&mut self, part: Part) -> Step {
        self.ask(Place::Unprinted(part), View::Paper { problem: "unprinted".to_owned(), part })
    }

    /// A menu choice.
    fn chosen(&mut self, input: Input) -> Step {
        match input {
            Input::Trade { trade: Trade::OfflineSale | Trade::OfflineChip } if !self.offline => {
                self.trouble(Trouble {
                    kind: TroubleKind::NotPossible,
                    text: "本机不做脱机交易 / this terminal does not sell offline".to_owned(),
                })
            }
            Input::Trade { trade } => {
                self.count += 1;
                let order = Order::by_cashier(trade, format!("{}-{}", self.prefix, self.count));
                self.begin(order)
            }
            Input::LogOut if self.rules.login => {
                self.operator = None;
                self.opened()
            }
            other => self.desk(other),
        }
    }

    /// Login or menu; before either, a settlement that was cut off. Whoever began it was allowed to.
    fn opened(&mut self) -> Step {
        if std::mem::take(&mut self.unsettled) {
            self.forget();
            self.by_itself = true;
            return self.settle();
        }
        if self.rules.login && self.operator.is_none() {
            self.forget();
            return self.ask(Place::Login, View::Login { wrong: false });
        }
        self.menu(None)
    }

    fn menu(&mut self, notice: Option<String>) -> Step {
        self.forget();
        self.ask(Place::Menu, View::Menu { notice })
    }

    /// Nothing of the last order stays.
    fn forget(&mut self) {
        self.order = None;
        self.accepted = false;
        self.allowed = false;
        self.original = None;
        self.reading = None;
        self.card.clear();
        self.second = false;
        self.voiced = false;
        self.chip_failures = 0;
        self.fallback = false;
        self.torn = false;
        self.hint = Hint::Nothing;
        self.ending = None;
        self.told = None;
        self.by_itself = false;
    }

    fn ask(&mut self, place: Place, view: View) -> Step {
        self.place = place;
        Step { view, effect: Effect::Wait }
    }

    fn busy(&mut self, place: Place, with: Busy, effect: Effect) -> Step {
        self.place = place;
        let desk = match place {
            Place::Desk(desk) => Some(desk),
            _ => None,
        };
        let trade = self.order.as_ref().map(|order| order.trade);
        let amount = self.order.as_ref().and_then(|order| order.amount);
        Step { view: View::Busy { with, trade, desk, amount }, effect }
    }

    fn trouble(&mut self, trouble: Trouble) -> Step {
        self.ask(Place::Trouble, View::Trouble { trouble })
    }
}

#[cfg(test)]
mod tests;
