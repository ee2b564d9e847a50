//! The issuer's rules: may this card do this now?
//!
//! Pure: what cryptography found out (PIN right or wrong, cryptogram good or not, track equal or not) comes in
//! as facts; what the issuer remembers (PIN tries, the last transaction counter) is changed here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::deck::{CardSpec, Product, Status};
use crate::kinds::CardCheck;
use crate::time::{Moment, SettleDate};

/// What was found about track 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackFact {
    /// No track in the message.
    Absent,
    /// Equal to the card's.
    Matches,
    /// Different from the card's.
    Differs,
}

/// What was found about the PIN block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinFact {
    /// No PIN block.
    Absent,
    /// The right PIN.
    Right,
    /// A well-formed block with another PIN.
    Wrong,
    /// Not a PIN block under any zone key in force.
    Undecryptable,
    /// The security module failed.
    Failed,
}

/// What was found about the chip's cryptogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChipFact {
    /// No field 55.
    Absent,
    /// Right, with this transaction counter.
    Good {
        /// Application transaction counter, tag 9F36.
        atc: u16,
    },
    /// Wrong.
    Bad,
    /// Field 55 lacks a tag the check needs, or is no TLV.
    Unreadable,
}

/// What the terminal presented, for the issuer.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Field 22 as a number of three digits.
    pub entry: u16,
    /// Field 14, or what track 2 says.
    pub expiry: Option<u16>,
    /// Track 2.
    pub track: TrackFact,
    /// PIN block.
    pub pin: PinFact,
    /// Chip.
    pub chip: ChipFact,
    /// Fen, 0 when there is no field 4.
    pub amount: u64,
}

/// Figures that are policy rather than law.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A tap up to this amount (fen) needs no PIN on a debit card. 1000.00 yuan since June 2018.
    pub no_pin_limit: u64,
    /// Days after which a refund is refused with 22.
    pub refund_days: i32,
    /// A completion may be at most this many per cent of what was set aside.
    pub completion_percent: u64,
    /// Days after which a pre-authorisation can no longer be completed: 22.
    pub completion_days: i32,
    /// Wrong PINs after which the answer is 75. Modelled: three, as the deck has it.
    pub pin_tries: u8,
    /// Field 37 of a void must be the original's. Modelled; field 90 alone decides when this is off.
    pub void_reference: bool,
    /// Merchants (field 42) the network does not serve: 03.
    pub refused_merchants: Vec<String>,
    /// Terminals (field 41) the network does not serve: 58.
    pub refused_terminals: Vec<String>,
    /// Transactions kept; above it requests are answered 96, so that memory stays bounded.
    pub record_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            no_pin_limit: 100_000,
            refund_days: 30,
            completion_percent: 115,
            completion_days: 30,
            pin_tries: 3,
            void_reference: true,
            refused_merchants: Vec::new(),
            refused_terminals: Vec::new(),
            record_max: 2_000_000,
        }
    }
}

/// A card with what the issuer remembers of it.
#[derive(Clone, Debug)]
pub struct Card {
    /// What does not change.
    pub spec: CardSpec,
    /// Present status.
    pub status: Status,
    /// Wrong PINs in a row.
    pub tries_used: u8,
    /// Highest transaction counter seen.
    pub last_atc: Option<u16>,
    /// Purchases per settlement day.
    pub purchases: BTreeMap<SettleDate, u32>,
}

impl Card {
    /// The card as it is at the start.
    #[must_use]
    pub fn new(spec: CardSpec) -> Self {
        let (status, tries_used) = (spec.status, spec.tries_used);
        Card { spec, status, tries_used, last_atc: None, purchases: BTreeMap::new() }
    }

    /// Puts status, PIN tries and counters back to the start. The chip's own counter goes on rising, so the
    /// last one seen is kept.
    pub fn reset(&mut self) {
        self.status = self.spec.status;
        self.tries_used = self.spec.tries_used;
        self.purchases.clear();
    }

    /// Examines the card. The order is: status, expiry, way of entry, track, cryptogram, PIN.
    ///
    /// # Errors
    ///
    /// The response code of the decline.
    pub fn examine(
        &mut self,
        seen: &Presented,
        check: CardCheck,
        policy: &Policy,
        at: Moment,
    ) -> Result<(), &'static str> {
        let full = check == CardCheck::Full;
        if check == CardCheck::Original {
            return Ok(());
        }
        if full {
            if let Some(code) = self.status.code() {
                return Err(code);
            }
            if self.spec.expiry < at.year_month() {
                return Err("54");
            }
            if seen.expiry.is_some_and(|expiry| expiry != self.spec.expiry) {
                return Err("54");
            }
            if seen.entry / 10 == 2 && self.spec.has_chip() {
                return Err("45");
            }
        }
        if seen.track == TrackFact::Differs {
            return Err("59");
        }
        self.examine_chip(seen, full)?;
        self.examine_pin(seen, full, policy)
    }

    /// Whether the card may take a load into its purse: it is in order, and its chip asks for it.
    ///
    /// # Errors
    ///
    /// As [`Card::examine`].
    pub fn examine_purse(
        &mut self,
        seen: &Presented,
        policy: &Policy,
        at: Moment,
    ) -> Result<(), &'static str> {
        if let Some(code) = self.status.code() {
            return Err(code);
        }
        if self.spec.expiry < at.year_month() {
            return Err("54");
        }
        if seen.chip == ChipFact::Absent {
            return Err("30");
        }
        self.examine(seen, CardCheck::Presented, policy, at)
    }

    fn examine_chip(&mut self, seen: &Presented, full: bool) -> Result<(), &'static str> {
        let by_chip = matches!(seen.entry / 10, 5 | 7 | 95 | 98);
        match seen.chip {
            ChipFact::Absent if by_chip && full => Err("30"),
            ChipFact::Absent => Ok(()),
            ChipFact::Unreadable => Err("30"),
            ChipFact::Bad => Err("05"),
            ChipFact::Good { atc } => {
                if self.last_atc.is_some_and(|last| atc <= last) {
                    return Err("05");
                }
                self.last_atc = Some(atc);
                Ok(())
            }
        }
    }

    fn examine_pin(&mut self, seen: &Presented, full: bool, policy: &Policy) -> Result<(), &'static str> {
        if seen.pin == PinFact::Absent {
            let small_tap = seen.entry / 10 == 7 && seen.amount <= policy.no_pin_limit;
            // A phone has shown who holds it before it answers the tap; it has no PIN to enter.
            let phone = self.spec.pin.is_none();
            let needed = full && self.spec.product == Product::Debit && !small_tap && !phone;
            return if needed { Err("55") } else { Ok(()) };
        }
        if seen.pin == PinFact::Undecryptable {
            return Err("99");
        }
        if seen.pin == PinFact::Failed {
            return Err("A7");
        }
        if self.tries_used >= policy.pin_tries {
            return Err("75");
        }
        if seen.pin == PinFact::Right {
            self.tries_used = 0;
            return Ok(());
        }
        self.tries_used = self.tries_used.saturating_add(1);
        if self.tries_used >= policy.pin_tries { Err("75") } else { Err("55") }
    }

    /// Whether the amount may be taken.
    ///
    /// # Errors
    ///
    /// 13 zero amount, 61 above the single limit, 65 too many today, 51 not enough money.
    pub fn affords(&self, amount: u64, available: i64, day: SettleDate) -> Result<(), &'static str> {
        if amount == 0 {
            return Err("13");
        }
        if self.spec.amount_limit.is_some_and(|limit| amount > limit) {
            return Err("61");
        }
        let today = self.purchases.get(&day).copied().unwrap_or(0);
        if self.spec.count_limit.is_some_and(|limit| today >= limit) {
            return Err("65");
        }
        if i64::try_from(amount).map_or(true, |amount| amount > available) {
            return Err("51");
        }
        Ok(())
    }

    /// Counts an approved purchase.
    pub fn count(&mut self, day: SettleDate) {
        *self.purchases.entry(day).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deck::lab_deck;

    const AT: Moment = Moment(1_795_486_530_000);

    fn card(id: &str) -> Card {
        Card::new(lab_deck().into_iter().find(|c| c.id == id).unwrap())
    }

    fn chip(atc: u16, pin: PinFact) -> Presented {
        Presented {
            entry: 51,
            expiry: None,
            track: TrackFact::Matches,
            pin,
            chip: ChipFact::Good { atc },
            amount: 10_000,
        }
    }

    #[test]
    fn third_wrong_pin_is_75_and_stays() {
        let mut c = card("L01");
        let policy = Policy::default();
        let mut answers = Vec::new();
        for (atc, pin) in [PinFact::Wrong, PinFact::Wrong, PinFact::Wrong, PinFact::Right].iter().enumerate()
        {
            answers.push(c.examine(&chip(atc as u16 + 1, *pin), CardCheck::Full, &policy, AT));
        }
        assert_eq!(answers, [Err("55"), Err("55"), Err("75"), Err("75")]);
        c.reset();
        assert_eq!(c.examine(&chip(9, PinFact::Right), CardCheck::Full, &policy, AT), Ok(()));
    }

    #[test]
    fn a_right_pin_clears_the_count() {
        let mut c = card("L01");
        let policy = Policy::default();
        for (atc, pin) in [(1, PinFact::Wrong), (2, PinFact::Wrong), (3, PinFact::Right)] {
            let _ = c.examine(&chip(atc, pin), CardCheck::Full, &policy, AT);
        }
        assert_eq!(c.tries_used, 0);
    }

    #[test]
    fn the_counter_must_rise() {
        let mut c = card("L01");
        let policy = Policy::default();
        assert_eq!(c.examine(&chip(5, PinFact::Right), CardCheck::Full, &policy, AT), Ok(()));
        assert_eq!(c.examine(&chip(5, PinFact::Right), CardCheck::Full, &policy, AT), Err("05"));
        assert_eq!(c.examine(&chip(4, PinFact::Right), CardCheck::Full, &policy, AT), Err("05"));
    }

    #[test]
    fn chip_cards_are_not_swiped_without_fallback() {
        let policy = Policy::default();
        let swipe = |entry| Presented { entry, chip: ChipFact::Absent, ..chip(1, PinFact::Right) };
        assert_eq!(card("L02").examine(&swipe(21), CardCheck::Full, &policy, AT), Err("45"));
        assert_eq!(card("L02").examine(&swipe(801), CardCheck::Full, &policy, AT), Ok(()));
        assert_eq!(card("M01").examine(&swipe(21), CardCheck::Full, &policy, AT), Ok(()));
        assert_eq!(card("L01").examine(&swipe(51), CardCheck::Full, &policy, AT), Err("30"));
    }

    #[test]
    fn pin_is_needed_on_debit_unless_the_tap_is_small() {
        let policy = Policy::default();
        let tap = |amount| Presented { entry: 72, amount, ..chip(1, PinFact::Absent) };
        assert_eq!(card("L01").examine(&tap(100_000), CardCheck::Full, &policy, AT), Ok(()));
        assert_eq!(card("L01").examine(&tap(100_001), CardCheck::Full, &policy, AT), Err("55"));
        assert_eq!(card("L12").examine(&tap(100_001), CardCheck::Full, &policy, AT), Ok(()));
    }

    #[test]
    fn status_expiry_and_limits() {
        let policy = Policy::default();
        let swipe = Presented { entry: 21, chip: ChipFact::Absent, ..chip(1, PinFact::Right) };
        for (id, code) in [("M02", "41"), ("M03", "43"), ("M04", "62")] {
            assert_eq!(card(id).examine(&swipe, CardCheck::Full, &policy, AT), Err(code));
        }
        assert_eq!(card("L10").examine(&chip(1, PinFact::Right), CardCheck::Full, &policy, AT), Err("54"));
        let day = SettleDate::of(AT);
        assert_eq!(card("M05").affords(100_001, 1_000_000, day), Err("61"));
        assert_eq!(card("L04").affords(101, 100, day), Err("51"));
        let mut counted = card("M06");
        counted.count(day);
        counted.count(day);
        assert_eq!(counted.affords(1, 1_000_000, day), Err("65"));
        assert_eq!(counted.affords(1, 1_000_000, day.next()), Ok(()));
        assert_eq!(counted.affords(0, 1, day), Err("13"));
    }
}
