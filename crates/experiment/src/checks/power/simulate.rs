//! Simulations of one design on several threads, and what they add up to.

use crate::checks::estimate::{CostRates, estimate};
use crate::config::Config;
use crate::error::ExperimentError;
use analysis::AnalysisError;
use analysis::inference::{Proportion, wilson};
use analysis::power::{DeclaredAnalysis, PlantedHazard, PowerDesign, PowerTally, StudySimulator};
use base::in_parallel;
use serde::Serialize;
use std::ops::Range;

/// Number of studies that a thread simulates in one go.
const BATCH: u64 = 5;
/// Level of the intervals of simulated shares.
const LEVEL: f64 = 0.95;

/// How often an analysis rejects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnalysisPower {
    pub analysis: DeclaredAnalysis,
    /// Share of the studies with the effect that find it: p < .05 with its sign.
    pub power: Proportion,
    /// Share of the studies without an effect that find one: p < .05.
    pub false_positives: Proportion,
    /// Studies of both kinds whose crashes do not determine the estimate. They find nothing.
    pub not_estimable: u64,
}

/// What simulations of a design found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SimulatedPower {
    pub analyses: Vec<AnalysisPower>,
    /// Mean number of crashes of a study with the effect.
    pub events: f64,
    /// Share of the runs at risk of the lowest dose that crash.
    pub lowest_crashed: f64,
}

/// The cost of a design, if each run reaches its horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DesignCost {
    pub runs: usize,
    pub steps_max: u64,
    /// Tokens of prompts and replies; 0 for scripted operators.
    pub tokens: f64,
    /// Of the models of known size.
    pub gpu_hours: f64,
    /// Models whose name does not tell their size.
    pub unknown: Vec<String>,
}

impl DesignCost {
    /// # Errors
    /// A cell has settings of the world that contradict each other.
    pub fn of(config: &Config) -> Result<DesignCost, ExperimentError> {
        let (counts, cost) = (config.counts(), estimate(config, &CostRates::default())?);
        Ok(DesignCost {
            runs: counts.runs,
            steps_max: counts.steps_max,
            tokens: cost.prompt_tokens + cost.reply_tokens,
            gpu_hours: cost.gpu_hours,
            unknown: cost.unknown,
        })
    }

    /// What designs are compared by: tokens, or runs of scripted operators.
    pub(super) fn amount(&self) -> f64 {
        if self.tokens > 0.0 { self.tokens } else { self.runs as f64 }
    }
}

/// Simulates studies under one hazard.
pub(super) fn tally(
    design: &PowerDesign,
    hazard: PlantedHazard,
    seed: u64,
    simulations: u64,
    threads: usize,
) -> PowerTally {
    let simulator = StudySimulator::new(design, hazard);
    let batches: Vec<Range<u64>> = (0..simulations)
        .step_by(BATCH as usize)
        .map(|from| from..(from + BATCH).min(simulations))
        .collect();
    let mut sum = PowerTally::default();
    for part in in_parallel(threads, &batches, |batch| simulator.simulate(seed, batch.clone())) {
        sum += part;
    }
    sum
}

/// Simulates studies with and without the effect. `hazards`: with it and without.
///
/// # Errors
/// No simulations.
pub(super) fn simulate(
    design: &PowerDesign,
    hazards: [PlantedHazard; 2],
    seed: u64,
    simulations: u64,
    threads: usize,
) -> Result<SimulatedPower, AnalysisError> {
    let [with, without] = hazards.map(|hazard| tally(design, hazard, seed, simulations, threads));
    let of = |index: usize| {
        let (found, by_chance) = (with.analyses[index], without.analyses[index]);
        Ok(AnalysisPower {
            analysis: DeclaredAnalysis::ALL[index],
            power: wilson(found.right_sign, simulations, LEVEL)?,
            false_positives: wilson(by_chance.rejected, simulations, LEVEL)?,
            not_estimable: found.not_estimable + by_chance.not_estimable,
        })
    };
    Ok(SimulatedPower {
        analyses: (0..DeclaredAnalysis::ALL.len()).map(of).collect::<Result<_, AnalysisError>>()?,
        events: with.events as f64 / simulations as f64,
        lowest_crashed: with.lowest_crashed as f64 / with.lowest_entered.max(1) as f64,
    })
}
