//! Quantiles and p-values. NaN in, NaN out.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::gamma_ur;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use crate::error::AnalysisError;

/// Standard errors on each side of an estimate in a normal interval of this level: 1.96 for .95.
///
/// # Errors
/// The level is not in (0, 1).
pub fn normal_width(level: f64) -> Result<f64, AnalysisError> {
    check_level(level)?;
    Ok(normal_critical(level))
}

/// Standard errors on each side of an estimate in an interval from Student's t.
///
/// # Errors
/// The level is not in (0, 1), or the degrees of freedom are not above 0.
pub fn student_width(level: f64, df: f64) -> Result<f64, AnalysisError> {
    check_level(level)?;
    if df > 0.0 {
        return Ok(t_critical(level, df));
    }
    let text = format!("a t interval needs degrees of freedom, found {df}");
    Err(AnalysisError::NotEstimable(text))
}

/// # Errors
/// The level is not in (0, 1).
pub fn check_level(level: f64) -> Result<(), AnalysisError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(AnalysisError::Usage(format!("confidence level: expected between 0 and 1, found {level}")))
}

/// z with P(|Z| <= z) = level.
pub fn normal_critical(level: f64) -> f64 {
    SQRT_2 * erfc_inv(1.0 - level)
}

/// t with P(|T| <= t) = level, by bisection: the tail is monotone and known to full precision.
pub fn t_critical(level: f64, df: f64) -> f64 {
    let tail = 1.0 - level;
    let mut high = 1.0;
    while student_p(high, df) > tail {
        high *= 2.0;
    }
    let mut low = 0.0;
    // A step that no longer changes the middle ends the search: full precision.
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if student_p(middle, df) > tail { low = middle } else { high = middle }
    }
}

/// Two-sided p-value of a standard normal statistic.
pub fn normal_p(z: f64) -> f64 {
    if z.is_nan() { f64::NAN } else { erfc(z.abs() * FRAC_1_SQRT_2) }
}

/// Two-sided p-value of Student's t.
pub fn student_p(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    f_p(t * t, 1.0, df)
}

/// Upper tail of chi-squared.
pub fn chi_squared_p(x: f64, df: f64) -> f64 {
    if x.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    if x.is_infinite() { 0.0 } else { gamma_ur(df / 2.0, x / 2.0) }
}

/// Upper tail of F.
pub fn f_p(x: f64, df1: f64, df2: f64) -> f64 {
    if x.is_nan() || df1 <= 0.0 || df2 <= 0.0 {
        return f64::NAN;
    }
    if x.is_infinite() {
        return 0.0;
    }
    let (above, below) = (df2 / (df2 + df1 * x), df1 * x / (df2 + df1 * x));
    if x <= 0.0 {
        1.0
    } else if x < 1.0 {
        // The ratio near 1 has lost the digits that make the difference.
        1.0 - beta_reg(df1 / 2.0, df2 / 2.0, below)
    } else {
        beta_reg(df2 / 2.0, df1 / 2.0, above)
    }
}

/// P(X <= k) of n fair coins.
pub fn fair_coin_tail(k: u64, n: u64) -> f64 {
    if k >= n { 1.0 } else { beta_reg((n - k) as f64, k as f64 + 1.0, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn rows(key: &str) -> Vec<Vec<f64>> {
        let known = include_str!("../../tests/known_answers/inference_tests.json");
        let known: Value = serde_json::from_str(known).expect("known answers are JSON");
        serde_json::from_value(known["distributions"][key].clone()).expect("rows of numbers")
    }

    #[track_caller]
    fn close(found: f64, row: &[f64]) {
        let expected = row[row.len() - 1];
        // Gamma functions of 50,000 leave ten digits.
        assert!((found / expected - 1.0).abs() < 1e-9, "{row:?}: found {found}");
    }

    #[test]
    fn tails_and_critical_values_are_those_of_scipy() {
        rows("t").iter().for_each(|row| close(student_p(row[0], row[1]), row));
        rows("f").iter().for_each(|row| close(f_p(row[0], row[1], row[2]), row));
        rows("chi_square").iter().for_each(|row| close(chi_squared_p(row[0], row[1]), row));
        rows("t_critical").iter().for_each(|row| close(t_critical(row[0], row[1]), row));
        rows("normal_critical").iter().for_each(|row| close(normal_critical(row[0]), row));
    }
}
