//! What a terminal downloads: lists of master data with a version each, and what the host may demand of it.
//!
//! A list is the same for every terminal, or different for a group, a merchant, a terminal: the narrower says the
//! last word, item by item. The store stamps a scope of a list at each change with a number that only grows; the
//! version of a terminal's list is the highest stamp among its scopes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{MerchantId, TerminalId};

/// A list that terminals download.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// 终端参数: items of [`PARAMETERS`].
    Parameters,
    /// CA公钥: public keys of the card organisations, named by RID and index.
    PublicKeys,
    /// IC卡参数: chip applications, named by AID.
    Applications,
    /// 非接业务参数: contactless switches, named by tag.
    Contactless,
    /// 卡BIN表B: card-number prefixes.
    BinsB,
    /// 卡BIN表C: card-number prefixes, modelled.
    BinsC,
    /// 卡黑名单: cards that a terminal refuses.
    Blacklist,
}

impl List {
    /// Every list, in the order in which a terminal is told to fetch them.
    pub const ALL: [List; 7] = [
        List::Parameters,
        List::PublicKeys,
        List::Applications,
        List::Contactless,
        List::BinsB,
        List::BinsC,
        List::Blacklist,
    ];

    /// Short code in the store, on the command line and in logs.
    pub const fn code(self) -> &'static str {
        match self {
            List::Parameters => "parameters",
            List::PublicKeys => "ca_keys",
            List::Applications => "aids",
            List::Contactless => "contactless",
            List::BinsB => "bins_b",
            List::BinsC => "bins_c",
            List::Blacklist => "blacklist",
        }
    }

    /// The list with this code.
    pub fn from_code(code: &str) -> Option<List> {
        Self::ALL.into_iter().find(|list| list.code() == code)
    }

    /// What brings a terminal to fetch it.
    pub const fn demand(self) -> Demand {
        match self {
            List::Parameters => Demand::Parameters,
            List::PublicKeys => Demand::PublicKeys,
            List::Applications => Demand::Applications,
            List::Contactless => Demand::Contactless,
            List::BinsB | List::BinsC => Demand::Bins,
            List::Blacklist => Demand::Blacklist,
        }
    }
}

/// Where in a download a message stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Step {
    /// Which items there are (查询).
    Query,
    /// An item, or the whole list (下载).
    Get,
    /// The terminal has all of it (下载结束).
    End,
}

/// Processing requirement (处理要求): what the host asks of a terminal in digit 6 of an answer's header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// 1: download the terminal parameters.
    Parameters,
    /// 2: upload the terminal's status.
    Status,
    /// 3: sign in again.
    SignIn,
    /// 4: update the public keys.
    PublicKeys,
    /// 5: update the chip applications.
    Applications,
    /// 6: download from the terminal management system.
    Software,
    /// 7: download the blacklist; modelled.
    Blacklist,
    /// 8: download the BIN tables; modelled.
    Bins,
    /// 9: download contactless parameters and BIN tables.
    Contactless,
}

impl Demand {
    /// Every demand, by its digit.
    pub const ALL: [Demand; 9] = [
        Demand::Parameters,
        Demand::Status,
        Demand::SignIn,
        Demand::PublicKeys,
        Demand::Applications,
        Demand::Software,
        Demand::Blacklist,
        Demand::Bins,
        Demand::Contactless,
    ];

    /// The digit of the header, 1 to 9.
    pub const fn digit(self) -> u8 {
        self as u8 + 1
    }

    /// Short code in the store, on the command line and in logs.
    pub const fn code(self) -> &'static str {
        match self {
            Demand::Parameters => "parameters",
            Demand::Status => "status",
            Demand::SignIn => "sign_in",
            Demand::PublicKeys => "ca_keys",
            Demand::Applications => "aids",
            Demand::Software => "software",
            Demand::Blacklist => "blacklist",
            Demand::Bins => "bins",
            Demand::Contactless => "contactless",
        }
    }

    /// The demand with this code.
    pub fn from_code(code: &str) -> Option<Demand> {
        Self::ALL.into_iter().find(|demand| demand.code() == code)
    }

    /// The lists whose end messages fulfil it; none when another message does.
    pub const fn lists(self) -> &'static [List] {
        match self {
            Demand::Parameters => &[List::Parameters],
            Demand::PublicKeys => &[List::PublicKeys],
            Demand::Applications => &[List::Applications],
            Demand::Blacklist => &[List::Blacklist],
            Demand::Bins => &[List::BinsB, List::BinsC],
            Demand::Contactless => &[List::Contactless, List::BinsB, List::BinsC],
            Demand::Status | Demand::SignIn | Demand::Software => &[],
        }
    }
}

/// For whom an item is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Scope {
    /// Every terminal.
    Everyone,
    /// Terminals whose item [`GROUP`] has this name.
    Group(String),
    /// Every terminal of a merchant.
    Merchant(MerchantId),
    /// One terminal.
    Terminal(MerchantId, TerminalId),
}

/// Name of the item that puts a merchant or terminal into a group.
pub const GROUP: &str = "group";

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Everyone => f.write_str("everyone"),
            Scope::Group(name) => write!(f, "group/{name}"),
            Scope::Merchant(merchant) => write!(f, "merchant/{merchant}"),
            Scope::Terminal(merchant, terminal) => write!(f, "terminal/{merchant}/{terminal}"),
        }
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let scope = match (parts.next(), parts.next(), parts.next()) {
            (Some("everyone"), None, None) => Scope::Everyone,
            (Some("group"), Some(name), None) if !name.is_empty() => Scope::Group(name.to_owned()),
            (Some("merchant"), Some(merchant), None) => {
                Scope::Merchant(MerchantId::new(merchant).map_err(drop)?)
            }
            (Some("terminal"), Some(merchant), Some(terminal)) => Scope::Terminal(
                MerchantId::new(merchant).map_err(drop)?,
                TerminalId::new(terminal).map_err(drop)?,
            ),
            _ => return Err(()),
        };
        if parts.next().is_some() { Err(()) } else { Ok(scope) }
    }
}

/// One item of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListItem {
    /// The list.
    pub list: List,
    /// For whom.
    pub scope: Scope,
    /// Its name within the list: a parameter's name, RID and index, AID, tag, prefix; of a blacklisted card the
    /// keyed digest.
    pub name: String,
    /// Its value; of a blacklisted card the sealed number.
    pub value: String,
}

/// How a parameter's value is written and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParameterRule {
    /// A whole number within these bounds.
    Number(u32, u32),
    /// `0` or `1`.
    Switch,
    /// Digits, at most as many as the width.
    Phone,
    /// Text of at most as many bytes in GBK as the width.
    Text,
    /// Sixteen transaction switches as four hexadecimal digits.
    Bits,
}

/// A terminal parameter (field 62 usages 3 and 4).
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Name on the command line.
    pub name: &'static str,
    /// Item code on the wire.
    pub code: u8,
    /// Bytes of its value on the wire.
    pub width: usize,
    /// Rule of its value.
    pub rule: ParameterRule,
    /// What it is without an entry; an item without a default is not sent.
    pub default: Option<&'static str>,
    /// What it does, for the operator.
    pub about: &'static str,
}

const fn parameter(
    name: &'static str,
    code: u8,
    width: usize,
    rule: ParameterRule,
    default: Option<&'static str>,
    about: &'static str,
) -> Parameter {
    Parameter { name, code, width, rule, default, about }
}

/// Every parameter, by its item code. The bits of `transactions` are modelled: from the left balance, sale, void,
/// refund, pre-authorisation, its void, completion, completion void, offline sale, tip; the rest is free.
#[rustfmt::skip]
pub static PARAMETERS: &[Parameter] = &[
    parameter("application", 11, 2, ParameterRule::Number(0, 99), Some("60"), "application type: 60 traditional, 61 chip"),
    parameter("timeout", 12, 2, ParameterRule::Number(5, 99), Some("60"), "seconds that the terminal waits for an answer"),
    parameter("retries", 13, 1, ParameterRule::Number(1, 9), Some("3"), "how often a connection and an upload are tried"),
    parameter("phone1", 14, 14, ParameterRule::Phone, None, "dial-up number 1"),
    parameter("phone2", 15, 14, ParameterRule::Phone, None, "dial-up number 2"),
    parameter("phone3", 16, 14, ParameterRule::Phone, None, "dial-up number 3"),
    parameter("management_phone", 17, 14, ParameterRule::Phone, None, "number of the help desk"),
    parameter("tip", 18, 1, ParameterRule::Switch, Some("0"), "whether tips are allowed"),
    parameter("tip_percent", 19, 2, ParameterRule::Number(0, 99), Some("15"), "largest tip in per cent of the sale"),
    parameter("manual_pan", 20, 1, ParameterRule::Switch, Some("1"), "whether card numbers may be keyed"),
    parameter("auto_sign_off", 21, 1, ParameterRule::Switch, Some("1"), "whether the terminal signs off after a settlement"),
    parameter("merchant_name", 22, 40, ParameterRule::Text, None, "name on slips; without an entry the merchant's own"),
    parameter("reversal_resends", 23, 1, ParameterRule::Number(1, 9), Some("3"), "how often a reversal is sent"),
    parameter("key_index", 24, 1, ParameterRule::Number(0, 9), None, "index of the master key"),
    parameter("transactions", 26, 4, ParameterRule::Bits, Some("FFFF"), "which transactions the terminal offers"),
];

impl Parameter {
    /// The parameter with this name.
    pub fn named(name: &str) -> Option<&'static Parameter> {
        PARAMETERS.iter().find(|parameter| parameter.name == name)
    }

    /// What is wrong with a value, for the operator. The width of a text in GBK is the caller's to check.
    ///
    /// # Errors
    /// A sentence that begins with what the value must be.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let good = match self.rule {
            ParameterRule::Number(low, high) => {
                let good = value.parse().is_ok_and(|number: u32| (low..=high).contains(&number));
                return if good { Ok(()) } else { Err(format!("{low} to {high}")) };
            }
            ParameterRule::Switch => matches!(value, "0" | "1"),
            ParameterRule::Phone => {
                (1..=self.width).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
            }
            ParameterRule::Text => !value.trim().is_empty() && !value.chars().any(char::is_control),
            ParameterRule::Bits => value.len() == 4 && value.bytes().all(|b| b.is_ascii_hexdigit()),
        };
        let rule = match self.rule {
            ParameterRule::Switch => "0 or 1".to_owned(),
            ParameterRule::Phone => format!("1 to {} digits", self.width),
            ParameterRule::Bits => "four hexadecimal digits".to_owned(),
            _ => format!("text of 1 to {} bytes in GBK", self.width),
        };
        if good { Ok(()) } else { Err(rule) }
    }
}

/// A contactless switch (field 62 usage 9). The coding of its value is modelled: packed digits, an odd number of
/// them with a zero before.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Name on the command line.
    pub name: &'static str,
    /// Its tag.
    pub tag: u32,
    /// Digits of its value.
    pub digits: usize,
    /// What it is without an entry.
    pub default: &'static str,
    /// What it does, for the operator.
    pub about: &'static str,
}

const fn switch(
    name: &'static str,
    tag: u32,
    digits: usize,
    default: &'static str,
    about: &'static str,
) -> Switch {
    Switch { name, tag, digits, default, about }
}

/// Every contactless switch, in the order in which they are sent.
#[rustfmt::skip]
pub static SWITCHES: &[Switch] = &[
    switch("channel", 0xFF_805D, 1, "0", "0 online debit and credit first, 1 e-cash first"),
    switch("torn_seconds", 0xFF_803A, 3, "010", "seconds in which the same card may finish a torn trade"),
    switch("torn_record_seconds", 0xFF_803C, 3, "060", "seconds a torn record stays usable"),
    switch("no_pin_limit", 0xFF_8058, 12, "000000100000", "fen up to which no PIN is asked"),
    switch("no_pin", 0xFF_8054, 1, "1", "whether small amounts go without PIN"),
    switch("pilot_1", 0xFF_8055, 1, "0", "pilot stage 1: only cards of BIN table A"),
    switch("pilot_2", 0xFF_8056, 1, "0", "pilot stage 2: debit cards only of BIN table B"),
    switch("cdcvm", 0xFF_8057, 1, "1", "whether the phone's own check of its holder counts"),
    switch("no_signature_limit", 0xFF_8059, 12, "000000100000", "fen up to which no signature is asked"),
    switch("no_signature", 0xFF_805A, 1, "1", "whether small amounts go without signature"),
];

impl Switch {
    /// The switch with this name.
    pub fn named(name: &str) -> Option<&'static Switch> {
        SWITCHES.iter().find(|switch| switch.name == name)
    }

    /// The value in all its digits, zeros before.
    ///
    /// # Errors
    /// A sentence that says what the value must be.
    pub fn digits(&self, value: &str) -> Result<String, String> {
        let good = (1..=self.digits).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        if good {
            Ok(format!("{value:0>width$}", width = self.digits))
        } else {
            Err(format!("1 to {} digits", self.digits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_names_one_thing() {
        for list in List::ALL {
            assert_eq!(List::from_code(list.code()), Some(list));
            assert!(list.demand().lists().contains(&list));
        }
        for (at, demand) in Demand::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(demand.digit()), at + 1);
            assert_eq!(Demand::from_code(demand.code()), Some(demand));
        }
    }

    #[test]
    fn scopes_are_read_back() {
        let merchant = MerchantId::new("898100000000001").unwrap();
        let terminal = TerminalId::new("10000001").unwrap();
        for scope in [
            Scope::Everyone,
            Scope::Group("food".into()),
            Scope::Merchant(merchant),
            Scope::Terminal(merchant, terminal),
        ] {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        for bad in ["", "group", "group/", "merchant/1", "terminal/898100000000001", "everyone/x"] {
            assert_eq!(bad.parse::<Scope>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn values_are_checked_by_their_rules_and_defaults_pass() {
        for parameter in PARAMETERS {
            if let Some(value) = parameter.default {
                assert_eq!(parameter.check(value), Ok(()), "{}", parameter.name);
            }
        }
        for (name, value) in [("timeout", "4"), ("tip", "2"), ("phone1", "12a"), ("transactions", "FFF")] {
            assert!(Parameter::named(name).unwrap().check(value).is_err(), "{name}");
        }
        for switch in SWITCHES {
            assert_eq!(switch.digits(switch.default).as_deref(), Ok(switch.default));
        }
        assert_eq!(Switch::named("no_pin_limit").unwrap().digits("30000").unwrap(), "000000030000");
        assert!(Switch::named("no_pin").unwrap().digits("10").is_err());
    }
}
