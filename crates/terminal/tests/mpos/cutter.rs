//! What happens on the link to the reader at the moment in which a request reaches the host.

use std::sync::{Arc, Mutex, Weak};

use terminal::{Hand, Station};

#[allow(dead_code)] // the host knows more than is asked of it here
pub enum Wire {
    GoesOn,
    Lost,
    Booked,
}

struct Plan {
    name: String,
    station: Weak<Station>,
    hand: Hand,
}

#[derive(Default)]
pub struct Cutter {
    plan: Mutex<Option<Plan>>,
}

impl Cutter {
    /// Has a hand do this at the station when the next request of this kind arrives, which is then answered as ever.
    pub fn at(&self, name: &str, station: &Arc<Station>, hand: Hand) {
        let station = Arc::downgrade(station);
        *self.plan.lock().unwrap() = Some(Plan { name: name.to_owned(), station, hand });
    }

    pub fn arrived(&self, name: &str) -> Wire {
        let plan = self.plan.lock().unwrap().take_if(|plan| name.starts_with(plan.name.as_str()));
        if let Some(Plan { station, hand, .. }) = plan {
            station.upgrade().unwrap().hand(hand).unwrap();
        }
        Wire::GoesOn
    }

    pub async fn gone(&self) {}
}
