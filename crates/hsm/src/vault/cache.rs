//! Schedules of keys in use.
//!
//! Opening a wrapped key and making its schedule costs half a microsecond, as much as a short MAC itself,
//! and a payment uses five keys. So the schedules of keys used lately are kept.
//!
//! The cache is bounded: [`PLACES`] times [`WAYS`] schedules of at most 272 bytes. A key has its place by the tag of its
//! wrapping, which is as good as random; each place has a lock of its own and room for [`WAYS`] keys, the
//! one used longest ago makes room. What is thrown out is wiped, and so is everything when the vault is
//! dropped. A hit compares the whole wrapped key: an edited one never meets the schedule of another.

use std::sync::{Arc, Mutex, PoisonError};

use crate::HsmError;
use crate::key::WrappedKey;
use crate::primitives::BlockKey;

/// Keys that share a place.
const WAYS: usize = 4;
/// Places. With the ways: the PIN and MAC keys of some fifteen thousand busy terminals, 13 MB when full.
const PLACES: usize = 8 * 1024;
struct Entry {
    key: WrappedKey,
    schedule: Arc<BlockKey>,
}

/// Newest first.
type Place = [Option<Box<Entry>>; WAYS];

pub(crate) struct ScheduleCache {
    places: Box<[Mutex<Place>]>,
}

impl ScheduleCache {
    pub(crate) fn new() -> Self {
        Self { places: std::iter::repeat_with(|| Mutex::new([const { None }; WAYS])).take(PLACES).collect() }
    }

    /// The schedule of a key, made by `make` when it is not here.
    pub(crate) fn get(
        &self,
        key: &WrappedKey,
        make: impl FnOnce() -> Result<BlockKey, HsmError>,
    ) -> Result<Arc<BlockKey>, HsmError> {
        let Some(place) = self.places.get(key.spread() as usize % PLACES) else {
            return make().map(Arc::new);
        };
        {
            // A thread that panicked inside left whole entries: nothing here is changed in two steps.
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            let found = place.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.key == *key));
            if let Some(index) = found {
                if let Some(newer) = place.get_mut(..=index) {
                    newer.rotate_right(1);
                }
                if let [Some(entry), ..] = &*place {
                    return Ok(Arc::clone(&entry.schedule));
                }
            }
        }
        // Made outside the lock: two threads may both make it, the schedules are equal.
        let schedule = Arc::new(make()?);
        let entry = Some(Box::new(Entry { key: key.clone(), schedule: Arc::clone(&schedule) }));
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.rotate_right(1);
        let [first, ..] = &mut *place;
        *first = entry;
        Ok(schedule)
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.places.iter().map(|place| place.lock().unwrap().iter().flatten().count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{Hsm, KeyAlgorithm, KeyUsage, SoftVault};

    const SLOTS: usize = WAYS * PLACES;

    fn keys(count: usize) -> Vec<WrappedKey> {
        let vault = SoftVault::ephemeral().unwrap();
        (0..count).map(|_| vault.generate(KeyUsage::Mac, KeyAlgorithm::Sm4).unwrap()).collect()
    }

    fn schedule(byte: u8) -> Result<BlockKey, HsmError> {
        BlockKey::new(KeyAlgorithm::Sm4, &[byte; 16])
    }

    #[test]
    fn a_key_is_made_once_while_it_stays() {
        let cache = ScheduleCache::new();
        let made = Cell::new(0);
        let key = keys(1).remove(0);
        for _ in 0..3 {
            let got = cache.get(&key, || {
                made.set(made.get() + 1);
                schedule(7)
            });
            assert_eq!(got.unwrap().check_value(), schedule(7).unwrap().check_value());
        }
        assert_eq!(made.get(), 1);
    }

    /// A refused key is asked for again each time and takes no room.
    #[test]
    fn a_failure_is_not_kept() {
        let cache = ScheduleCache::new();
        let key = keys(1).remove(0);
        for _ in 0..2 {
            assert_eq!(cache.get(&key, || Err(HsmError::BlockLength)).unwrap_err(), HsmError::BlockLength);
        }
        assert_eq!(cache.held(), 0);
    }

    /// More keys than there is room for: the number stays bounded and every key still works.
    #[test]
    fn it_never_holds_more_than_its_bound() {
        let cache = ScheduleCache::new();
        // Texts of keys that differ in their last bytes only, where the place comes from.
        let text = keys(1).remove(0).to_string();
        let head = text.get(..text.len() - 8).unwrap();
        for number in 0..SLOTS as u32 + 500 {
            // Spread over places unevenly on purpose: 500 keys more than fit.
            let key: WrappedKey = format!("{head}{number:08X}").parse().unwrap();
            cache.get(&key, || schedule(1)).unwrap();
        }
        assert!(cache.held() <= SLOTS);
        let oldest: WrappedKey = format!("{head}00000000").parse().unwrap();
        let again = cache.get(&oldest, || schedule(2)).unwrap();
        assert_eq!(again.check_value(), schedule(2).unwrap().check_value(), "thrown out, so made anew");
    }
}
