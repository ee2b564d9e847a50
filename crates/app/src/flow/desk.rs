//! What the cashier does beside trading: the batch, reprints, settlement, signing in and off, parameters.

use receipt::Part;

use super::{Desk, Effect, Event, Flow, HostSays, HostStatus, Place, Step};
use crate::view::{Busy, Input, View};

impl Flow {
    /// A menu choice that is no trade.
    pub(super) fn desk(&mut self, input: Input) -> Step {
        match input {
            Input::List { page } => self.busy(Place::Listing, Busy::Working, Effect::List(page)),
            Input::Scan => self.scan(),
            Input::Waiting => self.busy(Place::Counting, Busy::Working, Effect::Waiting),
            Input::Reprint => self.busy(Place::Reprinting, Busy::Printing, Effect::Reprint(None)),
            Input::Desk { desk: Desk::Settle } => self.busy(Place::Totals, Busy::Working, Effect::List(0)),
            Input::Desk { desk } => self.busy(Place::Desk(desk), Busy::Desk, Effect::Desk(desk)),
            _ => self.menu(None),
        }
    }

    pub(super) fn at_desk(&mut self, event: Event) -> Step {
        match (self.place, event) {
            (Place::Counting, Event::Waiting(items)) => self.ask(Place::Waiting, View::Waiting { items }),
            (Place::Waiting, Event::Input(Input::Confirm)) => {
                self.busy(Place::Desk(Desk::Upload), Busy::Desk, Effect::Desk(Desk::Upload))
            }
            (Place::Listing, Event::Page(page)) => {
                self.page = page.page;
                self.ask(Place::List, View::List { page: *page })
            }
            (Place::List, Event::Input(Input::List { page })) => {
                self.busy(Place::Listing, Busy::Working, Effect::List(page))
            }
            (Place::List, Event::Input(Input::Pick { trace })) => {
                self.busy(Place::List, Busy::Working, Effect::Find(trace))
            }
            (Place::List, Event::Found(line)) => self.detail(*line),
            (Place::Detail, Event::Input(Input::Trade { trade })) => {
                self.with_shown(trade).unwrap_or_else(|| self.opened())
            }
            (Place::Detail, Event::Input(Input::Reprint))
                if self.original.as_ref().is_some_and(|line| line.here) =>
            {
                let trace = self.original.as_ref().map(|line| line.trace);
                self.busy(Place::Reprinting, Busy::Printing, Effect::Reprint(trace))
            }
            (Place::Detail, _) => {
                let page = self.page;
                self.busy(Place::Listing, Busy::Working, Effect::List(page))
            }
            (Place::Totals, Event::Page(page)) => {
                self.ask(Place::ConfirmSettle, View::ConfirmSettle { page: *page })
            }
            (Place::ConfirmSettle, Event::Input(Input::Confirm)) => {
                let supervised = self.operator().is_some_and(|operator| operator.supervisor);
                if self.rules.login && !supervised {
                    return self.ask(Place::SettleSupervisor, View::Supervisor { trade: None, wrong: false });
                }
                self.settle()
            }
            (Place::SettleSupervisor, Event::Input(Input::Login { operator, password })) => {
                let effect = Effect::Login { operator, password, supervisor: true };
                self.busy(Place::SettleSupervisor, Busy::Working, effect)
            }
            (Place::SettleSupervisor, Event::Operator(_)) => self.settle(),
            (Place::SettleSupervisor, Event::Failed(_)) => {
                self.ask(Place::SettleSupervisor, View::Supervisor { trade: None, wrong: true })
            }
            (Place::Desk(desk), Event::Told(says)) => self.done(desk, *says),
            // Nobody asked, so nobody is told: the menu says that it waits, and it is tried again.
            (Place::Desk(Desk::Settle), Event::Failed(_)) if self.by_itself => self.opened(),
            (Place::SettlePrinting, Event::Failed(trouble)) => {
                self.ask(Place::SettlePrinting, View::Paper { problem: trouble.text, part: Part::Merchant })
            }
            (Place::SettlePrinting, Event::Input(Input::Confirm)) => self.print_settlement(true),
            (Place::SettlePrinting, _) => self.tell(),
            (_, Event::Failed(trouble)) => self.trouble(trouble),
            _ => self.opened(),
        }
    }

    pub(super) fn settle(&mut self) -> Step {
        self.busy(Place::Desk(Desk::Settle), Busy::Desk, Effect::Desk(Desk::Settle))
    }

    fn done(&mut self, desk: Desk, says: HostSays) -> Step {
        let approved = says.status == Some(HostStatus::Approved);
        self.told = Some((desk, says));
        if desk == Desk::Settle && approved { self.print_settlement(false) } else { self.tell() }
    }

    fn print_settlement(&mut self, again: bool) -> Step {
        let effect = Effect::Print { part: Part::Merchant, again };
        self.busy(Place::SettlePrinting, Busy::Printing, effect)
    }

    fn tell(&mut self) -> Step {
        match self.told.take() {
            Some((desk, says)) => self.ask(Place::Told, View::Told { desk, says }),
            None => self.menu(None),
        }
    }
}
