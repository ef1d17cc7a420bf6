//! Cox's proportional hazards model in counting-process form: fixed and time-varying covariates,
//! recurrent events (Andersen and Gill 1982), cause-specific hazards, late entries, strata.

mod design;
mod fit;
#[cfg(test)]
mod lifelines_ties;
mod likelihood;
mod model;
mod prediction;
mod proportional_hazards;
mod residuals;
mod spline_effect;
mod sweep;

pub use super::estimate::CoxTest;
pub use fit::fit;
pub use model::{CoxFit, CoxOptions, Ties};
pub use prediction::PredictedSurvival;
pub use proportional_hazards::{
    ProportionalHazardsMethod, ProportionalHazardsTest, TimeTransform, proportional_hazards_test,
};
pub use residuals::Schoenfeld;
pub use spline_effect::{SplineEffect, SplineExposure, SplinePoint, spline_effect};
