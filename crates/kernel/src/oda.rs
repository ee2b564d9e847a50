//! Offline data authentication: certificates and signatures. The recovery is that of the crate `emv`; what is done with
//! a wrong one is decided here.

use emv::core::crl::{CrlEntry, is_revoked};
use emv::core::oda::{
    CaPublicKey, IccPublicKey, IssuerPublicKey, recover_icc_public_key, recover_issuer_public_key,
    verify_cda, verify_dda, verify_sda,
};

use crate::data::{Store, tag};
use crate::params::{CaKey, Revoked};

/// Why the card's data are not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// Data that it needs are missing.
    Missing,
    /// A certificate or signature is wrong, or its key is unknown or revoked.
    Wrong,
}

/// Keys and what is revoked.
pub(crate) struct Trust<'a> {
    pub keys: &'a [CaKey],
    pub revoked: &'a [Revoked],
}

/// The card's key, proven.
pub(crate) struct Proven(IccPublicKey);

fn month(store: &Store) -> Option<[u8; 2]> {
    let [year, month, _] = store.fixed::<3>(tag::DATE)?;
    Some([month, year])
}

fn need(store: &Store, tag: u32) -> Result<&[u8], Unproven> {
    store.get(tag).ok_or(Unproven::Missing)
}

/// The records that were signed, with the AIP when the card says so.
pub(crate) fn static_data(store: &Store, records: &[u8]) -> Result<Vec<u8>, Unproven> {
    let mut out = records.to_vec();
    match store.get(tag::SDA_LIST) {
        None => {}
        Some([0x82]) => out.extend_from_slice(need(store, tag::AIP)?),
        Some(_) => return Err(Unproven::Wrong),
    }
    Ok(out)
}

fn issuer(store: &Store, aid: &[u8], trust: &Trust<'_>) -> Result<IssuerPublicKey, Unproven> {
    let [index] = store.fixed(tag::CA_INDEX).ok_or(Unproven::Missing)?;
    let certificate = need(store, tag::ISSUER_CERT)?;
    let exponent = need(store, tag::ISSUER_EXPONENT)?;
    let pan = need(store, tag::PAN)?;
    let rid = *aid.first_chunk::<5>().ok_or(Unproven::Wrong)?;
    let known = trust.keys.iter().find(|key| key.rid == rid && key.index == index).ok_or(Unproven::Wrong)?;
    let ca = CaPublicKey { rid, index, modulus: known.modulus.clone(), exponent: known.exponent.clone() };
    let month = month(store).ok_or(Unproven::Wrong)?;
    if !usual_exponent(exponent) {
        return Err(Unproven::Wrong);
    }
    let remainder = store.get(tag::ISSUER_REMAINDER);
    let found = recover_issuer_public_key(&ca, certificate, remainder, exponent, pan, month)
        .map_err(|_| Unproven::Wrong)?;
    let list: Vec<_> = trust
        .revoked
        .iter()
        .map(|entry| CrlEntry { rid: entry.rid, ca_pk_index: entry.index, cert_serial: entry.serial })
        .collect();
    if is_revoked(&list, &rid, index, &found.serial_number) {
        return Err(Unproven::Wrong);
    }
    Ok(found)
}

/// Exponents that the standard knows. Anything else is no key, and could make the terminal compute for minutes.
fn usual_exponent(exponent: &[u8]) -> bool {
    matches!(exponent, [0x03] | [0x01, 0x00, 0x01])
}

/// Signed static data (SDA).
pub(crate) fn prove_static(
    store: &Store,
    aid: &[u8],
    records: &[u8],
    trust: &Trust<'_>,
) -> Result<[u8; 2], Unproven> {
    let signature = need(store, tag::SSAD)?;
    let issuer = issuer(store, aid, trust)?;
    verify_sda(&issuer, signature, &static_data(store, records)?).map_err(|_| Unproven::Wrong)
}

/// The card's own key (DDA, CDA, fDDA).
pub(crate) fn prove_card(
    store: &Store,
    aid: &[u8],
    records: &[u8],
    trust: &Trust<'_>,
) -> Result<Proven, Unproven> {
    let certificate = need(store, tag::ICC_CERT)?;
    let exponent = need(store, tag::ICC_EXPONENT)?;
    let pan = need(store, tag::PAN)?;
    let issuer = issuer(store, aid, trust)?;
    if !usual_exponent(exponent) {
        return Err(Unproven::Wrong);
    }
    let month = month(store).ok_or(Unproven::Wrong)?;
    let remainder = store.get(tag::ICC_REMAINDER);
    let data = static_data(store, records)?;
    recover_icc_public_key(&issuer, certificate, remainder, exponent, &data, pan, month)
        .map(Proven)
        .map_err(|_| Unproven::Wrong)
}

impl Proven {
    /// A signature over dynamic data and `also`.
    pub(crate) fn signed(&self, signature: &[u8], also: &[u8]) -> Result<Vec<u8>, Unproven> {
        verify_dda(&self.0, signature, also).map_err(|_| Unproven::Wrong)
    }

    /// A cryptogram inside a signature.
    pub(crate) fn signed_cryptogram(
        &self,
        signature: &[u8],
        unpredictable: [u8; 4],
        transaction: &[u8],
        cid: u8,
    ) -> Result<[u8; 8], Unproven> {
        verify_cda(&self.0, signature, unpredictable, transaction, cid)
            .map(|found| found.application_cryptogram)
            .map_err(|_| Unproven::Wrong)
    }
}
