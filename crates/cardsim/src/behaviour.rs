//! What can be switched on a card, at any time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A moment of a payment, named by its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Selection of an application or directory.
    Select,
    /// Processing options.
    Gpo,
    /// Any record; for [`Behaviour::Torn`], the last one.
    Record,
    /// Dynamic authentication.
    Dda,
    /// First cryptogram.
    Ac1,
    /// Issuer authentication.
    External,
    /// An issuer script command.
    Script,
    /// Second cryptogram.
    Ac2,
}

/// Kinds of cryptograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ac {
    /// Declined.
    Aac,
    /// Approved.
    Tc,
}

/// What is wrong with the issuer's cryptogram, as the card sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpcFault {
    /// Every one is wrong.
    Bad,
    /// The card does not ask for one (82 without 04).
    Absent,
}

/// What is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The whole card: 6A81.
    Card,
    /// Its applications: 6283.
    App,
}

/// A switch. Its text form is that of profiles: `leave_after(ac1)`, `sw(B2,6A83)`, `mute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Behaviour {
    /// Answers this instruction with this status word.
    Sw {
        /// Instruction byte.
        ins: u8,
        /// Status word.
        code: u16,
    },
    /// Does not answer.
    Mute,
    /// Leaves the reader after its answer at this moment.
    LeaveAfter(Moment),
    /// The signature over dynamic data is wrong.
    BadSdad,
    /// The card's certificate is wrong.
    BadCert,
    /// Issuer authentication fails or is not asked for.
    Arpc(ArpcFault),
    /// First cryptogram.
    Ac1(Ac),
    /// Second cryptogram: always declined.
    Ac2Aac,
    /// Tapped, it goes the full way.
    Gpo80,
    /// Leaves the field before it answers at this moment.
    Torn(Moment),
    /// Answers so late, milliseconds. The card does not sleep; a reader asks [`Card::delay`](crate::Card::delay).
    Delay(u32),
    /// There are two cards in the field.
    TwoCards,
    /// Blocked.
    Blocked(Blocked),
    /// Records near the longest answer.
    LongRecords,
    /// Private tags nobody knows, in records and answers.
    UnknownTags,
    /// A record that is no TLV.
    JunkTlv,
}

/// A text that names no switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such behaviour: {0}")]
pub struct BehaviourError(String);

const MOMENTS: [(&str, Moment); 8] = [
    ("select", Moment::Select),
    ("gpo", Moment::Gpo),
    ("record", Moment::Record),
    ("dda", Moment::Dda),
    ("ac1", Moment::Ac1),
    ("external", Moment::External),
    ("script", Moment::Script),
    ("ac2", Moment::Ac2),
];

fn moment_name(moment: Moment) -> &'static str {
    MOMENTS.iter().find(|(_, known)| *known == moment).map_or("", |(name, _)| name)
}

fn moment(name: &str) -> Option<Moment> {
    MOMENTS.iter().find(|(known, _)| *known == name).map(|(_, moment)| *moment)
}

impl FromStr for Behaviour {
    type Err = BehaviourError;

    fn from_str(text: &str) -> Result<Self, BehaviourError> {
        let text = text.trim();
        let (name, argument) = text
            .split_once('(')
            .and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?)))
            .unwrap_or((text, ""));
        let found = match (name, argument) {
            ("mute", "") => Some(Self::Mute),
            ("bad_sdad", "") => Some(Self::BadSdad),
            ("bad_cert", "") => Some(Self::BadCert),
            ("arpc", "bad") => Some(Self::Arpc(ArpcFault::Bad)),
            ("arpc", "absent") => Some(Self::Arpc(ArpcFault::Absent)),
            ("ac1", "aac") => Some(Self::Ac1(Ac::Aac)),
            ("ac1", "tc") => Some(Self::Ac1(Ac::Tc)),
            ("ac2", "aac") => Some(Self::Ac2Aac),
            ("gpo80", "") => Some(Self::Gpo80),
            ("two_cards", "") => Some(Self::TwoCards),
            ("blocked", "card") => Some(Self::Blocked(Blocked::Card)),
            ("blocked", "app") => Some(Self::Blocked(Blocked::App)),
            ("long_records", "") => Some(Self::LongRecords),
            ("unknown_tags", "") => Some(Self::UnknownTags),
            ("junk_tlv", "") => Some(Self::JunkTlv),
            ("leave_after", step) => moment(step).map(Self::LeaveAfter),
            ("torn", step) => moment(step).map(Self::Torn),
            ("delay", ms) => ms.parse().ok().map(Self::Delay),
            ("sw", pair) => pair.split_once(',').and_then(|(ins, code)| {
                Some(Self::Sw {
                    ins: u8::from_str_radix(ins.trim(), 16).ok()?,
                    code: u16::from_str_radix(code.trim(), 16).ok()?,
                })
            }),
            _ => None,
        };
        found.ok_or_else(|| BehaviourError(text.to_owned()))
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sw { ins, code } => write!(f, "sw({ins:02X},{code:04X})"),
            Self::Mute => f.write_str("mute"),
            Self::LeaveAfter(step) => write!(f, "leave_after({})", moment_name(*step)),
            Self::BadSdad => f.write_str("bad_sdad"),
            Self::BadCert => f.write_str("bad_cert"),
            Self::Arpc(ArpcFault::Bad) => f.write_str("arpc(bad)"),
            Self::Arpc(ArpcFault::Absent) => f.write_str("arpc(absent)"),
            Self::Ac1(Ac::Aac) => f.write_str("ac1(aac)"),
            Self::Ac1(Ac::Tc) => f.write_str("ac1(tc)"),
            Self::Ac2Aac => f.write_str("ac2(aac)"),
            Self::Gpo80 => f.write_str("gpo80"),
            Self::Torn(step) => write!(f, "torn({})", moment_name(*step)),
            Self::Delay(ms) => write!(f, "delay({ms})"),
            Self::TwoCards => f.write_str("two_cards"),
            Self::Blocked(Blocked::Card) => f.write_str("blocked(card)"),
            Self::Blocked(Blocked::App) => f.write_str("blocked(app)"),
            Self::LongRecords => f.write_str("long_records"),
            Self::UnknownTags => f.write_str("unknown_tags"),
            Self::JunkTlv => f.write_str("junk_tlv"),
        }
    }
}

impl TryFrom<String> for Behaviour {
    type Error = BehaviourError;

    fn try_from(text: String) -> Result<Self, BehaviourError> {
        text.parse()
    }
}

impl From<Behaviour> for String {
    fn from(behaviour: Behaviour) -> Self {
        behaviour.to_string()
    }
}

impl Behaviour {
    /// One of each switch, with a usual argument: what a page of the deck offers.
    pub const ALL: [Self; 19] = [
        Self::Mute,
        Self::LeaveAfter(Moment::Ac1),
        Self::Torn(Moment::Record),
        Self::TwoCards,
        Self::Delay(1500),
        Self::Sw { ins: 0xB2, code: 0x6A83 },
        Self::Blocked(Blocked::Card),
        Self::Blocked(Blocked::App),
        Self::Ac1(Ac::Aac),
        Self::Ac1(Ac::Tc),
        Self::Ac2Aac,
        Self::Arpc(ArpcFault::Bad),
        Self::Arpc(ArpcFault::Absent),
        Self::BadSdad,
        Self::BadCert,
        Self::Gpo80,
        Self::LongRecords,
        Self::UnknownTags,
        Self::JunkTlv,
    ];

    /// One line for the page of the deck: Chinese, English.
    pub const fn note(self) -> (&'static str, &'static str) {
        match self {
            Self::Sw { .. } => {
                ("对某指令返回指定状态字", "answers one instruction with a chosen status word")
            }
            Self::Mute => ("芯片无应答", "the chip does not answer"),
            Self::LeaveAfter(_) => ("该步之后卡片离开", "the card leaves after this step"),
            Self::BadSdad => ("动态签名错误", "wrong signature over dynamic data"),
            Self::BadCert => ("IC 卡证书错误", "wrong card certificate"),
            Self::Arpc(ArpcFault::Bad) => ("发卡行认证失败", "issuer authentication fails"),
            Self::Arpc(ArpcFault::Absent) => ("不要求发卡行认证", "no issuer authentication wanted"),
            Self::Ac1(Ac::Aac) => ("第一次密文拒绝", "declines at the first cryptogram"),
            Self::Ac1(Ac::Tc) => ("第一次密文批准", "approves at the first cryptogram"),
            Self::Ac2Aac => ("第二次密文拒绝", "declines at the second cryptogram"),
            Self::Gpo80 => ("挥卡走完整 PBOC 流程", "tapped, goes the full PBOC way"),
            Self::Torn(_) => ("该步应答前离场", "leaves the field before it answers at this step"),
            Self::Delay(_) => ("应答延迟", "answers late"),
            Self::TwoCards => ("场内两张卡", "two cards in the field"),
            Self::Blocked(Blocked::Card) => ("卡片锁定 6A81", "card blocked, 6A81"),
            Self::Blocked(Blocked::App) => ("应用锁定 6283", "application blocked, 6283"),
            Self::LongRecords => ("超长记录", "very long records"),
            Self::UnknownTags => ("未知标签", "unknown tags"),
            Self::JunkTlv => ("损坏的 TLV", "broken TLV"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_reads_as_it_is_written() {
        for behaviour in Behaviour::ALL {
            assert_eq!(behaviour.to_string().parse(), Ok(behaviour));
            assert!(!behaviour.note().0.is_empty() && !behaviour.note().1.is_empty());
        }
        assert_eq!("sw(b2, 6a83)".parse(), Ok(Behaviour::Sw { ins: 0xB2, code: 0x6A83 }));
        for (name, moment) in MOMENTS {
            assert_eq!(format!("torn({name})").parse(), Ok(Behaviour::Torn(moment)));
        }
        for wrong in ["", "ac1(arqc)", "leave_after(lunch)", "sw(1)", "delay(soon)"] {
            assert!(wrong.parse::<Behaviour>().is_err(), "{wrong}");
        }
    }
}
