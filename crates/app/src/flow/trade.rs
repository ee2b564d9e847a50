//! An order up to the host: what it needs to know, the card, the kernel, the PIN.

use super::{
    Card, Effect, Ending, Event, Flow, HostStatus, KernelCall, KernelSays, Mark, Names, Order, Outcome,
    PinSays, Place, Reading, Step, Trade, Trouble, TroubleKind, Why,
};
use crate::view::{Busy, Hint, Input, View};

/// Most instalments that field 62 can say.
const PERIODS_MAX: u8 = 99;

impl Flow {
    /// Takes an order on. Another app's is journaled at once, whatever becomes of it; the cashier's once its questions
    /// are answered.
    pub(super) fn begin(&mut self, order: Order) -> Step {
        self.forget();
        let by_caller = !order.is_cashiers();
        self.order = Some(order);
        if by_caller { self.accept() } else { self.ask_on() }
    }

    fn accept(&mut self) -> Step {
        let Some(order) = self.order.clone() else { return self.menu(None) };
        // From here on it may be in the journal.
        self.accepted = true;
        self.busy(Place::Accepting, Busy::Working, Effect::Journal(Mark::Accepted(Box::new(order))))
    }

    fn trade_kind(&self) -> Trade {
        self.order.as_ref().map_or(Trade::Sale, |order| order.trade)
    }

    /// The next question, or on with it.
    pub(super) fn ask_on(&mut self) -> Step {
        let Some(order) = &self.order else { return self.menu(None) };
        let (trade, names) = (order.trade, order.trade.names());
        if !order.original.is_named(names) {
            return self.ask(Place::Original, View::Original { trade, names, wrong: None });
        }
        if names == Names::Trace && self.original.is_none() {
            let trace = order.original.trace.unwrap_or_default();
            return self.busy(Place::Finding, Busy::Working, Effect::Find(trace));
        }
        let supervised = self.operator().is_some_and(|operator| operator.supervisor);
        if trade.needs_supervisor()
            && self.rules.supervisor
            && order.is_cashiers()
            && !supervised
            && !self.allowed
        {
            return self.ask(Place::Supervisor, View::Supervisor { trade: Some(trade), wrong: false });
        }
        if trade.asks_amount() && order.amount.is_none() {
            return self.ask(Place::Amount, View::Amount { trade, wrong: None });
        }
        if trade == Trade::Instalment && order.periods.is_none() {
            let amount = order.amount.unwrap_or_default();
            return self.ask(Place::Periods, View::Periods { amount, wrong: None });
        }
        if trade == Trade::PointsSale && order.points.is_none() {
            let amount = order.amount.unwrap_or_default();
            return self.ask(Place::Points, View::Points { amount });
        }
        if trade == Trade::OfflineSale
            && order.is_cashiers()
            && order.original.auth_code.is_none()
            && !self.voiced
        {
            return self.ask_voice(None);
        }
        if !self.accepted {
            return self.accept();
        }
        if trade.goes_online() {
            return self.busy(Place::Preparing, Busy::Preparing, Effect::Prepare);
        }
        self.busy(Place::Preparing, Busy::Working, Effect::Number)
    }

    /// Breaks off before anything was sent. What the cashier had not finished asking for leaves no trace.
    fn give_up(&mut self, why: Why) -> Step {
        if self.accepted { self.end(Ending::here(why)) } else { self.menu(None) }
    }

    pub(super) fn trade(&mut self, event: Event) -> Step {
        match (self.place, event) {
            (Place::Accepting, Event::Done) => self.ask_on(),
            // An order that cannot be written down does not begin.
            (Place::Accepting, Event::Failed(trouble)) => {
                self.accepted = false;
                self.trouble(trouble)
            }
            (place, Event::Input(Input::Cancel)) if place.asks_the_cashier() => self.give_up(Why::Cancelled),
            (place, Event::Idle) if place.asks_the_cashier() => self.give_up(Why::TimedOut),
            (Place::Original, Event::Input(Input::Original { trace, reference, auth_code, date })) => {
                self.named(trace, reference, auth_code, date)
            }
            (Place::Original, Event::Input(Input::Scan)) => self.scan(),
            (Place::Finding, Event::Found(line)) => self.found(*line),
            (Place::Finding, Event::Failed(trouble)) => self.not_found(trouble),
            (Place::ConfirmOriginal, Event::Input(Input::Confirm)) => self.ask_on(),
            (Place::Supervisor, Event::Input(Input::Login { operator, password })) => {
                let effect = Effect::Login { operator, password, supervisor: true };
                self.busy(Place::Supervisor, Busy::Working, effect)
            }
            (Place::Supervisor, Event::Operator(_)) => {
                self.allowed = true;
                self.ask_on()
            }
            (Place::Supervisor, Event::Failed(_)) => {
                let trade = Some(self.trade_kind());
                self.ask(Place::Supervisor, View::Supervisor { trade, wrong: true })
            }
            (Place::Amount, Event::Input(Input::Amount { amount })) => self.amount(amount),
            (Place::Periods, Event::Input(Input::Periods { periods })) => {
                if !(2..=PERIODS_MAX).contains(&periods) {
                    let amount = self.order.as_ref().and_then(|order| order.amount).unwrap_or_default();
                    let wrong = Some("2-99".to_owned());
                    return self.ask(Place::Periods, View::Periods { amount, wrong });
                }
                self.change(|order| order.periods = Some(periods));
                self.ask_on()
            }
            (Place::Points, Event::Input(Input::Points { points })) => {
                self.change(|order| order.points = Some(points));
                self.ask_on()
            }
            (Place::Voice, Event::Input(Input::Voice { code })) => self.voice(code),
            (Place::Preparing, Event::Ready { batch, trace, .. }) => {
                self.numbers = (batch, trace);
                self.present()
            }
            (Place::Preparing, Event::Failed(trouble)) => self.end(Ending::here(Why::Terminal(trouble))),
            (Place::Card, event) => self.card_event(event),
            (Place::Kernel, Event::Kernel(says)) => self.kernel(says),
            (Place::Kernel, event @ Event::NoCard(_)) => self.card_event(event),
            (Place::Kernel, Event::Failed(trouble)) => {
                self.end(Ending::here(Why::Device { kind: "reader".to_owned(), text: trouble.text }))
            }
            (Place::Select, Event::Input(Input::Choose { index })) => {
                self.ask_kernel(KernelCall::Choose(index))
            }
            (Place::Select, Event::Input(Input::Confirm)) => self.ask_kernel(KernelCall::Confirmed),
            (Place::Select, Event::Input(Input::Cancel)) => self.abort(Why::Cancelled),
            (Place::Select, Event::Idle) => self.abort(Why::TimedOut),
            (Place::Pin, Event::Pin(says)) => self.pin(says),
            (Place::Pin, Event::NoCard(why)) => self.abort(why),
            (Place::Pin, Event::Failed(trouble)) => {
                self.abort(Why::Device { kind: "pin_pad".to_owned(), text: trouble.text })
            }
            (Place::Aborting, _) => match self.ending.take() {
                Some(ending) => self.end(ending),
                None => self.end(Ending::here(Why::Cancelled)),
            },
            (Place::Numbering, Event::Done) => {
                let reading = self.reading.unwrap_or(Reading::Keyed);
                self.busy(Place::Sending, self.sending(), Effect::Send(reading))
            }
            (Place::Numbering, Event::Failed(trouble)) => self.end(Ending::here(Why::Terminal(trouble))),
            (Place::Sending, Event::Host(says)) => self.answered(*says),
            (Place::Sending, Event::Failed(trouble)) => self.end(Ending::here(Why::Terminal(trouble))),
            (_, _) => self.again(),
        }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Order)) {
        if let Some(order) = &mut self.order {
            change(order);
        }
    }

    /// The code that the issuer gave by telephone.
    fn ask_voice(&mut self, wrong: Option<String>) -> Step {
        let amount = self.order.as_ref().and_then(|order| order.amount).unwrap_or_default();
        let needed = amount > self.rules.offline_max;
        self.ask(Place::Voice, View::Voice { amount, needed, limit: self.rules.offline_max, wrong })
    }

    fn voice(&mut self, code: Option<String>) -> Step {
        let amount = self.order.as_ref().and_then(|order| order.amount).unwrap_or_default();
        let plain = |code: &String| code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match code.filter(|code| !code.is_empty()) {
            Some(code) if plain(&code) => self.change(|order| order.original.auth_code = Some(code)),
            None if amount <= self.rules.offline_max => {}
            _ => return self.ask_voice(Some("auth_code".to_owned())),
        }
        self.voiced = true;
        self.ask_on()
    }

    /// What was keyed for the original.
    fn named(
        &mut self,
        trace: Option<u32>,
        reference: Option<String>,
        auth_code: Option<String>,
        date: Option<String>,
    ) -> Step {
        let (trade, names) = (self.trade_kind(), self.trade_kind().names());
        let digits = |text: &Option<String>, length: usize| {
            text.as_ref()
                .is_none_or(|text| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let plain = |text: &Option<String>, length: usize| {
            text.as_ref().is_none_or(|text| {
                text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
        };
        let wrong = match names {
            Names::Trace if trace.is_none_or(|trace| trace == 0 || trace > 999_999) => Some("trace"),
            Names::Reference if reference.is_none() || !plain(&reference, 12) => Some("reference"),
            Names::Authorisation if auth_code.is_none() || !plain(&auth_code, 6) => Some("auth_code"),
            Names::Reference | Names::Authorisation if date.is_none() || !digits(&date, 4) => Some("date"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let wrong = Some(wrong.to_owned());
            return self.ask(Place::Original, View::Original { trade, names, wrong });
        }
        self.change(|order| order.original = super::Original { trace, reference, auth_code, date });
        self.ask_on()
    }

    fn found(&mut self, line: crate::view::Line) -> Step {
        let mut trade = self.trade_kind();
        if trade.undoes() && self.order.as_ref().is_some_and(Order::is_cashiers) {
            // The cashier wants this one gone: how it is taken back depends on what it was.
            let Some(undo) = line.offers.iter().copied().find(|trade| trade.undoes()) else {
                let text = "这笔交易不能撤销 / it is nothing that can be voided".to_owned();
                return self.not_found(Trouble { kind: TroubleKind::NotPossible, text });
            };
            trade = undo;
            self.change(|order| order.trade = undo);
        }
        if !trade.asks_amount() {
            let amount = line.amount;
            self.change(|order| order.amount = Some(amount));
        }
        self.original = Some(line.clone());
        if self.order.as_ref().is_some_and(Order::is_cashiers) {
            return self.ask(Place::ConfirmOriginal, View::ConfirmOriginal { trade, line });
        }
        self.ask_on()
    }

    pub(super) fn not_found(&mut self, trouble: Trouble) -> Step {
        if self.accepted {
            return self.end(Ending::here(Why::Terminal(trouble)));
        }
        let (trade, names) = (self.trade_kind(), self.trade_kind().names());
        self.change(|order| order.original = super::Original::default());
        self.ask(Place::Original, View::Original { trade, names, wrong: Some(trouble.text) })
    }

    fn amount(&mut self, amount: u64) -> Step {
        let trade = self.trade_kind();
        let wrong = match amount {
            0 => Some("zero"),
            amount if amount > self.rules.amount_max => Some("too_much"),
            amount if trade == Trade::OfflineChip && amount > self.rules.offline_max => Some("over_offline"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let wrong = Some(wrong.to_owned());
            return self.ask(Place::Amount, View::Amount { trade, wrong });
        }
        self.change(|order| order.amount = Some(amount));
        self.ask_on()
    }

    /// Waits for a card, where one is needed.
    fn present(&mut self) -> Step {
        let trade = self.trade_kind();
        let of_batch = trade.names() == Names::Trace;
        let by_number = of_batch && !trade.needs_card() && !self.rules.void_with_card;
        if !trade.uses_card() || by_number {
            self.reading = Some(Reading::Keyed);
            return self.number();
        }
        self.wait_card()
    }

    fn wait_card(&mut self) -> Step {
        let Some(order) = &self.order else { return self.menu(None) };
        let (trade, amount) = (order.trade, order.amount);
        let ways = if self.second { trade.second().unwrap_or(trade.ways()) } else { trade.ways() };
        let only = |wanted: Hint| self.hint == wanted;
        let stripe = !self.torn && ways.stripe && !only(Hint::Insert) && !only(Hint::Tap);
        let slot = !self.torn && ways.slot && !only(Hint::Swipe) && !only(Hint::Fallback);
        let field = self.torn
            || (ways.field
                && !only(Hint::Swipe)
                && !only(Hint::Fallback)
                && !only(Hint::Insert)
                && !only(Hint::TryAgain));
        let keyed = ways.keys && self.rules.keyed && self.manual_entry && !self.fallback && !self.torn;
        let hint = if self.torn { Hint::TapSame } else { self.hint };
        if !(stripe || slot || field) {
            // A purse cannot be reached but by its chip.
            return self.end(Ending::here(Why::Card { reason: "unreadable".to_owned() }));
        }
        let (second, fallback) = (self.second, self.fallback);
        self.place = Place::Card;
        Step {
            view: View::Card { trade, amount, stripe, slot, field, hint, keyed, second },
            effect: Effect::Detect { fallback, stripe, slot, field, second },
        }
    }

    fn card_event(&mut self, event: Event) -> Step {
        match event {
            Event::Card(Card::Swiped { masked }) => {
                self.card = masked;
                self.reading = Some(if self.fallback { Reading::Fallback } else { Reading::Swipe });
                self.after_stripe()
            }
            Event::Card(Card::Keyed { masked }) => {
                self.card = masked;
                self.reading = Some(Reading::Keyed);
                self.after_stripe()
            }
            Event::Card(Card::UseChip) => {
                self.hint = Hint::Insert;
                self.wait_card()
            }
            // How the card that pays was read stays, when this is the one that is loaded.
            Event::Card(Card::Inserted) => {
                if !self.second {
                    self.reading = Some(Reading::Chip);
                }
                self.ask_kernel(KernelCall::Start)
            }
            Event::Card(Card::Tapped) => {
                self.reading = Some(Reading::Tap);
                self.ask_kernel(KernelCall::Start)
            }
            Event::Again(hint) => {
                self.hint = hint;
                self.wait_card()
            }
            // Whoever broke it off, what has to be known is that the card may have counted it.
            Event::NoCard(_) if self.torn => self.end(Ending::here(Why::Card { reason: "Torn".to_owned() })),
            Event::NoCard(why) => self.end(Ending::here(why)),
            Event::Failed(trouble) => {
                self.end(Ending::here(Why::Device { kind: "reader".to_owned(), text: trouble.text }))
            }
            _ => self.wait_card(),
        }
    }

    /// A stripe was read, or a number keyed: the PIN where one is asked for.
    fn after_stripe(&mut self) -> Step {
        let trade = self.trade_kind();
        let asks = if trade.uses_chip() { self.rules.swipe_pin } else { self.rules.pin_on_undo };
        if trade.demands_pin() || asks && trade.goes_online() {
            return self.ask_pin(!trade.demands_pin());
        }
        self.number()
    }

    fn ask_pin(&mut self, bypass: bool) -> Step {
        let Some(order) = &self.order else { return self.menu(None) };
        let (trade, amount, card) = (order.trade, order.amount, self.card.clone());
        self.place = Place::Pin;
        Step { view: View::Pin { trade, amount, card, bypass }, effect: Effect::Pin { bypass } }
    }

    fn ask_kernel(&mut self, call: KernelCall) -> Step {
        self.busy(Place::Kernel, Busy::Reading, Effect::Kernel(call))
    }

    /// Breaks the kernel off, then ends.
    fn abort(&mut self, why: Why) -> Step {
        self.ending = Some(Ending::here(why));
        self.busy(Place::Aborting, Busy::Working, Effect::Kernel(KernelCall::Abort))
    }

    fn kernel(&mut self, says: KernelSays) -> Step {
        let only_read = !self.trade_kind().uses_chip();
        match says {
            KernelSays::Select(candidates) => self.ask(Place::Select, View::Select { candidates }),
            KernelSays::Confirm(label) => self.ask(Place::Select, View::Select { candidates: vec![label] }),
            // The card is known now, which is all that a refund or a completion needs of it.
            KernelSays::Pin { masked, .. } | KernelSays::Online { masked } if only_read => {
                self.card = masked;
                self.after_stripe()
            }
            // The PIN is that of the account, not of the purse.
            KernelSays::Pin { .. } if self.second => self.ask_kernel(KernelCall::PinBypassed),
            KernelSays::Pin { masked, bypass } => {
                self.card = masked;
                self.ask_pin(bypass && !self.trade_kind().demands_pin())
            }
            // Chinese cards are verified online; the parameter for the offline PIN is off.
            KernelSays::OfflinePin { .. } => self.ask_kernel(KernelCall::PinBypassed),
            // Nobody is asked: a card that wants the host does not pay here.
            KernelSays::Online { .. } if !self.trade_kind().goes_online() => {
                self.abort(Why::Card { reason: "wants_host".to_owned() })
            }
            KernelSays::Online { masked } => {
                self.card = masked;
                self.number()
            }
            KernelSays::ApprovedOffline => self.number(),
            KernelSays::Declined(reason) => self.end(Ending::here(Why::Card { reason })),
            KernelSays::Terminated(reason) => self.end(Ending::here(Why::Card { reason })),
            KernelSays::Torn => {
                self.torn = true;
                self.wait_card()
            }
            KernelSays::OtherCard => self.wait_card(),
            KernelSays::Fallback | KernelSays::Other(_) if self.torn => self.wait_card(),
            KernelSays::Fallback => {
                self.chip_failures += 1;
                self.fallback = self.chip_failures >= self.rules.chip_tries;
                self.hint = if self.fallback { Hint::Fallback } else { Hint::TryAgain };
                self.busy(Place::Card, Busy::Reading, Effect::RemoveCard)
            }
            KernelSays::Other(hint) => {
                self.hint = hint;
                self.wait_card()
            }
        }
    }

    fn pin(&mut self, says: PinSays) -> Step {
        if self.trade_kind().second().is_some() && !self.second {
            self.second = true;
            self.hint = Hint::Nothing;
            return self.wait_card();
        }
        let by_chip =
            matches!(self.reading, Some(Reading::Chip | Reading::Tap)) && self.trade_kind().uses_chip();
        match (by_chip, says) {
            (true, PinSays::Entered) => self.ask_kernel(KernelCall::PinEntered),
            (true, PinSays::Bypassed) => self.ask_kernel(KernelCall::PinBypassed),
            (false, _) => self.number(),
        }
    }

    /// Its numbers are written down before it leaves, or is done here.
    fn number(&mut self) -> Step {
        let (batch, trace) = self.numbers;
        self.busy(Place::Numbering, self.sending(), Effect::Journal(Mark::Online { batch, trace }))
    }

    fn sending(&self) -> Busy {
        if self.trade_kind().goes_online() { Busy::Online } else { Busy::Working }
    }

    fn answered(&mut self, says: super::HostSays) -> Step {
        let (outcome, why) = match says.status {
            Some(HostStatus::Approved) => (Outcome::Approved, Why::Host),
            Some(HostStatus::Declined) => (Outcome::Declined, Why::Host),
            Some(HostStatus::DeclinedByCard) => {
                (Outcome::Declined, Why::Card { reason: "declined".to_owned() })
            }
            Some(HostStatus::CardRefused) => (Outcome::Declined, Why::CardRefused),
            Some(HostStatus::NoAnswer) | None => (Outcome::Unknown, Why::NoAnswer),
        };
        let reverse = says.reversal;
        let ending = Ending { outcome, why, host: Some(says) };
        if reverse {
            self.ending = Some(ending);
            return self.busy(Place::Reversing, Busy::Reversing, Effect::Reverse);
        }
        self.end(ending)
    }

    /// An event that fits nowhere: whatever was asked is asked again.
    fn again(&mut self) -> Step {
        match self.place {
            Place::Amount => {
                let trade = self.trade_kind();
                self.ask(Place::Amount, View::Amount { trade, wrong: None })
            }
            Place::Card => self.wait_card(),
            Place::Original
            | Place::Periods
            | Place::Points
            | Place::Voice
            | Place::Supervisor
            | Place::ConfirmOriginal => self.ask_on(),
            _ => {
                let trouble = Trouble { kind: TroubleKind::Other, text: "out of order".to_owned() };
                self.end(Ending::here(Why::Terminal(trouble)))
            }
        }
    }
}
