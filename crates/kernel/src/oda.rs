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

#[cfg(test)]
mod tests {
    use cardsim::lab::{self, LabKey};
    use proptest::prelude::*;

    use super::*;
    use crate::data::bcd;

    const AID: [u8; 8] = [0xA0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x01];
    const RID: [u8; 5] = [0xA0, 0x00, 0x00, 0x03, 0x33];

    fn keys() -> [CaKey; 1] {
        let modulus = lab::ca(0xF1).unwrap().modulus();
        [CaKey { rid: RID, index: 0xF1, modulus, exponent: vec![3] }]
    }

    /// A certificate that is signed rightly over whatever stands in it.
    fn certificate(signer: &LabKey, head: &[u8], subject: &[u8], also: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let room = signer.len().saturating_sub(22 + head.len());
        let (left, rest) = subject.split_at(room.min(subject.len()));
        let mut covered = head.to_vec();
        covered.extend(left);
        covered.truncate(signer.len() - 22);
        let mut with = rest.to_vec();
        with.push(3);
        with.extend(also);
        (signer.sign(&covered, &with), rest.to_vec())
    }

    /// A card whose chain is signed rightly, with these bytes in place of the fields of its two certificates.
    fn store(issuer_head: &[u8], icc_head: &[u8], pan: &[u8], records: &[u8]) -> Store {
        let issuer = lab::key("posp-lab/issuer/622424", 1024);
        let icc = lab::key("posp-lab/icc/L01", 768);
        let (issuer_cert, issuer_rest) =
            certificate(&lab::ca(0xF1).unwrap(), issuer_head, &issuer.modulus(), &[]);
        let (icc_cert, icc_rest) = certificate(&issuer, icc_head, &icc.modulus(), records);
        let mut store = Store::default();
        for (tag, value) in [
            (tag::CA_INDEX, &[0xF1][..]),
            (tag::ISSUER_CERT, &issuer_cert),
            (tag::ISSUER_REMAINDER, &issuer_rest),
            (tag::ISSUER_EXPONENT, &[3]),
            (tag::ICC_CERT, &icc_cert),
            (tag::ICC_REMAINDER, &icc_rest),
            (tag::ICC_EXPONENT, &[3]),
            (tag::PAN, pan),
            (tag::DATE, &bcd::<3>(261_124)),
        ] {
            store.set(tag, value);
        }
        store
    }

    const ISSUER_HEAD: [u8; 14] = [2, 0x62, 0x24, 0x24, 0xFF, 0x12, 0x30, 0, 0, 1, 1, 1, 128, 1];
    const ICC_HEAD: [u8; 20] =
        [4, 0x62, 0x24, 0x24, 0x20, 0, 0, 0, 0x13, 0xFF, 0xFF, 0x12, 0x29, 0, 0, 1, 1, 1, 96, 1];
    const PAN: [u8; 8] = [0x62, 0x24, 0x24, 0x20, 0, 0, 0, 0x13];

    #[test]
    fn a_rightly_signed_chain_and_what_makes_it_wrong() {
        let keys = keys();
        let trust = Trust { keys: &keys, revoked: &[] };
        let good = store(&ISSUER_HEAD, &ICC_HEAD, &PAN, &[]);
        let key = prove_card(&good, &AID, &[], &trust).ok().unwrap();
        let icc = lab::key("posp-lab/icc/L01", 768);
        let signature = icc.sign(&[5, 1, 3, 2, 0, 0x12], &[1, 2, 3, 4]);
        assert_eq!(key.signed(&signature, &[1, 2, 3, 4]).unwrap(), [0, 0x12]);
        assert!(key.signed(&signature, &[1, 2, 3, 5]).is_err());
        let changed = |place: usize, value: u8, of_issuer: bool| {
            let (mut issuer, mut icc) = (ISSUER_HEAD, ICC_HEAD);
            if of_issuer {
                issuer[place] = value;
            } else {
                icc[place] = value;
            }
            prove_card(&store(&issuer, &icc, &PAN, &[]), &AID, &[], &trust).is_ok()
        };
        assert!(changed(2, 0x24, true), "the helper changes nothing by itself");
        assert!(!changed(2, 0x25, true), "another issuer");
        assert!(!changed(6, 0x25, true), "past its month");
        assert!(!changed(0, 4, true), "another format");
        assert!(!changed(8, 0x14, false), "another number");
        assert!(!changed(12, 0x25, false), "past its month");
        assert!(prove_card(&good, &AID, &[1], &trust).is_err(), "other records");
        let revoked = [Revoked { rid: RID, index: 0xF1, serial: [0, 0, 1] }];
        assert!(prove_card(&good, &AID, &[], &Trust { keys: &keys, revoked: &revoked }).is_err());
        assert!(
            prove_card(&good, &[0xF0, 0x50, 0x4F, 0x53, 0x50], &[], &trust).is_err(),
            "another organisation"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        /// Rightly signed nonsense: lengths that point anywhere, numbers that are none. It proves nothing, and nothing
        /// breaks; the private keys of the laboratory let a test reach what no random bytes reach.
        #[test]
        fn rightly_signed_nonsense_is_survived(
            issuer in proptest::collection::vec(any::<u8>(), 0..30),
            icc in proptest::collection::vec(any::<u8>(), 0..40),
            lengths in any::<(u8, u8, u8, u8)>(),
            keep in any::<(bool, bool)>(),
            dynamic in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let keys = keys();
            let trust = Trust { keys: &keys, revoked: &[] };
            let mut issuer_head = if keep.0 { ISSUER_HEAD.to_vec() } else { issuer };
            let mut icc_head = if keep.1 { ICC_HEAD.to_vec() } else { icc };
            if !keep.0 && issuer_head.len() >= 14 {
                issuer_head[..12].copy_from_slice(&ISSUER_HEAD[..12]);
                issuer_head[12] = lengths.0;
                issuer_head[13] = lengths.1 % 3;
            }
            if !keep.1 && icc_head.len() >= 20 {
                icc_head[..18].copy_from_slice(&ICC_HEAD[..18]);
                icc_head[18] = lengths.2;
                icc_head[19] = lengths.3 % 3;
            }
            let store = store(&issuer_head, &icc_head, &PAN, &[]);
            let proven = prove_card(&store, &AID, &[], &trust);
            if keep.0 && !keep.1 && icc_head.get(18) != Some(&96) {
                prop_assert!(proven.is_err(), "a length that is not the key's");
            }
            let _ = prove_static(&store, &AID, &[], &trust);
            let good = self::store(&ISSUER_HEAD, &ICC_HEAD, &PAN, &[]);
            let key = prove_card(&good, &AID, &[], &trust).ok().unwrap();
            let mut head = vec![5, 1];
            head.extend(&dynamic);
            head.truncate(74);
            let signature = lab::key("posp-lab/icc/L01", 768).sign(&head, &[1, 2, 3, 4]);
            let _ = key.signed(&signature, &[1, 2, 3, 4]);
            let _ = key.signed_cryptogram(&signature, [1, 2, 3, 4], &[], 0x80);
        }
    }
}
