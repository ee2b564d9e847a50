//! Further payments: instalments, and loads of a card's electronic purse (圈存).
//!
//! Modelled: field 62 of an instalment sale is periods (2), item code (30), and in the answer first part (12) and fee
//! (12). A load is good when the chip has taken the answer; when it has not, the load is reversed as a sale would be.

use crate::error::PosError;
use crate::message::Kind;
use crate::outcome::Outcome;
use crate::terminal::Terminal;
use crate::transact::{Job, SaleRequest, check_amount};

/// Most periods of an instalment sale.
const PERIODS_MAX: u8 = 60;

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
        if item.len() > 30 || !item.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PosError::Input("an item code has at most 30 letters and digits".into()));
        }
        self.further(Kind::Instalment, sale, Some(format!("{periods:02}{item:<30}"))).await
    }

    /// Loads the purse of a card from the card's own account. It needs the chip and the PIN.
    ///
    /// # Errors
    /// Read otherwise than by its chip, or without a PIN; else as [`Terminal::sale`].
    pub async fn load(&mut self, load: SaleRequest) -> Result<Outcome, PosError> {
        if load.pin.is_none() {
            return Err(PosError::Input("a load from the account needs the PIN".into()));
        }
        self.further(Kind::Load, load, None).await
    }

    /// Loads the purse of a card with cash taken at the counter.
    ///
    /// # Errors
    /// Read otherwise than by its chip; else as [`Terminal::sale`].
    pub async fn load_cash(&mut self, load: SaleRequest) -> Result<Outcome, PosError> {
        self.further(Kind::CashLoad, load, None).await
    }

    async fn further(
        &mut self,
        kind: Kind,
        sale: SaleRequest,
        plan: Option<String>,
    ) -> Result<Outcome, PosError> {
        check_amount(sale.amount_fen)?;
        if kind != Kind::Instalment && !sale.entry.is_chip() {
            return Err(PosError::OtherEntry("the purse is in the chip: insert the card"));
        }
        let card = sale.card.read(sale.entry)?;
        self.transact(Job {
            kind,
            amount_fen: Some(sale.amount_fen),
            card,
            entry: sale.entry,
            pin: sale.pin,
            original: None,
            named: None,
            plan,
        })
        .await
    }
}
