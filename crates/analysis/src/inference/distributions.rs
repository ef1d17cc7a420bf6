//! Tails and quantiles of the distributions that tests refer to.

use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::gamma_ur;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// P(|Z| >= |z|) of a standard normal Z.
pub(super) fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() * FRAC_1_SQRT_2)
}

/// z with P(|Z| <= z) = level.
pub(super) fn normal_critical(level: f64) -> f64 {
    SQRT_2 * erfc_inv(1.0 - level)
}

/// P(|T| >= |t|) of Student's t.
pub(super) fn t_two_sided(t: f64, df: f64) -> f64 {
    f_tail(t * t, 1.0, df)
}

/// t with P(|T| <= t) = level, by bisection: the tail is monotone and known to full precision.
pub(super) fn t_critical(level: f64, df: f64) -> f64 {
    let tail = 1.0 - level;
    let mut high = 1.0;
    while t_two_sided(high, df) > tail {
        high *= 2.0;
    }
    let mut low = 0.0;
    // A step that no longer changes the middle ends the search: full precision.
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if t_two_sided(middle, df) > tail { low = middle } else { high = middle }
    }
}

/// P(X >= x) of chi-square.
pub(super) fn chi_square_tail(x: f64, df: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { gamma_ur(df / 2.0, x / 2.0) }
}

/// P(F >= f) of Fisher's F.
pub(super) fn f_tail(f: f64, df1: f64, df2: f64) -> f64 {
    let (above, below) = (df2 / (df2 + df1 * f), df1 * f / (df2 + df1 * f));
    if f <= 0.0 {
        1.0
    } else if f < 1.0 {
        // The ratio near 1 has lost the digits that make the difference.
        1.0 - beta_reg(df1 / 2.0, df2 / 2.0, below)
    } else {
        beta_reg(df2 / 2.0, df1 / 2.0, above)
    }
}

/// P(X <= k) of n fair coins.
pub(super) fn fair_coin_tail(k: u64, n: u64) -> f64 {
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
        rows("t").iter().for_each(|row| close(t_two_sided(row[0], row[1]), row));
        rows("f").iter().for_each(|row| close(f_tail(row[0], row[1], row[2]), row));
        rows("chi_square").iter().for_each(|row| close(chi_square_tail(row[0], row[1]), row));
        rows("t_critical").iter().for_each(|row| close(t_critical(row[0], row[1]), row));
        rows("normal_critical").iter().for_each(|row| close(normal_critical(row[0]), row));
    }
}
