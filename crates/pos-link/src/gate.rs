//! Who may come in: connections in total and of one address, how fast an address may connect, and how many of its
//! frames may be in work at once. What is over a limit is refused before it costs more than the accept, or waits
//! for its own turn; nobody else does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Addresses remembered without a connection before the forgotten ones are dropped.
const ADDRESSES_SPARE: usize = 1_024;

/// Limits of the gate.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address.
    pub per_address: usize,
    /// New connections that an address may make in a second; as many at once.
    pub per_second: u32,
    /// Frames of one address in work at a time.
    pub frames: usize,
}

/// Why a connection is not taken; the text is the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The node has as many as it may.
    Total,
    /// The address has as many as it may.
    Address,
    /// The address connects too fast.
    Rate,
}

impl Full {
    /// Label of the metric.
    pub const fn label(self) -> &'static str {
        match self {
            Full::Total => "too many connections",
            Full::Address => "too many connections of one address",
            Full::Rate => "one address connects too fast",
        }
    }
}

/// What counts as one address: an IPv4 address, or the half of an IPv6 address that one subscriber has.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

struct Address {
    connections: usize,
    /// When its next connection would be due if it connected evenly; as far ahead of now as it was fast.
    due: Instant,
    turns: Arc<Semaphore>,
}

struct Counted {
    total: usize,
    addresses: HashMap<IpAddr, Address>,
}

/// The gate of one listener.
pub struct Gate {
    limits: Limits,
    counted: Mutex<Counted>,
}

impl Gate {
    /// An open gate.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Gate { limits, counted: Mutex::new(Counted { total: 0, addresses: HashMap::new() }) })
    }

    /// Lets a connection in, or says which limit it meets.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Pass, Full> {
        let origin = origin(address);
        let limits = self.limits;
        let interval =
            Duration::from_secs(1).checked_div(limits.per_second).unwrap_or(Duration::from_secs(1));
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.addresses.len() > counted.total * 2 + ADDRESSES_SPARE {
            counted.addresses.retain(|_, known| known.connections > 0 || known.due > now);
        }
        let total = counted.total;
        let known = counted.addresses.entry(origin).or_insert_with(|| Address {
            connections: 0,
            due: now,
            turns: Arc::new(Semaphore::new(limits.frames)),
        });
        let due = known.due.max(now) + interval;
        if due > now + Duration::from_secs(1) {
            return Err(Full::Rate);
        }
        known.due = due;
        if known.connections >= limits.per_address {
            return Err(Full::Address);
        }
        if total >= limits.connections {
            return Err(Full::Total);
        }
        known.connections += 1;
        let turns = Arc::clone(&known.turns);
        counted.total += 1;
        Ok(Pass { gate: Arc::clone(self), origin, turns })
    }
}

/// A connection's place; given back when dropped.
pub struct Pass {
    gate: Arc<Gate>,
    origin: IpAddr,
    turns: Arc<Semaphore>,
}

impl Pass {
    /// Waits until a frame of this address may be worked on. Turns are given in the order in which they were asked
    /// for, so a connection with many frames does not keep another of its address waiting for all of them.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counted = self.gate.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.total = counted.total.saturating_sub(1);
        if let Some(known) = counted.addresses.get_mut(&self.origin) {
            known.connections = known.connections.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 5, per_address: 3, per_second: 4, frames: 2 };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn each_limit_is_its_own() {
        let gate = Gate::new(LIMITS);
        let now = Instant::now();
        let mut first: Vec<Pass> = (0..3).map(|_| gate.enter(address(1), now).ok().unwrap()).collect();
        assert_eq!(gate.enter(address(1), now).err(), Some(Full::Address));
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
        let gate = Gate::new(LIMITS);
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
        let gate = Gate::new(LIMITS);
        let mut now = Instant::now();
        for host in 0..3_000u32 {
            now += Duration::from_secs(2);
            drop(gate.enter(IpAddr::from(host.to_be_bytes()), now).ok().unwrap());
            assert!(gate.counted.lock().unwrap().addresses.len() <= ADDRESSES_SPARE + 2);
        }
    }

    #[test]
    fn one_subscriber_has_half_an_ipv6_address() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
