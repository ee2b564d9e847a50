//! Whether a settlement date that the network tells is one that can be. The cut-over message (0820 with 201 or 202) has no
//! MAC, so its date is believed only as far as it is plausible.

use jiff::civil::Date;

/// The day of this year, the last or the next that is written so and is nearest to `today`.
fn nearest(mmdd: u16, today: Date) -> Option<Date> {
    let (month, day) = (i8::try_from(mmdd / 100).ok()?, i8::try_from(mmdd % 100).ok()?);
    let years = [today.year().saturating_sub(1), today.year(), today.year().saturating_add(1)];
    let days = years.into_iter().filter_map(|year| Date::new(year, month, day).ok());
    days.min_by_key(|date| date.duration_since(today).abs())
}

/// Takes a date MMDD of a cut-over: never before the date in force, not before yesterday, and at most `ahead` days after
/// `today`, the date in Beijing.
///
/// # Errors
/// A fixed text that says what is wrong, also the label of the metric.
pub(super) fn judge(told: u16, in_force: Option<u16>, today: Date, ahead: u16) -> Result<(), &'static str> {
    let told = nearest(told, today).ok_or("no date")?;
    let days = told.duration_since(today).as_hours() / 24;
    let in_force = in_force.and_then(|date| nearest(date, today));
    if days < -1 || in_force.is_some_and(|date| told < date) {
        return Err("the day is over");
    }
    if days > i64::from(ahead) {
        return Err("too far ahead");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The network changes its day in the evening to the next, and may say so again; whoever means ill cannot take it back
    /// or far ahead.
    #[test]
    fn a_date_moves_from_day_to_day() {
        let today = Date::constant(2026, 11, 24);
        for (told, in_force) in
            [(1124, None), (1123, None), (1125, Some(1124)), (1125, Some(1125)), (1124, Some(1124))]
        {
            assert_eq!(judge(told, in_force, today, 1), Ok(()), "{told} after {in_force:?}");
        }
        assert_eq!(judge(1124, Some(1125), today, 1), Err("the day is over"));
        assert_eq!(judge(1122, None, today, 1), Err("the day is over"));
        assert_eq!(judge(1126, Some(1125), today, 1), Err("too far ahead"));
        assert_eq!(judge(1126, Some(1125), today, 7), Ok(()), "an operator knows better");
        for none in [0, 1300, 1131, 231, 9_999] {
            assert_eq!(judge(none, None, today, 1), Err("no date"), "{none}");
        }
    }

    /// A date has no year: the last day of one and the first of the next are neighbours, and a leap day is one.
    #[test]
    fn years_end() {
        assert_eq!(judge(101, Some(1231), Date::constant(2026, 12, 31), 1), Ok(()));
        assert_eq!(judge(1231, None, Date::constant(2027, 1, 1), 1), Ok(()));
        assert_eq!(judge(1231, Some(101), Date::constant(2027, 1, 1), 1), Err("the day is over"));
        assert_eq!(judge(229, Some(228), Date::constant(2028, 2, 28), 1), Ok(()));
        assert_eq!(judge(229, Some(228), Date::constant(2027, 2, 28), 1), Err("too far ahead"));
    }
}
