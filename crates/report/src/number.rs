//! Numbers as readers see them.

use analysis::document::Format;

/// The sign of negative numbers in text.
const MINUS: char = '\u{2212}';

/// A number in the format of its column; `None` for NaN.
pub fn shown(value: f64, format: Format) -> Option<String> {
    if value.is_nan() {
        return None;
    }
    if value.is_infinite() {
        return Some(if value > 0.0 { "∞".to_string() } else { format!("{MINUS}∞") });
    }
    Some(match format {
        Format::Text => significant(value, 6),
        Format::Whole => whole(value),
        Format::Digits(digits) => significant(value, usize::from(digits.max(1))),
        Format::Decimals(decimals) => fixed(value, usize::from(decimals)),
        Format::Percent => fixed(value * 100.0, 1) + "%",
        Format::P => p_value(value),
    })
}

/// A number of a sentence or a title, in at most `digits` significant digits; a dash for NaN.
pub fn plain(value: f64, digits: u8) -> String {
    let shown = shown(value, Format::Digits(digits)).unwrap_or_else(|| "–".to_string());
    match shown.contains('.') && !shown.contains('×') {
        true => shown.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => shown,
    }
}

/// A whole number; six significant digits if it is not whole, so that nothing is rounded away.
fn whole(value: f64) -> String {
    if (value - value.round()).abs() < 1e-9 * value.abs().max(1.0) {
        return fixed(value, 0);
    }
    significant(value, 6)
}

/// A p-value in three decimals without a leading zero. What rounds to 0 or 1 is given as a bound.
fn p_value(p: f64) -> String {
    match p {
        p if !(0.0..=1.0).contains(&p) => significant(p, 3),
        p if p < 0.001 => "< .001".to_string(),
        p if p >= 0.9995 => "> .999".to_string(),
        p => fixed(p, 3).trim_start_matches('0').to_string(),
    }
}

/// A finite number with `decimals` decimals, thousands separated by commas. A number that rounds to
/// zero has no sign.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    let (integer, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    if value < 0.0 && !zero {
        out.push(MINUS);
    }
    for (at, digit) in integer.chars().enumerate() {
        if at > 0 && (integer.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// A finite number with `digits` significant digits. Digits before the decimal point are all shown.
/// From a billion on and below a ten-thousandth: `1.23 × 10⁻⁵`.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..9).contains(&exponent) {
        let decimals = digits as i32 - 1 - exponent;
        return fixed(value, decimals.max(0) as usize);
    }
    format!("{} × {}", mantissa.replace('-', "\u{2212}"), power_of_ten(exponent))
}

/// `10⁻⁵`.
pub fn power_of_ten(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = |c: char| c.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize]);
    let exponent: String = exponent.to_string().chars().map(raised).collect();
    format!("10{exponent}")
}

/// A number for a program, rounded to six significant digits: `0.0341593`, `12`, `null` for NaN,
/// `"inf"` and `"-inf"`.
pub fn six_digits_json(value: f64) -> String {
    if value.is_nan() {
        return "null".to_string();
    }
    if value.is_infinite() {
        return format!("\"{value}\"");
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    let number = serde_json::Number::from_f64(rounded).map(|number| number.to_string());
    let text = number.unwrap_or_default();
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}
