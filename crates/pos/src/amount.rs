//! Amounts as people key them in (yuan) and as messages carry them (fen). Never a float.

/// The largest amount field 4 can hold, in fen: twelve digits.
pub const AMOUNT_MAX_FEN: u64 = 999_999_999_999;

/// Reads a keyed amount in yuan, for example `12.34`, `12.3` or `12`, into fen.
///
/// Returns `None` for anything else: signs, blanks, more than two decimals, zero, or more than field 4 holds.
pub fn parse_yuan(text: &str) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if matches!(fraction.len(), 1 | 2) => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let yuan: u64 = whole.parse().ok()?;
    let cents: u64 = match fraction.len() {
        0 => 0,
        1 => fraction.parse::<u64>().ok()? * 10,
        _ => fraction.parse().ok()?,
    };
    let fen = yuan.checked_mul(100)?.checked_add(cents)?;
    (1..=AMOUNT_MAX_FEN).contains(&fen).then_some(fen)
}

/// Writes fen as yuan with two decimals, for example `1234` as `12.34`.
pub fn yuan(fen: u64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_amounts_become_fen_exactly() {
        for (text, fen) in [
            ("12.34", Some(1234)),
            ("12.3", Some(1230)),
            ("12", Some(1200)),
            ("0.01", Some(1)),
            ("9999999999.99", Some(AMOUNT_MAX_FEN)),
            ("10000000000.00", None),
            ("0", None),
            ("0.00", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1.234", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("１２", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_yuan(text), fen, "{text}");
        }
        assert_eq!(yuan(1234), "12.34");
        assert_eq!(yuan(5), "0.05");
    }
}
