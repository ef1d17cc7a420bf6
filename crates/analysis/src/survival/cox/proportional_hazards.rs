//! Tests of proportional hazards (Grambsch and Therneau 1994).

use serde::Serialize;

use super::model::{CoxFit, CoxTest};
use crate::error::AnalysisError;

/// The function of time against which a coefficient may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeTransform {
    #[default]
    Rank,
    /// One minus the Kaplan-Meier curve of all rows.
    Km,
    Identity,
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProportionalHazardsMethod {
    /// Correlation of scaled Schoenfeld residuals with time, with the average covariance; as
    /// lifelines and R's survival before 3.0.
    #[default]
    Average,
    /// The score test that the coefficient of covariate times transformed time is 0; as R's
    /// survival since 3.0.
    Score,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProportionalHazardsTest {
    /// By coefficient, one degree of freedom each.
    pub by_coefficient: Vec<(String, CoxTest)>,
    /// Of all coefficients at once.
    pub global: CoxTest,
}

/// # Errors
/// All events are at one time, or with [`TimeTransform::Log`] an event time is not above 0.
pub fn proportional_hazards_test(
    fit: &CoxFit,
    transform: TimeTransform,
    method: ProportionalHazardsMethod,
) -> Result<ProportionalHazardsTest, AnalysisError> {
    todo!("{fit:?} {transform:?} {method:?}")
}
