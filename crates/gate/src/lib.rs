//! Who may come in: connections in total and of one guest, how fast a guest may connect, and how many of its requests
//! may be in work at once. What is over a limit is refused before it costs more than the accept, or waits for its own
//! turn; nobody else does.
//!
//! A guest is whatever the door counts by: a network [`Origin`], or a terminal. Beside it, [`Warnings`]: a flood of garbage
//! must not fill the disk with its own log.

mod accept;
mod warnings;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

pub use accept::accept;
pub use warnings::Warnings;

/// Guests remembered without a connection before the forgotten ones are dropped.
const GUESTS_SPARE: usize = 1_024;

/// Limits of the gate.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time of one guest.
    pub per_guest: usize,
    /// New connections that a guest may make in a second; as many at once.
    pub per_second: u32,
    /// Requests of one guest in work at a time.
    pub requests: usize,
}

/// Why a guest is not let in; the text is the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many as may be.
    Total,
    /// The guest has as many as it may.
    Guest,
    /// The guest connects too fast.
    Rate,
}

impl Full {
    /// Label of the metric at a door that counts by address.
    pub const fn label(self) -> &'static str {
        match self {
            Full::Total => "too many connections",
            Full::Guest => "too many connections of one address",
            Full::Rate => "one address connects too fast",
        }
    }
}

/// What counts as one address: an IPv4 address, or the half of an IPv6 address that one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Origin(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

struct Guest {
    connections: usize,
    /// When its next connection would be due if it connected evenly; as far ahead of now as it was fast.
    due: Instant,
    turns: Arc<Semaphore>,
}

struct Counted<K> {
    total: usize,
    guests: HashMap<K, Guest>,
}

/// The gate of one door.
pub struct Gate<K = Origin> {
    limits: Limits,
    counted: Mutex<Counted<K>>,
}

impl<K: Hash + Eq + Clone> Gate<K> {
    /// An open gate.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Gate { limits, counted: Mutex::new(Counted { total: 0, guests: HashMap::new() }) })
    }

    /// Lets a guest in, or says which limit it meets.
    pub fn enter(self: &Arc<Self>, guest: impl Into<K>, now: Instant) -> Result<Pass<K>, Full> {
        let guest = guest.into();
        let limits = self.limits;
        let interval =
            Duration::from_secs(1).checked_div(limits.per_second).unwrap_or(Duration::from_secs(1));
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.guests.len() > counted.total * 2 + GUESTS_SPARE {
            counted.guests.retain(|_, known| known.connections > 0 || known.due > now);
        }
        let total = counted.total;
        let known = counted.guests.entry(guest.clone()).or_insert_with(|| Guest {
            connections: 0,
            due: now,
            turns: Arc::new(Semaphore::new(limits.requests)),
        });
        let due = known.due.max(now) + interval;
        if due > now + Duration::from_secs(1) {
            return Err(Full::Rate);
        }
        known.due = due;
        if known.connections >= limits.per_guest {
            return Err(Full::Guest);
        }
        if total >= limits.connections {
            return Err(Full::Total);
        }
        known.connections += 1;
        let turns = Arc::clone(&known.turns);
        counted.total += 1;
        Ok(Pass { gate: Arc::clone(self), guest, turns })
    }
}

/// A guest's place; given back when dropped.
pub struct Pass<K: Hash + Eq = Origin> {
    gate: Arc<Gate<K>>,
    guest: K,
    turns: Arc<Semaphore>,
}

impl<K: Hash + Eq> Pass<K> {
    /// Waits until a request of this guest may be worked on. Turns are given in the order in which they were asked
    /// for, so a connection with many requests does not keep another of its guest waiting for all of them.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}

impl<K: Hash + Eq> Drop for Pass<K> {
    fn drop(&mut self) {
        let mut counted = self.gate.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.total = counted.total.saturating_sub(1);
        if let Some(known) = counted.guests.get_mut(&self.guest) {
            known.connections = known.connections.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 5, per_guest: 3, per_second: 4, requests: 2 };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn each_limit_is_its_own() {
        let gate = Gate::<Origin>::new(LIMITS);
        let now = Instant::now();
        let mut first: Vec<Pass> = (0..3).map(|_| gate.enter(address(1), now).ok().unwrap()).collect();
        assert_eq!(gate.enter(address(1), now).err(), Some(Full::Guest));
        let second = [gate.enter(address(2), now).ok().unwrap(), gate.enter(address(2), now).ok().unwrap()];
        assert_eq!(gate.enter(address(3), now).err(), Some(Full::Total));
        // A place that is given back is free at once, but the address was fast: four in this second.
        first.pop();
        assert_eq!(gate.enter(address(1), now).err(), Some(Full::Rate));
        let later = now + Duration::from_millis(300);
        assert!(gate.enter(address(1), later).is_ok());
        drop(second);
        assert!(gate.enter(address(3), later).is_ok());
    }

    #[tokio::test]
    async fn turns_are_an_address_own() {
        let gate = Gate::<Origin>::new(LIMITS);
        let now = Instant::now();
        let one = gate.enter(address(1), now).ok().unwrap();
        let other = gate.enter(address(2), now).ok().unwrap();
        let held = (one.turn().await, one.turn().await);
        let third = tokio::time::timeout(Duration::ZERO, one.turn()).await;
        assert!(third.is_err(), "the address has its two frames in work");
        assert!(other.turn().await.is_some());
        drop(held);
        assert!(one.turn().await.is_some());
    }

    #[tokio::test]
    async fn addresses_that_left_are_forgotten() {
        let gate = Gate::<Origin>::new(LIMITS);
        let mut now = Instant::now();
        for host in 0..3_000u32 {
            now += Duration::from_secs(2);
            drop(gate.enter(IpAddr::from(host.to_be_bytes()), now).ok().unwrap());
            assert!(gate.counted.lock().unwrap().guests.len() <= GUESTS_SPARE + 2);
        }
    }

    #[test]
    fn one_subscriber_has_half_an_ipv6_address() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
