//! Who sends: terminal, sign-in, batch, MAC. Makes [`Authenticated`] values.

use std::sync::Arc;

use acquiring::kind::{Kind, KindSpec};
use acquiring::{BatchNo, Beijing, MerchantId, ResponseCode, TerminalId};
use hsm::MacAlgorithm;

use crate::directory::{Known, LiveKeys, TerminalEntry};
use crate::{Engine, Refusal};

/// What a door read from a message about who sends it; nothing of it is verified yet.
#[derive(Clone, Copy, Debug)]
pub struct TerminalMessage<'a> {
    /// What it asks for.
    pub spec: &'static KindSpec,
    /// Field 42.
    pub merchant: MerchantId,
    /// Field 41.
    pub terminal: TerminalId,
    /// Field 60.2, when the message tells one.
    pub batch: Option<BatchNo>,
    /// Field 64 and the bytes it covers.
    pub mac: Option<MacClaim<'a>>,
    /// How this terminal's acquirer profile computes MACs.
    pub mac_algorithm: MacAlgorithm,
}

/// A MAC and what it covers.
#[derive(Clone, Copy, Debug)]
pub struct MacClaim<'a> {
    /// MTI through the last byte before field 64.
    pub block: &'a [u8],
    /// Field 64.
    pub value: &'a [u8],
}

/// A message whose sender is known and whose MAC, where one is due, is right.
pub struct Authenticated {
    pub(crate) entry: Arc<TerminalEntry>,
    pub(crate) keys: Option<Arc<LiveKeys>>,
    pub(crate) spec: &'static KindSpec,
}

impl Authenticated {
    /// The terminal.
    pub fn terminal(&self) -> &TerminalEntry {
        &self.entry
    }

    /// What is asked for.
    pub fn spec(&self) -> &'static KindSpec {
        self.spec
    }

    /// The keys under which the message verified; the answer is signed with the same.
    pub fn keys(&self) -> Option<&Arc<LiveKeys>> {
        self.keys.as_ref()
    }
}

/// A message that is refused, with what is needed to sign the refusal.
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Keys to sign the answer with, when the terminal has any.
    pub keys: Option<Arc<LiveKeys>>,
}

impl Engine {
    /// Looks the terminal up: 03 for an unknown or closed merchant, 97 for a terminal.
    pub fn identify(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<Arc<TerminalEntry>, Refusal> {
        match self.0.directory.find(merchant, terminal) {
            Known::Terminal(entry) if !entry.active => {
                Err(Refusal::new(ResponseCode::UNKNOWN_TERMINAL, "terminal closed"))
            }
            Known::Terminal(entry) => Ok(entry),
            Known::Closed => Err(Refusal::new(ResponseCode::INVALID_MERCHANT, "merchant closed")),
            Known::Merchant => Err(Refusal::new(ResponseCode::UNKNOWN_TERMINAL, "terminal unknown")),
            Known::Nothing => Err(Refusal::new(ResponseCode::INVALID_MERCHANT, "merchant unknown")),
        }
    }

    /// Verifies who sends a message: terminal known, signed in, batch current, MAC right.
    pub fn authenticate(&self, message: &TerminalMessage<'_>) -> Result<Authenticated, Refused> {
        let unsigned = |refusal| Refused { refusal, keys: None };
        let entry = self.identify(message.merchant, message.terminal).map_err(unsigned)?;
        let spec = message.spec;
        // Sign-in and echo need no session: they are how a terminal gets or tests one.
        if matches!(spec.kind, Kind::SignIn | Kind::Echo) {
            return Ok(Authenticated { entry, keys: None, spec });
        }
        let session = entry.session();
        let refused =
            |code, reason| Refused { refusal: Refusal::new(code, reason), keys: session.keys.clone() };
        let Some(signed_in_at) = session.signed_in_at else {
            return Err(refused(ResponseCode::SIGN_IN_AGAIN, "not signed in"));
        };
        if self.0.config.sign_in_daily {
            let today = Beijing::of(self.now()).yyyymmdd();
            if Beijing::of(signed_in_at).yyyymmdd() != today {
                return Err(refused(ResponseCode::SIGN_IN_AGAIN, "not signed in today"));
            }
        }
        if let Some(batch) = message.batch
            && !batch_fits(spec.kind, batch, session.batch)
        {
            return Err(refused(ResponseCode::SIGN_IN_AGAIN, "batch differs"));
        }
        if !spec.mac_request {
            let keys = session.keys.clone();
            return Ok(Authenticated { entry, keys, spec });
        }
        let Some(claim) = message.mac else {
            return Err(refused(ResponseCode::MAC_ERROR, "MAC missing"));
        };
        let verifies = |keys: &Arc<LiveKeys>| {
            self.0.hsm.verify_mac(&keys.mac, message.mac_algorithm, claim.block, claim.value).unwrap_or(false)
        };
        if let Some(keys) = session.keys.as_ref().filter(|keys| verifies(keys)) {
            entry.clear_wrong_macs();
            if session.previous.is_some() {
                // The new keys have proved themselves: the old ones are of no use any more.
                entry.change_session(|s| s.previous = None);
                let (store, merchant, terminal) = (self.0.store.clone(), message.merchant, message.terminal);
                self.0.tasks.spawn(async move {
                    if let Err(error) = store.drop_previous_keys(merchant, terminal).await {
                        tracing::warn!(%error, %merchant, %terminal, "old keys are still in the store");
                    }
                });
            }
            return Ok(Authenticated { entry: Arc::clone(&entry), keys: Some(Arc::clone(keys)), spec });
        }
        if let Some(keys) = session.previous.as_ref().filter(|keys| verifies(keys)) {
            entry.clear_wrong_macs();
            return Ok(Authenticated { entry: Arc::clone(&entry), keys: Some(Arc::clone(keys)), spec });
        }
        let in_a_row = entry.count_wrong_mac();
        if in_a_row >= self.0.config.wrong_macs_max {
            tracing::error!(merchant = %message.merchant, terminal = %message.terminal, in_a_row,
                "ALARM: too many wrong MACs; the terminal must sign in again");
            metrics::counter!("posp_terminal_locked_total").increment(1);
            entry.change_session(|s| s.signed_in_at = None);
            entry.clear_wrong_macs();
        }
        Err(refused(ResponseCode::MAC_ERROR, "MAC wrong"))
    }

    /// Signs an answer with a terminal's MAC key.
    pub fn sign(
        &self,
        keys: &LiveKeys,
        algorithm: MacAlgorithm,
        block: &[u8],
    ) -> Result<[u8; 8], hsm::HsmError> {
        self.0.hsm.mac(&keys.mac, algorithm, block)
    }
}

/// Sign-off may name the batch before or after the current one (the terminal may count on at its end of
/// day); a repeated batch-up end names the batch that its lost answer closed.
fn batch_fits(kind: Kind, named: BatchNo, current: BatchNo) -> bool {
    match kind {
        Kind::SignOff => named == current || named.next() == current || current.next() == named,
        // A signature may come after the settlement of its batch.
        Kind::BatchUpEnd | Kind::ESignature => named == current || named.next() == current,
        _ => named == current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_by_kind() {
        let batch = |n| BatchNo::new(n).unwrap();
        assert!(batch_fits(Kind::Sale, batch(7), batch(7)));
        assert!(!batch_fits(Kind::Sale, batch(6), batch(7)));
        assert!(batch_fits(Kind::SignOff, batch(8), batch(7)));
        assert!(batch_fits(Kind::BatchUpEnd, batch(999_999), batch(1)));
        assert!(!batch_fits(Kind::BatchUpEnd, batch(8), batch(7)));
    }
}
