//! `--model cloglog`: hazards in bins of time, with covariates.

use super::cox::{ReferenceLevel, print_coefficients, print_references, references, robust};
use super::input::SurvivalInput;
use super::text::{limits, number, print_table, time};
use super::{Fitted, ModelResult};
use crate::args::SurvivalArgs;
use crate::failure::Failure;
use crate::output;
use analysis::AnalysisError;
use analysis::survival::{Coefficient, DiscreteOptions, EventTime, RiskData, discrete_hazard};
use serde::Serialize;

#[derive(Serialize)]
pub struct CloglogResult {
    robust: &'static str,
    coefficients: Vec<Coefficient>,
    references: Vec<ReferenceLevel>,
    /// An event is in the last step of its row; null: somewhere in its bin.
    step: Option<f64>,
    bins: Vec<HazardBin>,
    log_likelihood: f64,
    clusters: usize,
    iterations: usize,
}

/// The hazard per unit of time in (from, to], at covariates of 0.
#[derive(Serialize)]
struct HazardBin {
    from: f64,
    to: f64,
    hazard: f64,
    lower: f64,
    upper: f64,
    /// Standard error of the log of the hazard.
    log_se: f64,
}

pub fn fit(args: &SurvivalArgs, input: &SurvivalInput) -> Result<Fitted, AnalysisError> {
    let edges = edges(args, &input.data)?;
    let step = args.step.or_else(|| step_of(&input.data));
    let (robust, robust_name) = robust(args);
    let options = DiscreteOptions {
        level: args.level,
        event_time: step.map_or(EventTime::InBin, EventTime::Within),
        robust,
        recurrent: args.recurrent,
        ..DiscreteOptions::default()
    };
    let fit = discrete_hazard(&input.data, &input.covariates.covariates, &edges, &options)?;
    let bin = |(of, edges): (&Coefficient, &[f64])| HazardBin {
        from: edges[0],
        to: edges[1],
        hazard: of.coef.exp(),
        lower: of.lower.exp(),
        upper: of.upper.exp(),
        log_se: of.robust_se.unwrap_or(of.se),
    };
    let result = CloglogResult {
        robust: robust_name,
        step,
        bins: fit.bins.iter().zip(edges.windows(2)).map(bin).collect(),
        coefficients: fit.coefficients,
        references: references(input),
        log_likelihood: fit.log_likelihood,
        clusters: fit.clusters,
        iterations: fit.iterations,
    };
    Ok((ModelResult::Cloglog(result), fit.warnings))
}

/// Steps of 1 if all times are whole numbers.
fn step_of(data: &RiskData) -> Option<f64> {
    data.start.iter().chain(&data.stop).all(|time| time.fract() == 0.0).then_some(1.0)
}

/// The edges of the bins: as given, or quantiles of the times of events.
fn edges(args: &SurvivalArgs, data: &RiskData) -> Result<Vec<f64>, AnalysisError> {
    const BINS_DEFAULT: usize = 5;
    let first = data.start.iter().copied().fold(f64::INFINITY, f64::min);
    let last = data.stop.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let count = match args.bins[..] {
        [] => BINS_DEFAULT,
        [count] if count >= 1.0 && count.fract() == 0.0 => count as usize,
        [count] => {
            return Err(AnalysisError::Usage(format!(
                "--bins: expected a number of bins, or two or more edges, found {count}"
            )));
        }
        ref edges => return covering(edges, first, last),
    };
    let mut times: Vec<f64> = data
        .stop
        .iter()
        .zip(&data.cause)
        .filter(|(_, cause)| **cause > 0)
        .map(|(stop, _)| *stop)
        .collect();
    times.sort_by(f64::total_cmp);
    let mut edges = vec![first];
    edges.extend((1..count).filter_map(|bin| times.get((bin * times.len()).div_ceil(count) - 1)));
    edges.dedup();
    // The last bin holds the last event, and reaches to the end of the time at risk.
    edges.retain(|edge| times.last().is_some_and(|event| edge < event));
    edges.push(last);
    Ok(edges)
}

/// The edges, if they cover the time at risk.
fn covering(edges: &[f64], first: f64, last: f64) -> Result<Vec<f64>, AnalysisError> {
    let is_rising = edges.windows(2).all(|pair| pair[0] < pair[1]);
    if is_rising && edges.first().is_some_and(|edge| *edge <= first) && edges.last() >= Some(&last)
    {
        return Ok(edges.to_vec());
    }
    let found: Vec<String> = edges.iter().map(f64::to_string).collect();
    Err(AnalysisError::Usage(format!(
        "--bins: expected rising edges that cover the time at risk, from {first} to {last}, found \
         {}",
        found.join(",")
    )))
}

impl CloglogResult {
    pub fn print(&self, percent: &str) -> Result<(), Failure> {
        let errors = match self.robust {
            "none" => String::new(),
            robust => format!(", robust errors of {} clusters ({robust})", self.clusters),
        };
        let events = match self.step {
            Some(step) => format!("events within the last {step} of their rows"),
            None => "events somewhere in their bins".to_owned(),
        };
        output::line(&format!("log-likelihood {:.4}, {events}{errors}", self.log_likelihood))?;
        if !self.coefficients.is_empty() {
            print_coefficients(&self.coefficients, percent)?;
            print_references(&self.references)?;
            output::line("")?;
        }
        let (from, to) = limits(percent);
        let head = ["bin of time", "hazard at covariates 0", &from, &to];
        let row = |bin: &HazardBin| {
            let mut row = vec![format!("({}, {}]", time(bin.from), time(bin.to))];
            row.extend([bin.hazard, bin.lower, bin.upper].map(number));
            row
        };
        print_table(1, &head, self.bins.iter().map(row).collect())
    }
}
