//! What a terminal does beside the everyday: instalments, cash loads, tips, script results, PINs. Each keeps the rules
//! of its kind: what can be undone is reversed, what has happened is told until the host has it.

use std::sync::Arc;

use hsm::primitives::{BlockKey, emv};
use hsm::{CardContext, CryptogramVersion, KeyAlgorithm, Pin, PinFormat};
use iso8583::{BuildError, Draft, tlv};

use super::{CASH_LOAD, CASH_LOAD_VOID, INSTALMENT, Reply, SALE, TIP, Terminal, What};
use crate::guarantees::Guarantee;
use crate::network::{CARDS, PIN, PIN_CARD, PIN_SEQUENCE};
use crate::world::{World, pause};

/// The laboratory's issuer key for cryptograms, public.
const IMK_AC: [u8; 16] =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10];

impl Terminal {
    /// Adds the PIN, a wrong one now and then, to a payment with the card that has one.
    pub(super) fn with_pin(&mut self, draft: &mut Draft, card: usize) {
        if card != PIN_CARD {
            return;
        }
        let pin = if self.random.below(12) == 0 { "999999" } else { PIN };
        let keys = self.keys.as_ref().expect("a terminal that pays is signed in");
        let pan = CARDS[card].0;
        let block = self.hsm.encrypt_pin(&Pin::new(pin).expect("a PIN"), pan, &keys.pin, PinFormat::Iso0);
        let add = || -> Result<(), BuildError> {
            draft.put_digits(22, "021")?;
            draft.put_number(26, 12)?;
            draft.put_digits(53, "2600000000000000")?;
            draft.put_bytes(52, block.expect("a PIN block").bytes())
        };
        add().expect("a message");
    }

    /// A sale in parts.
    pub(super) async fn instalment(&mut self, world: &Arc<World>) {
        let amount = self.random.between(10_000, 150_000);
        let periods = self.random.between(2, 24);
        let mut draft = self.money(INSTALMENT, amount, 0);
        draft.put_bytes(62, format!("{periods:02}{:<30}", "ITEM1").as_bytes()).expect("field 62");
        let trace = self.trace;
        let Some(reply) = self.reversible(world, &draft, amount, INSTALMENT).await else { return };
        if reply.code == "00" {
            self.keep(INSTALMENT, trace, amount, 0, reply);
        }
    }

    /// Field 55 of a load with a cryptogram of the chip.
    fn cryptogram(&mut self, world: &World, amount: u64) -> Vec<u8> {
        let count = world.network.next_cryptogram();
        let hexed = format!("{amount:012}");
        let fen: Vec<u8> =
            (0..6).map(|at| u8::from_str_radix(&hexed[at * 2..at * 2 + 2], 16).expect("digits")).collect();
        let unpredictable = (self.random.below(1 << 32) as u32).to_be_bytes();
        let counter = count.to_be_bytes();
        let issuer = [0x07, 0x01, 0x11, 0x03, 0xa0, 0x00, 0x00, 0x01];
        let signed = [&fen[..], &unpredictable, &counter, &issuer[4..5]].concat();
        let key = BlockKey::new(KeyAlgorithm::TripleDes2, &IMK_AC).expect("a key");
        let context = CardContext::new(CARDS[PIN_CARD].0, PIN_SEQUENCE, count, CryptogramVersion::V17);
        let value = emv::cryptogram(&key, &context, &signed).expect("a cryptogram");
        let mut out = Vec::new();
        tlv::write(&mut out, 0x9f26, &value);
        tlv::write(&mut out, 0x9f27, &[0x80]);
        tlv::write(&mut out, 0x9f10, &issuer);
        tlv::write(&mut out, 0x9f37, &unpredictable);
        tlv::write(&mut out, 0x9f36, &counter);
        // What else a terminal must tell; a reversal says the first and the last of these again.
        tlv::write(&mut out, 0x95, &[0, 0, 0, 0x48, 0]);
        tlv::write(&mut out, 0x9a, &[0x26, 0x11, 0x24]);
        tlv::write(&mut out, 0x9c, &[0x60]);
        tlv::write(&mut out, 0x9f02, &fen);
        tlv::write(&mut out, 0x5f2a, &[0x01, 0x56]);
        tlv::write(&mut out, 0x82, &[0x7c, 0x00]);
        tlv::write(&mut out, 0x9f1a, &[0x01, 0x56]);
        tlv::write(&mut out, 0x9f03, &[0; 6]);
        tlv::write(&mut out, 0x9f33, &[0xe0, 0xf0, 0xc8]);
        tlv::write(&mut out, 0x9f1e, b"SIMWORLD");
        out
    }

    fn chip(&mut self, world: &World, draft: &mut Draft, amount: u64) {
        let chip = self.cryptogram(world, amount);
        let mut add = || -> Result<(), BuildError> {
            draft.put_digits(22, "052")?;
            draft.put_number(23, u64::from(PIN_SEQUENCE))?;
            draft.put_bytes(55, &chip)
        };
        add().expect("a message");
    }

    /// Cash into a card's purse.
    pub(super) async fn cash_load(&mut self, world: &Arc<World>) {
        let amount = self.random.between(100, 20_000);
        let mut draft = self.money(CASH_LOAD, amount, PIN_CARD);
        self.chip(world, &mut draft, amount);
        let trace = self.trace;
        let Some(reply) = self.reversible(world, &draft, amount, CASH_LOAD).await else { return };
        if reply.code == "00" {
            self.keep(CASH_LOAD, trace, amount, PIN_CARD, reply);
        }
    }

    /// Takes a load back.
    pub(super) async fn cash_load_void(&mut self, world: &Arc<World>) {
        let Some(at) = self.any_slip(CASH_LOAD) else { return };
        let slip = self.slips[at].clone();
        let mut draft = self.money(CASH_LOAD_VOID, slip.amount, PIN_CARD);
        self.chip(world, &mut draft, slip.amount);
        draft.put_text(37, &slip.rrn).expect("field 37");
        draft.put_digits(61, &format!("{:06}{:06}", slip.batch, slip.trace)).expect("field 61");
        let trace = self.trace;
        let Some(reply) = self.reversible(world, &draft, slip.amount, CASH_LOAD_VOID).await else { return };
        if reply.code == "00" {
            self.slips[at].used = true;
            self.keep(CASH_LOAD_VOID, trace, slip.amount, PIN_CARD, reply);
        }
    }

    /// A tip on a sale of this batch: told until the host has it or says that something else stands on the sale.
    pub(super) async fn tip(&mut self, world: &Arc<World>) {
        let Some(at) = self.any_slip(SALE) else { return };
        let slip = self.slips[at].clone();
        // A fifth of the sale is the most that the host allows.
        let most = slip.base / 5;
        if most == 0 {
            return;
        }
        let tip = self.random.between(1, most);
        let total = slip.base + tip;
        let mut draft = self.money(TIP, total, slip.card);
        draft.put_text(54, &format!("{tip:012}")).expect("field 54");
        draft
            .put_digits(61, &format!("{:06}{:06}{}0000000000000", slip.batch, slip.trace, slip.date))
            .expect("field 61");
        if let Some(reply) = self.tell(world, &draft, &["12"], "a tip").await
            && reply.code == "00"
        {
            // Both sides count the sale with its tip from now on.
            self.slips[at].amount = total;
        }
    }

    /// What became of commands for the chip of an approved sale.
    pub(super) async fn script_result(&mut self, world: &Arc<World>) {
        let Some(at) = self.any_slip(SALE) else { return };
        let slip = self.slips[at].clone();
        let batch = self.batch;
        let mut make = || -> Result<Draft, BuildError> {
            let mut draft = self.head(620)?;
            draft.put_digits(2, CARDS[slip.card].0)?;
            draft.put_number(3, 0)?;
            draft.put_number(4, slip.amount)?;
            draft.put_digits(22, "052")?;
            draft.put_number(25, 0)?;
            draft.put_digits(32, "48029999")?;
            draft.put_text(37, &slip.rrn)?;
            draft.put_text(49, "156")?;
            let mut chip = Vec::new();
            tlv::write(&mut chip, 0xdf31, &[0x20, 0, 0, 0, 1]);
            draft.put_bytes(55, &chip)?;
            draft.put_digits(60, &format!("00{batch:06}951"))?;
            draft.put_digits(61, &format!("{:06}{:06}{}", slip.batch, slip.trace, slip.date))?;
            Ok(draft)
        };
        let draft = make().expect("a message");
        // The terminal tells it a few times and lets it go; the host keeps it once it has it.
        for _ in 0..3 {
            let frame = self.frame(&draft, true);
            let reply = self.send(world, &frame, world.weather().terminal_patience_ms).await;
            match reply {
                Some(reply) if !matches!(reply.code.as_str(), "77" | "A0" | "96") => return,
                _ => pause(self.random.between(500, 3_000)).await,
            }
            if !self.sign_in(world, 3).await {
                return;
            }
        }
    }

    /// Tells what has happened until the host takes it, or refuses it with one of these codes; the answer.
    pub(super) async fn tell(
        &mut self,
        world: &Arc<World>,
        draft: &Draft,
        refusals: &[&str],
        what: &str,
    ) -> Option<Reply> {
        for _ in 0..10_000 {
            let frame = self.frame(draft, true);
            match self.send(world, &frame, world.weather().terminal_patience_ms).await {
                Some(reply) if reply.code == "00" || refusals.contains(&reply.code.as_str()) => {
                    return Some(reply);
                }
                Some(reply) if !matches!(reply.code.as_str(), "09" | "77" | "A0" | "96") => {
                    let text = format!("{what} of terminal {} is refused {}", self.id, reply.code);
                    world.broken(Guarantee::G9, text);
                    return None;
                }
                _ => {}
            }
            pause(self.random.between(500, 5_000)).await;
            if !self.sign_in(world, 3).await {
                continue;
            }
        }
        world.broken(Guarantee::G9, format!("{what} of terminal {} is never taken", self.id));
        None
    }

    /// Which side of the settlement a transaction counts on: `Some(true)` for money that the terminal paid out.
    pub(super) fn pays_out(what: What) -> Option<bool> {
        use super::{COMPLETION, COMPLETION_VOID, INSTALMENT_VOID, OFFLINE_SALE, REFUND, VOID};
        match what {
            VOID | REFUND | COMPLETION_VOID | INSTALMENT_VOID | CASH_LOAD => Some(true),
            SALE | COMPLETION | OFFLINE_SALE | INSTALMENT | CASH_LOAD_VOID => Some(false),
            _ => None,
        }
    }
}
