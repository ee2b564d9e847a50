//! The kernel's tables on the link: records of `load_params`.
//!
//! Application and key records go as the terminal downloaded them. Beside them stand two of ours (modelled): `E1`, what the
//! terminal is and its quickPass switches, and `E2`, revoked certificates. What the reader is itself (serial number, what it
//! can do) it knows better, and does not take from the phone.

use iso8583::tlv;
use kernel::{KernelParams, QuickPass, Revoked, TerminalData};

const SETTINGS: u32 = 0xE1;
const REVOKED: u32 = 0xE2;
const MERCHANT: u32 = 0x9F4E;
const TERMINAL_FLAGS: u32 = 0xDF01;
const TRIES: u32 = 0xDF02;
const QUICK_FLAGS: u32 = 0xDF10;
const NO_PIN: u32 = 0xDF11;
const NO_SIGNATURE: u32 = 0xDF12;
const TTQ: u32 = 0x9F66;
const TORN: u32 = 0xDF13;
const TABLE_A: u32 = 0xDF14;
const TABLE_B: u32 = 0xDF15;
const KEY_INDEX: u32 = 0x9F22;

fn bits(flags: &[bool]) -> u16 {
    flags.iter().zip(0_u16..16).fold(0, |bits, (on, at)| bits | u16::from(*on) << at)
}

/// Everything as records.
pub(crate) fn to_records(params: &KernelParams) -> Vec<Vec<u8>> {
    let mut inside = Vec::new();
    let terminal = &params.terminal;
    let quick = &params.quickpass;
    let of_terminal = bits(&[
        terminal.pin_offline,
        terminal.unable_online_approve,
        terminal.online_only,
        terminal.fallback_without_application,
        terminal.reversal_with_atc,
        params.production,
    ]);
    let of_quick = bits(&[
        quick.no_pin,
        quick.pilot_1,
        quick.pilot_2,
        quick.on_device,
        quick.no_signature,
        quick.ecash_first,
        quick.foreign,
        quick.always_online,
        quick.full_contactless,
    ]);
    tlv::write(&mut inside, MERCHANT, terminal.merchant_name.as_bytes());
    tlv::write(&mut inside, TERMINAL_FLAGS, &of_terminal.to_be_bytes());
    tlv::write(&mut inside, TRIES, &[terminal.chip_tries]);
    tlv::write(&mut inside, QUICK_FLAGS, &of_quick.to_be_bytes());
    tlv::write(&mut inside, NO_PIN, &quick.no_pin_limit.to_be_bytes());
    tlv::write(&mut inside, NO_SIGNATURE, &quick.no_signature_limit.to_be_bytes());
    tlv::write(&mut inside, TTQ, &quick.ttq);
    let torn = [quick.torn_seconds.to_be_bytes(), quick.torn_record_seconds.to_be_bytes()];
    tlv::write(&mut inside, TORN, torn.as_flattened());
    for (tag, table) in [(TABLE_A, &quick.table_a), (TABLE_B, &quick.table_b)] {
        table.iter().for_each(|prefix| tlv::write(&mut inside, tag, prefix.as_bytes()));
    }
    let mut settings = Vec::new();
    tlv::write(&mut settings, SETTINGS, &inside);
    let mut records = vec![settings];
    for Revoked { rid, index, serial } in &params.revoked {
        let mut record = Vec::new();
        tlv::write(&mut record, REVOKED, &[&rid[..], &[*index], serial].concat());
        records.push(record);
    }
    records.extend(params.aids.iter().chain(&params.capks).cloned());
    records
}

/// What came as records, for a terminal that is this. `today` is filled in with each payment.
pub(crate) fn from_records(records: &[Vec<u8>], own: TerminalData) -> Option<KernelParams> {
    let mut params = KernelParams {
        aids: Vec::new(),
        capks: Vec::new(),
        revoked: Vec::new(),
        terminal: own,
        quickpass: QuickPass::default(),
        today: [0; 4],
        production: false,
    };
    for record in records {
        let find = |tag| tlv::find(record, tag).ok().flatten();
        if let Some(inside) = find(SETTINGS) {
            settings(&mut params, inside)?;
        } else if let Some(value) = find(REVOKED) {
            let (rid, rest) = value.split_first_chunk::<5>()?;
            let (&index, serial) = rest.split_first()?;
            params.revoked.push(Revoked { rid: *rid, index, serial: serial.try_into().ok()? });
        } else if find(KEY_INDEX).is_some() {
            params.capks.push(record.clone());
        } else {
            params.aids.push(record.clone());
        }
    }
    Some(params)
}

fn settings(params: &mut KernelParams, inside: &[u8]) -> Option<()> {
    for item in tlv::iter(inside) {
        let item = item.ok()?;
        let on = |flags: &[u8]| -> Option<[bool; 16]> {
            let flags = u16::from_be_bytes(flags.try_into().ok()?);
            Some(std::array::from_fn(|at| flags >> at & 1 == 1))
        };
        let text = || String::from_utf8(item.value.to_vec()).ok();
        let (terminal, quick) = (&mut params.terminal, &mut params.quickpass);
        match item.tag {
            MERCHANT => terminal.merchant_name = text()?,
            TERMINAL_FLAGS => {
                let [pin, unable, online, fallback, atc, production, ..] = on(item.value)?;
                // A PIN for the chip's own check has no way into this reader's kernel.
                let _: bool = pin;
                terminal.unable_online_approve = unable && !terminal.online_only;
                // A reader that is online only stays so.
                terminal.online_only |= online;
                terminal.fallback_without_application = fallback;
                terminal.reversal_with_atc = atc;
                params.production = production;
            }
            TRIES => terminal.chip_tries = item.value.first().copied()?,
            QUICK_FLAGS => {
                let [no_pin, one, two, device, signature, ecash, foreign, online, full, ..] = on(item.value)?;
                (quick.no_pin, quick.pilot_1, quick.pilot_2) = (no_pin, one, two);
                (quick.on_device, quick.no_signature, quick.ecash_first) = (device, signature, ecash);
                (quick.foreign, quick.always_online, quick.full_contactless) = (foreign, online, full);
            }
            NO_PIN => quick.no_pin_limit = u64::from_be_bytes(item.value.try_into().ok()?),
            NO_SIGNATURE => quick.no_signature_limit = u64::from_be_bytes(item.value.try_into().ok()?),
            TTQ => quick.ttq = item.value.try_into().ok()?,
            TORN => {
                let (first, second) = item.value.split_first_chunk::<2>()?;
                quick.torn_seconds = u16::from_be_bytes(*first);
                quick.torn_record_seconds = u16::from_be_bytes(second.try_into().ok()?);
            }
            TABLE_A => quick.table_a.push(text()?),
            TABLE_B => quick.table_b.push(text()?),
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What the phone sets arrives in the reader, but for what the reader is itself.
    #[test]
    fn the_tables_go_over_the_link_and_back() {
        let terminal = TerminalData {
            merchant_name: "实验商户".into(),
            chip_tries: 1,
            ..TerminalData::mpos(*b"PHONE001")
        };
        let quickpass = QuickPass {
            table_a: vec!["622424".into(), "621214".into()],
            no_pin_limit: 50_000,
            pilot_1: true,
            torn_seconds: 7,
            ..QuickPass::default()
        };
        let sent = KernelParams {
            aids: vec![vec![0x9F, 0x06, 1, 0xA0]],
            capks: vec![vec![0x9F, 0x06, 1, 0xA0, 0x9F, 0x22, 1, 5]],
            revoked: vec![Revoked { rid: [1; 5], index: 2, serial: [3; 3] }],
            terminal,
            quickpass,
            today: [0; 4],
            production: true,
        };
        let own = TerminalData::mpos(*b"READER01");
        let got = from_records(&to_records(&sent), own).unwrap();
        assert_eq!((&got.aids, &got.capks, &got.revoked), (&sent.aids, &sent.capks, &sent.revoked));
        assert_eq!((&got.quickpass, got.production), (&sent.quickpass, true));
        assert_eq!(got.terminal, TerminalData { serial: *b"READER01", ..sent.terminal.clone() });
        // A phone cannot talk a reader into approving without the host.
        let terminal =
            TerminalData { online_only: false, unable_online_approve: true, ..sent.terminal.clone() };
        let loose = KernelParams { terminal, ..sent };
        let got = from_records(&to_records(&loose), TerminalData::mpos(*b"READER01")).unwrap();
        assert!(got.terminal.online_only && !got.terminal.unable_online_approve);
        assert!(from_records(&[vec![0xE2, 1, 0]], TerminalData::mpos(*b"READER01")).is_none());
    }
}
