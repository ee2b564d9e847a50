//! What a caller may ask for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::code::CallCode;
use crate::kind::Kind;
use crate::request::{PayMethod, Refusal, Request};
use crate::values::Fen;

/// What the broker grants a caller, from its verified manifest or from the credentials of a till or a web page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Types.
    pub types: BTreeSet<Kind>,
    /// Methods that it may name. `any` and no method leave the choice to the cashier and need no grant.
    pub methods: BTreeSet<PayMethod>,
    /// Highest amount of one trade with its tip, in fen.
    #[serde(default)]
    pub amount_max: Option<Fen>,
    /// It may lock the method that it names.
    #[serde(default)]
    pub lock_method: bool,
    /// It hears events.
    #[serde(default)]
    pub events: bool,
    /// It may refer to trades that are not its own, of this terminal or another, by the numbers of their slips. Without
    /// it, what is not the caller's does not exist for the caller.
    #[serde(default)]
    pub others: bool,
}

impl Grant {
    /// Whether a request is granted. Looking for its own results and cancelling its own request is everyone's right.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let open = [Kind::Query, Kind::LastTrade, Kind::Abort];
        if !open.contains(&request.kind) && !self.types.contains(&request.kind) {
            return Err(Refusal::of(CallCode::TypeNotGranted));
        }
        let named = request.pay_method.filter(|method| *method != PayMethod::Any);
        if named.is_some_and(|method| !self.methods.contains(&method)) {
            return Err(Refusal::of(CallCode::MethodNotGranted));
        }
        if request.lock_method == Some(true) && !self.lock_method {
            return Err(Refusal::of(CallCode::MethodNotGranted));
        }
        let total =
            [request.amount, request.tip].into_iter().flatten().map(Fen::get).fold(0, u64::saturating_add);
        if self.amount_max.is_some_and(|most| total > most.get()) {
            return Err(Refusal::of(CallCode::AboveGrant));
        }
        Ok(())
    }
}
