//! The PIN pad: digits go in at places of a layout and come out as a block.

use std::sync::PoisonError;

use hal::{
    Call, CardText, DeviceKind, ErrorKind, HalError, OfflinePin, OfflinePinMethod, OfflinePinRequest,
    OnlinePin, PinAbilities, PinEvent, PinFormat, PinPad, PinRequest, PinWatch, Result,
};
use zeroize::Zeroizing;

use crate::VirtualDevice;
use crate::readers::Face;
use crate::state::{PinEnd, PinEntry, PinKey, State};

fn error(kind: ErrorKind) -> HalError {
    HalError::new(kind, DeviceKind::PinPad)
}

/// What the pad looks at while somebody types.
enum Seen {
    Digits(u8),
    Refused(u8, u32),
    Confirmed(Zeroizing<String>),
    Cancelled,
}

/// Terms of a PIN entry.
struct Entry<'a> {
    lengths: &'a [u8],
    bypass: bool,
    random_layout: bool,
    amount: Option<u64>,
}

impl VirtualDevice {
    /// The digits in the order of the places. Each step draws one of the digits left, by refusing draws that
    /// would favour some.
    fn layout(&self, random: bool) -> Result<[u8; 10]> {
        let mut layout = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0];
        if !random {
            return Ok(layout);
        }
        for left in (2..=layout.len()).rev() {
            let limit = 256 - 256 % left;
            let draw = loop {
                let mut byte = [0];
                self.secure.fill(DeviceKind::PinPad, &mut byte)?;
                let [byte] = byte;
                if usize::from(byte) < limit {
                    break usize::from(byte) % left;
                }
            };
            layout.swap(left - 1, draw);
        }
        Ok(layout)
    }

    /// Takes a PIN. `None`: confirmed without a digit where that was allowed.
    fn take_pin(
        &self,
        terms: &Entry<'_>,
        watch: PinWatch<'_>,
        call: &Call,
    ) -> Result<Option<Zeroizing<String>>> {
        if self.secure.is_tampered() {
            return Err(error(ErrorKind::Tampered));
        }
        self.powered(DeviceKind::PinPad)?;
        if terms.lengths.is_empty() || !terms.lengths.iter().all(|length| (4..=12).contains(length)) {
            return Err(error(ErrorKind::BadParam).text("PIN lengths are 4 to 12"));
        }
        let layout = self.layout(terms.random_layout)?;
        self.change(|state| {
            if state.pin.is_some() {
                return Err(error(ErrorKind::Busy));
            }
            state.counters.pins = state.counters.pins.saturating_add(1);
            state.pin = Some(PinEntry {
                digits: Zeroizing::new(String::with_capacity(12)),
                layout,
                lengths: terms.lengths.to_vec(),
                bypass: terms.bypass,
                amount: terms.amount,
                refused: (0, 0),
                end: None,
            });
            Ok(())
        })?;
        watch(PinEvent::Started);
        let result = self.follow(watch, call);
        self.change(|state| state.pin = None);
        result
    }

    fn follow(&self, watch: PinWatch<'_>, call: &Call) -> Result<Option<Zeroizing<String>>> {
        let (mut told, mut refusals) = (0, 0);
        loop {
            let seen = self.wait(DeviceKind::PinPad, call, |state| {
                let entry = state.pin.as_mut()?;
                let count = u8::try_from(entry.digits.len()).unwrap_or(u8::MAX);
                // A refusal is told even when the next try was quick.
                if entry.refused.1 != refusals {
                    return Some(Ok(Seen::Refused(entry.refused.0, entry.refused.1)));
                }
                match entry.end {
                    Some(PinEnd::Confirmed) => Some(Ok(Seen::Confirmed(std::mem::take(&mut entry.digits)))),
                    Some(PinEnd::Cancelled) => Some(Ok(Seen::Cancelled)),
                    None => (count != told).then_some(Ok(Seen::Digits(count))),
                }
            })?;
            match seen {
                Seen::Digits(count) => {
                    told = count;
                    watch(PinEvent::Digits(count));
                }
                Seen::Refused(length, times) => {
                    refusals = times;
                    told = 0;
                    watch(PinEvent::WrongLength(length));
                }
                Seen::Cancelled => return Err(error(ErrorKind::UserCancelled)),
                Seen::Confirmed(digits) if digits.is_empty() => return Ok(None),
                Seen::Confirmed(digits) => return Ok(Some(digits)),
            }
        }
    }
}

impl State {
    /// A key of the pad; whether a PIN is being typed.
    pub(crate) fn press(&mut self, key: PinKey) -> bool {
        let Some(entry) = self.pin.as_mut().filter(|entry| entry.end.is_none()) else { return false };
        match key {
            PinKey::At(place) => {
                let longest = entry.lengths.iter().max().copied().unwrap_or_default();
                if let Some(digit) = entry.layout.get(usize::from(place))
                    && entry.digits.len() < usize::from(longest)
                {
                    entry.digits.push(char::from(b'0' + digit % 10));
                }
            }
            PinKey::Clear => entry.digits.clear(),
            PinKey::Cancel => entry.end = Some(PinEnd::Cancelled),
            PinKey::Confirm => {
                let length = u8::try_from(entry.digits.len()).unwrap_or(u8::MAX);
                if entry.lengths.contains(&length) || (length == 0 && entry.bypass) {
                    entry.end = Some(PinEnd::Confirmed);
                } else {
                    entry.refused = (length, entry.refused.1.saturating_add(1));
                    entry.digits.clear();
                }
            }
        }
        true
    }
}

/// The plain PIN block of VERIFY: `2L`, digits, fill.
fn plain_block(digits: &str) -> Zeroizing<[u8; 8]> {
    let nibbles = [2, u8::try_from(digits.len()).unwrap_or_default()].into_iter();
    let nibbles = nibbles.chain(digits.bytes().map(|digit| digit & 0x0F)).chain(std::iter::repeat(0x0F));
    let mut block = Zeroizing::new([0; 8]);
    nibbles.take(16).enumerate().for_each(|(at, nibble)| {
        if let Some(byte) = block.get_mut(at / 2) {
            *byte = (*byte << 4) | nibble;
        }
    });
    block
}

impl PinPad for Face {
    fn abilities(&self) -> PinAbilities {
        PinAbilities {
            formats: vec![PinFormat::Iso0, PinFormat::Sm4Extended],
            random_layout: true,
            display: true,
            offline_pin: true,
        }
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        // Before the holder types: a PIN that cannot be sent is not asked for.
        self.device.secure.pin_key_fits(request.key, request.format)?;
        // This device hides no number, so that it knows none behind a hidden one.
        let digits = request.pan.digits().unwrap_or_default();
        if !(13..=19).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(error(ErrorKind::BadParam).text("a card number has 13 to 19 digits"));
        }
        let terms = Entry {
            lengths: &request.lengths,
            bypass: request.bypass,
            random_layout: request.random_layout,
            amount: request.amount,
        };
        match self.device.take_pin(&terms, watch, call)? {
            None => Ok(OnlinePin::Bypassed),
            Some(pin) => {
                let block =
                    self.device.secure.pin_block(&pin, &CardText::new(digits), request.key, request.format);
                block.map(OnlinePin::Block)
            }
        }
    }

    fn offline_pin(
        &self,
        request: &OfflinePinRequest,
        watch: PinWatch<'_>,
        call: &Call,
    ) -> Result<OfflinePin> {
        if !matches!(request.method, OfflinePinMethod::Plain) {
            return HalError::not_supported(DeviceKind::PinPad);
        }
        let terms = Entry {
            lengths: &request.lengths,
            bypass: request.bypass,
            random_layout: request.random_layout,
            amount: request.amount,
        };
        let card = {
            let state = self.device.signal.lock();
            let slot = state.slot.as_ref().filter(|slot| Some(slot.epoch) == state.slot_power);
            slot.map(|slot| std::sync::Arc::clone(&slot.card))
        };
        let card = card.ok_or_else(|| error(ErrorKind::NoCard).text("no powered card in the slot"))?;
        let Some(pin) = self.device.take_pin(&terms, watch, call)? else { return Ok(OfflinePin::Bypassed) };
        let block = plain_block(&pin);
        let mut apdu = Zeroizing::new(vec![0x00, 0x20, 0x00, 0x80, 0x08]);
        apdu.extend_from_slice(&*block);
        if self.device.signal.lock().slot.is_none() {
            return Err(error(ErrorKind::CardRemoved));
        }
        let answer = card.lock().unwrap_or_else(PoisonError::into_inner).transmit(&apdu);
        let answer = answer.ok_or_else(|| error(ErrorKind::CardMute))?;
        let word = answer.last_chunk::<2>().ok_or_else(|| error(ErrorKind::Comm))?;
        Ok(OfflinePin::Answer(*word))
    }

    fn display(&self, lines: &[&str]) -> Result<()> {
        self.device.powered(DeviceKind::PinPad)?;
        self.device.change(|state| state.pad_lines = lines.iter().map(|line| (*line).to_owned()).collect());
        Ok(())
    }
}
