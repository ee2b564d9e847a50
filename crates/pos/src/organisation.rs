//! Whose card it is: a domestic (内卡) or a foreign one (外卡), the two blocks of a settlement.
//!
//! The terminal decides for itself, once, when it writes a transaction down; what came of it stays on the record. Evidence in
//! the order in which it counts:
//!
//! 1. an earlier transaction of the running batch that this one refers to: both count in one block;
//! 2. the organisation that the answer names in 63.1: `CUP` is domestic, another one foreign, `000` says nothing;
//! 3. the application identifier of the chip: UnionPay's begin with A000000333;
//! 4. the first digits of the number, as far as the terminal's configuration names them (`foreign_bins`, modelled: no download
//!    of the interface carries such a table).
//!
//! What none of them tells is domestic.

use crate::state::{Original, Record};

/// 63.1 of a UnionPay card.
pub(crate) const UNIONPAY: &str = "CUP";
/// 63.1 for every organisation.
pub(crate) const ANY: &str = "000";
/// What UnionPay's application identifiers begin with.
const UNIONPAY_RID: &str = "A000000333";

/// Whether an application identifier is one of UnionPay's.
pub(crate) fn is_unionpay(aid: &str) -> bool {
    aid.to_ascii_uppercase().starts_with(UNIONPAY_RID)
}

/// What 63.1 says of a card, if it says anything.
fn told(organisation: Option<&str>) -> Option<bool> {
    organisation.filter(|code| *code != ANY).map(|code| code != UNIONPAY)
}

/// Whether the first digits are those of a foreign card by the configuration. A masked number shows six of them.
pub(crate) fn has_foreign_digits(number: &str, bins: &[String]) -> bool {
    bins.iter().any(|digits| number.starts_with(digits.as_str()))
}

/// 63.1 of a request that names an organisation: a foreign card's is not known by its digits.
pub(crate) fn named(foreign: bool) -> &'static str {
    if foreign { ANY } else { UNIONPAY }
}

/// Whether a record that has its answer is of a foreign card.
pub(crate) fn is_foreign(record: &Record, journal: &[Record], bins: &[String]) -> bool {
    if let Some(earlier) = record.original.as_ref().and_then(|original| find(original, record, journal)) {
        return earlier.foreign;
    }
    let aid = record.chip.as_ref().map(|chip| chip.aid.as_str()).filter(|aid| !aid.is_empty());
    told(record.card_org.as_deref())
        .or_else(|| aid.map(|aid| !is_unionpay(aid)))
        .unwrap_or_else(|| has_foreign_digits(&record.pan, bins))
}

/// The transaction of the running batch that a record refers to, by whatever numbers it names.
fn find<'a>(original: &Original, record: &Record, journal: &'a [Record]) -> Option<&'a Record> {
    journal.iter().find(|earlier| match (original.trace, &original.rrn, &original.auth_code) {
        (Some(trace), _, _) if trace > 0 => {
            earlier.trace == trace && original.batch.is_none_or(|batch| batch == earlier.batch)
        }
        (_, Some(rrn), _) => earlier.rrn.as_ref() == Some(rrn),
        (_, None, Some(code)) => earlier.auth_code.as_ref() == Some(code) && earlier.pan == record.pan,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ChipRecord;

    /// A record of which only what is asked here is filled in.
    fn record(trace: u32, number: &str) -> Record {
        serde_json::from_value(serde_json::json!({
            "kind": "sale", "batch": 1, "trace": trace, "amount_fen": 100, "pan": number, "pan_sealed": "",
            "expiry": null, "entry": "swipe", "with_pin": false, "rrn": "112400000001", "auth_code": "A1B2C3",
            "at": "2026/11/24 10:15:30", "settle_date": null, "issuer": null, "acquirer": null, "card_org": null,
            "remark": null, "voided": false, "original": null, "chip": null, "reprints": 0,
        }))
        .unwrap()
    }

    #[test]
    fn evidence_counts_in_its_order() {
        let bins = ["4".to_owned()];
        let chip = |aid: &str| Some(ChipRecord { aid: aid.to_owned(), ..ChipRecord::default() });
        let told = |code: &str| Some(code.to_owned());
        let visa = record(1, "400000******0010");
        let domestic = record(1, "622424******0021");
        assert!(is_foreign(&visa, &[], &bins) && !is_foreign(&domestic, &[], &bins));
        assert!(!is_foreign(&visa, &[], &[]), "what nothing tells is domestic");
        // The chip before the digits, 63.1 before the chip.
        let tapped = Record { chip: chip("a0000003330101"), ..visa.clone() };
        assert!(!is_foreign(&tapped, &[], &bins));
        assert!(is_foreign(&Record { chip: chip("A0000000031010"), ..domestic.clone() }, &[], &bins));
        assert!(is_foreign(&Record { card_org: told("VIS"), ..tapped.clone() }, &[], &bins));
        assert!(!is_foreign(&Record { card_org: told("CUP"), ..visa.clone() }, &[], &bins));
        assert!(is_foreign(&Record { card_org: told("000"), ..visa.clone() }, &[], &bins));
        // An earlier transaction of the batch before everything, however it is named.
        let journal = [Record { foreign: true, ..domestic.clone() }];
        let original = |batch, trace, rrn: Option<&str>, auth_code: Option<&str>| Original {
            batch,
            trace,
            rrn: rrn.map(str::to_owned),
            date: None,
            auth_code: auth_code.map(str::to_owned),
        };
        for original in [
            original(Some(1), Some(1), None, None),
            original(None, None, Some("112400000001"), None),
            original(None, None, None, Some("A1B2C3")),
        ] {
            let refers = Record { original: Some(original), card_org: told("CUP"), ..domestic.clone() };
            assert!(is_foreign(&refers, &journal, &bins));
        }
        let elsewhere = original(Some(2), Some(1), None, None);
        assert!(!is_foreign(&Record { original: Some(elsewhere), ..domestic.clone() }, &journal, &bins));
        assert_eq!((named(true), named(false)), ("000", "CUP"));
    }
}
