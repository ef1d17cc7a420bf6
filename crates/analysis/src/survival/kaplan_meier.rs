//! The product-limit estimator (Kaplan and Meier 1958), with late entries.

use super::curve::{SurvivalCurve, log_log_band};
use super::risk_data::{EventsPerSubject, RiskData};
use super::risk_table::RiskTable;
use crate::error::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::numeric::distribution::normal_width;

/// An event with fewer subjects at risk than this is warned about.
const FEW_AT_RISK: u64 = 10;

/// Survival up to the first event of any cause (for one cause, see [`RiskData::only_cause`]), with
/// a log-log band of the given level. Strata are ignored.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), or the level is not in (0, 1).
pub fn kaplan_meier(data: &RiskData, level: f64) -> Result<SurvivalCurve, AnalysisError> {
    let width = normal_width(level)?;
    let table = RiskTable::new(data, EventsPerSubject::One)?;
    let mut curve = SurvivalCurve {
        level,
        origin: table.origin,
        survival: Vec::with_capacity(table.times.len()),
        log_variance: Vec::with_capacity(table.times.len()),
        lower: Vec::with_capacity(table.times.len()),
        upper: Vec::with_capacity(table.times.len()),
        warnings: small_risk_sets(&table),
        times: table.times,
        at_risk: table.at_risk,
        events: table.events,
        censored: table.censored,
    };
    let (mut survival, mut log_variance) = (1.0, 0.0);
    for (&at_risk, &events) in curve.at_risk.iter().zip(&curve.events) {
        if events > 0 && survival > 0.0 {
            let (n, d) = (at_risk as f64, events as f64);
            survival *= (n - d) / n;
            log_variance += d / (n * (n - d));
        }
        let (lower, upper) = log_log_band(survival, log_variance.sqrt() * survival, width);
        curve.survival.push(survival);
        curve.log_variance.push(log_variance);
        curve.lower.push(lower);
        curve.upper.push(upper);
    }
    Ok(curve)
}

/// With late entries, an event among few early subjects takes a large share of a curve that later
/// rests on many.
fn small_risk_sets(table: &RiskTable) -> Vec<FitWarning> {
    let mut later = 0;
    let mut found = None;
    for time in (0..table.times.len()).rev() {
        let at_risk = table.at_risk[time];
        if table.events[time] > 0 && at_risk < FEW_AT_RISK && at_risk < later {
            found = Some((time, later));
        }
        later = later.max(at_risk);
    }
    let text = found.map(|(time, later)| {
        format!(
            "at the event at {} only {} are at risk, later up to {later} are: the curve after it \
             rests on these few; start it later",
            table.times[time], table.at_risk[time]
        )
    });
    text.into_iter().map(|text| FitWarning { code: "small_risk_set", text }).collect()
}
