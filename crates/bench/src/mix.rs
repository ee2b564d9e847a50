//! What the terminals do, and how often.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};

/// A transaction of the load, or a chore around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 消费.
    Sale,
    /// 余额查询.
    Balance,
    /// 消费撤销, of a sale of the same batch.
    Void,
    /// 退货, of a sale before.
    Refund,
    /// 冲正, of what had no usable outcome.
    Reversal,
    /// 签到.
    SignIn,
    /// 批结算.
    Settlement,
    /// 批上送结束.
    BatchEnd,
}

impl Kind {
    /// Name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Sale => "sale",
            Kind::Balance => "balance",
            Kind::Void => "void",
            Kind::Refund => "refund",
            Kind::Reversal => "reversal",
            Kind::SignIn => "sign-in",
            Kind::Settlement => "settlement",
            Kind::BatchEnd => "batch end",
        }
    }

    /// Whether the schedule draws it; the others follow from what happens.
    #[must_use]
    pub const fn is_drawn(self) -> bool {
        matches!(self, Kind::Sale | Kind::Balance | Kind::Void | Kind::Refund)
    }
}

const DRAWN: [Kind; 4] = [Kind::Sale, Kind::Balance, Kind::Void, Kind::Refund];

/// Shares of the transactions: `sale=80,balance=10,void=5,refund=5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    shares: [u32; 4],
}

impl Mix {
    /// Sales and nothing else.
    pub const SALES: Mix = Mix { shares: [1, 0, 0, 0] };

    /// The kind that a random number draws.
    #[must_use]
    pub fn draw(&self, random: u64) -> Kind {
        let sum: u32 = self.shares.iter().sum();
        let mut drawn = (random % u64::from(sum.max(1))) as u32;
        for (kind, share) in DRAWN.iter().zip(self.shares) {
            if drawn < share {
                return *kind;
            }
            drawn -= share;
        }
        Kind::Sale
    }
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Mix> {
        let mut shares = [0; 4];
        for part in text.split(',') {
            let (name, share) = part.split_once('=').context("a share is written name=number")?;
            let at = DRAWN.iter().position(|kind| kind.name() == name.trim());
            let at = at.with_context(|| format!("{name} is none of sale, balance, void, refund"))?;
            let share: u32 = share.trim().parse().context("a share is a whole number")?;
            if let Some(place) = shares.get_mut(at) {
                *place = share.min(1_000_000);
            }
        }
        if shares.iter().sum::<u32>() == 0 {
            bail!("all shares are zero");
        }
        Ok(Mix { shares })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = DRAWN
            .iter()
            .zip(self.shares)
            .filter(|(_, share)| *share > 0)
            .map(|(kind, share)| format!("{}={share}", kind.name()))
            .collect();
        f.write_str(&parts.join(","))
    }
}

/// A fault that the simulated network shows for an amount, and what the terminal must then hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAmount {
    /// Last four digits of the amount in fen.
    pub tail: u64,
    /// Field 39 of the answer.
    pub code: &'static str,
}

/// The faults that `--faults` mixes in: two declines; an answer that never comes, one that is late, and a request that is
/// lost, all three unknown to the node (68); an answer that comes twice.
pub const FAULTS: [FaultAmount; 6] = [
    FaultAmount { tail: 9_151, code: "51" },
    FaultAmount { tail: 9_161, code: "61" },
    FaultAmount { tail: 9_001, code: "68" },
    FaultAmount { tail: 9_002, code: "68" },
    FaultAmount { tail: 9_007, code: "68" },
    FaultAmount { tail: 9_003, code: "00" },
];

/// A sequence of numbers from a seed (SplitMix64): a run can be drawn again.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_draws_by_its_shares_and_reads_what_it_prints() {
        let mix: Mix = "sale=80, balance=20".parse().unwrap();
        assert_eq!(mix.to_string(), "sale=80,balance=20");
        let balances = (0..100).filter(|n| mix.draw(*n) == Kind::Balance).count();
        assert_eq!(balances, 20);
        for wrong in ["", "sale", "sale=x", "tip=3", "sale=0"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
