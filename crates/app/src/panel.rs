//! The screen and its keys, as the app holds them: what is shown, and what people and other apps ask for meanwhile.
//! Whoever draws the screen follows [`Panel::on_change`] and presses [`Panel::press`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hal::{Call, CancelToken, Interrupt, Signal};

use crate::flow::Order;
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
        let face = Face { shown, said: VecDeque::new(), cancel: None, keyed: None, free: false };
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
            _ if matches!(face.shown.view, View::Busy { .. } | View::RemoveCard) => false,
            _ if face.said.len() >= INPUTS_MAX => false,
            _ => {
                face.said.push_back(Said::Input(input));
                true
            }
        })
    }

    /// Another app orders. Whether the terminal is free for it; it is not while anything else is under way.
    pub fn order(&self, order: Order) -> bool {
        self.face.update(|face| {
            let free = std::mem::take(&mut face.free);
            if free {
                face.said.push_back(Said::Order(Box::new(order)));
            }
            free
        })
    }

    /// Shows a screen; what was pressed on the one before is void.
    pub(crate) fn show(&self, view: &View, standing: Standing, free: bool) {
        let version = self.face.update(|face| {
            face.said.retain(|said| matches!(said, Said::Order(_)));
            face.shown =
                Shown { version: face.shown.version.saturating_add(1), view: view.clone(), standing };
            face.keyed = None;
            // An order that is on its way already has taken the place.
            face.free = free && face.said.is_empty();
            face.shown.version
        });
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hooks.iter().for_each(|hook| hook(version));
    }

    /// Waits for somebody.
    pub(crate) fn wait(&self, call: &Call) -> Result<Said, Interrupt> {
        self.face.wait(call, |face| face.said.pop_front())
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
