//! Forecasts of an event, each a probability, against what happened.

use crate::AnalysisError;
use crate::fit_warning::FitWarning;
use crate::inference::interval::{ConfidenceInterval, check_finite, check_lengths, not_estimable};
use crate::inference::proportion::wilson;
use crate::numeric::distribution::check_level;
use serde::Serialize;

/// A forecast, and whether its event happened.
type Forecast = (f64, bool);

/// How forecasts are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastBins {
    /// This many bins of equal width from 0 to 1; a forecast on an edge is in the bin above it.
    EqualWidth(usize),
    /// At most this many bins of about equal counts; equal forecasts are in one bin.
    EqualCount(usize),
    /// A bin for each distinct forecast.
    Distinct,
}

/// One bin of a reliability diagram. Bins without forecasts are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Range of forecasts that the bin covers.
    pub low: f64,
    pub high: f64,
    pub forecasts: usize,
    pub mean_forecast: f64,
    /// Share of events.
    pub share: f64,
    /// Wilson interval of the share, as if forecasts were independent.
    pub interval: ConfidenceInterval,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastCalibration {
    pub forecasts: usize,
    pub events: usize,
    pub mean_forecast: f64,
    /// Share of events.
    pub base_rate: f64,
    /// Mean of (forecast - outcome)^2.
    pub brier: f64,
    /// Brier score = reliability - resolution + uncertainty + within_bins (Murphy 1973; the last
    /// term, which is 0 if forecasts within a bin are equal, is of Stephenson et al. 2008).
    pub reliability: f64,
    pub resolution: f64,
    pub uncertainty: f64,
    pub within_bins: f64,
    /// 1 - Brier score / uncertainty: 0 for the base rate as forecast; `None` if all outcomes are
    /// equal.
    pub skill: Option<f64>,
    /// Mean over forecasts of |share of events - mean forecast| of their bin.
    pub expected_calibration_error: f64,
    /// Probability that an event had a higher forecast than a non-event, ties counted half; `None`
    /// if all outcomes are equal.
    pub auc: Option<f64>,
    pub bins: Vec<ReliabilityBin>,
    pub warnings: Vec<FitWarning>,
}

/// Calibration of forecasts. `outcomes[i]` is whether the event of `forecasts[i]` happened.
///
/// # Errors
/// No forecasts, a forecast outside [0, 1], lengths that differ, no bins, a bad level.
pub fn forecast_calibration(
    forecasts: &[f64],
    outcomes: &[bool],
    bins: ForecastBins,
    level: f64,
) -> Result<ForecastCalibration, AnalysisError> {
    check_level(level)?;
    check(forecasts, outcomes, bins)?;
    let mut sorted: Vec<Forecast> =
        forecasts.iter().copied().zip(outcomes.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = sorted.len() as f64;
    let events = outcomes.iter().filter(|outcome| **outcome).count();
    let base_rate = events as f64 / n;
    let uncertainty = base_rate * (1.0 - base_rate);
    let brier = sorted.iter().map(|(p, event)| (p - number(*event)).powi(2)).sum::<f64>() / n;
    let bins: Vec<ReliabilityBin> = binned(&sorted, bins)
        .into_iter()
        .map(|(low, high, rows)| bin(low, high, rows, level))
        .collect::<Result<_, AnalysisError>>()?;
    let over_bins = |term: &dyn Fn(&ReliabilityBin) -> f64| {
        bins.iter().map(|bin| bin.forecasts as f64 * term(bin)).sum::<f64>() / n
    };
    let reliability = over_bins(&|bin| (bin.mean_forecast - bin.share).powi(2));
    let resolution = over_bins(&|bin| (bin.share - base_rate).powi(2));
    let varied = events > 0 && events < sorted.len();
    Ok(ForecastCalibration {
        forecasts: sorted.len(),
        events,
        mean_forecast: sorted.iter().map(|(p, _)| p).sum::<f64>() / n,
        base_rate,
        brier,
        reliability,
        resolution,
        uncertainty,
        within_bins: brier - reliability + resolution - uncertainty,
        skill: varied.then(|| 1.0 - brier / uncertainty),
        expected_calibration_error: over_bins(&|bin| (bin.mean_forecast - bin.share).abs()),
        auc: varied.then(|| auc(&sorted, events)),
        bins,
        warnings: warnings(varied, events, sorted.len()),
    })
}

fn check(forecasts: &[f64], outcomes: &[bool], bins: ForecastBins) -> Result<(), AnalysisError> {
    check_lengths(("the outcomes", outcomes.len()), ("the forecasts", forecasts.len()))?;
    check_finite("forecast", forecasts)?;
    if let Some(row) = forecasts.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(AnalysisError::BadValue {
            column: "forecast".to_owned(),
            row: row + 1,
            expected: "a probability".to_owned(),
            found: forecasts[row].to_string(),
        });
    }
    if matches!(bins, ForecastBins::EqualWidth(0) | ForecastBins::EqualCount(0)) {
        return Err(AnalysisError::Usage("expected at least one bin".to_owned()));
    }
    if forecasts.is_empty() {
        return Err(not_estimable("no forecasts"));
    }
    Ok(())
}

fn warnings(varied: bool, events: usize, forecasts: usize) -> Vec<FitWarning> {
    let text =
        format!("{events} events of {forecasts} forecasts: skill and AUC need both outcomes");
    (!varied).then_some(FitWarning { code: "one_outcome", text }).into_iter().collect()
}

/// The bins that have forecasts: range, and the forecasts in it, which rise.
fn binned(sorted: &[Forecast], bins: ForecastBins) -> Vec<(f64, f64, &[Forecast])> {
    match bins {
        ForecastBins::EqualWidth(number) => {
            let bin = |p: f64| ((p * number as f64) as usize).min(number - 1);
            sorted
                .chunk_by(|a, b| bin(a.0) == bin(b.0))
                .map(|rows| {
                    let at = bin(rows[0].0) as f64;
                    (at / number as f64, (at + 1.0) / number as f64, rows)
                })
                .collect()
        }
        ForecastBins::EqualCount(number) => {
            // Equal forecasts stay together: each goes to the bin of the middle of its ranks.
            let mut first = 0;
            let mut bin_of = Vec::with_capacity(sorted.len());
            for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
                let middle = 2 * first + equal.len();
                first += equal.len();
                let bin = (middle * number / (2 * sorted.len())).min(number - 1);
                bin_of.resize(first, bin);
            }
            let mut start = 0;
            bin_of
                .chunk_by(|a, b| a == b)
                .map(|equal| {
                    let rows = &sorted[start..start + equal.len()];
                    start += equal.len();
                    (rows[0].0, rows[rows.len() - 1].0, rows)
                })
                .collect()
        }
        ForecastBins::Distinct => {
            sorted.chunk_by(|a, b| a.0 == b.0).map(|rows| (rows[0].0, rows[0].0, rows)).collect()
        }
    }
}

fn bin(
    low: f64,
    high: f64,
    rows: &[Forecast],
    level: f64,
) -> Result<ReliabilityBin, AnalysisError> {
    let forecasts = rows.len();
    let events = rows.iter().filter(|(_, event)| *event).count();
    let observed = wilson(events as u64, forecasts as u64, level)?;
    Ok(ReliabilityBin {
        low,
        high,
        forecasts,
        mean_forecast: rows.iter().map(|(p, _)| p).sum::<f64>() / forecasts as f64,
        share: observed.share,
        interval: observed.interval,
    })
}

/// From the mean ranks of the events' forecasts (Mann and Whitney 1947).
fn auc(sorted: &[Forecast], events: usize) -> f64 {
    let (mut first, mut ranks) = (0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let rank = first as f64 + (equal.len() as f64 + 1.0) / 2.0;
        ranks += rank * equal.iter().filter(|(_, event)| *event).count() as f64;
        first += equal.len();
    }
    let (events, others) = (events as f64, (sorted.len() - events) as f64);
    (ranks - events * (events + 1.0) / 2.0) / (events * others)
}

fn number(event: bool) -> f64 {
    f64::from(u8::from(event))
}
