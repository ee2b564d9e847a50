//! Buffers that connections borrow while something arrives. A connection at rest has none, so that a hundred
//! thousand idle terminals cost their sockets and little more.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Capacity of a fresh buffer; nearly every frame fits.
const FRESH: usize = 1_024;

/// Pairs that are kept for the next borrower; what comes back beyond is freed.
const KEPT_MAX: usize = 1_024;

/// A read and a write buffer.
#[derive(Default)]
pub struct Buffers {
    /// What arrived and was not used up.
    pub input: Vec<u8>,
    /// The answer in the making.
    pub output: Vec<u8>,
}

/// The buffers of one listener.
pub struct Pool {
    free: Mutex<Vec<Buffers>>,
    /// Longest buffer that is kept.
    longest: usize,
}

impl Pool {
    /// A pool for frames of at most `frame_max` bytes.
    pub fn new(frame_max: usize) -> Arc<Self> {
        Arc::new(Pool { free: Mutex::new(Vec::new()), longest: (frame_max * 2).max(FRESH) })
    }

    /// Borrows a pair, empty.
    pub fn borrow(self: &Arc<Self>) -> Borrowed {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffers = free.unwrap_or_else(|| Buffers {
            input: Vec::with_capacity(FRESH),
            output: Vec::with_capacity(FRESH),
        });
        Borrowed { pool: Arc::clone(self), buffers }
    }
}

/// A borrowed pair; goes back when dropped.
pub struct Borrowed {
    pool: Arc<Pool>,
    buffers: Buffers,
}

impl Deref for Borrowed {
    type Target = Buffers;

    fn deref(&self) -> &Buffers {
        &self.buffers
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut buffers = std::mem::take(&mut self.buffers);
        // What the messages held is not for the next connection.
        buffers.input.clear();
        buffers.output.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        let long = buffers.input.capacity().max(buffers.output.capacity()) > self.pool.longest;
        if !long && free.len() < KEPT_MAX {
            free.push(buffers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_only_so_many_stay() {
        let pool = Pool::new(2_048);
        let mut borrowed: Vec<Borrowed> = (0..KEPT_MAX + 10).map(|_| pool.borrow()).collect();
        borrowed[0].input.extend_from_slice(b"6224242000000021");
        drop(borrowed);
        assert_eq!(pool.free.lock().unwrap().len(), KEPT_MAX);
        assert!(pool.free.lock().unwrap().iter().all(|pair| pair.input.is_empty() && pair.output.is_empty()));
        let mut long = pool.borrow();
        long.output.reserve(10_000);
        drop(long);
        assert_eq!(pool.free.lock().unwrap().len(), KEPT_MAX - 1);
    }
}
