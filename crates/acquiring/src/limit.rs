//! Limits 限额 by merchant, terminal, transaction and kind of card. Pure: which of them hold for a payment, what a
//! single payment may not exceed, and what must be reserved of a day.
//!
//! Every limit that fits a payment must hold. A limit without a transaction is for payments from the cardholder, and for
//! what changes their sum; one for refunds, pre-authorisations or loads names them. Zero forbids.

use crate::ids::{MerchantId, TerminalId};
use crate::kind::{Hold, Kind, Side};
use crate::money::Amount;
use crate::payment::PaymentRecord;
use crate::response_code::ResponseCode;

/// What kind of card it is, by the first digits of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CardClass {
    /// 借记卡.
    Debit,
    /// 贷记卡.
    Credit,
    /// 外卡.
    Foreign,
}

impl CardClass {
    const ALL: [(CardClass, &'static str); 3] =
        [(CardClass::Debit, "debit"), (CardClass::Credit, "credit"), (CardClass::Foreign, "foreign")];

    /// Code in the store and on the command line.
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(class, _)| *class == self).map_or("", |(_, code)| code)
    }

    /// The class with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(class, _)| *class)
    }
}

/// What a limit is for; what is not named fits everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitScope {
    /// Only this merchant; without one, each merchant for itself.
    pub merchant: Option<MerchantId>,
    /// Only this terminal; without one, all terminals of the merchant together.
    pub terminal: Option<TerminalId>,
    /// Only this transaction; without one, all payments from the cardholder.
    pub kind: Option<Kind>,
    /// Only this kind of card.
    pub card: Option<CardClass>,
}

/// Whether its amount is what the cardholder pays: of an adjustment or a tip the new sum.
fn takes_from_cardholder(kind: Kind) -> bool {
    let spec = kind.spec();
    spec.side == Side::Debit || spec.stands_on.is_some_and(|rule| rule.hold == Hold::Adjust)
}

impl LimitScope {
    /// The scope as one text: merchant, terminal, transaction, card, with a star for everything.
    pub fn text(&self) -> String {
        let star = |part: Option<&str>| part.unwrap_or("*").to_owned();
        [
            star(self.merchant.as_ref().map(MerchantId::as_str)),
            star(self.terminal.as_ref().map(TerminalId::as_str)),
            star(self.kind.map(Kind::code)),
            star(self.card.map(CardClass::code)),
        ]
        .join("/")
    }

    fn fits(&self, payment: &PaymentRecord, card: Option<CardClass>) -> bool {
        let kind = match self.kind {
            Some(kind) => kind == payment.kind,
            None => takes_from_cardholder(payment.kind),
        };
        kind && self.merchant.is_none_or(|merchant| merchant == payment.merchant)
            && self.terminal.is_none_or(|terminal| terminal == payment.terminal)
            && (self.card.is_none() || self.card == card)
    }
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is for.
    pub scope: LimitScope,
    /// Largest single amount.
    pub single: Option<Amount>,
    /// Largest sum of a day (Beijing).
    pub day_amount: Option<Amount>,
    /// Most payments of a day.
    pub day_count: Option<u32>,
}

impl Limit {
    fn forbids(&self) -> bool {
        self.single.is_some_and(Amount::is_zero)
            || self.day_amount.is_some_and(Amount::is_zero)
            || self.day_count == Some(0)
    }
}

/// What a payment takes of a day before it may go on its way; given back when it comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitHold {
    /// The scope of the limit, as text.
    pub scope: String,
    /// The day, YYYYMMDD.
    pub day: u32,
    /// What the day's sum may not exceed.
    pub amount_max: Option<Amount>,
    /// What the day's count may not exceed.
    pub count_max: Option<u32>,
}

/// The limits in force and the table that tells kinds of cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The limits.
    pub rules: Vec<Limit>,
    /// First digits of card numbers and what they say, in the order of the digits; the longest that fits counts.
    pub bins: Vec<(String, CardClass)>,
}

impl Limits {
    /// What kind of card a number is of, when the table tells.
    pub fn class_of(&self, pan: &str) -> Option<CardClass> {
        // Each payment is looked up, and a table has thousands of lines.
        (1..=pan.len()).rev().find_map(|length| {
            let first = pan.get(..length)?;
            let at = self.bins.binary_search_by(|(digits, _)| digits.as_str().cmp(first)).ok()?;
            self.bins.get(at).map(|(_, class)| *class)
        })
    }

    /// Whether a number is of a foreign card (外卡): the table says so. What it does not know is domestic.
    pub fn is_foreign(&self, pan: &str) -> bool {
        !self.bins.is_empty() && self.class_of(pan) == Some(CardClass::Foreign)
    }

    /// Judges a payment of this number on this day.
    ///
    /// # Errors
    /// 57 when a limit forbids the kind of card, 58 when it forbids the payment here, 61 above a single amount.
    pub fn judge(
        &self,
        payment: &PaymentRecord,
        pan: &str,
        day: u32,
    ) -> Result<Vec<LimitHold>, ResponseCode> {
        if self.rules.is_empty() {
            return Ok(Vec::new());
        }
        let card = self.class_of(pan);
        let mut holds = Vec::new();
        for limit in self.rules.iter().filter(|limit| limit.scope.fits(payment, card)) {
            if limit.forbids() {
                return Err(match limit.scope.card {
                    Some(_) => ResponseCode::NOT_FOR_CARD,
                    None => ResponseCode::NOT_FOR_TERMINAL,
                });
            }
            if limit.single.is_some_and(|single| payment.amount > single) {
                return Err(ResponseCode::OVER_LIMIT);
            }
            if limit.day_amount.is_some() || limit.day_count.is_some() {
                holds.push(LimitHold {
                    scope: limit.scope.text(),
                    day,
                    amount_max: limit.day_amount,
                    count_max: limit.day_count,
                });
            }
        }
        // In one order for every payment, so that two that reserve the same never wait for each other in a circle.
        holds.sort_by(|one, other| one.scope.cmp(&other.scope));
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::PaymentState;
    use crate::transition::tests::payment;

    fn fen(fen: u64) -> Option<Amount> {
        Amount::from_fen(fen)
    }

    fn limit(scope: LimitScope, single: Option<Amount>) -> Limit {
        Limit { scope, single, day_amount: None, day_count: None }
    }

    #[test]
    fn what_fits_must_hold_and_zero_forbids() {
        let sale = payment(1, Kind::Sale, PaymentState::Pending);
        let any = LimitScope::default();
        let judge = |rules: Vec<Limit>| {
            let bins = vec![("62".to_owned(), CardClass::Debit), ("622424".to_owned(), CardClass::Credit)];
            Limits { rules, bins }.judge(&sale, "6224242000000021", 20_261_124).map(|holds| holds.len())
        };
        assert_eq!(judge(vec![]), Ok(0));
        assert_eq!(judge(vec![limit(any, fen(10_000))]), Ok(0));
        assert_eq!(judge(vec![limit(any, fen(9_999))]), Err(ResponseCode::OVER_LIMIT));
        let elsewhere = LimitScope { terminal: TerminalId::new("99999999").ok(), ..any };
        assert_eq!(judge(vec![limit(elsewhere, fen(1))]), Ok(0));
        let refunds = LimitScope { kind: Some(Kind::Refund), ..any };
        assert_eq!(judge(vec![limit(refunds, fen(1))]), Ok(0));
        // The longest digits that fit say what the card is.
        let credit = LimitScope { card: Some(CardClass::Credit), ..any };
        let debit = LimitScope { card: Some(CardClass::Debit), ..any };
        assert_eq!(judge(vec![limit(debit, fen(0))]), Ok(0));
        assert_eq!(judge(vec![limit(credit, fen(0))]), Err(ResponseCode::NOT_FOR_CARD));
        assert_eq!(judge(vec![limit(any, fen(0))]), Err(ResponseCode::NOT_FOR_TERMINAL));
        let days = Limit { day_count: Some(3), ..limit(any, None) };
        assert_eq!(judge(vec![days, Limit { day_amount: fen(1), ..limit(credit, None) }]), Ok(2));
        assert_eq!(judge(vec![Limit { day_count: Some(0), ..days }]), Err(ResponseCode::NOT_FOR_TERMINAL));
    }

    #[test]
    fn the_longest_digits_tell_the_class_and_what_is_not_known_is_domestic() {
        let line = |digits: &str, class| (digits.to_owned(), class);
        let bins = vec![
            line("35", CardClass::Foreign),
            line("4", CardClass::Foreign),
            line("403361", CardClass::Debit),
            line("62", CardClass::Debit),
        ];
        assert!(bins.is_sorted());
        let limits = Limits { bins, ..Limits::default() };
        assert!(limits.is_foreign("4000000000000010") && limits.is_foreign("3530000000000000"));
        assert!(!limits.is_foreign("4033610000000000"), "a national card with such a number");
        assert!(!limits.is_foreign("6224242000000021") && !limits.is_foreign("5200000000000000"));
        assert_eq!(limits.class_of("5200000000000000"), None);
        assert!(!Limits::default().is_foreign("4000000000000010"));
    }
}
