//! Keys with right and wrong check values, MACs in every mode, the terminal serial number.

use std::collections::BTreeSet;

use hal::{
    CryptoBox, ErrorKind, Kcv, KeyAlgorithm, KeySlot, KeyStore, MacAlgorithm, TerminalSerial, WorkKey,
    WorkKeyClass,
};
use hsm::{ExportedKey, Hsm, KeyComponent, KeyUsage, SoftVault};

use super::{Outcome, Stop, expect_error, failed, open, row, unexpected};
use crate::report::Report;
use crate::{Fixture, LAB_MASTER_KEY};

/// The keys of the published vectors.
pub(crate) const PIN_KEY: &str = "11111111111111112222222222222222";
const MAC_KEY_SINGLE: &str = "3333333333333333";
const MAC_KEY_DOUBLE: &str = "33333333333333334444444444444444";
const MAC_KEY_RETAIL: &str = "46B0AA84C9AB2CC87FBD7C736E515C06";
const MAC_KEY_SM4: &str = "1112131415161718191A1B1C1D1E1F20";
const TRACK_KEY: &str = "44444444444444445555555555555555";

/// A sale with an enciphered track, from its type to the byte before field 64: what its MAC covers.
const SALE: &str = "0200302004C020C0981100000000000000010000001702100012346224242000000021F00997375B09E7050731303030\
30303031383938313030303030303030303031313536010FFE95955CE8A52610000000000000001422000001000500";

/// How a host sends a key: enciphered under the laboratory's master key.
fn sent(algorithm: KeyAlgorithm, class: WorkKeyClass, key: &str) -> Outcome<ExportedKey> {
    let bad = |error: hsm::HsmError| Stop::Failed(format!("the suite's own host: {error}"));
    let vault = SoftVault::ephemeral().map_err(|error| Stop::Failed(error.to_string()))?;
    let family = if algorithm == KeyAlgorithm::Sm4 { KeyAlgorithm::Sm4 } else { KeyAlgorithm::TripleDes2 };
    let master = [KeyComponent::from_hex(LAB_MASTER_KEY).map_err(bad)?];
    let master = vault.import_components(KeyUsage::TerminalMaster, family, &master).map_err(bad)?;
    let usage = match class {
        WorkKeyClass::Pin => KeyUsage::Pin,
        WorkKeyClass::Mac => KeyUsage::Mac,
        WorkKeyClass::Track => KeyUsage::Track,
    };
    // A working key has two components at least: the key over a mask, and the mask.
    let clear = hex::decode(key).map_err(|_| Stop::Failed("a key of the suite".to_owned()))?;
    let mask = vec![0x5C; clear.len()];
    let over: Vec<u8> = clear.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    let halves = [KeyComponent::new(&over).map_err(bad)?, KeyComponent::new(&mask).map_err(bad)?];
    let wrapped = vault.import_components(usage, algorithm, &halves).map_err(bad)?;
    vault.export(&wrapped, &master).map_err(bad)
}

/// Loads a key of the vectors for tenant 1 (DES) or 2 (SM4), its master key before it; where it stands.
pub(crate) fn load(
    fixture: &dyn Fixture,
    store: &dyn KeyStore,
    algorithm: KeyAlgorithm,
    class: WorkKeyClass,
    key: &str,
) -> Outcome<KeySlot> {
    let abilities = store.abilities();
    if !abilities.algorithms.contains(&algorithm) {
        return Err(Stop::Skipped(format!("the key store has no {algorithm}")));
    }
    let (tenant, family) =
        if algorithm == KeyAlgorithm::Sm4 { (2, KeyAlgorithm::Sm4) } else { (1, KeyAlgorithm::TripleDes2) };
    let none = || Stop::Failed("the slot map has no such tenant".to_owned());
    let master = KeySlot::master(tenant).ok_or_else(none)?;
    let slot = KeySlot::working(tenant, class).ok_or_else(none)?;
    fixture.load_lab_master(store, master, family)?;
    let sent = sent(algorithm, class, key)?;
    let work = WorkKey { class, master, slot, algorithm, cipher: &sent.cipher, kcv: sent.kcv };
    store.load_work_key(&work).map_err(unexpected)?;
    Ok(slot)
}

pub(crate) fn right_check_value(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let rows = [
        (WorkKeyClass::Pin, PIN_KEY, "D2B91CC5"),
        (WorkKeyClass::Mac, MAC_KEY_DOUBLE, "E18DE25E"),
        (WorkKeyClass::Track, TRACK_KEY, "6B941819"),
    ];
    for (class, key, kcv) in rows {
        let outcome = (|| {
            let store = open::<dyn KeyStore>(fixture)?;
            let slot = load(fixture, store.get()?, KeyAlgorithm::TripleDes2, class, key)?;
            let found = store.get()?.kcv(slot).map_err(unexpected)?;
            if found.to_string() != kcv {
                return failed(format!("check value {found}, wanted {kcv}"));
            }
            let slots = store.get()?.slots().map_err(unexpected)?;
            if !slots.iter().any(|info| info.slot == slot && info.kcv == found) {
                return failed("the slot is not in the list");
            }
            Ok(String::new())
        })();
        row(report, family, format!("right check value: {class:?}"), outcome);
    }
}

pub(crate) fn wrong_check_value(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let store = open::<dyn KeyStore>(fixture)?;
        let store = store.get()?;
        let slot = load(fixture, store, KeyAlgorithm::TripleDes2, WorkKeyClass::Mac, MAC_KEY_DOUBLE)?;
        let before = store.kcv(slot).map_err(unexpected)?;
        let other = sent(KeyAlgorithm::TripleDes2, WorkKeyClass::Mac, MAC_KEY_RETAIL)?;
        let work = WorkKey {
            class: WorkKeyClass::Mac,
            master: KeySlot::master(1).unwrap_or(KeySlot::TRANSPORT),
            slot,
            algorithm: KeyAlgorithm::TripleDes2,
            cipher: &other.cipher,
            kcv: Kcv([0xDE, 0xAD, 0xBE, 0xEF]),
        };
        expect_error(store.load_work_key(&work), ErrorKind::KcvMismatch)?;
        let after = store.kcv(slot).map_err(unexpected)?;
        if before != after {
            return failed("the old key is gone");
        }
        Ok(String::new())
    })();
    row(report, family, "wrong check value leaves the old key", outcome);
}

/// Mode, its key, what is signed, and the MAC in hexadecimal digits of its bytes.
struct MacVector {
    name: &'static str,
    mode: MacAlgorithm,
    algorithm: KeyAlgorithm,
    key: &'static str,
    data: &'static str,
    mac: &'static str,
}

const VECTORS: &[MacVector] = &[
    MacVector {
        name: "CUP ECB, single key",
        mode: MacAlgorithm::CupEcb,
        algorithm: KeyAlgorithm::Des,
        key: MAC_KEY_SINGLE,
        data: SALE,
        // The characters 35DF922F.
        mac: "3335444639323246",
    },
    MacVector {
        name: "CUP ECB, double key",
        mode: MacAlgorithm::CupEcb,
        algorithm: KeyAlgorithm::TripleDes2,
        // Both halves alike: the same MAC as under the single key.
        key: "33333333333333333333333333333333",
        data: SALE,
        mac: "3335444639323246",
    },
    MacVector {
        name: "X9.9",
        mode: MacAlgorithm::X99,
        algorithm: KeyAlgorithm::Des,
        key: MAC_KEY_SINGLE,
        data: SALE,
        mac: "D974DCC6C2985B17",
    },
    MacVector {
        name: "X9.9 as characters",
        mode: MacAlgorithm::X99Hex,
        algorithm: KeyAlgorithm::Des,
        key: MAC_KEY_SINGLE,
        data: SALE,
        // The characters D974DCC6.
        mac: "4439373444434336",
    },
    MacVector {
        name: "X9.19",
        mode: MacAlgorithm::X919 { pad80: false, hex: true },
        algorithm: KeyAlgorithm::TripleDes2,
        key: MAC_KEY_RETAIL,
        data: "121234FF121234FF",
        // The characters B55B5956.
        mac: "4235354235393536",
    },
    MacVector {
        name: "X9.19, zero fill",
        mode: MacAlgorithm::X919 { pad80: false, hex: true },
        algorithm: KeyAlgorithm::TripleDes2,
        key: MAC_KEY_RETAIL,
        data: "121234FF",
        // The characters C17E5FB7.
        mac: "4331374535464237",
    },
    MacVector {
        name: "SM4",
        mode: MacAlgorithm::Sm4Cup,
        algorithm: KeyAlgorithm::Sm4,
        key: MAC_KEY_SM4,
        data: SALE,
        // The characters C79134A9.
        mac: "4337393133344139",
    },
];

fn mac(fixture: &dyn Fixture, vector: &MacVector) -> Outcome {
    let crypto = open::<dyn CryptoBox>(fixture)?;
    let crypto = crypto.get()?;
    if !crypto.mac_modes().contains(&vector.mode) {
        return Err(Stop::Skipped("the crypto box has not this mode".to_owned()));
    }
    let store = open::<dyn KeyStore>(fixture)?;
    let slot = load(fixture, store.get()?, vector.algorithm, WorkKeyClass::Mac, vector.key)?;
    let data =
        hex::decode(vector.data).map_err(|error| Stop::Failed(format!("a vector of the suite: {error}")))?;
    let found = hex::encode_upper(crypto.mac(slot, vector.mode, &data).map_err(unexpected)?);
    if found != vector.mac {
        return failed(format!("{found}, wanted {}", vector.mac));
    }
    // A mode under a key of the other family, and nothing to sign.
    let other =
        if vector.algorithm == KeyAlgorithm::Sm4 { MacAlgorithm::CupEcb } else { MacAlgorithm::Sm4Cup };
    expect_error(crypto.mac(slot, other, &data), ErrorKind::BadParam)?;
    expect_error(crypto.mac(slot, vector.mode, &[]), ErrorKind::BadParam)
}

pub(crate) fn macs(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for vector in VECTORS {
        row(report, family, vector.name, mac(fixture, vector));
    }
    let outcome = (|| {
        let crypto = open::<dyn CryptoBox>(fixture)?;
        let store = open::<dyn KeyStore>(fixture)?;
        let slot = KeySlot::working(8, WorkKeyClass::Mac).unwrap_or(KeySlot::TRANSPORT);
        store.get()?.delete(slot).map_err(unexpected)?;
        expect_error(crypto.get()?.mac(slot, MacAlgorithm::CupEcb, b"data"), ErrorKind::NoKey)
    })();
    row(report, family, "an empty slot signs nothing", outcome);
}

pub(crate) fn serial_number(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for random in ["1234", "1234567890"] {
        let outcome = (|| {
            let device = open::<dyn TerminalSerial>(fixture)?;
            let device = device.get()?;
            let tusn = device.tusn(random, "POSP0001").map_err(super::manager::skip_absent)?;
            let again = device.tusn(random, "POSP0001").map_err(unexpected)?;
            if tusn != again || tusn.random != random || tusn.serial.is_empty() {
                return failed("not the same answer twice, or without the factor or the number");
            }
            if tusn.cipher.chars().count() != 8
                || tusn.app_version != "POSP0001"
                || tusn.device_type.len() != 2
            {
                return failed("the lengths are 2 for the type and 8 for proof and version");
            }
            // Blanks are what an old terminal says.
            if tusn.cipher.trim().is_empty() {
                return Ok("an old terminal without the key".to_owned());
            }
            let changed: String = random.chars().rev().collect();
            let other = device.tusn(&changed, "POSP0001").map_err(unexpected)?;
            if other.cipher == tusn.cipher {
                return failed("the proof does not depend on the factor");
            }
            Ok(String::new())
        })();
        row(report, family, format!("factor of {} bytes", random.len()), outcome);
    }
    let outcome = (|| {
        let device = open::<dyn TerminalSerial>(fixture)?;
        let lengths: BTreeSet<&str> = BTreeSet::from(["123", "12345678901"]);
        for random in lengths {
            expect_error(device.get()?.tusn(random, "POSP0001"), ErrorKind::BadParam)?;
        }
        Ok(String::new())
    })();
    row(report, family, "factors of 3 and 11 bytes are refused", outcome);
}
