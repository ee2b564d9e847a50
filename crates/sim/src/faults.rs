//! Faults on demand: chosen by the amount of a request or by a switch. Pure, seeded, and described by the same
//! table that the simulator's page prints.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::network::ClassKey;

/// Something that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Processed, never answered.
    NoAnswer,
    /// Processed, answered after the configured delay.
    LateAnswer,
    /// Processed, answered twice.
    DoubleAnswer,
    /// Processed, not answered; its first reversal is processed and not answered either.
    LostReversalAnswer,
    /// Processed, then the line drops.
    DropAfter,
    /// The line drops before it is processed.
    DropBefore,
    /// Lost on the way: not processed, not answered.
    Lost,
    /// Comes back with a reject code in the header, not processed.
    Bounce,
    /// Declined with this response code; a purchase with 10 is approved for half of its amount.
    Decline(String),
}

/// A rule of the page: last four digits of field 4, names in two languages.
pub struct AmountRule {
    /// Last four digits of the amount in fen, as written on a page.
    pub digits: &'static str,
    /// What happens, Chinese.
    pub zh: &'static str,
    /// What happens, English.
    pub en: &'static str,
}

/// The rules by amount, in the order of the page.
pub static AMOUNT_RULES: [AmountRule; 10] = [
    AmountRule { digits: "9001", zh: "已处理, 不应答", en: "processed, never answered" },
    AmountRule { digits: "9002", zh: "已处理, 迟到应答", en: "processed, answered late" },
    AmountRule { digits: "9003", zh: "已处理, 应答两次", en: "processed, answered twice" },
    AmountRule {
        digits: "9004",
        zh: "已处理, 不应答; 首次冲正已处理但不应答",
        en: "processed, not answered; its first reversal is processed but not answered",
    },
    AmountRule { digits: "9005", zh: "处理后断线", en: "line drops after processing" },
    AmountRule { digits: "9006", zh: "处理前断线", en: "line drops before processing" },
    AmountRule { digits: "9007", zh: "请求丢失, 未处理", en: "request lost, not processed" },
    AmountRule { digits: "9008", zh: "报文头拒绝码退回", en: "bounced with a header reject code" },
    AmountRule {
        digits: "91cc",
        zh: "以应答码 cc 拒绝 (如 9151 → 51)",
        en: "declined with response code cc (9151 gives 51)",
    },
    AmountRule {
        digits: "9110",
        zh: "消费: 批准一半金额 (10), 不论受理方是否支持",
        en: "a sale: half of it approved (10), whether the acquirer takes a part or not",
    },
];

/// The fault that an amount asks for.
#[must_use]
pub fn by_amount(amount: u64) -> Option<Fault> {
    match amount % 10_000 {
        9001 => Some(Fault::NoAnswer),
        9002 => Some(Fault::LateAnswer),
        9003 => Some(Fault::DoubleAnswer),
        9004 => Some(Fault::LostReversalAnswer),
        9005 => Some(Fault::DropAfter),
        9006 => Some(Fault::DropBefore),
        9007 => Some(Fault::Lost),
        9008 => Some(Fault::Bounce),
        // A decline with the code of an approval is none. 10 approves a part, and 11 (and 00) is no fault.
        9111 => None,
        tail @ 9101..=9199 => Some(Fault::Decline(format!("{:02}", tail - 9100))),
        _ => None,
    }
}

/// How long a switch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// For the next so many requests.
    Next(u32),
    /// For so many per cent of the requests, drawn from a seed, so that a run can be repeated.
    Percent {
        /// 0 to 100.
        percent: u8,
        /// Start of the sequence.
        seed: u64,
    },
    /// Until it is taken away.
    Always,
}

/// A switch: a fault, how long, and for which classes of message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What goes wrong.
    pub fault: Fault,
    /// How long.
    #[serde(default = "always")]
    pub span: Span,
    /// Classes it concerns (100, 200, 220, 420, 620); none means all.
    #[serde(default)]
    pub classes: Vec<u16>,
}

fn always() -> Span {
    Span::Always
}

/// All switches as a whole, the form of configuration and of `POST /api/faults`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSettings {
    /// Whether amounts choose faults.
    pub by_amount: bool,
    /// Takes in bytes, processes nothing, answers nothing, like a line that hangs.
    pub mute: bool,
    /// Sign-on is answered 91.
    pub refuse_sign_on: bool,
    /// Between the two messages of a cut-over every request is answered 90 and not processed.
    pub refuse_in_cut_over: bool,
    /// Switches, the first that applies is taken.
    pub rules: Vec<FaultRule>,
}

impl Default for FaultSettings {
    fn default() -> Self {
        FaultSettings {
            by_amount: true,
            mute: false,
            refuse_sign_on: false,
            refuse_in_cut_over: false,
            rules: Vec::new(),
        }
    }
}

/// The chooser with its state.
#[derive(Clone, Debug)]
pub struct FaultBoard {
    settings: FaultSettings,
    random: Vec<u64>,
    silent_reversals: BTreeSet<ClassKey>,
}

/// What the chooser needs to know about a request.
pub struct Subject<'a> {
    /// Class and key of the request.
    pub key: &'a ClassKey,
    /// What field 90 names.
    pub original: Option<&'a ClassKey>,
    /// Fen.
    pub amount: u64,
    /// The key has been seen before.
    pub repeat: bool,
}

impl FaultBoard {
    /// A board with these settings.
    #[must_use]
    pub fn new(settings: FaultSettings) -> Self {
        let random = settings.rules.iter().map(|rule| seed_of(rule.span)).collect();
        FaultBoard { settings, random, silent_reversals: BTreeSet::new() }
    }

    /// The settings as they stand; the remaining count of `next` included.
    #[must_use]
    pub fn settings(&self) -> &FaultSettings {
        &self.settings
    }

    /// Replaces the settings; what earlier faults have promised (a silent reversal) stays.
    pub fn set(&mut self, settings: FaultSettings) {
        self.random = settings.rules.iter().map(|rule| seed_of(rule.span)).collect();
        self.settings = settings;
    }

    /// Chooses the fault for a request, switches before amounts.
    ///
    /// Amounts choose on the first arrival of 0100, 0200 and 0220 only, so that the reversal or the repeat
    /// that a fault calls for can succeed.
    pub fn choose(&mut self, subject: &Subject<'_>) -> Option<Fault> {
        let class = subject.key.0;
        if class == 420 {
            let silent = subject.original.is_some_and(|key| self.silent_reversals.remove(key));
            if silent {
                return Some(Fault::NoAnswer);
            }
        }
        let fault = self.switched(class).or_else(|| {
            let asks = self.settings.by_amount && !subject.repeat && matches!(class, 100 | 200 | 220);
            if asks { by_amount(subject.amount) } else { None }
        });
        if fault == Some(Fault::LostReversalAnswer) && class != 420 {
            self.silent_reversals.insert(subject.key.clone());
        }
        fault
    }

    fn switched(&mut self, class: u16) -> Option<Fault> {
        for (rule, random) in self.settings.rules.iter_mut().zip(&mut self.random) {
            if !rule.classes.is_empty() && !rule.classes.contains(&class) {
                continue;
            }
            let applies = match &mut rule.span {
                Span::Always => true,
                Span::Next(left) => {
                    let some = *left > 0;
                    *left = left.saturating_sub(1);
                    some
                }
                Span::Percent { percent, .. } => split_mix(random) % 100 < u64::from(*percent),
            };
            if applies {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

fn seed_of(span: Span) -> u64 {
    if let Span::Percent { seed, .. } = span { seed } else { 0 }
}

/// The SplitMix64 generator: small, and the same on every machine.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::TraceKey;

    fn key(class: u16, trace: u32) -> ClassKey {
        (class, TraceKey { trace, ..TraceKey::default() })
    }

    fn choose(board: &mut FaultBoard, class: u16, trace: u32, amount: u64, repeat: bool) -> Option<Fault> {
        board.choose(&Subject { key: &key(class, trace), original: None, amount, repeat })
    }

    #[test]
    fn amounts_choose_on_the_first_arrival_only() {
        let mut board = FaultBoard::new(FaultSettings::default());
        assert_eq!(choose(&mut board, 200, 1, 19_001, false), Some(Fault::NoAnswer));
        assert_eq!(choose(&mut board, 220, 1, 9_001, true), None);
        assert_eq!(choose(&mut board, 420, 1, 9_001, false), None);
        assert_eq!(choose(&mut board, 200, 2, 9_151, false), Some(Fault::Decline("51".into())));
        assert_eq!(choose(&mut board, 200, 2, 9_105, false), Some(Fault::Decline("05".into())));
        assert_eq!(choose(&mut board, 200, 2, 9_100, false), None);
    }

    #[test]
    fn a_lost_reversal_answer_is_lost_once() {
        let mut board = FaultBoard::new(FaultSettings::default());
        assert_eq!(choose(&mut board, 200, 5, 9_004, false), Some(Fault::LostReversalAnswer));
        let original = key(200, 5);
        let reversal = key(420, 6);
        let subject = Subject { key: &reversal, original: Some(&original), amount: 9_004, repeat: false };
        assert_eq!(board.choose(&subject), Some(Fault::NoAnswer));
        assert_eq!(board.choose(&subject), None);
    }

    #[test]
    fn switches_count_down_and_follow_their_seed() {
        let rule = |span, classes| FaultRule { fault: Fault::Lost, span, classes };
        let settings = FaultSettings { rules: vec![rule(Span::Next(2), vec![200])], ..Default::default() };
        let mut board = FaultBoard::new(settings);
        let hits: Vec<bool> =
            [420, 200, 200, 200].iter().map(|&c| choose(&mut board, c, 1, 100, false).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);

        let percent = FaultSettings {
            rules: vec![rule(Span::Percent { percent: 30, seed: 7 }, vec![])],
            ..Default::default()
        };
        let run = |mut board: FaultBoard| -> Vec<bool> {
            (0..1000).map(|_| choose(&mut board, 200, 1, 100, false).is_some()).collect()
        };
        let first = run(FaultBoard::new(percent.clone()));
        assert_eq!(first, run(FaultBoard::new(percent)));
        let share = first.iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&share), "{share}");
    }
}
