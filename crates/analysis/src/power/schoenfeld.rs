//! Schoenfeld's formula, to compare simulated power with.

use crate::AnalysisError;
use crate::numeric::distribution::{normal_p, normal_width};
use serde::Serialize;

/// Power of a Cox model of independent runs in which the hazard ratio is constant (Schoenfeld
/// 1983): `events = (z.975 + z.8)^2 / (p1 p2 ln^2 HR)`. For more than two doses, p1 p2 is the
/// variance of the dose in units of its range (Hsieh and Lavori 2000).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SchoenfeldCheck {
    /// Events for 80% power at the 5% level, two-sided.
    pub events_needed: f64,
    /// Power with the expected number of events.
    pub power: f64,
}

impl SchoenfeldCheck {
    /// # Errors
    /// The hazard ratio is 1 or not above 0, or the doses do not vary.
    pub fn new(
        hazard_ratio: f64,
        dose_spread: f64,
        events_expected: f64,
    ) -> Result<SchoenfeldCheck, AnalysisError> {
        let information = dose_spread * hazard_ratio.ln().powi(2);
        if !(information > 0.0 && information.is_finite()) {
            return Err(AnalysisError::Usage(format!(
                "expected a hazard ratio above 0 other than 1, and doses that vary; found {hazard_ratio} \
                 and the variance {dose_spread}"
            )));
        }
        let reject = normal_width(0.95)?;
        // 1 - 0.6 is twice the 20% of studies that may miss the effect.
        let detect = normal_width(0.6)?;
        let mean = (events_expected * information).sqrt();
        let above = |z: f64| match z > 0.0 {
            true => normal_p(z) / 2.0,
            false => 1.0 - normal_p(z) / 2.0,
        };
        Ok(SchoenfeldCheck {
            events_needed: (reject + detect).powi(2) / information,
            power: above(reject - mean),
        })
    }
}
