//! A survival curve with its band.

use serde::Serialize;

use super::risk_table::last_at;
use crate::fit_warning::FitWarning;

/// Survival by time. All vectors have one element for each time at which a subject has an event or
/// leaves; the curve is constant from one time up to the next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SurvivalCurve {
    /// Of the band, such as .95.
    pub level: f64,
    /// Start of the observation: the earliest entry. Survival is 1 up to the first event; with
    /// entries after 0, the curve is conditional on survival up to here.
    pub origin: f64,
    pub times: Vec<f64>,
    /// Subjects at risk just before the time.
    pub at_risk: Vec<u64>,
    pub events: Vec<u64>,
    pub censored: Vec<u64>,
    pub survival: Vec<f64>,
    /// Greenwood's sum, the variance of the log of survival; infinite where survival is 0.
    pub log_variance: Vec<f64>,
    /// Log-log band; NaN where survival is 0, which has none.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    /// `small_risk_set`: with late entries, few at risk at an event determine all that follows.
    pub warnings: Vec<FitWarning>,
}

/// Survival at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SurvivalPoint {
    pub survival: f64,
    /// Greenwood's standard error.
    pub se: f64,
    pub lower: f64,
    pub upper: f64,
}

/// The time at which survival has fallen to a share. `None`: not reached within the follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SurvivalQuantile {
    pub time: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

impl SurvivalCurve {
    /// Survival at `time`; `None` after the last time, unless survival has reached 0.
    pub fn at(&self, time: f64) -> Option<SurvivalPoint> {
        let Some(last) = last_at(&self.times, time) else {
            return Some(SurvivalPoint { survival: 1.0, se: 0.0, lower: 1.0, upper: 1.0 });
        };
        let survival = self.survival[last];
        let after = self.times.last().is_some_and(|end| time > *end);
        if time.is_nan() || (after && survival > 0.0) {
            return None;
        }
        let se = if survival > 0.0 { survival * self.log_variance[last].sqrt() } else { f64::NAN };
        Some(SurvivalPoint { survival, se, lower: self.lower[last], upper: self.upper[last] })
    }

    /// The first time at which survival is at most 1/2, with the times at which the band crosses
    /// 1/2 (Brookmeyer and Crowley 1982, log-log).
    pub fn median(&self) -> SurvivalQuantile {
        self.quantile(0.5)
    }

    /// The first time at which survival is at most `1 - share`: `quantile(0.25)` is the time by
    /// which a quarter has had the event.
    pub fn quantile(&self, share: f64) -> SurvivalQuantile {
        // A product such as 3/4 * 2/3 may miss 1/2 by rounding.
        let limit = 1.0 - share + 1e-12;
        let first = |curve: &[f64]| {
            curve.iter().position(|value| *value <= limit).map(|index| self.times[index])
        };
        SurvivalQuantile {
            time: first(&self.survival),
            lower: first(&self.lower),
            upper: first(&self.upper),
        }
    }
}

/// Limits of a probability, symmetric for the log of minus its log; for 0 there are none.
pub(super) fn log_log_band(probability: f64, se: f64, width: f64) -> (f64, f64) {
    if probability >= 1.0 {
        return (1.0, 1.0);
    }
    if probability <= 0.0 {
        return (f64::NAN, f64::NAN);
    }
    let log = probability.ln();
    let reach = width * se / (probability * log.abs());
    ((log * reach.exp()).exp(), (log * (-reach).exp()).exp())
}
