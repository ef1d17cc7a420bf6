//! The declared Cox models of simulated crashes.
//!
//! The estimates are those of [`crate::survival::cox::fit`]; a test holds the two together. This one
//! reads the covariate of a risk set from the paths that all simulations share, instead of from rows
//! of each run, and so takes a fraction of the time: a power analysis fits thousands of models.

use super::covariate::{CovariateTable, DeclaredAnalysis};
use super::design::PowerDesign;
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

/// Largest change of a standardized coefficient that still counts: Newton's method squares it in
/// the step that follows.
const TOLERANCE: f64 = 1e-7;
const ITERATIONS: usize = 30;
/// Largest standardized coefficient: beyond it the covariate separates the runs that crash.
const COEFFICIENT_MAX: f64 = 15.0;
/// Least information of a standardized covariate from one event.
const INFORMATION_MIN: f64 = 1e-9;

/// Fits one analysis to crashes. `None` if they do not determine it: no crash, a covariate that does
/// not vary in risk sets or that separates them, or one world.
pub fn fit_simulated(
    design: &PowerDesign,
    crashes: &SimulatedCrashes,
    analysis: DeclaredAnalysis,
) -> Option<SimulatedFit> {
    let table = CovariateTable::new(design, analysis);
    CoxWorkspace::default().fit(design, &table, crashes)
}

/// A run at risk, in the order of risk sets.
#[derive(Debug, Clone, Copy)]
struct RunAtRisk {
    stratum: u32,
    stop: u32,
    crashed: bool,
    entry: u32,
    /// Row of the covariate.
    row: u32,
    world: u32,
}

/// The events of a stratum at one step.
#[derive(Debug, Clone, Copy)]
struct EventGroup {
    step: u32,
    /// The runs that are at risk unless they enter later: `first..end`.
    first: usize,
    end: usize,
    /// The runs that crash: `deaths_from..deaths_to`.
    deaths_from: usize,
    deaths_to: usize,
}

/// Buffers of a fit, for the next one.
#[derive(Debug, Default)]
pub(super) struct CoxWorkspace {
    runs: Vec<RunAtRisk>,
    groups: Vec<EventGroup>,
    terms: Vec<Terms>,
}

/// exp(b x), and that times x and x squared; and sums of them.
#[derive(Debug, Clone, Copy, Default)]
struct Terms([f64; 3]);

impl Terms {
    fn of(coefficient: f64, x: f64) -> Terms {
        let weight = (coefficient * x).exp();
        Terms([weight, weight * x, weight * x * x])
    }

    fn add(&mut self, other: Terms) {
        for (sum, term) in self.0.iter_mut().zip(other.0) {
            *sum += term;
        }
    }

    /// This without a share of the terms of tied deaths.
    fn without(self, tied: Terms, share: f64) -> Terms {
        Terms(std::array::from_fn(|i| self.0[i] - share * tied.0[i]))
    }

    fn mean(self) -> f64 {
        self.0[1] / self.0[0]
    }
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
        self.sort(design, table, crashes);
        let events = self.runs.iter().filter(|run| run.crashed).count();
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

    /// Sorts the runs at risk by stratum, then from the last to the first that ends: the risk set of
    /// an event is the beginning of its stratum.
    fn sort(&mut self, design: &PowerDesign, table: &CovariateTable, crashes: &SimulatedCrashes) {
        self.runs.clear();
        for (index, run) in design.runs().iter().enumerate() {
            let entry = design.paths()[run.path].entry;
            let (stop, crashed) = (crashes.stop[index], crashes.crashed[index]);
            if entry < stop.into() {
                self.runs.push(RunAtRisk {
                    stratum: run.stratum,
                    stop,
                    crashed,
                    entry: entry as u32,
                    row: table.row_of_run[index],
                    world: run.world,
                });
            }
        }
        let order = |run: &RunAtRisk| (run.stratum, std::cmp::Reverse(run.stop), !run.crashed);
        self.runs.sort_by_key(order);
        self.groups.clear();
        let mut first = 0;
        for stratum in self.runs.chunk_by(|a, b| a.stratum == b.stratum) {
            let mut from = first;
            for ending in stratum.chunk_by(|a, b| a.stop == b.stop) {
                let deaths = ending.iter().filter(|run| run.crashed).count();
                let end = from + ending.len();
                if deaths > 0 {
                    let (step, deaths_to) = (ending[0].stop, from + deaths);
                    self.groups.push(EventGroup { step, first, end, deaths_from: from, deaths_to });
                }
                from = end;
            }
            first = from;
        }
    }

    /// The standardized coefficient with the greatest likelihood.
    fn maximize(&mut self, table: &CovariateTable, events: usize) -> Option<f64> {
        let (mut coefficient, mut step, mut best) = (0.0, 0.0, f64::NEG_INFINITY);
        for _ in 0..ITERATIONS {
            let at = self.likelihood(table, coefficient);
            if at.information < INFORMATION_MIN * events as f64 || events == 0 {
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
            if !(coefficient.abs() < COEFFICIENT_MAX) {
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
        self.terms.clear();
        self.terms.extend(table.values.iter().map(|x| Terms::of(coefficient, *x)));
        let mut sum = Likelihood::default();
        for group in &self.groups {
            let offset = table.offset(group.step);
            let (risk, tied) = self.sums(group, offset);
            let deaths = &self.runs[group.deaths_from..group.deaths_to];
            for (index, run) in deaths.iter().enumerate() {
                let x = table.values[offset + run.row as usize];
                let left = risk.without(tied, index as f64 / deaths.len() as f64);
                let mean = left.mean();
                sum.value += coefficient * x - left.0[0].ln();
                sum.score += x - mean;
                sum.information += left.0[2] / left.0[0] - mean * mean;
            }
        }
        sum
    }

    /// Sums over the risk set of an event, and over its deaths.
    fn sums(&self, group: &EventGroup, offset: usize) -> (Terms, Terms) {
        let (mut risk, mut tied) = (Terms::default(), Terms::default());
        for run in &self.runs[group.first..group.end] {
            if run.entry < group.step {
                risk.add(self.terms[offset + run.row as usize]);
            }
        }
        for run in &self.runs[group.deaths_from..group.deaths_to] {
            tied.add(self.terms[offset + run.row as usize]);
        }
        (risk, tied)
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
        let mut scores = vec![0.0; worlds];
        let mut present = vec![false; worlds];
        self.runs.iter().for_each(|run| present[run.world as usize] = true);
        for group in &self.groups {
            self.add_scores(table, group, &mut scores);
        }
        let count = present.iter().filter(|present| **present).count();
        let meat = scores.iter().map(|score| score * score).sum::<f64>();
        let small_sample = count as f64 / (count as f64 - 1.0);
        let variance = meat / information.powi(2) * small_sample;
        (count > 1 && variance > 0.0).then_some((variance, count))
    }

    /// Adds the score residuals of an event to those of the worlds.
    fn add_scores(&self, table: &CovariateTable, group: &EventGroup, scores: &mut [f64]) {
        let offset = table.offset(group.step);
        let (risk, tied) = self.sums(group, offset);
        let deaths = &self.runs[group.deaths_from..group.deaths_to];
        // Sums over the tied deaths, in turn, of the hazard increment and of its product with the
        // mean covariate: for runs that survive, and for runs that crash, which count in part.
        let (mut survive, mut crash, mut mean) = ([0.0; 2], [0.0; 2], 0.0);
        for index in 0..deaths.len() {
            let gone = index as f64 / deaths.len() as f64;
            let left = risk.without(tied, gone);
            let increment = [1.0 / left.0[0], left.mean() / left.0[0]];
            for i in 0..2 {
                survive[i] += increment[i];
                crash[i] += (1.0 - gone) * increment[i];
            }
            mean += left.mean() / deaths.len() as f64;
        }
        for (index, run) in (group.first..).zip(&self.runs[group.first..group.end]) {
            if run.entry >= group.step {
                continue;
            }
            let at = offset + run.row as usize;
            let (x, weight) = (table.values[at], self.terms[at].0[0]);
            let dies = (group.deaths_from..group.deaths_to).contains(&index);
            let hazard = if dies { crash } else { survive };
            let observed = if dies { x - mean } else { 0.0 };
            scores[run.world as usize] += observed - weight * (x * hazard[0] - hazard[1]);
        }
    }
}
