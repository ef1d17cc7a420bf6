//! The cumulative hazard (Nelson 1969, Aalen 1978).

use serde::Serialize;

use super::risk_data::{EventsPerSubject, RiskData};
use super::risk_table::RiskTable;
use crate::error::AnalysisError;
use crate::numeric::distribution::normal_width;

/// How events at the same time count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HazardTies {
    /// As simultaneous: d / n.
    #[default]
    Simultaneous,
    /// As one after the other: 1 / n + 1 / (n - 1) + ... (Fleming and Harrington 1984; lifelines'
    /// default).
    Successive,
}

/// Cumulative hazard by time: one element for each time at which a subject has an event or leaves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CumulativeHazard {
    pub level: f64,
    pub times: Vec<f64>,
    pub at_risk: Vec<u64>,
    pub events: Vec<u64>,
    pub hazard: Vec<f64>,
    /// From the sum of d / n^2 (Aalen 1978), of 1 / n^2 + 1 / (n - 1)^2 + ... for successive ties.
    pub se: Vec<f64>,
    /// Log band, hazard times exp(+-z se / hazard); both limits are 0 before the first event.
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// The cumulative hazard of an event of any cause. Subjects may have several events: then it is the
/// mean number of events of a subject under observation, and the band assumes independence.
///
/// # Errors
/// The data are not valid (see [`RiskData::check`]), or the level is not in (0, 1).
pub fn nelson_aalen(
    data: &RiskData,
    ties: HazardTies,
    level: f64,
) -> Result<CumulativeHazard, AnalysisError> {
    let width = normal_width(level)?;
    let table = RiskTable::new(data, EventsPerSubject::Many)?;
    let mut result = CumulativeHazard {
        level,
        times: table.times,
        at_risk: table.at_risk,
        events: table.events,
        hazard: Vec::new(),
        se: Vec::new(),
        lower: Vec::new(),
        upper: Vec::new(),
    };
    let (mut hazard, mut variance) = (0.0f64, 0.0f64);
    for (&at_risk, &events) in result.at_risk.iter().zip(&result.events) {
        let n = at_risk as f64;
        match ties {
            HazardTies::Simultaneous => {
                hazard += events as f64 / n;
                variance += events as f64 / (n * n);
            }
            HazardTies::Successive => {
                for before in 0..events {
                    hazard += 1.0 / (n - before as f64);
                    variance += (n - before as f64).powi(-2);
                }
            }
        }
        let se = variance.sqrt();
        let reach = if hazard > 0.0 { (width * se / hazard).exp() } else { 1.0 };
        result.hazard.push(hazard);
        result.se.push(se);
        result.lower.push(hazard / reach);
        result.upper.push(hazard * reach);
    }
    Ok(result)
}
