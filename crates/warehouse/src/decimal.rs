//! Numbers appended to a text without `std::fmt`.

/// Appends pairs of a text and a number. Each step appends about a hundred, and with `std::fmt`
/// this would take longer than everything else in the step.
#[inline]
pub(crate) fn push_all<const N: usize>(text: &mut String, parts: [(&str, u64); N]) {
    for (label, number) in parts {
        text.push_str(label);
        push_number(text, number);
    }
}

/// Appends a number in decimal. Most have one or two digits, for which this is faster than filling
/// a buffer and copying it.
fn push_number(text: &mut String, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push((b'0' + (number % 10) as u8) as char);
}

/// Appends cents as currency units with two decimals.
pub(crate) fn push_money(text: &mut String, cents: i64) {
    if cents < 0 {
        text.push('-');
    }
    push_number(text, cents.unsigned_abs() / 100);
    text.push('.');
    push_number(text, cents.unsigned_abs() / 10 % 10);
    push_number(text, cents.unsigned_abs() % 10);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_money_are_written_as_by_fmt() {
        for number in [0, 7, 10, 99, 100, 1234, 1_000_000, u64::MAX] {
            let mut text = String::new();
            push_all(&mut text, [("x", number)]);
            assert_eq!(text, format!("x{number}"));
        }
        let near_zero = -1_000..1_000;
        for cents in near_zero.chain([99_999, 1_234_567, -1_234_567, 900_719_925_474_099]) {
            let mut text = String::new();
            push_money(&mut text, cents);
            assert_eq!(text, format!("{:.2}", cents as f64 / 100.0), "{cents}");
        }
    }
}
