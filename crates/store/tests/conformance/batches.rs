//! Batch settlement: totals, uploaded details, differences, the end of a batch.

use acquiring::kind::Kind;
use acquiring::limit::CardClass;
use acquiring::payment::{Answer, EntryKind, PaymentRecord};
use acquiring::settlement::{BatchTotals, BlockResult, BlockTotals, DifferenceKind, SideTotal};
use acquiring::transition::Event;
use acquiring::{BatchNo, PaymentId, ResponseCode, Trace};
use store::{BatchFilter, BatchLine, Page, Settlement, Store, StoreError};

use crate::common::{at, fen, merchant, merchant_id, message, payment, terminal, terminal_id, undoing};
use crate::payments::{answered, approved, begin};

fn side(amount: u64, count: u32) -> SideTotal {
    SideTotal { amount: fen(amount), count }
}

/// Two sales, a void of the first, a refund of the second, and things that do not count.
async fn morning(store: &Store) {
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
    approved(store, payment(1, Kind::Sale)).await;
    approved(store, PaymentRecord { amount: fen(2_500), ..payment(2, Kind::Sale) }).await;
    approved(store, undoing(3, Kind::SaleVoid, 1, fen(10_000))).await;
    approved(store, undoing(4, Kind::Refund, 2, fen(700))).await;
    begin(store, payment(5, Kind::Sale)).await; // pending
    begin(store, payment(6, Kind::Sale)).await;
    answered(store, merchant_id(), PaymentId(6), ResponseCode::INSUFFICIENT_FUNDS).await;
    begin(store, payment(7, Kind::Sale)).await; // reversing
    let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
    store.apply(merchant_id(), PaymentId(7), event, vec![], at(60_000)).await.unwrap();
    approved(store, payment(8, Kind::Balance)).await;
    approved(store, PaymentRecord { batch: BatchNo::new(2).unwrap(), ..payment(9, Kind::Sale) }).await;
}

fn morning_totals() -> BatchTotals {
    let domestic = BlockTotals { debit: side(12_500, 2), credit: side(10_700, 2) };
    BatchTotals { domestic, foreign: BlockTotals::default() }
}

fn settlement(terminal_totals: BatchTotals, host_totals: BatchTotals, ms: i64) -> Settlement {
    Settlement {
        merchant: merchant_id(),
        terminal: terminal_id(),
        batch: BatchNo::FIRST,
        at: at(ms),
        terminal_totals,
        host_totals,
        domestic: BlockResult::compare(terminal_totals.domestic, host_totals.domestic),
        foreign: BlockResult::compare(terminal_totals.foreign, host_totals.foreign),
        entries: vec![message(ms, EntryKind::TerminalIn, 120)],
    }
}

fn line(trace: u64, amount: u64) -> BatchLine {
    BatchLine {
        trace: Trace::new(trace).unwrap(),
        card_digest: Some([7; 32]),
        amount: fen(amount),
        foreign: Some(false),
        at: at(70_000),
        kind: Kind::BatchUpMagnetic,
    }
}

async fn upload(store: &Store, line: BatchLine) -> Option<DifferenceKind> {
    store.batch_line(merchant_id(), terminal_id(), BatchNo::FIRST, line).await.unwrap()
}

async fn batch_of_terminal(store: &Store) -> u32 {
    store.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap().session.batch.get()
}

async fn end(store: &Store, uploaded: u32, balanced: bool, ms: i64) -> store::EndedBatch {
    let (merchant, terminal) = (merchant_id(), terminal_id());
    store.end_batch(merchant, terminal, BatchNo::FIRST, uploaded, balanced, at(ms)).await.unwrap()
}

pub async fn totals_count_what_counts(store: Store) {
    morning(&store).await;
    let totals = store.batch_totals(merchant_id(), terminal_id(), BatchNo::FIRST).await.unwrap();
    assert_eq!(totals, morning_totals());
    let empty = store.batch_totals(merchant_id(), terminal_id(), BatchNo::new(3).unwrap()).await.unwrap();
    assert_eq!(empty, BatchTotals::default());
}

pub async fn a_balanced_batch_ends_and_the_next_begins(store: Store) {
    morning(&store).await;
    store.record_settlement(settlement(morning_totals(), morning_totals(), 70_000)).await.unwrap();
    // A chip detail is uploaded from a balanced batch as well, without the account number's digest.
    let chip = BatchLine { card_digest: None, kind: Kind::BatchUpChip, ..line(1, 10_000) };
    assert_eq!(upload(&store, chip).await, None);
    let ended = end(&store, 1, true, 71_000).await;
    assert_eq!((ended.next.get(), ended.differences.len()), (2, 0));
    assert_eq!(batch_of_terminal(&store).await, 2);
    let settled = store.settlements(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!(settled.len(), 1);
    assert_eq!((settled[0].domestic, settled[0].foreign), (BlockResult::Balanced, BlockResult::Balanced));
    assert_eq!((settled[0].terminal_totals, settled[0].host_totals), (morning_totals(), morning_totals()));
    let end = settled[0].end.unwrap();
    assert_eq!((end.at, end.uploaded, end.balanced), (at(71_000), 1, true));
}

/// A payment counts in the block that its record names, and a detail that names the other block is a difference even when
/// number, card and amount are the same. What the table of card numbers says changes nothing of a payment that is there.
pub async fn foreign_cards_count_in_a_block_of_their_own(store: Store) {
    morning(&store).await;
    let foreign = |record: PaymentRecord| PaymentRecord { foreign: true, ..record };
    approved(&store, foreign(payment(11, Kind::Sale))).await;
    approved(&store, foreign(PaymentRecord { amount: fen(4_200), ..payment(12, Kind::Sale) })).await;
    approved(&store, foreign(undoing(13, Kind::SaleVoid, 11, fen(10_000)))).await;
    store.put_bin("622424", Some(CardClass::Foreign)).await.unwrap();
    let totals = store.batch_totals(merchant_id(), terminal_id(), BatchNo::FIRST).await.unwrap();
    let block = BlockTotals { debit: side(14_200, 2), credit: side(10_000, 1) };
    assert_eq!(totals, BatchTotals { foreign: block, ..morning_totals() });
    assert!(store.by_id(merchant_id(), PaymentId(13)).await.unwrap().unwrap().foreign);

    let mut terminal_says = totals;
    terminal_says.foreign.debit = side(4_200, 1);
    store.record_settlement(settlement(terminal_says, totals, 70_000)).await.unwrap();
    let settled = store.settlements(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!((settled[0].domestic, settled[0].foreign), (BlockResult::Balanced, BlockResult::Differs));
    assert_eq!((settled[0].terminal_totals, settled[0].host_totals), (terminal_says, totals));
    let class = |foreign, line| BatchLine { foreign, ..line };
    assert_eq!(upload(&store, class(Some(true), line(11, 10_000))).await, None);
    assert_eq!(upload(&store, class(Some(false), line(12, 4_200))).await, Some(DifferenceKind::Class));
    assert_eq!(upload(&store, class(Some(true), line(1, 10_000))).await, Some(DifferenceKind::Class));
    // An upload without a place for the class says nothing about it, and one that is right takes the difference back.
    assert_eq!(upload(&store, class(None, line(12, 4_200))).await, None);
    let kept = store.differences(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!(
        kept.iter().map(|d| (d.trace.get(), d.kind)).collect::<Vec<_>>(),
        [(1, DifferenceKind::Class)]
    );
}

pub async fn an_unbalanced_batch_tells_every_difference(store: Store) {
    morning(&store).await;
    let mut terminal_says = morning_totals();
    terminal_says.domestic.debit = side(22_501, 3);
    store.record_settlement(settlement(terminal_says, morning_totals(), 70_000)).await.unwrap();
    assert_eq!(upload(&store, line(1, 10_000)).await, None);
    assert_eq!(upload(&store, line(2, 2_501)).await, Some(DifferenceKind::Amount));
    let other_card = BatchLine { card_digest: Some([8; 32]), ..line(3, 10_000) };
    assert_eq!(upload(&store, other_card).await, Some(DifferenceKind::Card));
    assert_eq!(upload(&store, line(6, 10_000)).await, Some(DifferenceKind::OnlyTerminal), "declined here");
    assert_eq!(upload(&store, line(99, 10_000)).await, Some(DifferenceKind::OnlyTerminal), "unknown here");
    // The refund 4 was never uploaded.
    let ended = end(&store, 5, false, 71_000).await;
    let kinds: Vec<_> = ended.differences.iter().map(|d| (d.trace.get(), d.kind)).collect();
    assert_eq!(
        kinds,
        [
            (2, DifferenceKind::Amount),
            (3, DifferenceKind::Card),
            (4, DifferenceKind::OnlyHost),
            (6, DifferenceKind::OnlyTerminal),
            (99, DifferenceKind::OnlyTerminal),
        ]
    );
    let amounts: Vec<_> = ended
        .differences
        .iter()
        .map(|d| (d.payment.map(|p| p.0), d.terminal_amount.map(|a| a.fen()), d.host_amount.map(|a| a.fen())))
        .collect();
    assert_eq!(
        amounts,
        [
            (Some(2), Some(2_501), Some(2_500)),
            (Some(3), Some(10_000), Some(10_000)),
            (Some(4), None, Some(700)),
            (Some(6), Some(10_000), Some(10_000)),
            (None, Some(10_000), None),
        ]
    );
    // Ended twice, as when the terminal did not hear the answer.
    assert_eq!(end(&store, 5, false, 72_000).await, ended);
    assert_eq!(batch_of_terminal(&store).await, 2);
}

pub async fn a_repeated_line_changes_nothing(store: Store) {
    morning(&store).await;
    for _ in 0..3 {
        assert_eq!(upload(&store, line(2, 2_501)).await, Some(DifferenceKind::Amount));
        assert_eq!(upload(&store, line(1, 10_000)).await, None);
    }
    let listed = store.differences(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].at, at(70_000));
    // The terminal corrects itself: the difference is gone.
    assert_eq!(upload(&store, line(2, 2_500)).await, None);
    let listed = store.differences(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert!(listed.is_empty());
}

pub async fn a_batch_settled_again_is_replaced_and_remembered(store: Store) {
    morning(&store).await;
    store.record_settlement(settlement(BatchTotals::default(), morning_totals(), 70_000)).await.unwrap();
    store.record_settlement(settlement(morning_totals(), morning_totals(), 75_000)).await.unwrap();
    let settled = store.settlements(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!(settled.len(), 1);
    assert_eq!((settled[0].times, settled[0].at), (2, at(75_000)));
    assert_eq!(settled[0].domestic, BlockResult::Balanced);
    let history = store.batch_history(merchant_id(), terminal_id(), BatchNo::FIRST).await.unwrap();
    assert_eq!(history.len(), 3);
    assert!(history[1].note.contains("debit 0.00 in 0"), "{}", history[1].note);
    assert!(history[1].note.contains("debit 125.00 in 2"), "{}", history[1].note);
}

pub async fn a_batch_may_end_without_a_settlement(store: Store) {
    morning(&store).await;
    let ended = end(&store, 0, false, 71_000).await;
    assert_eq!(ended.differences.len(), 4, "nothing was uploaded");
    let settled = store.settlements(BatchFilter::default(), Page::default()).await.unwrap().items;
    assert_eq!(settled[0].domestic, BlockResult::Error);
    assert_eq!(settled[0].host_totals, morning_totals());
}

pub async fn an_old_batch_ended_late_does_not_turn_the_terminal_back(store: Store) {
    morning(&store).await;
    end(&store, 0, true, 71_000).await;
    let second = BatchNo::new(2).unwrap();
    store.end_batch(merchant_id(), terminal_id(), second, 0, true, at(72_000)).await.unwrap();
    assert_eq!(batch_of_terminal(&store).await, 3);
    assert_eq!(end(&store, 0, true, 73_000).await.next.get(), 2, "the same answer as the first time");
    assert_eq!(batch_of_terminal(&store).await, 3);

    let unknown = acquiring::TerminalId::new("99999999").unwrap();
    let error = store.end_batch(merchant_id(), unknown, second, 0, true, at(1)).await.unwrap_err();
    assert_eq!(error, StoreError::UnknownTerminal { merchant: merchant_id(), terminal: unknown });
    let of_unknown = BatchFilter { terminal: Some(unknown), ..Default::default() };
    let settled = store.settlements(of_unknown, Page::default()).await.unwrap().items;
    assert!(settled.is_empty(), "nothing of the refused end is kept");
}

pub async fn lists_are_filtered_and_paged(store: Store) {
    morning(&store).await;
    for trace in 1..=5 {
        upload(&store, line(100 + trace, 1)).await;
    }
    let mut page = Page::first(2);
    let mut seen = Vec::new();
    loop {
        let found = store.differences(BatchFilter::default(), page.clone()).await.unwrap();
        seen.extend(found.items.iter().map(|d| d.trace.get()));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [105, 104, 103, 102, 101]);
    for batch in 1..=5 {
        let batch = BatchNo::new(batch).unwrap();
        let (merchant, terminal) = (merchant_id(), terminal_id());
        store.end_batch(merchant, terminal, batch, 0, true, at(80_000)).await.unwrap();
    }
    let mut page = Page::first(2);
    let mut seen = Vec::new();
    loop {
        let found = store.settlements(BatchFilter::default(), page.clone()).await.unwrap();
        seen.extend(found.items.iter().map(|s| s.batch.get()));
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let one = BatchFilter {
        merchant: Some(merchant_id()),
        terminal: Some(terminal_id()),
        batch: Some(BatchNo::new(4).unwrap()),
    };
    assert_eq!(store.settlements(one, Page::default()).await.unwrap().items.len(), 1);
    assert!(store.differences(one, Page::default()).await.unwrap().items.is_empty());
}
