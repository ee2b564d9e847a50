//! What happens on the link to the reader at the moment in which a request reaches the host.

use std::sync::{Arc, Mutex, Weak};

use terminal::{Hand, Station};

#[allow(dead_code)] // the host knows more than is asked of it here
pub enum Wire {
    GoesOn,
    Lost,
    Booked,
}

#[derive(Default)]
pub struct Cutter {
    plan: Mutex<Option<(String, Weak<Station>)>>,
}

impl Cutter {
    /// Cuts the link of this station when the next request of this kind arrives, which is then answered as ever.
    pub fn cut_link_at(&self, name: &str, station: &Arc<Station>) {
        *self.plan.lock().unwrap() = Some((name.to_owned(), Arc::downgrade(station)));
    }

    pub fn arrived(&self, name: &str) -> Wire {
        let mut plan = self.plan.lock().unwrap();
        if let Some((_, station)) = plan.take_if(|(wanted, _)| name.starts_with(wanted.as_str())) {
            station.upgrade().unwrap().hand(Hand::Link { on: false }).unwrap();
        }
        Wire::GoesOn
    }

    pub async fn gone(&self) {}
}
