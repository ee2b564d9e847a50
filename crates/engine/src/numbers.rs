//! Payment numbers, taken from the store in blocks.
//!
//! One durable write reserves a block, so the hot path pays none. What a stopped node had not used of its
//! block is a gap that the store's list of blocks explains.

use acquiring::PaymentId;
use store::{Store, StoreError};
use tokio::sync::Mutex;

/// Numbers reserved at a time.
const BLOCK: u32 = 1_000;

/// A source of payment numbers.
pub struct Numbers {
    name: &'static str,
    block: Mutex<Block>,
}

#[derive(Default)]
struct Block {
    next: i64,
    end: i64,
}

impl Numbers {
    /// Numbers of the sequence `name`.
    pub fn new(name: &'static str) -> Self {
        Numbers { name, block: Mutex::new(Block::default()) }
    }

    /// The next number.
    pub async fn next(&self, store: &Store) -> Result<PaymentId, StoreError> {
        let mut block = self.block.lock().await;
        if block.next == block.end {
            block.next = store.reserve_numbers(self.name, BLOCK).await?;
            block.end = block.next + i64::from(BLOCK);
        }
        let number = block.next;
        block.next += 1;
        Ok(PaymentId(number))
    }
}
