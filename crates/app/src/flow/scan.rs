//! A slip before the scanner: its code picks the original of an order, or a transaction of the menu.

use super::{Effect, Event, Flow, Names, Order, Original, Place, Step, Trade, Trouble, TroubleKind};
use crate::view::{Line, View};

impl Flow {
    /// Looks for the code of a slip.
    pub(super) fn scan(&mut self) -> Step {
        self.place = Place::Scanning;
        let trade = self.order.as_ref().map(|order| order.trade);
        Step { view: View::Scan { trade }, effect: Effect::Scan }
    }

    pub(super) fn scanned(&mut self, event: Event) -> Step {
        let order = self.order.as_ref().map(|order| (order.trade, order.trade.names()));
        match (order, event) {
            (Some((_, names)), Event::Scanned(line)) => match original(names, &line) {
                Some(original) => {
                    self.change(|order| order.original = original);
                    self.ask_on()
                }
                None => self.not_found(elsewhere()),
            },
            (None, Event::Scanned(line)) => self.detail(*line),
            (Some(_), Event::Failed(trouble)) => self.not_found(trouble),
            (None, Event::Failed(trouble)) => self.trouble(trouble),
            // Nothing was scanned: the numbers may be keyed.
            (Some((trade, names)), _) => {
                self.ask(Place::Original, View::Original { trade, names, wrong: None })
            }
            (None, _) => self.opened(),
        }
    }

    /// One transaction, and what can be done with it.
    pub(super) fn detail(&mut self, line: Line) -> Step {
        self.original = Some(line.clone());
        self.ask(Place::Detail, View::Detail { line })
    }

    /// A trade that refers to the transaction shown.
    pub(super) fn with_shown(&mut self, trade: Trade) -> Option<Step> {
        let line = self.original.as_ref().filter(|line| line.offers.contains(&trade))?;
        let original = original(trade.names(), line)?;
        self.count += 1;
        let order = Order::by_cashier(trade, format!("{}-{}", self.prefix, self.count));
        Some(self.begin(Order { original, ..order }))
    }
}

/// The numbers by which `names` names a transaction, when the slip has them.
fn original(names: Names, line: &Line) -> Option<Original> {
    // A voucher number means nothing outside its batch.
    if names == Names::Trace && !line.here {
        return None;
    }
    let date = Some(line.date.clone()).filter(|date| !date.is_empty());
    let original = Original {
        trace: Some(line.trace),
        reference: line.reference.clone(),
        auth_code: line.auth_code.clone(),
        date,
    };
    original.is_named(names).then_some(original)
}

fn elsewhere() -> Trouble {
    let text = "这张单据不能用于此交易 (不在本终端本批次,或缺少所需号码) / this slip does not serve here: it is of another \
                terminal or batch, or lacks the number that is needed";
    Trouble { kind: TroubleKind::NotFound, text: text.to_owned() }
}
