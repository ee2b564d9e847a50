//! Whoever takes the power away: at a step of the app, or when a request arrives at the host.

use std::sync::Mutex;

use app::flow::{Effect, Ending, Event, Mark};
use app::shell::Watch;
use tokio::sync::watch;

/// Where the power goes, counted from when the cutter is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Nowhere; what comes by is written down.
    Never,
    /// At this moment of the app: right before or right after an effect.
    Moment(usize),
    /// When this request has reached the host, which does nothing with it.
    Lost(usize),
    /// When this request has reached the host and is booked; its answer is not sent.
    Booked(usize),
}

/// What becomes of a request.
pub enum Wire {
    GoesOn,
    Lost,
    Booked,
}

#[derive(Debug, Default)]
struct Plan {
    at: Option<At>,
    /// Somebody has begun something.
    began: bool,
    moments: Vec<String>,
    wires: Vec<String>,
    endings: Vec<Ending>,
    cut: bool,
}

#[derive(Debug)]
pub struct Cutter {
    plan: Mutex<Plan>,
    changed: watch::Sender<u64>,
}

impl Cutter {
    pub fn new() -> Self {
        Self { plan: Mutex::default(), changed: watch::channel(0).0 }
    }

    /// From now on; what was written down before is forgotten.
    pub fn arm(&self, at: At) {
        *self.plan.lock().unwrap() = Plan { at: Some(at), ..Plan::default() };
    }

    /// The same for another start of the same terminal: the ends of its orders stay written down.
    pub fn arm_again(&self, at: At) {
        let mut plan = self.plan.lock().unwrap();
        *plan = Plan { at: Some(at), endings: std::mem::take(&mut plan.endings), ..Plan::default() };
    }

    /// What comes now does not count.
    pub fn suspend(&self) -> Option<At> {
        self.plan.lock().unwrap().at.take()
    }

    /// Now it does.
    pub fn resume(&self, at: Option<At>) {
        *self.plan.lock().unwrap() = Plan { at, ..Plan::default() };
    }

    /// From now on nothing is cut. What became of orders is written down still.
    pub fn disarm(&self) {
        let mut plan = self.plan.lock().unwrap();
        plan.at = None;
        plan.cut = false;
    }

    pub fn is_cut(&self) -> bool {
        self.plan.lock().unwrap().cut
    }

    /// What came by, from the key at the menu that began it to the menu again.
    pub fn moments(&self) -> Vec<String> {
        let mut moments = self.plan.lock().unwrap().moments.clone();
        moments.pop_if(|last| last == "before Wait");
        moments
    }

    pub fn wires(&self) -> Vec<String> {
        self.plan.lock().unwrap().wires.clone()
    }

    /// Every end of an order that was written down or settled.
    pub fn endings(&self) -> Vec<Ending> {
        self.plan.lock().unwrap().endings.clone()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Never answers: the line is there until the terminal is dark.
    pub async fn gone(&self) {
        let mut changes = self.changes();
        while self.is_cut() && changes.changed().await.is_ok() {}
    }

    pub fn arrived(&self, name: &str) -> Wire {
        let mut plan = self.plan.lock().unwrap();
        let Some(at) = plan.at.filter(|_| !plan.cut) else { return Wire::GoesOn };
        let number = plan.wires.len();
        plan.wires.push(name.to_owned());
        let wire = match at {
            At::Lost(cut) if cut == number => Wire::Lost,
            At::Booked(cut) if cut == number => Wire::Booked,
            _ => return Wire::GoesOn,
        };
        plan.cut = true;
        drop(plan);
        self.changed.send_modify(|version| *version += 1);
        wire
    }

    fn moment(&self, name: impl FnOnce() -> String) -> bool {
        let mut plan = self.plan.lock().unwrap();
        let Some(at) = plan.at else { return true };
        if plan.cut {
            return false;
        }
        if !plan.began {
            return true;
        }
        let number = plan.moments.len();
        plan.moments.push(name());
        if at != At::Moment(number) {
            return true;
        }
        plan.cut = true;
        drop(plan);
        self.changed.send_modify(|version| *version += 1);
        false
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Journal(Mark::Accepted(_)) => "Journal(Accepted)".to_owned(),
        Effect::Journal(Mark::Ended(_)) => "Journal(Ended)".to_owned(),
        Effect::Login { .. } => "Login".to_owned(),
        effect => format!("{effect:?}"),
    }
}

impl Watch for Cutter {
    fn before(&self, effect: &Effect) -> bool {
        self.moment(|| format!("before {}", short(effect)))
    }

    fn after(&self, effect: &Effect, event: &Event) -> bool {
        let ending = match (effect, event) {
            (Effect::Journal(Mark::Ended(ending)), Event::Done) => Some((**ending).clone()),
            (_, Event::Recovered { order: Some(recovered), .. }) => Some(recovered.ending.clone()),
            _ => None,
        };
        {
            let mut plan = self.plan.lock().unwrap();
            plan.endings.extend(ending);
            plan.began |= plan.at.is_some() && matches!(event, Event::Input(_));
        }
        self.moment(|| format!("after {}", short(effect)))
    }
}
