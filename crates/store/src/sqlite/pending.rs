//! What the writer remembers of payments under way, so that the answer to one need not read it again.
//!
//! Only payments in the state pending are kept, each as the journal would give it back. Whatever may make the memory
//! differ from the journal empties it: a rollback, and a change by another connection.

use std::collections::HashMap;

use acquiring::PaymentId;
use acquiring::payment::{PaymentRecord, PaymentState};
use jiff::Timestamp;

/// Payments under way that are remembered at most.
const KEPT_MAX: usize = 16_384;

#[derive(Default)]
pub(super) struct Pending(HashMap<PaymentId, PaymentRecord>);

impl Pending {
    pub(super) fn get(&self, id: PaymentId) -> Option<&PaymentRecord> {
        self.0.get(&id)
    }

    /// Remembers a payment as it was written, or forgets one that is no longer pending.
    pub(super) fn written(&mut self, record: &PaymentRecord) {
        if record.state != PaymentState::Pending {
            self.0.remove(&record.id);
        } else if let Some(kept) = as_kept(record).filter(|_| self.0.len() < KEPT_MAX) {
            self.0.insert(record.id, kept);
        } else {
            self.0.remove(&record.id);
        }
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The journal keeps milliseconds.
fn as_kept(record: &PaymentRecord) -> Option<PaymentRecord> {
    let created = Timestamp::from_millisecond(record.created.as_millisecond()).ok()?;
    Some(PaymentRecord { created, ..record.clone() })
}

#[cfg(test)]
mod tests {
    use acquiring::kind::Kind;
    use acquiring::payment::{CardRecord, NetworkKey};
    use acquiring::{Amount, BatchNo, EntryMode, Expiry, MerchantId, Pan, TerminalId, Trace};
    use proptest::prelude::*;

    use super::*;
    use crate::{Begun, Store, StoreOptions};

    /// Any payment as it is begun, with times finer than the journal keeps.
    fn begun() -> impl Strategy<Value = PaymentRecord> {
        let card = proptest::option::of((any::<[u8; 32]>(), proptest::collection::vec(any::<u8>(), 0..80)));
        let kind = proptest::sample::select(vec![Kind::Sale, Kind::Preauth, Kind::Balance, Kind::Refund]);
        let numbers = (1..=i64::MAX / 2, 1..=999_999_u64, 1..=999_999_u64, 0..=999_999_u32, any::<u32>());
        let money = (0..=999_999_999_999_u64, any::<bool>());
        let read = (
            proptest::option::of(0..=99_u16),
            0..=12_u16,
            0..=999_u16,
            proptest::option::of(0..=999_u16),
            0..=99_u8,
            any::<[u8; 3]>(),
            any::<[u8; 32]>(),
        );
        let times = (1_500_000_000..2_500_000_000_i64, 0..1_000_000_000_i32);
        (kind, card, numbers, money, read, times).prop_map(|(kind, card, numbers, money, read, times)| {
            let (id, batch, trace, network, transmission) = numbers;
            let (year, month, entry, sequence, condition, traits, digest) = read;
            let id = PaymentId(id);
            PaymentRecord {
                id,
                merchant: MerchantId::new("898100000000001").unwrap(),
                terminal: TerminalId::new("10000001").unwrap(),
                batch: BatchNo::new(batch).unwrap(),
                trace: Trace::new(trace).unwrap(),
                kind,
                state: PaymentState::Pending,
                amount: Amount::from_fen(money.0).unwrap(),
                adjusted: None,
                currency: 156,
                card: card.map(|(digest, sealed)| CardRecord {
                    masked: Pan::new("6224242000000021").unwrap().masked(),
                    digest,
                    sealed,
                }),
                expiry: year.and_then(|year| Expiry::new(year * 100 + month)),
                entry_mode: EntryMode::new(entry).or(EntryMode::new(51)).unwrap(),
                card_sequence: sequence,
                condition,
                terminal_traits: traits,
                request_digest: digest,
                line: "unionpay".to_owned(),
                network: NetworkKey { trace: network, transmission: transmission.into() },
                rrn: id.rrn(1124),
                original: None,
                claimed_by: None,
                refunded: Amount::ZERO,
                answer: None,
                reversal_reason: None,
                reversed_on: None,
                limited: money.1,
                foreign: money.0 % 2 == 1,
                created: Timestamp::new(times.0, times.1).unwrap(),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// What is remembered of a payment is what the journal would give back, to the last field: an answer that is
        /// applied to the one is as good as applied to the other.
        #[test]
        fn what_is_remembered_is_what_the_journal_has(record in begun()) {
            let mut remembered = Pending::default();
            remembered.written(&record);
            let directory = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let row = runtime.block_on(async {
                let store = Store::open(StoreOptions::new(directory.path())).unwrap();
                let begun = store.begin(record.clone(), vec![]).await.unwrap();
                assert_eq!(begun, Begun::Journaled);
                let row = store.by_id(record.merchant, record.id).await.unwrap();
                store.close().await;
                row
            });
            prop_assert_eq!(remembered.get(record.id), row.as_ref());
        }

        /// Only what is under way is remembered, and no more than there is room for.
        #[test]
        fn what_is_over_is_forgotten(record in begun()) {
            let mut remembered = Pending::default();
            remembered.written(&record);
            prop_assert!(remembered.get(record.id).is_some());
            let over = PaymentRecord { state: PaymentState::Approved, ..record.clone() };
            remembered.written(&over);
            prop_assert!(remembered.get(record.id).is_none());
            remembered.written(&record);
            remembered.forget();
            prop_assert!(remembered.get(record.id).is_none());
        }
    }
}
