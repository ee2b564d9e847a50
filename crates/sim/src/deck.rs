//! The cards that exist: the laboratory's test deck and a few more for declines the deck has no card for.
//!
//! Numbers, PINs and keys here are published laboratory values; nothing else may use them.

use serde::Deserialize;

use crate::secret::Secret;

/// Bank identification numbers of the one issuer behind this network, the last for the card of an international organisation
/// (外卡): a card number that begins with one of
/// them but is not in the deck is answered 14, any other 15.
pub const ISSUER_BINS: [&str; 3] = ["622424", "621214", "400000"];

/// Issuer master key for application cryptograms, laboratory value `lab-1` (check value 08D7B4FB).
pub const LAB_IMK_AC: &str = "0123456789ABCDEFFEDCBA9876543210";

/// Issuer master key for script MACs, laboratory value `lab-1` (check value 77C58CF1).
pub const LAB_IMK_MAC: &str = "1133557799BBDDFF0022446688AACCEE";

/// Debit or credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// Own money; a PIN is needed unless the tap is small.
    Debit,
    /// Money up to a limit; a signature will do.
    Credit,
}

/// What the issuer thinks of a card; the number is the response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In order.
    Normal,
    /// 41.
    Lost,
    /// 43.
    Stolen,
    /// 62.
    Restricted,
    /// 21, asleep or never activated.
    Dormant,
    /// 04, to be kept.
    PickUp,
}

impl Status {
    /// The response code, `None` when in order.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        match self {
            Status::Normal => None,
            Status::Lost => Some("41"),
            Status::Stolen => Some("43"),
            Status::Restricted => Some("62"),
            Status::Dormant => Some("21"),
            Status::PickUp => Some("04"),
        }
    }
}

/// What the issuer puts beside the authentication data when it approves a chip transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// Nothing.
    None,
    /// Template 72 with PUT DATA 9F58 = 03 and a good MAC.
    After,
    /// Template 71 with the same command, which the card will refuse (6988) because the MAC is wrong.
    BeforeRefused,
}

/// A card as the issuer knows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardSpec {
    /// Name in the deck, such as `L01`.
    pub id: String,
    /// Card number.
    pub pan: Secret,
    /// `YYMM`.
    pub expiry: u16,
    /// Three digits; first digit 2 or 6 means that the card has a chip.
    pub service: String,
    /// What follows the service code on track 2.
    #[serde(default = "default_discretionary")]
    pub discretionary: String,
    /// Sequence number, field 23.
    #[serde(default = "one")]
    pub sequence: u8,
    /// PIN; none when the card has no PIN at all.
    pub pin: Option<Secret>,
    /// Debit or credit.
    pub product: Product,
    /// Fen on the account at the start; for credit what is owed is below zero.
    pub opening: i64,
    /// Credit limit in fen, 0 for debit.
    #[serde(default)]
    pub limit: i64,
    /// Status at the start.
    #[serde(default = "normal")]
    pub status: Status,
    /// Wrong PINs already entered at the start, 0 to 3.
    #[serde(default)]
    pub tries_used: u8,
    /// Largest single amount in fen (61 above it).
    #[serde(default)]
    pub amount_limit: Option<u64>,
    /// Purchases in one settlement day (65 from there on).
    #[serde(default)]
    pub count_limit: Option<u32>,
    /// The issuer answers chip transactions with a wrong cryptogram.
    #[serde(default)]
    pub wrong_arpc: bool,
    /// Script sent with an approval.
    #[serde(default = "no_script")]
    pub script: Script,
}

fn default_discretionary() -> String {
    "0000000123".to_owned()
}

fn one() -> u8 {
    1
}

fn normal() -> Status {
    Status::Normal
}

fn no_script() -> Script {
    Script::None
}

impl CardSpec {
    fn lab(id: &str, pan: &str, expiry: u16, service: &str, pin: &str, product: Product, money: i64) -> Self {
        let (opening, limit) = if product == Product::Credit { (0, money) } else { (money, 0) };
        CardSpec {
            id: id.to_owned(),
            pan: Secret::new(pan),
            expiry,
            service: service.to_owned(),
            discretionary: default_discretionary(),
            sequence: 1,
            pin: (!pin.is_empty()).then(|| Secret::new(pin)),
            product,
            opening,
            limit,
            status: Status::Normal,
            tries_used: 0,
            amount_limit: None,
            count_limit: None,
            wrong_arpc: false,
            script: Script::None,
        }
    }

    /// Track 2 with `D` as separator.
    #[must_use]
    pub fn track2(&self) -> Secret {
        let text = format!("{}D{:04}{}{}", self.pan.expose(), self.expiry, self.service, self.discretionary);
        Secret::new(&text)
    }

    /// Whether the service code says that the card has a chip.
    #[must_use]
    pub fn has_chip(&self) -> bool {
        self.service.starts_with(['2', '6'])
    }
}

/// L01 to L14 of the laboratory deck, then M01 to M07 of this simulator.
#[must_use]
pub fn lab_deck() -> Vec<CardSpec> {
    use Product::{Credit, Debit};
    let card = CardSpec::lab;
    let pin = "123456";
    let yuan = |n: i64| n * 100;
    vec![
        CardSpec {
            script: Script::After,
            ..card("L01", "6224242000000013", 2912, "220", pin, Debit, yuan(10_000))
        },
        CardSpec {
            discretionary: "5699031007".to_owned(),
            ..card("L02", "6224242000000021", 2902, "201", pin, Debit, yuan(10_000))
        },
        card("L03", "6224242000000039", 2911, "201", "654321", Credit, yuan(50_000)),
        card("L04", "6224242000000047", 2910, "220", pin, Debit, yuan(1)),
        CardSpec {
            wrong_arpc: true,
            ..card("L05", "6224242000000054", 2912, "220", pin, Debit, yuan(10_000))
        },
        CardSpec {
            script: Script::BeforeRefused,
            ..card("L06", "6224242000000062", 2912, "220", pin, Debit, yuan(10_000))
        },
        card("L07", "6224242000000070", 2912, "220", pin, Debit, yuan(10_000)),
        card("L08", "6224242000000088", 2912, "220", pin, Debit, yuan(10_000)),
        card("L09", "6224242000000096", 2912, "220", pin, Debit, yuan(10_000)),
        card("L10", "6224242000000104", 2401, "220", pin, Debit, yuan(10_000)),
        CardSpec { tries_used: 3, ..card("L11", "6224242000000112", 2912, "220", pin, Debit, yuan(10_000)) },
        card("L12", "6212140000000000014", 3006, "201", "888888", Credit, yuan(20_000)),
        card("L13", "6212140000000000022", 3006, "220", "", Debit, yuan(5_000)),
        card("L14", "6212140000000000030", 3006, "220", pin, Debit, yuan(3_000)),
        card("M01", "6224242000000120", 2912, "101", pin, Debit, yuan(10_000)),
        CardSpec {
            status: Status::Lost,
            ..card("M02", "6224242000000138", 2912, "101", pin, Debit, yuan(10_000))
        },
        CardSpec {
            status: Status::Stolen,
            ..card("M03", "6224242000000146", 2912, "101", pin, Debit, yuan(10_000))
        },
        CardSpec {
            status: Status::Restricted,
            ..card("M04", "6224242000000153", 2912, "101", pin, Debit, yuan(10_000))
        },
        CardSpec {
            amount_limit: Some(100_000),
            ..card("M05", "6224242000000161", 2912, "101", pin, Debit, yuan(10_000))
        },
        CardSpec {
            count_limit: Some(2),
            ..card("M06", "6224242000000179", 2912, "101", pin, Debit, yuan(10_000))
        },
        card("M07", "4000000000000010", 2912, "101", pin, Credit, yuan(50_000)),
    ]
}

/// First six and last four digits, stars between; shorter numbers are all stars.
#[must_use]
pub fn mask(pan: &str) -> String {
    let hidden = pan.len().saturating_sub(10);
    if hidden == 0 {
        return "*".repeat(pan.len());
    }
    let middle = 6..6 + hidden;
    pan.chars().enumerate().map(|(i, c)| if middle.contains(&i) { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luhn(pan: &str) -> bool {
        let sum: u32 = pan
            .bytes()
            .rev()
            .enumerate()
            .map(|(i, b)| {
                let d = u32::from(b - b'0');
                if i % 2 == 0 { d } else { d * 2 / 10 + d * 2 % 10 }
            })
            .sum();
        sum.is_multiple_of(10)
    }

    #[test]
    fn the_deck_is_in_order() {
        let deck = lab_deck();
        for card in &deck {
            assert!(luhn(card.pan.expose()), "{}", card.id);
            assert!(ISSUER_BINS.iter().any(|bin| card.pan.expose().starts_with(bin)), "{}", card.id);
            assert!(card.track2().expose().len() <= 37);
        }
        let mut ids: Vec<_> = deck.iter().map(|c| &c.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 21);
        assert_eq!(deck[0].track2().expose(), "6224242000000013D29122200000000123");
        assert_eq!(deck[1].track2().expose(), "6224242000000021D29022015699031007");
    }

    #[test]
    fn debug_shows_no_number_and_no_pin() {
        let text = format!("{:?}", lab_deck());
        assert!(!text.contains("6224242000000013") && !text.contains("654321"));
        assert_eq!(mask("6224242000000013"), "622424******0013");
        assert_eq!(mask("123"), "***");
    }
}
