//! An order after its outcome: reversal, journal, card, slips, result, the caller.

use receipt::Part;

use super::{
    Effect, Ending, Event, Flow, HostStatus, Mark, Outcome, Place, Print, Reading, SignSays, Step, Why,
};
use crate::view::{Busy, Input, View};

/// Tries at a signature before it goes on paper.
const SIGN_TRIES: u8 = 3;

impl Flow {
    /// The order is over: written down before anybody learns it.
    pub(super) fn end(&mut self, ending: Ending) -> Step {
        self.ending = Some(ending.clone());
        if !self.accepted {
            return self.show_result();
        }
        self.busy(Place::Ending, Busy::Working, Effect::Journal(Mark::Ended(Box::new(ending))))
    }

    pub(super) fn after(&mut self, event: Event) -> Step {
        match (self.place, event) {
            (Place::Reversing, Event::Host(says)) => self.reversed(says.status == Some(HostStatus::Approved)),
            (Place::Reversing, _) => self.reversed(false),
            (Place::Ending, Event::Done) => self.card_out(),
            (Place::Ending, Event::Failed(trouble)) => {
                // The outcome cannot be written down: nobody is told that it is certain.
                let host = self.ending.take().and_then(|ending| ending.host);
                self.ending = Some(Ending { outcome: Outcome::Unknown, why: Why::Terminal(trouble), host });
                self.card_out()
            }
            (Place::Removing, _) => self.sign(),
            (Place::Signing(tries), Event::Signed(SignSays::Empty)) if tries < SIGN_TRIES => {
                self.ask_signature(tries + 1)
            }
            (Place::Signing(_), _) => self.print_first(),
            (Place::Printing(part), Event::Done) => {
                self.busy(Place::Printed(part), Busy::Printing, Effect::Journal(Mark::Printed(part)))
            }
            (Place::Printing(part), Event::Failed(trouble)) => {
                self.ask(Place::Paper(part), View::Paper { problem: trouble.text, part })
            }
            // That a copy is on paper could not be noted: it may be printed once more, with its mark.
            (Place::Printed(part), _) => self.print_next(part),
            (Place::Paper(part), Event::Input(Input::Confirm)) => {
                self.busy(Place::Printing(part), Busy::Printing, Effect::Print { part, again: true })
            }
            // The slip stays in the terminal and can be printed from the menu.
            (Place::Paper(_), Event::Input(Input::Cancel)) => self.show_result(),
            (Place::Tear(part), Event::Input(Input::Confirm) | Event::Idle) => {
                self.busy(Place::Printing(part), Busy::Printing, Effect::Print { part, again: false })
            }
            (Place::Tear(_), Event::Input(Input::Cancel)) => self.show_result(),
            (Place::Result, Event::Input(Input::Confirm | Input::Cancel) | Event::Idle) => self.give_back(),
            (Place::Returning, _) => self.opened(),
            (Place::Paper(part), _) => {
                self.ask(Place::Paper(part), View::Paper { problem: "no_paper".to_owned(), part })
            }
            (Place::Tear(part), _) => self.ask(Place::Tear(part), View::Tear { part }),
            _ => self.show_result(),
        }
    }

    fn reversed(&mut self, done: bool) -> Step {
        let mut ending = self.ending.take().unwrap_or_else(|| Ending::here(Why::NoAnswer));
        if done && ending.outcome == Outcome::Unknown {
            ending.outcome = Outcome::Declined;
            ending.why = Why::Reversed;
        }
        if done && let Some(host) = &mut ending.host {
            host.reversal = false;
        }
        self.end(ending)
    }

    fn card_out(&mut self) -> Step {
        match self.reading {
            reading if self.second || reading == Some(Reading::Chip) => {
                self.place = Place::Removing;
                Step { view: View::RemoveCard, effect: Effect::RemoveCard }
            }
            // A tapped card is in its holder's hand: there is nothing to take, only the antenna to switch off.
            Some(Reading::Tap) => self.busy(Place::Removing, Busy::Working, Effect::RemoveCard),
            _ => self.sign(),
        }
    }

    /// The holder signs before the slip is printed, where the screen is for it. Where the caller prints, its paper has the
    /// line for it.
    fn sign(&mut self) -> Step {
        let prints = self.order.as_ref().is_some_and(|order| order.print != Print::Nothing);
        let wanted = self.rules.esign && prints && self.signature().is_some();
        if wanted { self.ask_signature(1) } else { self.print_first() }
    }

    /// What is to be signed for: trace and feature code.
    fn signature(&self) -> Option<(u32, String)> {
        let ending = self.ending.as_ref().filter(|ending| ending.outcome == Outcome::Approved)?;
        let host = ending.host.as_ref()?;
        Some((host.trace, host.sign.clone()?))
    }

    fn ask_signature(&mut self, tries: u8) -> Step {
        let (Some((trace, code)), Some(order)) = (self.signature(), &self.order) else {
            return self.print_first();
        };
        let view =
            View::Sign { trade: order.trade, amount: order.amount, code: code.clone(), again: tries > 1 };
        self.place = Place::Signing(tries);
        Step { view, effect: Effect::Sign { trace, code } }
    }

    fn print_first(&mut self) -> Step {
        let approved = self.ending.as_ref().is_some_and(|ending| ending.outcome == Outcome::Approved);
        let prints = self.order.as_ref().is_some_and(|order| order.trade.prints());
        let first = self.order.as_ref().and_then(|order| order.print.after(None));
        match first {
            Some(part) if approved && prints => {
                self.busy(Place::Printing(part), Busy::Printing, Effect::Print { part, again: false })
            }
            _ => self.show_result(),
        }
    }

    fn print_next(&mut self, part: Part) -> Step {
        let next = self.order.as_ref().and_then(|order| order.print.after(Some(part)));
        match next {
            Some(_) => {
                let next = Part::Cardholder;
                self.ask(Place::Tear(next), View::Tear { part })
            }
            None => self.show_result(),
        }
    }

    pub(super) fn show_result(&mut self) -> Step {
        let (Some(order), Some(ending)) = (&self.order, &self.ending) else { return self.opened() };
        if order.skip_result {
            return self.give_back();
        }
        let view = View::Result {
            trade: order.trade,
            amount: order.amount,
            reading: self.reading,
            ending: ending.clone(),
        };
        self.ask(Place::Result, view)
    }

    fn give_back(&mut self) -> Step {
        self.busy(Place::Returning, Busy::Working, Effect::Return)
    }
}
