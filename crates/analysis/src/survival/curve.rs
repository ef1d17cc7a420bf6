//! A survival curve with its band.

use serde::Serialize;

use super::estimate::FitWarning;

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
        todo!("{time}")
    }

    /// The first time at which survival is at most 1/2, with the times at which the band crosses
    /// 1/2 (Brookmeyer and Crowley 1982, log-log).
    pub fn median(&self) -> SurvivalQuantile {
        self.quantile(0.5)
    }

    /// The first time at which survival is at most `1 - share`: `quantile(0.25)` is the time by
    /// which a quarter has had the event.
    pub fn quantile(&self, share: f64) -> SurvivalQuantile {
        todo!("{share}")
    }
}
