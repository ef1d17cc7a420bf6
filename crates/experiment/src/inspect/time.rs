//! Times as Inspect writes them.

const DAY_S: i64 = 86_400;

/// A Unix time in seconds as ISO 8601 in UTC, with microseconds if there are any.
pub(super) fn iso(unix_s: f64) -> String {
    let micros = (unix_s * 1e6).round() as i64;
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (year, month, day) = date(seconds.div_euclid(DAY_S));
    let of_day = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}+00:00")
}

/// Year, month and day of the Gregorian calendar, of a number of days since 1970-01-01. Years begin
/// in March here, so that a leap day is the last of its year.
fn date(days: i64) -> (i64, i64, i64) {
    let since_march_0000 = days + 719_468;
    let era = since_march_0000.div_euclid(146_097);
    let day_of_era = since_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0.0, "1970-01-01T00:00:00+00:00"),
            (951_782_399.0, "2000-02-28T23:59:59+00:00"),
            (951_782_400.25, "2000-02-29T00:00:00.250000+00:00"),
            (951_868_800.0, "2000-03-01T00:00:00+00:00"),
            (1_796_099_301.0, "2026-12-01T04:28:21+00:00"),
            (4_107_542_400.0, "2100-03-01T00:00:00+00:00"),
        ] {
            assert_eq!(iso(unix_s), expected);
        }
    }
}
