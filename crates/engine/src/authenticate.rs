//! Who sends: terminal, sign-in, batch, MAC. Makes [`Authenticated`] values.

use std::sync::Arc;

use acquiring::kind::{Kind, KindSpec};
use acquiring::{BatchNo, Beijing, MerchantId, ResponseCode, TerminalId};
use hsm::MacAlgorithm;
use jiff::Timestamp;

use crate::directory::{Known, LiveKeys, Session, TerminalEntry};
use crate::{Engine, Refusal};

/// Refusals that a newer session would lift.
const NOT_SIGNED_IN: &str = "not signed in";
const NOT_TODAY: &str = "not signed in today";
const OTHER_BATCH: &str = "batch differs";
const WRONG_MAC: &str = "MAC wrong";

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

    /// The terminal, to be kept.
    pub fn entry(&self) -> &Arc<TerminalEntry> {
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

/// Why a message is not let through.
pub enum Rejected {
    /// It is answered with this refusal.
    Refused(Refused),
    /// It fits nothing that this node remembers, and the store that nodes share cannot be asked whether another node
    /// knows better. It gets no answer: one under keys that the terminal may have lost long ago reads there as a forgery.
    Unknown,
}

impl Rejected {
    /// The refusal, where there is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Rejected::Refused(refused) => Some(refused.refusal),
            Rejected::Unknown => None,
        }
    }
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

    /// Verifies who sends a message: terminal known, signed in, batch current, MAC right. Where nodes share a store,
    /// a terminal is refused only after its session was read again: another node may just have given it keys, or
    /// ended its batch.
    pub async fn authenticate(&self, message: &TerminalMessage<'_>) -> Result<Authenticated, Rejected> {
        let mut judged = self.judge(message);
        if self.0.store.is_shared()
            && let Err(refused) = &judged
            && [NOT_SIGNED_IN, NOT_TODAY, OTHER_BATCH, WRONG_MAC].contains(&refused.refusal.reason)
        {
            match self.read_session_again(message.merchant, message.terminal).await {
                Ok(()) => judged = self.judge(message),
                Err(_) => return Err(Rejected::Unknown),
            }
        }
        match &judged {
            Ok(Authenticated { entry, keys: Some(_), spec }) if spec.mac_request => {
                self.right_mac(entry).await
            }
            Ok(_) => {}
            Err(refused) if refused.refusal.reason == WRONG_MAC => {
                self.wrong_mac(message.merchant, message.terminal).await;
            }
            Err(_) => {}
        }
        if let Ok(authenticated) = &judged {
            self.proved(authenticated).await;
        }
        judged.map_err(Rejected::Refused)
    }

    /// A right MAC forgives the wrong ones before it. Nodes that share a store count there: only the one that has seen a
    /// wrong MAC of this terminal itself writes that, so that no payment costs a statement more.
    async fn right_mac(&self, entry: &TerminalEntry) {
        if entry.clear_wrong_macs()
            && self.0.store.is_shared()
            && let Err(error) = self.0.store.forgive_wrong_macs(entry.merchant.id, entry.id).await
        {
            tracing::debug!(%error, terminal = %entry.id, "its wrong MACs still count at the other nodes");
        }
    }

    /// Counts a wrong MAC; too many in a row take the terminal's session away. Nodes that share a store count together,
    /// else each of them would give a guesser as many tries. That is a write for a message that nobody vouches for, but
    /// no lever for a flood: after so many of a terminal its messages are refused before their MACs are looked at, and
    /// where the store is overloaded it takes no such write and this node goes by what it has counted itself.
    async fn wrong_mac(&self, merchant: MerchantId, terminal: TerminalId) {
        let Ok(entry) = self.identify(merchant, terminal) else { return };
        let own = entry.count_wrong_mac();
        let in_a_row = match self.0.store.is_shared() {
            true => self.0.store.count_wrong_mac(merchant, terminal).await.unwrap_or(own),
            false => own,
        };
        if in_a_row < self.0.config.wrong_macs_max {
            return;
        }
        tracing::error!(%merchant, %terminal, in_a_row,
            "ALARM: too many wrong MACs; the terminal must sign in again");
        metrics::counter!("posp_terminal_locked_total").increment(1);
        entry.change_session(Session::end);
        entry.clear_wrong_macs();
        // Else the next look at the store would bring the session back.
        if self.0.store.is_shared()
            && let Err(error) = self.0.store.save_sign_off(merchant, terminal).await
        {
            tracing::warn!(%error, %merchant, %terminal, "the other nodes still take this terminal");
        }
    }

    /// The newest keys have verified a message: the ones before are of no use any more. Where nodes share a store
    /// that is durable before the terminal hears an answer, because its next message may come to another node.
    async fn proved(&self, authenticated: &Authenticated) {
        let Authenticated { entry, keys: Some(keys), spec } = authenticated else { return };
        let session = entry.session();
        let newest = session.keys.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, keys));
        if !spec.mac_request || !newest || session.previous.is_none() {
            return;
        }
        entry.change_session(|s| s.previous = None);
        let (store, merchant, terminal) = (self.0.store.clone(), entry.merchant.id, entry.id);
        let shared = store.is_shared();
        let proved = keys.mac.to_string();
        let dropped = async move {
            if let Err(error) = store.drop_previous_keys(merchant, terminal, proved).await {
                tracing::warn!(%error, %merchant, %terminal, "old keys are still in the store");
            }
        };
        if shared {
            dropped.await;
        } else {
            self.0.tasks.spawn(dropped);
        }
    }

    /// Reads a terminal's session from the store into memory, where the store has one that is readable.
    pub(crate) async fn read_session_again(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<(), store::StoreError> {
        let Ok(entry) = self.identify(merchant, terminal) else { return Ok(()) };
        match self.0.store.terminal(merchant, terminal).await {
            Ok(stored) => {
                if let Some(stored) = stored {
                    entry.take_session(&stored);
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, %merchant, %terminal, "its session cannot be read again");
                Err(error)
            }
        }
    }

    /// Judges by what is in memory.
    fn judge(&self, message: &TerminalMessage<'_>) -> Result<Authenticated, Refused> {
        let unsigned = |refusal| Refused { refusal, keys: None };
        let entry = self.identify(message.merchant, message.terminal).map_err(unsigned)?;
        let spec = message.spec;
        if !spec.kind.needs_session() {
            return Ok(Authenticated { entry, keys: None, spec });
        }
        let session = entry.session();
        let verified = message.mac.and_then(|claim| {
            let verifies = |keys: &LiveKeys| {
                self.0
                    .hsm
                    .verify_mac(&keys.mac, message.mac_algorithm, claim.block, claim.value)
                    .unwrap_or(false)
            };
            let newest = session.keys.iter().map(|keys| (keys, session.signed_in_at));
            let before = session.previous.iter().map(|keys| (keys, session.previous_signed_in_at));
            newest.chain(before).find(|(keys, _)| verifies(keys)).map(|(keys, at)| (Arc::clone(keys), at))
        });
        // Who holds the keys before has not heard of the newest sign-in: a copy of what it was refused for want of one
        // stays refused.
        let signed_in_at = verified.as_ref().map_or(session.signed_in_at, |(_, at)| *at);
        let verified = verified.map(|(keys, _)| keys);
        // Signed with what the terminal holds: it may have missed the answer that brought the newest keys.
        let refused = |code, reason| Refused {
            refusal: Refusal::new(code, reason),
            keys: verified.clone().or_else(|| session.keys.clone()),
        };
        if let Err(reason) = self.sign_in_stands(signed_in_at) {
            return Err(refused(ResponseCode::SIGN_IN_AGAIN, reason));
        }
        if let Some(batch) = message.batch
            && !batch_fits(spec.kind, batch, session.batch)
        {
            return Err(refused(ResponseCode::SIGN_IN_AGAIN, OTHER_BATCH));
        }
        if !spec.mac_request {
            let keys = session.keys.clone();
            return Ok(Authenticated { entry, keys, spec });
        }
        if message.mac.is_none() {
            return Err(refused(ResponseCode::MAC_ERROR, "MAC missing"));
        }
        match verified {
            Some(keys) => Ok(Authenticated { entry: Arc::clone(&entry), keys: Some(keys), spec }),
            None => Err(refused(ResponseCode::MAC_ERROR, WRONG_MAC)),
        }
    }

    /// Whether a sign-in of that moment is still good; why it is not.
    pub(crate) fn sign_in_stands(&self, signed_in_at: Option<Timestamp>) -> Result<(), &'static str> {
        let at = signed_in_at.ok_or(NOT_SIGNED_IN)?;
        let today = || Beijing::of(self.now()).yyyymmdd();
        match self.0.config.sign_in_daily && Beijing::of(at).yyyymmdd() != today() {
            true => Err(NOT_TODAY),
            false => Ok(()),
        }
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
