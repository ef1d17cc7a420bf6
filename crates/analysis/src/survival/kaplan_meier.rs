//! The product-limit estimator (Kaplan and Meier 1958), with late entries.

use super::{curve::SurvivalCurve, risk_data::RiskData};
use crate::error::AnalysisError;

/// Survival up to the first event of any cause (for one cause, see [`RiskData::only_cause`]), with
/// a log-log band of the given level.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), or the level is not in (0, 1).
pub fn kaplan_meier(data: &RiskData, level: f64) -> Result<SurvivalCurve, AnalysisError> {
    todo!("{data:?} {level}")
}
