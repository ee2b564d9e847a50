//! The deck: cards that belong to nobody, one for each thing a terminal has to cope with.
//!
//! Numbers, PINs and keys are public laboratory values. `L01` to `L14` have a chip, `M01` to `M06` only a stripe.

use std::fmt;

use crate::behaviour::{Ac, Behaviour, Moment};
use crate::profile::{App, Contactless, Oda, Profile, Start, standard_records};

/// What a stripe says.
#[derive(Clone, PartialEq, Eq)]
pub struct Stripe {
    /// Track 2 with `D`.
    pub track2: String,
    /// Service code: 2xx and 6xx mean that the card has a chip.
    pub service_code: String,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("service_code", &self.service_code).finish_non_exhaustive()
    }
}

impl Stripe {
    /// The card has a chip, which is to be used first.
    pub fn names_a_chip(&self) -> bool {
        self.service_code.starts_with(['2', '6'])
    }
}

impl Profile {
    /// The stripe of this card; a phone has none.
    pub fn stripe(&self) -> Option<Stripe> {
        self.contact.then(|| Stripe { track2: self.track2(), service_code: self.service_code.clone() })
    }
}

/// A card without a chip.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StripeCard {
    /// Name in the deck.
    pub id: &'static str,
    /// Account number.
    pub pan: &'static str,
    /// YYMM.
    pub expiry: &'static str,
    /// Service code.
    pub service_code: &'static str,
    /// What follows the service code on track 2.
    pub discretionary: &'static str,
    /// PIN.
    pub pin: &'static str,
    /// One line for people, Chinese.
    pub note_zh: &'static str,
    /// One line for people, English.
    pub note_en: &'static str,
}

impl fmt::Debug for StripeCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StripeCard").field(&self.id).finish()
    }
}

impl StripeCard {
    /// What the stripe says.
    pub fn stripe(&self) -> Stripe {
        Stripe {
            track2: format!("{}D{}{}{}", self.pan, self.expiry, self.service_code, self.discretionary),
            service_code: self.service_code.to_owned(),
        }
    }
}

const fn stripe_card(
    id: &'static str,
    pan: &'static str,
    note_zh: &'static str,
    note_en: &'static str,
) -> StripeCard {
    StripeCard {
        id,
        pan,
        expiry: "2912",
        service_code: "101",
        discretionary: DATA,
        pin: "123456",
        note_zh,
        note_en,
    }
}

/// Cards with a stripe only; what is special about them, the issuer knows.
pub static STRIPES: &[StripeCard] = &[
    stripe_card("M01", "6224242000000120", "磁条借记卡,批准", "debit, stripe only, approves"),
    stripe_card("M02", "6224242000000138", "挂失卡 41", "lost: declined 41"),
    stripe_card("M03", "6224242000000146", "被窃卡 43", "stolen: declined 43"),
    stripe_card("M04", "6224242000000153", "受限卡 62", "restricted: declined 62"),
    stripe_card(
        "M05",
        "6224242000000161",
        "单笔限额 1000.00 元,超限 61",
        "limit 1,000.00 a sale: declined 61 above",
    ),
    stripe_card("M06", "6224242000000179", "每日两笔,超次 65", "two sales a day: declined 65 after"),
    stripe_card("M07", "4000000000000010", "外卡,批准", "foreign card, approves"),
];

const DATA: &str = "0000000123";
const DEBIT: (&str, &str) = ("A000000333010101", "LAB DEBIT");
const CREDIT: (&str, &str) = ("A000000333010102", "LAB CREDIT");

/// A line of the deck; everything else of a card is as on every other.
struct Row {
    id: &'static str,
    pan: &'static str,
    /// YYMM, and its last day.
    expiry: (&'static str, &'static str),
    service_code: &'static str,
    discretionary: &'static str,
    pin: Option<&'static str>,
    apps: &'static [(&'static str, &'static str)],
    behaviour: &'static [Behaviour],
    note_zh: &'static str,
    note_en: &'static str,
}

impl Row {
    const fn new(id: &'static str, pan: &'static str, note_zh: &'static str, note_en: &'static str) -> Self {
        Self {
            id,
            pan,
            expiry: ("2912", "31"),
            service_code: "220",
            discretionary: DATA,
            pin: Some("123456"),
            apps: &[DEBIT],
            behaviour: &[],
            note_zh,
            note_en,
        }
    }
}

static ROWS: &[Row] = &[
    Row::new("L01", "6224242000000013", "借记卡,插卡与闪付,批准", "debit, chip and tap, approves"),
    Row {
        expiry: ("2902", "28"),
        service_code: "201",
        discretionary: "5699031007",
        ..Row::new("L02", "6224242000000021", "借记卡,批准", "debit, approves")
    },
    Row {
        expiry: ("2911", "30"),
        service_code: "201",
        pin: Some("654321"),
        apps: &[CREDIT],
        ..Row::new("L03", "6224242000000039", "贷记卡,可不输密码", "credit, PIN may be skipped")
    },
    Row {
        expiry: ("2910", "31"),
        ..Row::new("L04", "6224242000000047", "余额 1.00 元,余额不足 51", "balance 1.00: declined 51")
    },
    Row::new(
        "L05",
        "6224242000000054",
        "发卡行 ARPC 错:卡片拒绝,冲正 06",
        "issuer sends a wrong ARPC: card refuses, reversal 06",
    ),
    Row::new("L06", "6224242000000062", "脚本 71 失败,交易仍批准", "script 71 fails, still approved"),
    Row {
        behaviour: &[Behaviour::Ac1(Ac::Aac)],
        ..Row::new("L07", "6224242000000070", "卡片脱机拒绝 (AAC)", "card declines offline (AAC)")
    },
    Row {
        behaviour: &[Behaviour::LeaveAfter(Moment::Ac1)],
        ..Row::new("L08", "6224242000000088", "ARQC 后拔卡,冲正 06", "pulled after the ARQC: reversal 06")
    },
    Row {
        behaviour: &[Behaviour::Mute],
        ..Row::new("L09", "6224242000000096", "芯片无应答,降级刷卡", "mute chip: fall back to the stripe")
    },
    Row {
        expiry: ("2401", "31"),
        ..Row::new("L10", "6224242000000104", "过期卡 54", "expired: declined 54")
    },
    Row::new("L11", "6224242000000112", "密码次数超限 75", "PIN tries used up: 75"),
    Row {
        expiry: ("3006", "30"),
        service_code: "201",
        pin: Some("888888"),
        apps: &[CREDIT, DEBIT],
        ..Row::new(
            "L12",
            "6212140000000000014",
            "贷记与借记合一,19 位卡号",
            "credit and debit on one card, 19-digit number",
        )
    },
    Row {
        expiry: ("3006", "30"),
        pin: None,
        ..Row::new("L13", "6212140000000000022", "手机闪付,免密", "phone, tap only, no PIN")
    },
    Row {
        expiry: ("3006", "30"),
        behaviour: &[Behaviour::BadSdad],
        ..Row::new("L14", "6212140000000000030", "借记卡,CDA 签名错误", "debit, CDA with a wrong signature")
    },
];

fn profile(row: &Row) -> Profile {
    let phone = row.id == "L13";
    let cda = row.id == "L14";
    let apps = row.apps.iter().zip(1_u8..).map(|((aid, label), priority)| App {
        aid: (*aid).to_owned(),
        label: (*label).to_owned(),
        preferred_name: None,
        priority,
        aip: if cda { "7D00" } else { "7C00" }.to_owned(),
        afl: "080101001001030018010101".to_owned(),
        pdol: String::new(),
        cvm: "000000000000000042031E031F00".to_owned(),
        records: standard_records(),
    });
    let (month, day) = row.expiry;
    Profile {
        id: row.id.to_owned(),
        pan: row.pan.to_owned(),
        psn: 1,
        expiry: month.to_owned(),
        expiry_date: format!("{month}{day}"),
        effective_date: if month < "2411" { "191101" } else { "241101" }.to_owned(),
        service_code: row.service_code.to_owned(),
        discretionary: row.discretionary.to_owned(),
        holder: format!("LAB CARD/{}", row.id),
        pin: row.pin.map(str::to_owned),
        contact: !phone,
        pse: true,
        atr: "3B8801504F53504C414231EB".to_owned(),
        keys: crate::Keys::default(),
        start: Start { pin_tries: if row.id == "L11" { 0 } else { 3 }, ..Start::default() },
        oda: Oda {
            ca: 0xF1,
            issuer: format!("posp-lab/issuer/{}", row.pan.get(..6).unwrap_or_default()),
            icc: format!("posp-lab/icc/{}", row.id),
            dac: "DAC1".to_owned(),
            serial: "000001".to_owned(),
            issuer_cert_exp: "1230".to_owned(),
            icc_cert_exp: "1229".to_owned(),
        },
        apps: apps.collect(),
        contactless: Some(Contactless {
            ctq: if phone { "0080" } else { "0000" }.to_owned(),
            ..Contactless::default()
        }),
        behaviour: row.behaviour.to_vec(),
        note_zh: row.note_zh.to_owned(),
        note_en: row.note_en.to_owned(),
    }
}

/// Every chip card of the deck.
pub fn chips() -> Vec<Profile> {
    ROWS.iter().map(profile).collect()
}

/// The chip card called `id`, in any case.
pub fn find(id: &str) -> Option<Profile> {
    ROWS.iter().find(|row| row.id.eq_ignore_ascii_case(id)).map(profile)
}

/// The stripe card called `id`, in any case.
pub fn find_stripe(id: &str) -> Option<&'static StripeCard> {
    STRIPES.iter().find(|card| card.id.eq_ignore_ascii_case(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luhn(pan: &str) -> bool {
        let sum: u32 = pan
            .bytes()
            .rev()
            .enumerate()
            .map(|(at, byte)| {
                let digit = u32::from(byte - b'0') * if at % 2 == 1 { 2 } else { 1 };
                digit / 10 + digit % 10
            })
            .sum();
        sum.is_multiple_of(10)
    }

    #[test]
    fn every_card_has_a_good_number_a_track_and_two_notes() {
        let chips = chips();
        assert_eq!(chips.len(), 14);
        for card in &chips {
            assert!(luhn(&card.pan) && card.track2().len() <= 37, "{}", card.id);
            assert!(!card.note_zh.is_empty() && !card.note_en.is_empty(), "{}", card.id);
        }
        for card in STRIPES {
            assert!(luhn(card.pan) && !card.stripe().names_a_chip(), "{}", card.id);
        }
        assert_eq!(find("l01").unwrap().track2(), "6224242000000013D29122200000000123");
        assert_eq!(find("L02").unwrap().track2(), "6224242000000021D29022015699031007");
        assert!(find("L01").unwrap().stripe().unwrap().names_a_chip());
        assert_eq!(find("L13").unwrap().stripe(), None);
        assert_eq!(find_stripe("m05").unwrap().id, "M05");
    }

    /// A profile is the same after a round through its file form, and no text shows the number.
    #[test]
    fn a_profile_is_a_file() {
        for card in chips() {
            let text = card.to_toml().unwrap();
            assert_eq!(Profile::from_toml(&text).unwrap(), card);
            assert!(!format!("{card:?}").contains(&card.pan));
        }
        assert!(Profile::from_toml("id = \"L01\"").is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("L01.toml");
        assert!(Profile::from_file(&path).is_err());
        std::fs::write(&path, find("L01").unwrap().to_toml().unwrap()).unwrap();
        assert_eq!(Profile::from_file(&path).unwrap(), find("L01").unwrap());
    }
}
