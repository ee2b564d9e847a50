//! What the shell writes down and tells other apps: how far an order is, how it ended, and what became of one whose
//! outcome was not known.

use pos::{Kind, Status};
use receipt::Part;

use super::{Facts, Lit, Shell};
use crate::flow::{
    Chore, Desk, Ending, Errand, Event, HostSays, HostStatus, Mark, Order, Outcome, Print, Trouble,
    TroubleKind, Why,
};
use crate::host;
use crate::view::{Busy, View};

impl Shell {
    pub(super) fn journal(&mut self, mark: &Mark) -> Event {
        let written = self.slate.mark(mark, self.around.security.as_ref());
        let order = self.flow.order().filter(|order| !order.is_cashiers());
        let told = match (written, order) {
            (Ok(()), Some(order)) => {
                let facts = match mark {
                    Mark::Ended(ending) => self.facts(ending, self.slate.entry().and_then(|it| it.numbers)),
                    _ => Facts::default(),
                };
                let facts = Facts { reading: self.flow.reading(), ..facts };
                self.around.callers.marked(order, mark, &facts)
            }
            (written, _) => written,
        };
        match told {
            Ok(()) => Event::Done,
            Err(text) => {
                if let (Mark::Accepted(_), Some(order)) = (mark, order) {
                    self.around.callers.dropped(order, &text);
                }
                Event::Failed(Trouble { kind: TroubleKind::Other, text })
            }
        }
    }

    pub(super) fn give_back(&mut self) -> Event {
        if let Some(entry) = self.slate.entry()
            && entry.ending.is_some()
            && !entry.order.is_cashiers()
        {
            self.around.callers.returned(&entry.order);
        }
        self.journal(&Mark::Returned)
    }

    /// The end of an order that the flow does not hold any more.
    pub(super) fn tell_end(&self, order: &Order, numbers: Option<(u32, u32)>, ending: &Ending) {
        if order.is_cashiers() {
            return;
        }
        let mark = Mark::Ended(Box::new(ending.clone()));
        if let Err(error) = self.around.callers.marked(order, &mark, &self.facts(ending, numbers)) {
            tracing::error!(%error, "the end of another app's order cannot be written down");
        }
    }

    /// What the batch and the printer have of an order that stands.
    fn facts(&self, ending: &Ending, numbers: Option<(u32, u32)>) -> Facts<'_> {
        let told = ending.host.as_ref().map(|host| (host.batch, host.trace));
        let Some(numbers) = told.or(numbers).filter(|_| ending.outcome == Outcome::Approved) else {
            return Facts::default();
        };
        let is_it = |record: &&pos::Record| (record.batch, record.trace) == numbers;
        let last = self.terminal.last_record().filter(is_it);
        Facts {
            record: self.terminal.journal().iter().find(is_it).or(last),
            slip: last.and_then(|_| self.terminal.last_document()),
            reading: None,
        }
    }

    /// Takes note of what an answer says of earlier transactions.
    pub(super) fn hear(&mut self, outcome: &pos::Outcome) {
        for one in outcome.preceding.iter().chain([outcome]) {
            let ending = match (one.kind, one.status) {
                (Kind::Reversal, Status::Approved) => Ending::here(Why::Reversed),
                (Kind::Reversal, _) => continue,
                (_, Status::Declined) => {
                    Ending { outcome: Outcome::Declined, why: Why::Host, host: Some(host::says(one, None)) }
                }
                _ => continue,
            };
            self.heard.push((one.trace, ending));
        }
    }

    /// Orders whose outcome was not known and now is: one that the batch has stands, one that was reversed does not. A
    /// reversal that was given up says nothing.
    pub(super) fn settle_open(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        for (order, batch, trace) in self.slate.open_orders() {
            let record = self.terminal.journal().iter().find(|it| (it.batch, it.trace) == (batch, trace));
            let ending = match record {
                Some(record) => {
                    let host = Some(host::says_of(record));
                    Ending { outcome: Outcome::Approved, why: Why::Host, host }
                }
                None => match heard.iter().find(|(of, _)| *of == trace) {
                    Some((_, ending)) => ending.clone(),
                    None => continue,
                },
            };
            if let Err(error) = self.slate.settle(&order, &ending, self.around.security.as_ref()) {
                tracing::error!(%error, "what became of an open order cannot be written down");
                continue;
            }
            self.tell_end(&order, Some((batch, trace)), &ending);
        }
    }

    /// Does what another app asks for beside trading, while the counter stays at its menu.
    pub(super) fn errand(&mut self, errand: &Errand) -> Lit<()> {
        let menu = self.around.panel.shown().view;
        let (with, desk) = match errand.what {
            Chore::Desk(desk) => (Busy::Desk, Some(desk)),
            Chore::Reprint { .. } => (Busy::Printing, None),
        };
        let view = View::Busy { with, trade: None, desk, amount: None };
        self.around.panel.show(&view, self.standing(), false);
        let event = match errand.what {
            Chore::Desk(desk) => self.desk(desk)?,
            Chore::Reprint { trace } => self.reprint(Some(trace), errand.print)?,
        };
        let mut said = match event {
            Event::Told(says) => Ok(*says),
            Event::Failed(trouble) => Err(trouble),
            _ => Ok(HostSays { status: Some(HostStatus::Approved), ..HostSays::default() }),
        };
        if let Ok(says) = &mut said
            && errand.what == Chore::Desk(Desk::Settle)
            && says.status == Some(HostStatus::Approved)
            && errand.print != Print::Nothing
            && let Event::Failed(trouble) = self.print(Part::Merchant, false)?
        {
            // The batch is settled all the same; its slip is printed again from the menu.
            says.notices.push(trouble.text);
        }
        self.settle_open();
        self.around.callers.done(errand, said.as_ref());
        self.around.panel.show(&menu, self.standing(), self.flow.is_free());
        Ok(())
    }
}
