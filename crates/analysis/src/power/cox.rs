//! The declared Cox models of simulated crashes.
//!
//! The estimates are those of [`crate::survival::cox::fit`]; a test holds the two together. This
//! one reads the covariate of a risk set from the paths that all simulations share, instead of from
//! rows of each run, and so takes a fraction of the time: a power analysis fits thousands of
//! models.

use super::covariate::{CovariateTable, DeclaredAnalysis};
use super::design::PowerDesign;
use super::risk_sets::{RiskSets, StratumSpan};
use crate::numeric::distribution::student_p;

/// When the runs of a design end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimulatedCrashes {
    /// Last step at risk of each run; 0 for runs that never enter.
    pub stop: Vec<u32>,
    /// Whether a crash ends it.
    pub crashed: Vec<bool>,
}

/// A fitted model of one covariate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedFit {
    /// Log hazard ratio of a unit of the covariate.
    pub coef: f64,
    /// Standard error from the sandwich summed within worlds, times G / (G - 1) for G worlds.
    pub robust_se: f64,
    /// Of the two-sided test that `coef` is 0, from t(G - 1).
    pub p: f64,
    pub events: usize,
    /// Worlds with time at risk.
    pub worlds: usize,
}

/// Largest change of a standardized coefficient that ends the search: Newton's method squares it in
/// the step that it is taken with.
const TOLERANCE: f64 = 1e-6;
const ITERATIONS: usize = 30;
/// Largest standardized coefficient: beyond it the covariate separates the runs that crash.
const COEFFICIENT_MAX: f64 = 15.0;
/// Least information of a standardized covariate from one event.
const INFORMATION_MIN: f64 = 1e-9;

/// Fits one analysis to crashes. `None` if they do not determine it: no crash, a covariate that
/// does not vary in risk sets or that separates them, or one world.
pub fn fit_simulated(
    design: &PowerDesign,
    crashes: &SimulatedCrashes,
    analysis: DeclaredAnalysis,
) -> Option<SimulatedFit> {
    let table = CovariateTable::new(design, analysis);
    CoxWorkspace::default().fit(design, &table, crashes)
}

/// Buffers of a fit, for the next one.
#[derive(Debug, Default)]
pub(super) struct CoxWorkspace {
    sets: RiskSets,
    /// Score residuals by world.
    scores: Vec<f64>,
    /// Hazard of a run times its distance from the mean covariate, by row, up to an event.
    residuals: Vec<f64>,
}

/// Log likelihood, with its derivative and negative second derivative.
#[derive(Debug, Clone, Copy, Default)]
struct Likelihood {
    value: f64,
    score: f64,
    information: f64,
}

impl CoxWorkspace {
    pub fn fit(
        &mut self,
        design: &PowerDesign,
        table: &CovariateTable,
        crashes: &SimulatedCrashes,
    ) -> Option<SimulatedFit> {
        self.sets.sort(design, table, crashes);
        let events = self.sets.runs.iter().filter(|run| run.crashed).count();
        let coefficient = self.maximize(table, events)?;
        let (variance, worlds) = self.sandwich(table, coefficient, design)?;
        let se = variance.sqrt();
        let p = student_p(coefficient / se, worlds as f64 - 1.0);
        if !p.is_finite() {
            return None;
        }
        let coef = coefficient / table.scale;
        Some(SimulatedFit { coef, robust_se: se / table.scale, p, events, worlds })
    }

    /// The standardized coefficient with the greatest likelihood.
    fn maximize(&mut self, table: &CovariateTable, events: usize) -> Option<f64> {
        let (mut coefficient, mut step, mut best) = (0.0, 0.0, f64::NEG_INFINITY);
        for _ in 0..ITERATIONS {
            let at = self.likelihood(table, coefficient);
            if events == 0 || at.information < INFORMATION_MIN * events as f64 {
                return None;
            }
            if at.value < best - 1e-9 * best.abs() {
                // The step was too long.
                step /= 2.0;
                coefficient -= step;
                continue;
            }
            best = at.value;
            step = at.score / at.information;
            coefficient += step;
            if coefficient.is_nan() || coefficient.abs() > COEFFICIENT_MAX {
                return None;
            }
            if step.abs() < TOLERANCE {
                return Some(coefficient);
            }
        }
        None
    }

    /// The partial likelihood with Efron's (1977) treatment of ties.
    fn likelihood(&mut self, table: &CovariateTable, coefficient: f64) -> Likelihood {
        self.sets.sum(table, coefficient);
        let mut sum = Likelihood::default();
        for group in &self.sets.groups {
            let offset = table.offset(group.step);
            let deaths = &self.sets.runs[group.deaths_from..group.deaths_to];
            for (index, run) in deaths.iter().enumerate() {
                let x = table.values[offset + run.row as usize];
                let left = group.risk.without(group.tied, index as f64 / deaths.len() as f64);
                let mean = left.mean();
                sum.value += coefficient * x - left.0[0].ln();
                sum.score += x - mean;
                sum.information += left.0[2] / left.0[0] - mean * mean;
            }
        }
        sum
    }

    /// Variance of the standardized coefficient: the sandwich of Lin and Wei (1989) summed within
    /// worlds, times G / (G - 1); and G. `None` for one world, or if no score differs from 0.
    fn sandwich(
        &mut self,
        table: &CovariateTable,
        coefficient: f64,
        design: &PowerDesign,
    ) -> Option<(f64, usize)> {
        let information = self.likelihood(table, coefficient).information;
        let worlds = design.runs().iter().map(|run| run.world as usize + 1).max().unwrap_or(0);
        let mut present = vec![false; worlds];
        self.sets.runs.iter().for_each(|run| present[run.world as usize] = true);
        self.scores.clear();
        self.scores.resize(worlds, 0.0);
        for index in 0..self.sets.strata.len() {
            self.add_scores(table, self.sets.strata[index]);
        }
        let count = present.iter().filter(|present| **present).count();
        let meat = self.scores.iter().map(|score| score * score).sum::<f64>();
        let small_sample = count as f64 / (count as f64 - 1.0);
        let variance = meat / information.powi(2) * small_sample;
        (count > 1 && variance > 0.0).then_some((variance, count))
    }

    /// Adds the score residuals of a stratum to those of its worlds, from the first event to the
    /// last.
    fn add_scores(&mut self, table: &CovariateTable, stratum: StratumSpan) {
        self.residuals.clear();
        self.residuals.resize(table.rows, 0.0);
        let rows = self.sets.rows_of(stratum).to_vec();
        let RiskSets { runs, groups, terms, .. } = &self.sets;
        let mut left = stratum.runs_to;
        for group in groups[stratum.groups_from..stratum.groups_to].iter().rev() {
            // Runs that ended before this event.
            for run in &runs[group.end..left] {
                self.scores[run.world as usize] -= self.residuals[run.row as usize];
            }
            left = group.end;
            let offset = table.offset(group.step);
            let deaths = &runs[group.deaths_from..group.deaths_to];
            // Sums over the tied deaths, in turn, of the hazard increment and of its product with
            // the mean covariate; and their parts that do not apply to the runs that crash, since
            // these leave one by one.
            let (mut hazard, mut spared, mut mean) = ([0.0; 2], [0.0; 2], 0.0);
            for index in 0..deaths.len() {
                let gone = index as f64 / deaths.len() as f64;
                let at_risk = group.risk.without(group.tied, gone);
                let increment = [1.0 / at_risk.0[0], at_risk.mean() / at_risk.0[0]];
                for i in 0..2 {
                    hazard[i] += increment[i];
                    spared[i] += gone * increment[i];
                }
                mean += at_risk.mean() / deaths.len() as f64;
            }
            for row in rows.iter().map(|row| *row as usize) {
                if table.entries[row] < group.step {
                    let (x, weight) = (table.values[offset + row], terms[offset + row].0[0]);
                    self.residuals[row] += weight * (x * hazard[0] - hazard[1]);
                }
            }
            for run in deaths {
                let at = offset + run.row as usize;
                let (x, weight) = (table.values[at], terms[at].0[0]);
                self.scores[run.world as usize] += x - mean + weight * (x * spared[0] - spared[1]);
            }
        }
        for run in &runs[stratum.runs_from..left] {
            self.scores[run.world as usize] -= self.residuals[run.row as usize];
        }
    }
}
