//! Master data: merchants and terminals, as the hot path reads them from memory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{BatchNo, MerchantId, TerminalId};
use crate::money::Amount;

/// A merchant 商户.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchant {
    /// Merchant number, field 42.
    pub id: MerchantId,
    /// Name, at most 40 bytes in GBK toward the network.
    pub name: String,
    /// Merchant category code (MCC), four digits, field 18 toward the network.
    pub mcc: u16,
    /// Closed merchants are answered 03.
    pub active: bool,
    /// Largest single payment; above it the answer is 61.
    pub limit_single: Option<Amount>,
    /// Name of the profile that its terminals speak; without one, that of the listener they come through.
    pub profile: Option<String>,
}

/// Which cipher a terminal's keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalCipher {
    /// Triple DES with a double-length master key (双倍长).
    TripleDes,
    /// SM4 (国密).
    Sm4,
}

/// A terminal 终端: who it is, and its long-lived key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The merchant it stands at.
    pub merchant: MerchantId,
    /// Terminal number, field 41.
    pub id: TerminalId,
    /// Closed terminals are answered 97.
    pub active: bool,
    /// Cipher of its keys.
    pub cipher: TerminalCipher,
    /// Terminal master key (TMK) as the security module wraps it. Opaque to everybody else.
    pub master_key: String,
    /// What changes while it works.
    pub session: TerminalSession,
}

/// Working keys as one sign-in gave them, wrapped by the security module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingKeys {
    /// PIN key (PIK).
    pub pin: String,
    /// MAC key (MAK).
    pub mac: String,
    /// Track key (TDK), when the terminal asked for one.
    pub track: Option<String>,
}

/// The changing part of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalSession {
    /// Keys of the newest sign-in.
    pub keys: Option<WorkingKeys>,
    /// Keys before it: they stay good until a message verifies under the new ones, since the terminal may
    /// have missed the answer that carried them.
    pub previous_keys: Option<WorkingKeys>,
    /// When it signed in; `None` after sign-off.
    pub signed_in_at: Option<Timestamp>,
    /// The same of the keys before: who still holds those has not heard of the newest sign-in, and stands where it stood.
    pub previous_signed_in_at: Option<Timestamp>,
    /// Current batch.
    pub batch: BatchNo,
}

impl TerminalSession {
    /// A terminal that has never signed in.
    pub const NEW: TerminalSession = TerminalSession {
        keys: None,
        previous_keys: None,
        signed_in_at: None,
        previous_signed_in_at: None,
        batch: BatchNo::FIRST,
    };
}
