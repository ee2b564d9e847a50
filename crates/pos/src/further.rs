//! Further payments: instalments, points (积分), and loads of a card's electronic purse (圈存).
//!
//! Modelled: field 62 of an instalment sale is periods (2), item code (30), and in the answer first part (12) and fee
//! (12); of a points sale item code (30), and in the answer points (10), own part (12), points left (12). A load from
//! another card's account names the purse's card in field 62 by tag 5A; chip data and field 23 are the purse's, so that
//! the card that pays is swiped or keyed. A load is good when the chip has taken the answer; when it has not, the load is reversed as a sale would be.

use crate::card::{CardInput, Entry};
use crate::deck::Behaviour;
use crate::error::PosError;
use crate::message::Kind;
use crate::outcome::Outcome;
use crate::terminal::Terminal;
use crate::transact::{Job, SaleRequest, check_amount};

/// Most periods of an instalment sale.
const PERIODS_MAX: u8 = 60;

/// Whose points pay, field 60.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// 发卡行积分.
    Issuer,
    /// 联盟积分.
    Alliance,
}

impl Points {
    /// Field 60.7.
    pub(crate) fn account_type(self) -> &'static str {
        match self {
            Points::Issuer => "048",
            Points::Alliance => "065",
        }
    }
}

/// More digits in a row could be a card number, and the host refuses them.
const ITEM_DIGITS_MAX: usize = 12;

fn check_item(item: &str) -> Result<(), PosError> {
    if item.len() > 30 || !item.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PosError::Input("an item code has at most 30 letters and digits".into()));
    }
    if item.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() > ITEM_DIGITS_MAX) {
        let why = format!(
            "an item code has at most {ITEM_DIGITS_MAX} digits in a row: more could be a card number"
        );
        return Err(PosError::Input(why));
    }
    Ok(())
}

impl Terminal {
    /// Sells in parts: so many periods, by the bank's item code (at most 30 characters).
    ///
    /// # Errors
    /// Periods or item that cannot be; else as [`Terminal::sale`].
    pub async fn instalment(
        &mut self,
        sale: SaleRequest,
        periods: u8,
        item: &str,
    ) -> Result<Outcome, PosError> {
        if !(2..=PERIODS_MAX).contains(&periods) {
            return Err(PosError::Input(format!("2 to {PERIODS_MAX} periods")));
        }
        check_item(item)?;
        let job = further(Kind::Instalment, sale)?;
        self.transact(Job { plan: Some(format!("{periods:02}{item:<30}")), ..job }).await
    }

    /// Sells against points, by the item code of the offer (at most 30 characters).
    ///
    /// # Errors
    /// An item that cannot be; else as [`Terminal::sale`].
    pub async fn points_sale(
        &mut self,
        sale: SaleRequest,
        points: Points,
        item: &str,
    ) -> Result<Outcome, PosError> {
        check_item(item)?;
        let job = further(Kind::PointsSale, sale)?;
        self.transact(Job { plan: Some(format!("{item:<30}")), points: Some(points), ..job }).await
    }

    /// Loads the purse of a card from the card's own account. It needs the chip and the PIN.
    ///
    /// # Errors
    /// Read otherwise than by its chip, or without a PIN; else as [`Terminal::sale`].
    pub async fn load(&mut self, load: SaleRequest) -> Result<Outcome, PosError> {
        let job = further(Kind::Load, load)?;
        if !job.with_pin() {
            return Err(PosError::Input("a load from the account needs the PIN".into()));
        }
        self.transact(job).await
    }

    /// Loads the purse of a card from the account of another, `load.card`, which is swiped or keyed and needs its PIN.
    ///
    /// # Errors
    /// The card that pays read by its chip, without a PIN, or the same as the purse's; a purse without a chip that
    /// answers; else as [`Terminal::sale`].
    pub async fn load_from(&mut self, load: SaleRequest, purse: CardInput) -> Result<Outcome, PosError> {
        if load.entry.is_chip() {
            return Err(PosError::OtherEntry("swipe or key the card that pays; the purse's is inserted"));
        }
        let purse = purse.read(Entry::Chip)?;
        match purse.deck {
            None if purse.chip.is_some() => {}
            None => return Err(PosError::Input("only a card of the deck has a chip".into())),
            Some(deck) if deck.behaviour == Behaviour::Mute => return Err(PosError::ChipMute),
            Some(_) => {}
        }
        let job = further(Kind::TransferLoad, load)?;
        if !job.with_pin() {
            return Err(PosError::Input("a load from an account needs its PIN".into()));
        }
        if job.card.pan == purse.pan {
            return Err(PosError::Input("the card that pays is the purse's own: load it as such".into()));
        }
        self.transact(Job { purse: Some(purse), ..job }).await
    }

    /// Loads the purse of a card with cash taken at the counter.
    ///
    /// # Errors
    /// Read otherwise than by its chip; else as [`Terminal::sale`].
    pub async fn load_cash(&mut self, load: SaleRequest) -> Result<Outcome, PosError> {
        self.transact(further(Kind::CashLoad, load)?).await
    }
}

fn further(kind: Kind, sale: SaleRequest) -> Result<Job, PosError> {
    check_amount(sale.amount_fen)?;
    if matches!(kind, Kind::Load | Kind::CashLoad) && !sale.entry.is_chip() {
        return Err(PosError::OtherEntry("the purse is in the chip: insert the card"));
    }
    let card = sale.card.read(sale.entry)?;
    Ok(Job::new(kind, Some(sale.amount_fen), card, sale.entry, sale.pin))
}
