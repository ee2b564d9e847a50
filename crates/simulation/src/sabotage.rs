//! Rules broken on purpose, each at a seam of the world and never in the product: what must be noticed.

use crate::guarantees::Guarantee;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The request leaves although its commit failed to happen yet: the disk says "durable" before it is.
    SendBeforeBegin,
    /// A late approval is written over a reversed payment.
    LateAnswerFlips,
    /// A payment that is being reversed has no message in the queue.
    UnknownIsForgotten,
    /// The network takes no reversal, whatever it says.
    ReversalNeverTaken,
    /// A queued message is marked as finished although the network never heard of it.
    ForwardDropped,
    /// A queued message disappears.
    ForwardDeleted,
    /// A later message of the queue goes out before an earlier one.
    ForwardOutOfOrder,
    /// The lease of the queue means nothing: each node that asks gets it.
    LeaseIgnored,
    /// The network gets the same request twice from us.
    RequestTwice,
    /// A repeat of an approved sale hears a decline.
    RepeatToldOtherwise,
    /// A terminal's reversal is answered 00 and then forgotten.
    ReversalNotKept,
    /// A terminal hears 00 for a payment that is declined.
    ApprovalInvented,
    /// After a crash the last approval is gone.
    ApprovalLost,
    /// A fen is missing in the journal.
    FenMissing,
    /// The network's record has a sale that we know nothing of.
    NetworkHasMore,
    /// A reserved block of numbers is forgotten.
    BlockForgotten,
    /// Two payments share a reference number.
    NumberTwice,
    /// A task of a node panics, and nothing else comes of it.
    TaskPanics,
}

impl Sabotage {
    /// All of them, with the guarantee that must notice.
    pub const ALL: [(Sabotage, Guarantee); 18] = [
        (Sabotage::SendBeforeBegin, Guarantee::G1),
        (Sabotage::UnknownIsForgotten, Guarantee::G2),
        (Sabotage::ReversalNeverTaken, Guarantee::G2),
        (Sabotage::LateAnswerFlips, Guarantee::G3),
        (Sabotage::RequestTwice, Guarantee::G4),
        (Sabotage::RepeatToldOtherwise, Guarantee::G4),
        (Sabotage::ReversalNotKept, Guarantee::G5),
        (Sabotage::ForwardDropped, Guarantee::G6),
        (Sabotage::ForwardDeleted, Guarantee::G6),
        (Sabotage::ForwardOutOfOrder, Guarantee::G6),
        (Sabotage::LeaseIgnored, Guarantee::G6),
        (Sabotage::ApprovalInvented, Guarantee::G7),
        (Sabotage::ApprovalLost, Guarantee::G7),
        (Sabotage::FenMissing, Guarantee::G8),
        (Sabotage::NetworkHasMore, Guarantee::G8),
        (Sabotage::TaskPanics, Guarantee::G9),
        (Sabotage::BlockForgotten, Guarantee::G11),
        (Sabotage::NumberTwice, Guarantee::G11),
    ];
}
