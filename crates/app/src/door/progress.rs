//! Events: how far the request under way is, for callers that listen. They are hints. Who comes late hears what has been so
//! far, and the last one is `done`; whoever misses one asks with a query.

use pay::{Event, Key, Progress, Text, Version};
use receipt::MaskedPan;
use tokio::sync::watch;

use super::wishes::told;
use crate::flow::Lang;
use crate::panel::Shown;
use crate::view::{Busy, View};

/// Most events of one request: a card that is asked for again and again does not fill the memory.
const EVENTS_MAX: usize = 64;

/// What the listeners of a door share.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    key: Option<Key>,
    lang: Option<Lang>,
    events: Vec<Event>,
    /// No more will come.
    over: bool,
}

impl Heard {
    /// A request that begins. Whoever listened to the one before is done.
    pub(super) fn begin(key: &Key, lang: Option<Lang>) -> Self {
        let mut heard = Self { key: Some(key.clone()), lang, ..Self::default() };
        heard.push(Progress::Accepted, None);
        heard
    }

    /// The power is gone.
    pub(super) fn close(&mut self) {
        self.over = true;
    }

    /// The result is there.
    pub(super) fn done(&mut self, key: &Key) {
        if self.key.as_ref() == Some(key) && !self.over {
            self.push(Progress::Done, None);
            self.over = true;
        }
    }

    /// What a screen says of it. Whether that is news.
    pub(super) fn look(&mut self, shown: &Shown) -> bool {
        if self.over || self.key.is_none() {
            return false;
        }
        let before = self.events.len();
        let card_read = |heard: &mut Self, masked: Option<&str>| {
            let waited = heard
                .events
                .iter()
                .rev()
                .find(|event| matches!(event.event, Progress::WaitCard | Progress::CardRead));
            if waited.is_some_and(|event| event.event == Progress::WaitCard) {
                heard.push(Progress::CardRead, masked.and_then(|text| MaskedPan::parse(text).ok()));
            }
        };
        let card = shown.standing.card.as_deref();
        match &shown.view {
            View::Card { .. } => self.push(Progress::WaitCard, None),
            View::Pin { .. } => {
                card_read(self, card);
                self.push(Progress::EnterPin, None);
            }
            View::Busy { with: Busy::Online, .. } => {
                card_read(self, card);
                self.push(Progress::Online, None);
            }
            View::Busy { with: Busy::Reversing, .. } => self.push(Progress::Reversing, None),
            View::Busy { with: Busy::Printing, .. } => self.push(Progress::Printing, None),
            _ => {}
        }
        self.events.len() > before
    }

    fn push(&mut self, progress: Progress, masked_pan: Option<MaskedPan>) {
        let Some(key) = &self.key else { return };
        let again = self.events.last().is_some_and(|last| last.event == progress);
        // The end has its place however long the list is.
        let room = self.events.len() < EVENTS_MAX || progress == Progress::Done;
        if again || !room {
            return;
        }
        let (zh, en) = words(progress);
        self.events.push(Event {
            v: Version::V1,
            request_id: key.request_id.clone(),
            event: progress,
            masked_pan,
            code: None,
            text: Text::new(&told(zh, en, self.lang)).ok(),
        });
    }
}

/// A line for a display of the caller.
const fn words(progress: Progress) -> (&'static str, &'static str) {
    match progress {
        Progress::Accepted => ("已受理", "accepted"),
        Progress::ChooseMethod => ("请选择支付方式", "choose how to pay"),
        Progress::WaitCard => ("请出示银行卡", "please present the card"),
        Progress::CardRead => ("已读卡", "the card was read"),
        Progress::EnterPin => ("请输入密码", "please enter the PIN"),
        Progress::Online => ("正在联机", "asking the host"),
        Progress::ShowCode => ("请扫码", "please scan the code"),
        Progress::WaitPayer => ("等待付款人确认", "waiting for the payer"),
        Progress::Reversing => ("无应答, 正在冲正", "no usable answer: reversing"),
        Progress::Printing => ("正在打印", "printing"),
        Progress::Done => ("完成", "done"),
    }
}

/// The events of one request, from its first on.
#[derive(Debug)]
pub struct Events {
    pub(super) key: Key,
    pub(super) heard: watch::Receiver<Heard>,
    pub(super) next: usize,
    /// Of a request that was over before anybody listened.
    pub(super) last: Option<Event>,
}

impl Events {
    /// Of a request that is over: its last one alone.
    pub(super) fn over(key: Key, heard: watch::Receiver<Heard>) -> Self {
        let mut past = Heard { key: Some(key.clone()), ..Heard::default() };
        past.push(Progress::Done, None);
        Self { key, heard, next: usize::MAX, last: past.events.pop() }
    }

    /// The next one; nothing after the last, and when the power is gone.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if self.next == usize::MAX {
                return self.last.take();
            }
            {
                let heard = self.heard.borrow_and_update();
                let own = heard.key.as_ref() == Some(&self.key);
                if let Some(event) = heard.events.get(self.next).filter(|_| own) {
                    self.next += 1;
                    return Some(event.clone());
                }
                if heard.over || !own {
                    return None;
                }
            }
            self.heard.changed().await.ok()?;
        }
    }
}
