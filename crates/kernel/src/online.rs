//! After the host: issuer authentication, scripts, the second cryptogram, the outcome.

use iso8583::tlv;

use crate::apdu;
use crate::channel::ChannelError;
use crate::contact::Way;
use crate::data::tag;
use crate::decide::{self, Host, Issuer, Outcome, Second};
use crate::risk;
use crate::step::{EntryMode, Reason, StepKind};
use crate::trans::{Halt, Kind};

/// Bytes of script data that one answer may bring.
const SCRIPT_BYTES: usize = 128;

impl Way<'_> {
    /// The host's answer. `code` is field 39.
    pub(crate) fn answered(&mut self, code: [u8; 2], field55: &[u8]) -> (StepKind, Reason) {
        let host = if decide::approves(code) { Host::Approved } else { Host::Declined };
        if self.trans.mode == EntryMode::QuickPass {
            return self.tap_end(host, code);
        }
        self.trans.store.set(tag::ARC, &code);
        let second = self.tell_the_card(host == Host::Approved, field55).unwrap_or(Second::Nothing);
        self.end(host, second)
    }

    pub(crate) fn invalid(&mut self) -> (StepKind, Reason) {
        self.end(Host::Invalid, Second::NotAsked)
    }

    pub(crate) fn silent(&mut self) -> (StepKind, Reason) {
        // The reversal speaks of the moment when the answer failed to come.
        self.trans.reversal55 = Some(self.trans.reversal(self.set.terminal.reversal_with_atc));
        if self.trans.mode == EntryMode::QuickPass {
            return self.end(Host::Silent, Second::NotAsked);
        }
        let code = |wanted| self.trans.store.fixed(wanted).unwrap_or([0xFF; 5]);
        let default = code(tag::IAC_DEFAULT);
        let tac = self.trans.app.as_ref().map_or([0xFF; 5], |app| app.tac_default);
        let approve = self.set.terminal.unable_online_approve && !risk::meets(self.trans.tvr, tac, default);
        self.trans.store.set(tag::ARC, if approve { b"Y3" } else { b"Z3" });
        let second = self.second_cryptogram(approve).unwrap_or(Second::Nothing);
        self.end(Host::Silent, second)
    }

    /// A tapped card has left: the host's word is final.
    fn tap_end(&mut self, host: Host, code: [u8; 2]) -> (StepKind, Reason) {
        self.trans.store.set(tag::ARC, &code);
        let second = if host == Host::Approved { Second::Certificate } else { Second::NotAsked };
        let (mut step, reason) = self.end(host, second);
        if let StepKind::Approved { follow_up, .. } = &mut step {
            follow_up.upload = crate::Upload::None; // the card gave no certificate
        }
        (step, reason)
    }

    fn tell_the_card(&mut self, approved: bool, field55: &[u8]) -> Result<Second, ChannelError> {
        let items: Vec<_> = tlv::iter(field55).map_while(Result::ok).collect();
        let all = |wanted| items.iter().filter(move |item| item.tag == wanted).map(|item| item.value);
        if let Some(data) = all(tag::ISSUER_AUTH).next()
            && (8..=16).contains(&data.len())
        {
            self.trans.store.set(tag::ISSUER_AUTH, data);
            if self.trans.aip_has(0x04) {
                let answer = apdu::external_authenticate(self.card, data)?;
                self.trans.done(0x10);
                self.trans.issuer = if answer.ok() { Issuer::Right } else { Issuer::Wrong };
                if !answer.ok() {
                    self.trans.found(5, 0x40);
                }
            }
        }
        let mut budget = SCRIPT_BYTES;
        let mut before = Ok(());
        for script in all(0x71) {
            before = before.and_then(|()| self.script(script, 0x20, &mut budget));
        }
        before?;
        let second = self.second_cryptogram(approved)?;
        for script in all(0x72) {
            // After the certificate a missing card changes nothing but the script's result.
            let _ = self.script(script, 0x10, &mut budget);
        }
        Ok(second)
    }

    fn second_cryptogram(&mut self, approve: bool) -> Result<Second, ChannelError> {
        let list = self.trans.store.get(tag::CDOL2).unwrap_or_default().to_vec();
        let Ok(data) = self.trans.asked(&list) else { return Ok(Second::Nothing) };
        let combined = self.trans.proven.is_some() && approve;
        let p1 = if approve { 0x40 } else { 0x00 } | if combined { 0x10 } else { 0x00 };
        let answer = apdu::generate_ac(self.card, p1, &data)?;
        if !answer.ok() {
            return Ok(Second::Nothing);
        }
        self.trans.tvr_signed = self.trans.tvr;
        let kind = match self.take_cryptogram(&answer.data, Some(&data)) {
            Ok(kind) => kind,
            Err(Halt::Channel(error)) => return Err(error),
            Err(Halt::End(..)) => return Ok(Second::Nothing),
        };
        let [first, ..] = self.trans.tvr;
        if combined && kind != Kind::Aac && first & 0x04 != 0 {
            return Ok(Second::Nothing);
        }
        Ok(match kind {
            Kind::Tc if approve => Second::Certificate,
            Kind::Aac => Second::Decline,
            Kind::Tc | Kind::Arqc => Second::Nothing,
        })
    }

    /// One script. DF31 gets five bytes: 2x all done, 1n command n failed, 0x not performed; then its identifier.
    fn script(&mut self, script: &[u8], failure: u8, budget: &mut usize) -> Result<(), ChannelError> {
        let mut identifier = [0_u8; 4];
        let mut commands = Vec::new();
        let mut readable = script.len() <= *budget;
        *budget = budget.saturating_sub(script.len());
        for item in tlv::iter(script) {
            match item {
                Ok(item) if item.tag == 0x9F18 => {
                    identifier.iter_mut().zip(item.value).for_each(|(to, from)| *to = *from);
                }
                Ok(item) if item.tag == 0x86 => commands.push(item.value),
                Ok(_) => {}
                Err(_) => readable = false,
            }
        }
        let mut outcome = if readable { 0x20 } else { 0x00 };
        let mut gone = Ok(());
        if readable {
            for (number, command) in (1_u8..).zip(commands) {
                let answer = if (4..=255).contains(&command.len()) {
                    apdu::exchange(self.card, command).map(|answer| answer.sw)
                } else {
                    Ok(0x6700)
                };
                match answer {
                    // Warnings let a script go on.
                    Ok(0x9000 | 0x6200..=0x63FF) => {}
                    Ok(_) => {
                        outcome = 0x10 | number.min(0x0F);
                        break;
                    }
                    Err(error) => {
                        outcome = if number == 1 { 0x00 } else { 0x10 | number.min(0x0F) };
                        gone = Err(error);
                        break;
                    }
                }
            }
        }
        self.trans.done(0x04);
        if outcome != 0x20 {
            self.trans.found(5, failure);
        }
        self.trans.script_result.push(outcome);
        self.trans.script_result.extend(identifier);
        gone
    }

    fn end(&mut self, host: Host, second: Second) -> (StepKind, Reason) {
        let Outcome { approved, offline, mut follow_up, reason } =
            decide::decide(host, self.trans.issuer, second);
        follow_up.script_result = !self.trans.script_result.is_empty();
        let step = if approved {
            StepKind::Approved {
                offline,
                cryptogram: self.trans.cryptogram().unwrap_or_default(),
                field55: self.trans.upload(),
                arpc_failed: self.issuer_is_wrong(),
                cvm: self.trans.cvm,
                follow_up,
            }
        } else {
            let field55 = if follow_up.reversal.is_some() {
                self.trans.reversal(self.set.terminal.reversal_with_atc)
            } else {
                self.trans.upload()
            };
            let cryptogram = if second == Second::Decline { self.trans.cryptogram() } else { None };
            StepKind::Declined { offline: false, cryptogram, field55, follow_up }
        };
        (step, reason)
    }
}
