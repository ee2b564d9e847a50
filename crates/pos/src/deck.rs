//! The lab test deck: cards that belong to nobody, with the behaviours the terminal has to cope with.
//!
//! The numbers are laboratory data (their BINs belong to the simulated issuer); PINs are printed here because they
//! are public lab values, as on the deck's own page.

/// How a deck card behaves at the terminal. What only the issuer does (limits, wrong PIN counts) is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// A working chip.
    Normal,
    /// The script in tag 71 fails on the card (6988).
    Script71Fails,
    /// The card answers AAC to the first GENERATE AC: declined offline, nothing goes out.
    DeclinesAtFirst,
    /// The card leaves the slot after the ARQC.
    LeavesAfterArqc,
    /// The chip does not answer: the terminal falls back to the stripe.
    Mute,
    /// A phone: tap only, its holder already verified on the device.
    PhoneOnly,
    /// No chip at all: swiped or keyed.
    StripeOnly,
}

/// One card of the deck.
#[derive(Clone, Copy)]
pub struct DeckCard {
    /// Its name: `L01` to `L14` with a chip, `M01` to `M07` with a stripe only.
    pub id: &'static str,
    /// The primary account number.
    pub pan: &'static str,
    /// Expiry as YYMM.
    pub expiry: &'static str,
    /// Service code of the stripe; 2xx and 6xx mean that the card has a chip.
    pub service_code: &'static str,
    /// The discretionary data that ends track 2.
    pub discretionary: &'static str,
    /// PAN sequence number, tag 5F34.
    pub sequence: u8,
    /// The lab PIN, when the card has one.
    pub pin: Option<&'static str>,
    /// Application identifier of the chip, hexadecimal.
    pub aid: &'static str,
    /// Application label, tag 50.
    pub label: &'static str,
    /// What it does.
    pub behaviour: Behaviour,
    /// One line for people, Chinese.
    pub note_zh: &'static str,
    /// One line for people, English.
    pub note_en: &'static str,
}

impl std::fmt::Debug for DeckCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeckCard").field(&self.id).finish()
    }
}

impl DeckCard {
    /// Track 2 with `D` as separator, as field 35 carries it.
    pub fn track2(&self) -> String {
        format!("{}D{}{}{}", self.pan, self.expiry, self.service_code, self.discretionary)
    }
}

const DEBIT: (&str, &str) = ("A000000333010101", "LAB DEBIT");
const CREDIT: (&str, &str) = ("A000000333010102", "LAB CREDIT");
const DATA: &str = "0000000123";

#[allow(clippy::too_many_arguments)] // a line of a table, not an interface
const fn card(
    id: &'static str,
    pan: &'static str,
    expiry: &'static str,
    service_code: &'static str,
    discretionary: &'static str,
    pin: Option<&'static str>,
    application: (&'static str, &'static str),
    behaviour: Behaviour,
    note_zh: &'static str,
    note_en: &'static str,
) -> DeckCard {
    DeckCard {
        id,
        pan,
        expiry,
        service_code,
        discretionary,
        sequence: 1,
        pin,
        aid: application.0,
        label: application.1,
        behaviour,
        note_zh,
        note_en,
    }
}

use Behaviour::{DeclinesAtFirst, LeavesAfterArqc, Mute, Normal, PhoneOnly, Script71Fails, StripeOnly};

/// The deck.
#[rustfmt::skip]
pub static DECK: &[DeckCard] = &[
    card("L01", "6224242000000013", "2912", "220", DATA, Some("123456"), DEBIT, Normal,
        "借记卡,插卡与闪付,批准", "debit, chip and tap, approves"),
    card("L02", "6224242000000021", "2902", "201", "5699031007", Some("123456"), DEBIT, Normal,
        "借记卡,批准", "debit, approves"),
    card("L03", "6224242000000039", "2911", "201", DATA, Some("654321"), CREDIT, Normal,
        "贷记卡,可不输密码", "credit, PIN may be skipped"),
    card("L04", "6224242000000047", "2910", "220", DATA, Some("123456"), DEBIT, Normal,
        "余额 1.00 元,余额不足 51", "balance 1.00: declined 51"),
    card("L05", "6224242000000054", "2912", "220", DATA, Some("123456"), DEBIT, Normal,
        "发卡行 ARPC 错:卡片拒绝,冲正 06", "issuer sends a wrong ARPC: card refuses, reversal 06"),
    card("L06", "6224242000000062", "2912", "220", DATA, Some("123456"), DEBIT, Script71Fails,
        "脚本 71 失败,交易仍批准", "script 71 fails, still approved"),
    card("L07", "6224242000000070", "2912", "220", DATA, Some("123456"), DEBIT, DeclinesAtFirst,
        "卡片脱机拒绝 (AAC)", "card declines offline (AAC)"),
    card("L08", "6224242000000088", "2912", "220", DATA, Some("123456"), DEBIT, LeavesAfterArqc,
        "ARQC 后拔卡,冲正 06", "pulled after the ARQC: reversal 06"),
    card("L09", "6224242000000096", "2912", "220", DATA, Some("123456"), DEBIT, Mute,
        "芯片无应答,降级刷卡", "mute chip: fall back to the stripe"),
    card("L10", "6224242000000104", "2401", "220", DATA, Some("123456"), DEBIT, Normal,
        "过期卡 54", "expired: declined 54"),
    card("L11", "6224242000000112", "2912", "220", DATA, Some("123456"), DEBIT, Normal,
        "密码次数超限 75", "PIN tries used up: 75"),
    card("L12", "6212140000000000014", "3006", "201", DATA, Some("888888"), CREDIT, Normal,
        "贷记卡,19 位卡号", "credit, 19-digit number"),
    card("L13", "6212140000000000022", "3006", "220", DATA, None, DEBIT, PhoneOnly,
        "手机闪付,免密", "phone, tap only, no PIN"),
    card("L14", "6212140000000000030", "3006", "220", DATA, Some("123456"), DEBIT, Normal,
        "借记卡,CDA", "debit, CDA"),
    card("M01", "6224242000000120", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "磁条借记卡,批准", "debit, stripe only, approves"),
    card("M02", "6224242000000138", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "挂失卡 41", "lost: declined 41"),
    card("M03", "6224242000000146", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "被窃卡 43", "stolen: declined 43"),
    card("M04", "6224242000000153", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "受限卡 62", "restricted: declined 62"),
    card("M05", "6224242000000161", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "单笔限额 1000.00 元,超限 61", "limit 1,000.00 a sale: declined 61 above"),
    card("M06", "6224242000000179", "2912", "101", DATA, Some("123456"), DEBIT, StripeOnly,
        "每日两笔,超次 65", "two sales a day: declined 65 after"),
    card("M07", "4000000000000010", "2912", "101", DATA, Some("123456"), CREDIT, StripeOnly,
        "外卡,磁条,批准", "foreign card, stripe only, approves"),
];

/// The deck card called `id`, in any case.
pub fn find(id: &str) -> Option<&'static DeckCard> {
    DECK.iter().find(|card| card.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::luhn;

    #[test]
    fn every_number_passes_luhn_and_every_track_fits_field_35() {
        for card in DECK {
            assert!(luhn(card.pan), "{}", card.id);
            assert!(card.track2().len() <= 37, "{}", card.id);
        }
        assert_eq!(find("l01").unwrap().track2(), "6224242000000013D29122200000000123");
        assert_eq!(find("L02").unwrap().track2(), "6224242000000021D29022015699031007");
    }
}
