//! What the network makes of a reversal: whom it names, what it must say again, and whether what it undoes may come back.

use super::{Done, Network, Request, Standing, Txn, Verdict};
use crate::kinds::Kind;

impl Network {
    /// A reversal is done for whatever it names, or remembered against what may still come.
    pub(super) fn judge_reversal(&mut self, request: &Request) -> Verdict {
        let (index, txn) = match self.named(request) {
            Ok(found) => found,
            Err("25") => {
                if let Some(key) = &request.original {
                    self.refused.insert(key.clone());
                }
                return Err("25");
            }
            Err(code) => return Err(code),
        };
        if matches!(txn.kind, Kind::Reversal | Kind::ScriptResult | Kind::Balance) {
            return Err("12");
        }
        if !says_again(&txn.request, request) {
            return Err("30");
        }
        if txn.request.amount != request.amount {
            return Err("64");
        }
        if txn.kind == Kind::CompletionVoid && txn.standing == Standing::Approved && !self.may_return(txn) {
            return Err("12");
        }
        Ok(Done { original: Some(index), ..Done::default() })
    }

    /// Whether a voided completion can come back into force: its pre-authorisation must be open, or it would be
    /// completed twice.
    fn may_return(&self, void: &Txn) -> bool {
        let completion = void.original.and_then(|id| self.txn(id));
        let Some(preauth) = completion.and_then(|txn| txn.original).and_then(|id| self.txn(id)) else {
            return true;
        };
        preauth.standing == Standing::Approved && !preauth.dependents.iter().any(|&id| self.stands(id))
    }
}

/// Verification results; what a reversal by chip must tell.
const TVR: u32 = 0x95;
/// All that field 55 of a reversal may tell: those, serial number, issuer application data, counter, script result.
const REVERSAL_TAGS: [u32; 5] = [TVR, 0x9F1E, 0x9F10, 0x9F36, 0xDF31];

/// Whether a reversal copies what it must of the request that it undoes: field 48 as it was, and of chip data the reduced set.
/// What the request did not tell cannot be copied: it is not asked for.
fn says_again(first: &Request, reversal: &Request) -> bool {
    let may_tell = |tag: &u32| REVERSAL_TAGS.contains(tag);
    let chip = match (&first.chip_tags, &reversal.chip_tags) {
        (None, None) => true,
        (Some(asked), None) => !asked.iter().any(may_tell),
        (Some(asked), Some(told)) => {
            told.iter().all(may_tell) && (told.contains(&TVR) || !asked.contains(&TVR))
        }
        (None, Some(_)) => false,
    };
    chip && first.private == reversal.private
}
