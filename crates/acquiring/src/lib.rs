//! The field's nouns and rules, pure: money, identifiers, transactions and their state machine.
//!
//! Nothing here does I/O, reads a clock or draws randomness. What moves money is decided by functions that
//! take `(state, event)` and return what to do, so that the running host, the store and a simulation share
//! one set of rules.

pub mod about;
pub mod card;
pub mod clock;
pub mod download;
pub mod ids;
pub mod kind;
pub mod limit;
pub mod master;
pub mod money;
pub mod payment;
pub mod response_code;
pub mod settlement;
pub mod transition;

pub use card::{EntryMode, Expiry, MaskedPan, Pan, Secret};
pub use clock::{Beijing, Clock, SystemClock};
pub use ids::{AuthCode, BatchNo, InstitutionId, MerchantId, PaymentId, Rrn, TerminalId, Trace};
pub use kind::{FieldSet, Kind, KindSpec};
pub use money::Amount;
pub use payment::{PaymentRecord, PaymentState};
pub use response_code::ResponseCode;
