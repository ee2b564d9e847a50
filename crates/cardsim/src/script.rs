//! Commands of the issuer: protected by a MAC, some with enciphered data.

use crate::apdu::{Answered, Command, sw};
use crate::card::{Card, PIN_TRIES};

impl Card {
    /// One script command. Its last four bytes are a MAC over header, counter, this transaction's ARQC and data; of a
    /// further command over the MAC before in place of counter and ARQC. The card does not see where a script ends,
    /// so the first form is good for every command (modelled).
    pub(crate) fn script(&mut self, command: &Command<'_>) -> Answered {
        let Some((data, mac)) = command.data.split_last_chunk::<4>() else {
            return Err(sw::SECURE_MESSAGING);
        };
        let Some(now) = &self.now else { return Err(sw::CONDITIONS) };
        let mut start = now.atc.to_be_bytes().to_vec();
        start.extend(now.arqc);
        let mut chains = vec![start];
        if now.scripts > 0 {
            chains.push(now.script_mac.to_vec());
        }
        let good = chains.into_iter().find_map(|chain| {
            let mut input = command.head.to_vec();
            input.extend(chain);
            input.extend(data);
            let full = self.keys.script_mac(now.atc, now.arqc, &input).ok()?;
            full.starts_with(mac).then_some(full)
        });
        let Some(full) = good else { return Err(sw::SECURE_MESSAGING) };
        let atc = now.atc;
        if let Some(now) = &mut self.now {
            now.scripts = now.scripts.saturating_add(1);
            now.script_mac = full;
        }
        match command.ins {
            0x1E => self.app_blocked = true,
            0x18 => self.app_blocked = false,
            0x16 => self.card_blocked = true,
            0x24 => return self.pin_change(command.p2, atc, data),
            0xDA => {
                let tag = u32::from(command.p1) << 8 | u32::from(command.p2);
                self.objects.push((tag, data.to_vec()));
            }
            _ => return Err(sw::FILE_NOT_FOUND),
        }
        Ok(Vec::new())
    }

    /// PIN CHANGE/UNBLOCK: P2 00 gives the tries back, 01 and 02 set a new PIN that came enciphered.
    fn pin_change(&mut self, p2: u8, atc: u16, data: &[u8]) -> Answered {
        match p2 {
            0x00 if data.is_empty() => {}
            0x01 | 0x02 => {
                let plain = self.keys.script_decipher(atc, data).map_err(|_| sw::WRONG_DATA)?;
                let text = hex::encode(plain);
                let length: usize = text.get(..2).and_then(|count| count.parse().ok()).unwrap_or(0);
                let pin = text.get(2..2_usize.saturating_add(length)).unwrap_or_default();
                if !(4..=12).contains(&length) || !pin.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(sw::WRONG_DATA);
                }
                self.profile.pin = Some(pin.to_owned());
            }
            _ => return Err(sw::WRONG_P1P2),
        }
        self.tries = PIN_TRIES;
        Ok(Vec::new())
    }
}
