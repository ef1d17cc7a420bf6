//! Warnings about fits whose maximum is at infinity, or was not reached.

use nalgebra::DMatrix;

use super::estimate::standard_errors;
use crate::fit_warning::FitWarning;
use crate::numeric::newton::{AscentOutcome, Maximum};

/// A coefficient beyond this, of a covariate with standard deviation 1, or an error that has grown
/// by this factor from coefficients of 0 to the estimate, is a sign of separation.
const LARGE_COEFFICIENT: f64 = 10.0;
const LARGE_ERROR: f64 = 100.0;
/// A last Newton step of this size has not come to rest.
const MOVING: f64 = 0.01;

/// Warnings of a fit of standardized covariates, which are the last `names.len()` of its
/// coordinates. The covariances are those at the estimate and at coefficients of 0.
pub(super) fn fit_warnings(
    names: &[String],
    maximum: &Maximum,
    covariance: &DMatrix<f64>,
    null_covariance: &DMatrix<f64>,
) -> Vec<FitWarning> {
    let (errors, null_errors) = (standard_errors(covariance), standard_errors(null_covariance));
    let first = maximum.point.len() - names.len();
    let mut warnings = Vec::new();
    for (name, at) in names.iter().zip(first..) {
        let moving = maximum.last_step[at].abs() > MOVING;
        if maximum.point[at].abs() > LARGE_COEFFICIENT
            || errors[at] > LARGE_ERROR * null_errors[at]
            || (maximum.outcome == AscentOutcome::Diverging && moving)
        {
            let ratio = maximum.point[at].exp();
            let text = format!(
                "covariate {name:?}: the likelihood still rises at a hazard ratio of {ratio:.0e} \
                 a standard deviation; the covariate separates events from others, and its \
                 coefficient, error and interval mean nothing"
            );
            warnings.push(FitWarning { code: "separation", text });
        }
    }
    // A fit that diverges without a culprit has not converged either.
    if maximum.outcome == AscentOutcome::Limit
        || (maximum.outcome == AscentOutcome::Diverging && warnings.is_empty())
    {
        let text = format!("not converged after {} iterations", maximum.iterations);
        warnings.push(FitWarning { code: "not_converged", text });
    }
    warnings
}
