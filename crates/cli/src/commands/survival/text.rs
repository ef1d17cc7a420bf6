//! Tables and numbers for people.

use crate::failure::Failure;
use crate::output;

/// Prints a table below its head: the first columns, `labels` of them, to the left, the others,
/// which are numbers, to the right.
pub fn print_table(labels: usize, head: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    table.extend(rows);
    for column in labels..head.len() {
        let width = |row: &Vec<String>| row.get(column).map_or(0, |cell| cell.chars().count());
        let widest = table.iter().map(width).max().unwrap_or(0);
        for cell in table.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = format!("{cell:>widest$}");
        }
    }
    for line in results::aligned(&table).lines() {
        output::line(line)?;
    }
    Ok(())
}

/// Significant digits of estimates. Documents have all digits.
const DIGITS: i32 = 4;

/// A number with four significant digits, and "-" if there is none.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "-".to_owned() } else { value.to_string() };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    match exponent {
        -4..=5 => format!("{value:.*}", usize::try_from(DIGITS - 1 - exponent).unwrap_or(0)),
        _ => format!("{value:.*e}", DIGITS as usize - 1),
    }
}

/// A time as it was given, up to nine significant digits.
pub fn time(value: f64) -> String {
    match value.is_finite() {
        true => format!("{:.9e}", value).parse::<f64>().map_or("-".to_owned(), |t| t.to_string()),
        false => "-".to_owned(),
    }
}

/// A share or probability with four decimals.
pub fn share(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.4}") }
}

pub fn p(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value < 0.0001 => "<0.0001".to_owned(),
        value => format!("{value:.4}"),
    }
}

/// An optional number.
pub fn optional(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.map_or("-".to_owned(), text)
}

/// A share as a percentage: 95%.
pub fn percent(share: f64) -> String {
    format!("{}%", number_of_percent(100.0 * share))
}

fn number_of_percent(percent: f64) -> f64 {
    (percent * 1e6).round() / 1e6
}

/// The heads of two columns with the limits of an interval: `95% from`, `to`.
pub fn limits(percent: &str) -> (String, String) {
    (format!("{percent} from"), "to".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in [
            (-0.379_421_9, "-0.3794"),
            (0.057_437_7, "0.05744"),
            (12.345_67, "12.35"),
            (123_456.7, "123457"),
            (0.000_012_345, "1.234e-5"),
            (2.5e9, "2.500e9"),
            (0.0, "0"),
            (f64::NAN, "-"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!((percent(0.95), percent(0.999)), ("95%".into(), "99.9%".into()));
        assert_eq!((time(20.0), time(0.1 + 0.2)), ("20".into(), "0.3".into()));
        assert_eq!((p(0.000_066), p(0.05)), ("<0.0001".into(), "0.0500".into()));
    }
}
