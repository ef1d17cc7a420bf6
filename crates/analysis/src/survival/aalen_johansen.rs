//! Cumulative incidence of competing causes (Aalen and Johansen 1978).

use serde::Serialize;

use super::curve::log_log_band;
use super::risk_data::{EventsPerSubject, RiskData};
use super::risk_table::{RiskTable, last_at};
use crate::error::AnalysisError;
use crate::numeric::distribution::normal_width;

/// Incidence by time: one element for each time at which a subject has an event or leaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CumulativeIncidence {
    pub level: f64,
    pub times: Vec<f64>,
    pub at_risk: Vec<u64>,
    /// Share without an event of any cause.
    pub survival: Vec<f64>,
    /// By cause, ascending.
    pub causes: Vec<CauseIncidence>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseIncidence {
    pub cause: u32,
    pub events: Vec<u64>,
    /// Probability of an event of this cause up to the time, in the presence of the others.
    pub incidence: Vec<f64>,
    pub variance: Vec<f64>,
    /// Log-log band; both limits are 0 before the first event.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

impl CumulativeIncidence {
    /// # Errors
    /// No subject has an event of this cause.
    pub fn cause(&self, cause: u32) -> Result<&CauseIncidence, AnalysisError> {
        let found = self.causes.iter().find(|incidence| incidence.cause == cause);
        found.ok_or_else(|| AnalysisError::NotEstimable(format!("no event is of cause {cause}")))
    }

    /// Incidence of a cause at `time` as (value, lower, upper); `None` if no event is of this
    /// cause, and after the last time, unless all subjects have had an event.
    pub fn at(&self, cause: u32, time: f64) -> Option<(f64, f64, f64)> {
        let cause = self.cause(cause).ok()?;
        let Some(last) = last_at(&self.times, time) else { return Some((0.0, 0.0, 0.0)) };
        let after = self.times.last().is_some_and(|end| time > *end);
        if time.is_nan() || (after && self.survival[last] > 0.0) {
            return None;
        }
        Some((cause.incidence[last], cause.lower[last], cause.upper[last]))
    }
}

/// Incidence of all causes. Events at the same time are exact, without jitter. The variance is
/// Greenwood's with multinomial events (Marubini and Valsecchi 1995, 10.3). Strata are ignored.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), there is no event, or the level is not in
/// (0, 1).
pub fn aalen_johansen(data: &RiskData, level: f64) -> Result<CumulativeIncidence, AnalysisError> {
    let width = normal_width(level)?;
    let table = RiskTable::new(data, EventsPerSubject::One)?;
    if table.by_cause.is_empty() {
        let text = "incidence: there is no event of any cause".to_owned();
        return Err(AnalysisError::NotEstimable(text));
    }
    let mut survival = Vec::with_capacity(table.times.len());
    let mut left = 1.0;
    for (&n, &d) in table.at_risk.iter().zip(&table.events) {
        left *= (n - d) as f64 / n as f64;
        survival.push(left);
    }
    let causes = table.by_cause.iter();
    let causes = causes.map(|(cause, events)| incidence(&table, &survival, *cause, events, width));
    let causes = causes.collect();
    let RiskTable { times, at_risk, .. } = table;
    Ok(CumulativeIncidence { level, times, at_risk, survival, causes })
}

fn incidence(
    table: &RiskTable,
    survival: &[f64],
    cause: u32,
    events: &[u64],
    width: f64,
) -> CauseIncidence {
    let length = table.times.len();
    let mut result = CauseIncidence {
        cause,
        events: events.to_vec(),
        incidence: Vec::with_capacity(length),
        variance: Vec::with_capacity(length),
        lower: Vec::with_capacity(length),
        upper: Vec::with_capacity(length),
    };
    let mut value = 0.0f64;
    // The variance at t is the sum over earlier times s of (F(t) - F(s))^2 a + b - 2 (F(t) - F(s))
    // c. Sums of the powers of F(s) - F(now) give it for all t at once, and do not cancel.
    let (mut a, mut a_gap, mut a_gap_squared) = (0.0, 0.0, 0.0);
    let (mut b, mut c, mut c_gap) = (0.0f64, 0.0, 0.0);
    for time in 0..length {
        let (n, d) = (table.at_risk[time] as f64, table.events[time] as f64);
        let own = events[time] as f64;
        let before = if time == 0 { 1.0 } else { survival[time - 1] };
        let rise = before * own / n;
        value += rise;
        // All gaps F(t) - F(s) grow by the rise.
        a_gap_squared += rise * (2.0 * a_gap + rise * a);
        a_gap += rise * a;
        c_gap += rise * c;
        b += before * before * own * (n - own) / (n * n * n);
        c += before * own / (n * n);
        // Once all at risk have had an event, the incidence rises no more.
        if d > 0.0 && d < n {
            a += d / (n * (n - d));
        }
        let variance = (a_gap_squared + b - 2.0 * c_gap).max(0.0);
        let (lower, upper) = match value {
            0.0 => (0.0, 0.0),
            value => log_log_band(value, variance.sqrt(), width),
        };
        result.incidence.push(value);
        result.variance.push(variance);
        result.lower.push(lower);
        result.upper.push(upper);
    }
    result
}
