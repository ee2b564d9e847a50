//! The screen and its keys, as the app holds them: what is shown, and what people and other apps ask for meanwhile.
//! Whoever draws the screen follows [`Panel::on_change`] and presses [`Panel::press`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hal::{Call, CancelToken, Interrupt, Signal};

use crate::flow::{Errand, Order};
use crate::view::{Busy, Input, KeyedPan, Standing, View};

/// Most inputs that wait; more fingers than that are mistakes.
const INPUTS_MAX: usize = 4;

/// What came from outside.
#[derive(Debug)]
pub enum Said {
    /// A person.
    Input(Input),
    /// Another app.
    Order(Box<Order>),
    /// Another app, and it is no trade.
    Errand(Box<Errand>),
}

/// What the panel shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Rises with every change.
    pub version: u64,
    /// The screen.
    pub view: View,
    /// How the terminal is.
    pub standing: Standing,
}

struct Face {
    shown: Shown,
    said: VecDeque<Said>,
    /// What the red key breaks off.
    cancel: Option<CancelToken>,
    /// A number keyed while a card was waited for.
    keyed: Option<(KeyedPan, Option<String>)>,
    /// Another app's order would be taken on.
    free: bool,
    /// Another app has the terminal, and is about to say what for.
    reserved: bool,
}

type Hook = Arc<dyn Fn(u64) + Send + Sync>;

/// Screen and keys. Clones are the same panel.
#[derive(Clone)]
pub struct Panel {
    face: Arc<Signal<Face>>,
    hooks: Arc<Mutex<Vec<Hook>>>,
}

impl std::fmt::Debug for Panel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Panel({:?})", self.face.lock().shown.view)
    }
}

impl Default for Panel {
    fn default() -> Self {
        Self::new()
    }
}

impl Panel {
    /// A dark one.
    pub fn new() -> Self {
        let view = View::Busy { with: Busy::Starting, trade: None, desk: None, amount: None };
        let shown = Shown { version: 0, view, standing: Standing::default() };
        let face =
            Face { shown, said: VecDeque::new(), cancel: None, keyed: None, free: false, reserved: false };
        Self { face: Signal::new(face), hooks: Arc::default() }
    }

    /// What is shown now.
    pub fn shown(&self) -> Shown {
        self.face.lock().shown.clone()
    }

    /// Has `hook` called after every change, with its version.
    pub fn on_change(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(hook));
    }

    /// A person does something. Whether it was taken: a key that means nothing on this screen is not.
    pub fn press(&self, input: Input) -> bool {
        self.face.update(|face| match (&input, &face.cancel) {
            (Input::Cancel, Some(token)) => {
                token.cancel();
                true
            }
            (Input::Keyed { pan, expiry }, Some(token)) => {
                let View::Card { keyed: true, .. } = face.shown.view else { return false };
                face.keyed = Some((pan.clone(), expiry.clone()));
                token.cancel();
                true
            }
            _ if face.reserved || matches!(face.shown.view, View::Busy { .. } | View::RemoveCard) => false,
            _ if face.said.len() >= INPUTS_MAX => false,
            _ => {
                face.said.push_back(Said::Input(input));
                true
            }
        })
    }

    /// Takes the terminal for another app, before it is written down what for. Whether it was free; it is not while
    /// anything else is under way, and keys mean nothing until the app has [said](Self::give) what it wants.
    pub fn reserve(&self) -> bool {
        self.face.update(|face| {
            let taken = face.free && face.said.is_empty();
            if taken {
                face.free = false;
                face.reserved = true;
            }
            taken
        })
    }

    /// What the terminal was [reserved](Self::reserve) for; nothing when the app thought better of it.
    pub fn give(&self, said: Option<Said>) {
        self.face.update(|face| {
            if !std::mem::take(&mut face.reserved) {
                return;
            }
            match said {
                Some(said) => face.said.push_back(said),
                None => face.free = true,
            }
        });
    }

    /// Another app orders. Whether the terminal is free for it.
    pub fn order(&self, order: Order) -> bool {
        let taken = self.reserve();
        if taken {
            self.give(Some(Said::Order(Box::new(order))));
        }
        taken
    }

    /// Whether another app's order would be taken on now.
    pub fn is_free(&self) -> bool {
        self.face.lock().free
    }

    /// Another app takes its order back: like the red key, as far as it would mean something now.
    pub fn recall(&self) -> bool {
        self.face.update(|face| match (&face.cancel, &face.shown.view) {
            (Some(token), _) => {
                token.cancel();
                true
            }
            (
                None,
                View::Select { .. }
                | View::Original { .. }
                | View::Amount { .. }
                | View::Periods { .. }
                | View::Points { .. }
                | View::Voice { .. },
            ) => {
                face.said.push_back(Said::Input(Input::Cancel));
                true
            }
            _ => false,
        })
    }

    /// Shows a screen; what was pressed on the one before is void.
    pub(crate) fn show(&self, view: &View, standing: Standing, free: bool) {
        let version = self.face.update(|face| {
            face.said.retain(|said| !matches!(said, Said::Input(_)));
            face.shown =
                Shown { version: face.shown.version.saturating_add(1), view: view.clone(), standing };
            face.keyed = None;
            // An order that is on its way already has taken the place.
            face.free = free && face.said.is_empty() && !face.reserved;
            face.shown.version
        });
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hooks.iter().for_each(|hook| hook(version));
    }

    /// Waits for somebody.
    pub(crate) fn wait(&self, call: &Call) -> Result<Said, Interrupt> {
        self.face.wait(call, |face| {
            let said = face.said.pop_front();
            // Whatever it is takes the terminal; the next screen says whether it is free again.
            face.free &= said.is_none();
            said
        })
    }

    /// From now on the red key pulls this.
    pub(crate) fn cancels(&self, token: Option<&CancelToken>) {
        self.face.update(|face| face.cancel = token.cloned());
    }

    /// The number that was keyed while a card was waited for.
    pub(crate) fn keyed(&self) -> Option<(KeyedPan, Option<String>)> {
        self.face.update(|face| face.keyed.take())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::Trade;

    fn menu(panel: &Panel) {
        panel.show(&View::Menu { notice: None }, Standing::default(), true);
    }

    fn order() -> Order {
        Order { caller: "com.example.shop".to_owned(), ..Order::by_cashier(Trade::Sale, "1".to_owned()) }
    }

    fn next(panel: &Panel) -> Option<Said> {
        panel.wait(&Call::within(Duration::from_millis(1))).ok()
    }

    /// A key and another app's order at the same moment: one of them has the terminal, whichever was first, and the other
    /// is told so. An order that was taken is never lost on a screen that does not know it.
    #[test]
    fn a_key_and_an_order_do_not_both_have_the_terminal() {
        let panel = Panel::new();
        menu(&panel);
        assert!(panel.press(Input::Trade { trade: Trade::Sale }));
        assert!(!panel.order(order()), "a key waits");
        assert!(matches!(next(&panel), Some(Said::Input(_))));
        assert!(!panel.order(order()), "the key is being followed, though the menu is still shown");

        menu(&panel);
        assert!(panel.reserve());
        assert!(!panel.press(Input::Trade { trade: Trade::Sale }), "the terminal is another app's");
        assert!(!panel.reserve());
        menu(&panel);
        assert!(!panel.is_free(), "a screen that is drawn meanwhile changes nothing");
        panel.give(Some(Said::Order(Box::new(order()))));
        assert!(matches!(next(&panel), Some(Said::Order(_))));

        menu(&panel);
        assert!(panel.reserve());
        panel.give(None);
        assert!(panel.is_free(), "it thought better of it");
        panel.give(Some(Said::Order(Box::new(order()))));
        assert!(next(&panel).is_none(), "nothing is ordered without the terminal");
    }
}
