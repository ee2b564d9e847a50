//! What becomes of a payment, in one table: what the host said, what the card said to it, and what follows.

use crate::step::{FollowUp, Reason, Upload};

/// What came from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It approved.
    Approved,
    /// It declined.
    Declined,
    /// An answer whose MAC or key fields are wrong.
    Invalid,
    /// Nothing.
    Silent,
}

/// Issuer authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The card did not ask, or the host sent nothing.
    Absent,
    /// The card found it right.
    Right,
    /// The card found it wrong.
    Wrong,
}

/// What the card gave at the second cryptogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// Approved.
    Certificate,
    /// Declined.
    Decline,
    /// An error, an answer that cannot be used, or the card is gone.
    Nothing,
    /// It was not asked.
    NotAsked,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Approved.
    pub approved: bool,
    /// The card approved by itself, without the host.
    pub offline: bool,
    /// Messages that follow, but for the script result.
    pub follow_up: FollowUp,
    /// Why.
    pub reason: Reason,
}

/// Field 39 of a reversal: the card, or something after the host's approval.
pub const REVERSAL_CARD: [u8; 2] = *b"06";
/// Field 39 of a reversal: no answer.
pub const REVERSAL_SILENT: [u8; 2] = *b"98";
/// Field 39 of a reversal: MAC wrong.
pub const REVERSAL_MAC: [u8; 2] = *b"A0";

/// Field 39 values that approve.
const APPROVING: [[u8; 2]; 7] = [*b"00", *b"10", *b"11", *b"A2", *b"A4", *b"A5", *b"A6"];

/// Whether field 39 approves.
pub fn approves(code: [u8; 2]) -> bool {
    APPROVING.contains(&code)
}

/// The table.
pub fn decide(host: Host, issuer: Issuer, second: Second) -> Outcome {
    let approved = |upload| Outcome {
        approved: true,
        offline: false,
        follow_up: FollowUp { upload, ..FollowUp::default() },
        reason: Reason::HostApproved,
    };
    let declined = |reversal, reason| Outcome {
        approved: false,
        offline: false,
        follow_up: FollowUp { reversal, ..FollowUp::default() },
        reason,
    };
    match (host, issuer, second) {
        (Host::Approved, Issuer::Wrong, Second::Certificate) => approved(Upload::Notice),
        (Host::Approved, _, Second::Certificate) => approved(Upload::Certificate),
        (Host::Approved, Issuer::Wrong, Second::Decline) => {
            declined(Some(REVERSAL_CARD), Reason::IssuerNotAuthentic)
        }
        (Host::Approved, _, Second::Decline) => {
            declined(Some(REVERSAL_CARD), Reason::CardRefusedAfterApproval)
        }
        (Host::Approved, _, Second::Nothing | Second::NotAsked) => {
            declined(Some(REVERSAL_CARD), Reason::CardRefusedAfterApproval)
        }
        (Host::Declined, _, _) => declined(None, Reason::HostDeclined),
        (Host::Invalid, _, _) => declined(Some(REVERSAL_MAC), Reason::HostAnswerInvalid),
        // The card approves without the host: the request that got no answer is reversed all the same, and the payment
        // goes up as an offline one. Otherwise the holder could pay twice.
        (Host::Silent, _, Second::Certificate) => Outcome {
            approved: true,
            offline: true,
            follow_up: FollowUp {
                reversal: Some(REVERSAL_SILENT),
                script_result: false,
                upload: Upload::Offline,
            },
            reason: Reason::HostUnreachable,
        },
        (Host::Silent, _, _) => declined(Some(REVERSAL_SILENT), Reason::HostUnreachable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the field reference, row by row.
    #[test]
    fn every_row() {
        use Host::*;
        use Second::*;
        let rows = [
            (Approved, Issuer::Right, Certificate, true, None, Upload::Certificate),
            (Approved, Issuer::Absent, Certificate, true, None, Upload::Certificate),
            (Approved, Issuer::Wrong, Certificate, true, None, Upload::Notice),
            (Approved, Issuer::Right, Decline, false, Some(*b"06"), Upload::None),
            (Approved, Issuer::Wrong, Decline, false, Some(*b"06"), Upload::None),
            (Approved, Issuer::Absent, Nothing, false, Some(*b"06"), Upload::None),
            (Invalid, Issuer::Absent, NotAsked, false, Some(*b"A0"), Upload::None),
            (Declined, Issuer::Right, Decline, false, None, Upload::None),
            (Declined, Issuer::Absent, Nothing, false, None, Upload::None),
            (Silent, Issuer::Absent, Decline, false, Some(*b"98"), Upload::None),
            (Silent, Issuer::Absent, Nothing, false, Some(*b"98"), Upload::None),
            (Silent, Issuer::Absent, Certificate, true, Some(*b"98"), Upload::Offline),
        ];
        for (host, issuer, second, approved, reversal, upload) in rows {
            let outcome = decide(host, issuer, second);
            let found = (outcome.approved, outcome.follow_up.reversal, outcome.follow_up.upload);
            assert_eq!(found, (approved, reversal, upload), "{host:?} {issuer:?} {second:?}");
        }
        assert!(approves(*b"00") && approves(*b"A6") && !approves(*b"05") && !approves(*b"ZZ"));
    }
}
