//! Field 55: which data objects go into which message, in which order.

use iso8583::tlv;

use crate::data::{Store, tag};

/// Request, and everything made from it. Objects that the card did not give are left out, never sent empty.
pub const REQUEST: [u32; 22] = [
    tag::CRYPTOGRAM,
    tag::CID,
    tag::IAD,
    tag::UN,
    tag::ATC,
    tag::TVR,
    tag::DATE,
    tag::KIND,
    tag::AMOUNT,
    tag::CURRENCY,
    tag::AIP,
    tag::COUNTRY,
    tag::OTHER,
    tag::CAPABILITIES,
    tag::CVM_RESULTS,
    tag::TERMINAL_TYPE,
    tag::SERIAL,
    tag::AID_CARD,
    tag::VERSION,
    tag::TRACE,
    tag::PRODUCT,
    tag::ECASH_CODE,
];

/// Reversal; 9F36 by a switch.
pub const REVERSAL: [u32; 5] = [tag::TVR, tag::SERIAL, tag::IAD, tag::ATC, tag::SCRIPT_RESULT];

/// Script result. Only DF31 is certain, the rest is practice.
pub const SCRIPT_RESULT: [u32; 11] = [
    tag::CAPABILITIES,
    tag::TVR,
    tag::UN,
    tag::SERIAL,
    tag::IAD,
    tag::CRYPTOGRAM,
    tag::ATC,
    tag::AIP,
    tag::SCRIPT_RESULT,
    tag::COUNTRY,
    tag::DATE,
];

/// Writes the objects of a list that are there.
pub(crate) fn build(store: &Store, list: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    for tag in list {
        if let Some(value) = store.get(*tag).filter(|value| !value.is_empty()) {
            tlv::write(&mut out, *tag, value);
        }
    }
    out
}
