//! The code on a slip: its numbers, so that a scanner picks the transaction for a void, a refund, a completion or a reprint.
//!
//! `POSP1/S898100000000001/T20000001/B000007/V000124/K22/D1124/R112410000001/A123456`: merchant, terminal, batch (60.2),
//! trace (11), kind (60.1), date MMDD, and where there are any reference (37) and authorisation code (38). A format of
//! ours, in the letters that a two-dimensional code packs best. It gives no right: whoever could key these numbers may scan
//! them, and the host looks at them as if they were keyed.

use std::fmt;
use std::str::FromStr;

use crate::config::TerminalConfig;
use crate::state::Record;

const HEAD: &str = "POSP1";
/// Characters of the longest code, and some.
const LENGTH_MAX: usize = 120;

/// The numbers of a transaction, as its slip carries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlipCode {
    /// Merchant, field 42.
    pub merchant: String,
    /// Terminal, field 41.
    pub terminal: String,
    /// Batch, 60.2.
    pub batch: u32,
    /// Trace, field 11.
    pub trace: u32,
    /// 60.1 of its request.
    pub message_type: String,
    /// Terminal-local date, MMDD.
    pub date: String,
    /// Reference number, field 37.
    pub reference: Option<String>,
    /// Authorisation code, field 38.
    pub auth_code: Option<String>,
}

/// What was scanned is no slip of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("不是签购单上的码 / this is not the code of a slip")]
pub struct NotASlip;

impl SlipCode {
    /// The code of a transaction of this terminal.
    pub fn of(config: &TerminalConfig, record: &Record) -> Self {
        Self {
            merchant: config.merchant.clone(),
            terminal: config.terminal.clone(),
            batch: record.batch,
            trace: record.trace,
            message_type: record.kind.row().message_type.to_owned(),
            date: record.date(),
            reference: record.rrn.clone(),
            auth_code: record.auth_code.clone(),
        }
    }
}

impl fmt::Display for SlipCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { merchant, terminal, batch, trace, message_type, date, reference, auth_code } = self;
        write!(f, "{HEAD}/S{merchant}/T{terminal}/B{batch:06}/V{trace:06}/K{message_type}/D{date}")?;
        if let Some(reference) = reference {
            write!(f, "/R{reference}")?;
        }
        match auth_code {
            Some(code) => write!(f, "/A{code}"),
            None => Ok(()),
        }
    }
}

impl FromStr for SlipCode {
    type Err = NotASlip;

    fn from_str(text: &str) -> Result<Self, NotASlip> {
        let mut parts = text.trim().split('/');
        if text.len() > LENGTH_MAX || parts.next() != Some(HEAD) {
            return Err(NotASlip);
        }
        let mut found = std::collections::BTreeMap::new();
        for part in parts {
            let letter = part.chars().next().filter(char::is_ascii_uppercase).ok_or(NotASlip)?;
            let value = part.get(1..).filter(|value| value.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            let value = value.filter(|value| (1..=15).contains(&value.len())).ok_or(NotASlip)?;
            if found.insert(letter, value.to_owned()).is_some() {
                return Err(NotASlip);
            }
        }
        let mut take = |letter, length| {
            let value = found.remove(&letter);
            match value {
                Some(value) if value.len() != length => Err(NotASlip),
                value => Ok(value),
            }
        };
        let number = |value: Option<String>| value.and_then(|value| value.parse().ok()).ok_or(NotASlip);
        let code = Self {
            merchant: take('S', 15)?.ok_or(NotASlip)?,
            terminal: take('T', 8)?.ok_or(NotASlip)?,
            batch: number(take('B', 6)?)?,
            trace: number(take('V', 6)?)?,
            message_type: take('K', 2)?.ok_or(NotASlip)?,
            date: take('D', 4)?.ok_or(NotASlip)?,
            reference: take('R', 12)?,
            auth_code: take('A', 6)?,
        };
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read, with and without the numbers that only an answer brings; anything else is told apart.
    #[test]
    fn the_code_of_a_slip_comes_back() {
        let whole = "POSP1/S898100000000001/T20000001/B000007/V000124/K22/D1124/R112410000001/A123456";
        let code: SlipCode = whole.parse().unwrap();
        assert_eq!((code.batch, code.trace, code.date.as_str()), (7, 124, "1124"));
        assert_eq!(code.to_string(), whole);
        let short = "POSP1/S898100000000001/T20000001/B000007/V000124/K30/D1124";
        assert_eq!(short.parse::<SlipCode>().unwrap().to_string(), short);
        for wrong in [
            "",
            "https://example.com/pay",
            "134512345678901234",
            "POSP1/S898100000000001/T20000001/B000007",
            "POSP1/S898100000000001/T20000001/B000007/V000124/K22/D1124/D1125",
            "POSP1/S8981/T20000001/B000007/V000124/K22/D1124",
            "POSP1//",
        ] {
            assert_eq!(wrong.parse::<SlipCode>(), Err(NotASlip), "{wrong}");
        }
    }
}
