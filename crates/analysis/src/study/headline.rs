//! The estimates that the answer of a report states.

use super::accumulated::exposure_model;
use super::context::StudyContext;
use crate::AnalysisError;
use crate::survival::Coefficient;
use crate::survival::cox::{self, CoxFit, ProportionalHazardsMethod, TimeTransform};

/// The estimates that the answer states.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headline {
    /// Log hazard ratio of [`DOSE_UNIT`](super::cohort::DOSE_UNIT) of assigned dose.
    pub assigned: Option<Coefficient>,
    /// Log hazard ratio of a unit of lagged exposure.
    pub exposure: Option<Coefficient>,
    /// The same without lag, which is what the hazards of scripted operators depend on; `None`
    /// where a run has no known effect to compare it with.
    pub exposure_now: Option<Coefficient>,
    /// Standard deviation of the lagged exposure over time at risk.
    pub exposure_sd: f64,
    /// Whether the hazards of doses are proportional: p.
    pub proportional_p: Option<f64>,
}

/// The models behind a [`Headline`].
pub struct HeadlineFits {
    pub assigned: Result<CoxFit, AnalysisError>,
    pub exposure: Result<CoxFit, AnalysisError>,
}

impl Headline {
    /// The fits of the answer, and their estimates.
    pub fn of(context: &StudyContext<'_>) -> (Headline, HeadlineFits) {
        let (cohort, lag) = (&context.cohort, context.options.lag);
        let assigned = cox::fit(&cohort.crash_risk(), &cohort.assigned_dose(), &context.cox());
        let (exposure, exposure_sd) = exposure_model(context, cohort, lag);
        let first = |fit: &Result<CoxFit, AnalysisError>| {
            fit.as_ref().ok().and_then(|fit| fit.coefficients.first().cloned())
        };
        let known_effects = cohort.runs.iter().all(|run| run.known_effect.is_some());
        let headline = Headline {
            assigned: first(&assigned),
            exposure: first(&exposure),
            exposure_now: known_effects
                .then(|| exposure_model(context, cohort, 0).0)
                .and_then(|fit| first(&fit)),
            exposure_sd,
            proportional_p: assigned.as_ref().ok().and_then(proportional_p),
        };
        (headline, HeadlineFits { assigned, exposure })
    }
}

fn proportional_p(fit: &CoxFit) -> Option<f64> {
    let method = ProportionalHazardsMethod::default();
    let test = cox::proportional_hazards_test(fit, TimeTransform::Rank, method).ok()?;
    Some(test.global.p)
}
