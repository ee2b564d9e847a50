//! What the card proves and says: signatures, PIN, issuer authentication, cryptograms.

use hsm::CryptogramVersion;
use iso8583::tlv;
use sha1::{Digest, Sha1};

use crate::apdu::{Answered, Command, sw};
use crate::behaviour::{Ac, ArpcFault, Behaviour};
use crate::card::{Card, PIN_TRIES, Stage, pin_block, template};
use crate::dol;
use crate::profile::Resolved;

/// What a cryptogram says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Aac,
    Tc,
    Arqc,
}

impl Kind {
    pub(crate) const fn cid(self) -> u8 {
        match self {
            Self::Aac => 0x00,
            Self::Tc => 0x40,
            Self::Arqc => 0x80,
        }
    }
}

impl Card {
    // Authentication

    /// SDAD over the dynamic number, `more`, and the terminal's part.
    pub(crate) fn dynamic_signature(&self, more: &[u8], also: &[u8]) -> Vec<u8> {
        let [high, low] = self.atc();
        let mut head = vec![0x05, 0x01, u8::try_from(3 + more.len()).unwrap_or(0), 0x02, high, low];
        head.extend(more);
        let mut signature = self.shared.icc.sign(&head, also);
        if self.has(Behaviour::BadSdad) {
            signature.iter_mut().skip(20).take(1).for_each(|byte| *byte ^= 0x01);
        }
        signature
    }

    pub(crate) fn internal_authenticate(&mut self, command: &Command<'_>) -> Answered {
        if self.stage != Stage::Initiated {
            return Err(sw::CONDITIONS);
        }
        if command.data.len() < 4 {
            return Err(sw::WRONG_LENGTH);
        }
        let signature = self.dynamic_signature(&[], command.data);
        if let Some(now) = &mut self.now {
            now.dda_done = true;
        }
        Ok(template(0x80, &signature))
    }

    pub(crate) fn challenge(&mut self, command: &Command<'_>) -> Answered {
        let mut value = [0; 8];
        (self.random)(&mut value);
        let Some(now) = &mut self.now else { return Err(sw::CONDITIONS) };
        if !command.data.is_empty() {
            return Err(sw::WRONG_LENGTH);
        }
        now.challenge = Some(value);
        Ok(value.to_vec())
    }

    pub(crate) fn verify(&mut self, command: &Command<'_>) -> Answered {
        if self.stage != Stage::Initiated {
            return Err(sw::CONDITIONS);
        }
        if self.tries == 0 {
            return Err(sw::PIN_BLOCKED);
        }
        let block: [u8; 8] = match command.p2 {
            0x80 => command.data.try_into().map_err(|_| sw::WRONG_LENGTH)?,
            0x88 => {
                let challenge = self.now.as_mut().and_then(|now| now.challenge.take());
                let Some(challenge) = challenge else { return Err(sw::REFERENCE_INVALIDATED) };
                if command.data.len() != self.shared.icc.len() {
                    return Err(sw::WRONG_LENGTH);
                }
                let plain = self.shared.icc.apply_private(command.data);
                let rest = plain.strip_prefix(&[0x7F]).unwrap_or_default();
                match rest.split_first_chunk::<8>() {
                    Some((block, after)) if after.starts_with(&challenge) => *block,
                    _ => [0; 8],
                }
            }
            _ => return Err(sw::WRONG_P1P2),
        };
        let right = self.profile.pin.as_ref().and_then(|pin| pin_block(pin)) == Some(block);
        self.tries = if right { PIN_TRIES } else { self.tries.saturating_sub(1) };
        if let Some(now) = &mut self.now {
            now.pin_done = true;
            now.pin_failed = !right;
        }
        if right { Ok(Vec::new()) } else { Err(0x63C0 | u16::from(self.tries)) }
    }

    pub(crate) fn external_authenticate(&mut self, command: &Command<'_>) -> Answered {
        let resolved = self.current()?;
        let [first, _] = resolved.aip;
        let asked = self.now.as_ref().is_some_and(|now| now.issuer.is_some());
        if self.stage != Stage::Online || first & 0x04 == 0 || asked {
            return Err(sw::CONDITIONS);
        }
        if !(8..=16).contains(&command.data.len()) {
            return Err(sw::WRONG_LENGTH);
        }
        if self.authenticate(command.data) { Ok(Vec::new()) } else { Err(sw::ISSUER_AUTHENTICATION_FAILED) }
    }

    pub(crate) fn authenticate(&mut self, data: &[u8]) -> bool {
        let good = !self.has(Behaviour::Arpc(ArpcFault::Bad)) && self.arpc_is_right(data);
        if let Some(now) = &mut self.now {
            now.issuer = Some(good);
        }
        good
    }

    pub(crate) fn arpc_is_right(&self, data: &[u8]) -> bool {
        let (Some(now), Some((arpc, rest))) = (&self.now, data.split_first_chunk::<8>()) else {
            return false;
        };
        let code = rest.first_chunk::<2>().copied().unwrap_or_default();
        self.keys.arpc(now.atc, now.arqc, code).is_ok_and(|expected| expected == *arpc)
    }

    // Cryptograms

    pub(crate) fn generate_ac(&mut self, command: &Command<'_>) -> Answered {
        let second = match self.stage {
            Stage::Initiated => false,
            Stage::Online => true,
            _ => return Err(sw::CONDITIONS),
        };
        let resolved = self.current()?;
        let list = if second { &resolved.cdol2 } else { &resolved.cdol1 };
        let values = dol::split(list, command.data).ok_or(sw::WRONG_LENGTH)?;
        let Some(now) = &mut self.now else { return Err(sw::CONDITIONS) };
        now.values.extend(values);
        if !second {
            now.cdol1_data = command.data.to_vec();
        }
        let asked = match command.p1 & 0xC0 {
            0x00 => Kind::Aac,
            0x40 => Kind::Tc,
            0x80 if !second => Kind::Arqc,
            _ => return Err(sw::WRONG_P1P2),
        };
        let [first, _] = resolved.aip;
        if second && first & 0x04 == 0 {
            let data = self.value(0x91);
            if data.iter().any(|byte| *byte != 0) {
                self.authenticate(&data);
            }
        }
        let kind = if second { self.second(asked) } else { self.first(asked) };
        let verification = self.verification(kind, second.then_some(()));
        let iad = self.application_data(verification);
        let cryptogram = self.sign(&resolved, verification, &iad)?;
        if second {
            self.end_online();
        } else if let Some(now) = &mut self.now {
            now.arqc = cryptogram;
        }
        self.stage = if kind == Kind::Arqc { Stage::Online } else { Stage::Done };
        let combined = command.p1 & 0x10 != 0 && first & 0x01 != 0 && kind != Kind::Aac;
        if combined {
            return Ok(self.combined(kind, cryptogram, &iad, second.then_some(command.data)));
        }
        let mut content = vec![kind.cid()];
        content.extend(self.atc());
        content.extend(cryptogram);
        content.extend(iad);
        Ok(template(0x80, &content))
    }

    /// Cryptogram inside a signature (CDA).
    pub(crate) fn combined(
        &self,
        kind: Kind,
        cryptogram: [u8; 8],
        iad: &[u8],
        cdol2: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut content = Vec::new();
        tlv::write(&mut content, 0x9F27, &[kind.cid()]);
        tlv::write(&mut content, 0x9F36, &self.atc());
        let mut hash = Sha1::new();
        if let Some(now) = &self.now {
            hash.update(&now.pdol_data);
            hash.update(&now.cdol1_data);
        }
        hash.update(cdol2.unwrap_or_default());
        hash.update(&content);
        let mut rest = Vec::new();
        tlv::write(&mut rest, 0x9F10, iad);
        hash.update(&rest);
        let mut dynamic = vec![kind.cid()];
        dynamic.extend(cryptogram);
        dynamic.extend(hash.finalize());
        tlv::write(&mut content, 0x9F4B, &self.dynamic_signature(&dynamic, &self.value(0x9F37)));
        content.extend(rest);
        template(0x77, &content)
    }

    pub(crate) fn first(&self, asked: Kind) -> Kind {
        match self.find(|b| if let Behaviour::Ac1(kind) = b { Some(*kind) } else { None }) {
            Some(Ac::Aac) => Kind::Aac,
            Some(Ac::Tc) => Kind::Tc,
            None if self.app_blocked => Kind::Aac,
            None => asked,
        }
    }

    pub(crate) fn second(&self, asked: Kind) -> Kind {
        let failed = self.now.as_ref().is_some_and(|now| now.issuer == Some(false));
        if failed || self.app_blocked || self.has(Behaviour::Ac2Aac) { Kind::Aac } else { asked }
    }

    pub(crate) fn end_online(&mut self) {
        if let Some(now) = &self.now
            && now.issuer == Some(true)
        {
            self.last_online = now.atc;
        }
    }

    /// CVR: what the card found out. Layout as in the sister specification, modelled.
    pub(crate) fn verification(&self, kind: Kind, second: Option<()>) -> [u8; 4] {
        let mut two = match (second, kind) {
            (None, Kind::Aac) => 0x00,
            (None, Kind::Tc) => 0x90,
            (None, Kind::Arqc) => 0xA0,
            (Some(()), Kind::Tc) => 0x60,
            (Some(()), _) => 0x20,
        };
        let mut four = 0x00;
        if let Some(now) = &self.now {
            if now.issuer == Some(false) {
                two |= 0x08;
            }
            if now.pin_done {
                two |= 0x04;
            }
            if now.pin_failed {
                two |= 0x02;
            }
            if now.dda_done {
                four |= 0x02;
            }
        }
        if second.is_some() && matches!(self.value(0x8A).as_slice(), b"Y3" | b"Z3") {
            two |= 0x01;
        }
        let three = if self.tries == 0 { 0x40 } else { 0x00 };
        [0x03, two, three, four]
    }

    /// 9F10.
    pub(crate) fn application_data(&self, verification: [u8; 4]) -> Vec<u8> {
        let keys = &self.profile.keys;
        let mut out = match self.keys.version() {
            CryptogramVersion::V18 => vec![0x06, keys.dki, 0x12],
            _ => vec![0x07, keys.dki, if keys.cvn == 10 { 0x0A } else { keys.cvn }],
        };
        out.extend(verification);
        if self.keys.version() != CryptogramVersion::V18 {
            out.push(match keys.alg {
                crate::profile::Algorithm::TripleDes => 0x01,
                crate::profile::Algorithm::Sm4 => 0x04,
            });
        }
        out
    }

    pub(crate) fn sign(
        &self,
        resolved: &Resolved,
        verification: [u8; 4],
        iad: &[u8],
    ) -> Result<[u8; 8], u16> {
        let mut data = Vec::with_capacity(44);
        let mut put = |tag: u32, length: usize| {
            let mut value = self.value(tag);
            value.resize(length, 0);
            data.extend(value);
        };
        if self.keys.version() == CryptogramVersion::V17 {
            put(0x9F02, 6);
            put(0x9F37, 4);
            data.extend(self.atc());
            data.extend(verification.get(1..2).unwrap_or_default());
        } else {
            for (tag, length) in [
                (0x9F02, 6),
                (0x9F03, 6),
                (0x9F1A, 2),
                (0x95, 5),
                (0x5F2A, 2),
                (0x9A, 3),
                (0x9C, 1),
                (0x9F37, 4),
            ] {
                put(tag, length);
            }
            data.extend(resolved.aip);
            data.extend(self.atc());
            if self.keys.version() == CryptogramVersion::V18 {
                data.extend(iad);
            } else {
                data.extend(verification);
            }
        }
        let atc = self.now.as_ref().map_or(0, |now| now.atc);
        self.keys.cryptogram(atc, &data).map_err(|_| sw::TECHNICAL)
    }

    pub(crate) fn atc(&self) -> [u8; 2] {
        self.now.as_ref().map_or([0; 2], |now| now.atc.to_be_bytes())
    }

    /// The last value that the terminal gave for a tag; empty when none.
    pub(crate) fn value(&self, tag: u32) -> Vec<u8> {
        let values = self.now.as_ref().map_or(&[][..], |now| &now.values);
        values.iter().rev().find(|(known, _)| *known == tag).map_or_else(Vec::new, |(_, value)| value.clone())
    }
}
