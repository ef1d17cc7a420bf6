//! Quantiles and p-values. NaN in, NaN out.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::{beta::beta_reg, erf::erfc, gamma::gamma_ur};

use crate::error::AnalysisError;

/// The half of `1 - level` in each tail.
///
/// # Errors
/// The level is not in (0, 1).
fn upper_tail(level: f64) -> Result<f64, AnalysisError> {
    if level > 0.0 && level < 1.0 {
        return Ok((1.0 - level) / 2.0);
    }
    Err(AnalysisError::Usage(format!("confidence level: expected between 0 and 1, found {level}")))
}

/// Standard errors on each side of an estimate in a normal interval of this level: 1.96 for .95.
///
/// # Errors
/// The level is not in (0, 1).
pub fn normal_width(level: f64) -> Result<f64, AnalysisError> {
    Ok(-Normal::standard().inverse_cdf(upper_tail(level)?))
}

/// Standard errors on each side of an estimate in an interval from Student's t.
///
/// # Errors
/// The level is not in (0, 1), or the degrees of freedom are not above 0.
pub fn student_width(level: f64, df: f64) -> Result<f64, AnalysisError> {
    let tail = upper_tail(level)?;
    let distribution = StudentsT::new(0.0, 1.0, df).map_err(|_| {
        AnalysisError::NotEstimable(format!("a t interval needs degrees of freedom, found {df}"))
    })?;
    // One step of Newton's method on the tail makes the quantile exact to rounding.
    let rough = -distribution.inverse_cdf(tail);
    let density = statrs::distribution::Continuous::pdf(&distribution, rough);
    Ok(rough + (student_p(rough, df) / 2.0 - tail) / density)
}

/// Two-sided p-value of a standard normal statistic.
pub fn normal_p(z: f64) -> f64 {
    if z.is_nan() { f64::NAN } else { erfc(z.abs() / std::f64::consts::SQRT_2) }
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
    beta_reg(df2 / 2.0, df1 / 2.0, df2 / (df2 + df1 * x.max(0.0)))
}
