//! Power of a configuration before it is run: its declared analyses are applied to simulated
//! studies.
//!
//! `games` plays each world with a scripted operator, for the exposure and the time at risk of runs
//! that do not crash; `pilot` says how models differ; `plan` makes the design of a configuration;
//! `simulate` draws crashes and analyzes them; `search` looks for the cheapest design.

mod games;
mod pilot;
mod plan;
mod search;
mod simulate;

pub use search::SearchedDesign;
pub use simulate::{AnalysisPower, DesignCost};

use crate::config::Config;
use crate::error::{ConfigProblem, ExperimentError};
use analysis::power::{HazardAssumptions, PlantedHazard, PowerDesign, SchoenfeldCheck};
use analysis::study::{AnalysisOptions, ObservedStudy};
use base::usable_cores;
use games::GameLibrary;
use pilot::{LowestDose, PilotFindings};
use plan::{design, refused};
use search::DesignSearch;
use serde::Serialize;
use simulate::simulate;
use warehouse::Design;

/// How to simulate a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerOptions {
    /// Hazard ratio of the highest dose to the lowest, at the mean exposure that each brings about.
    pub hazard_ratio: f64,
    /// Share of the runs of the lowest dose that crash before they end; `None`: the pilot's, or .3.
    pub baseline: Option<f64>,
    /// Standard deviation between worlds of the log hazard; `None`: the pilot's, or .7.
    pub world_sd: Option<f64>,
    /// Number of studies simulated with the effect, and again without.
    pub simulations: u64,
    pub seed: u64,
    /// The result does not depend on the number of threads; `None`: all cores.
    pub threads: Option<usize>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AssumptionSource {
    Option,
    Pilot,
    Default,
}

/// A value that the simulation takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AssumedValue {
    pub value: f64,
    pub source: AssumptionSource,
}

/// A dose of a design.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DoseExposure {
    pub p_shock: f64,
    pub runs: usize,
    /// Mean lagged exposure over the time at risk.
    pub exposure: f64,
}

/// The power of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PowerReport {
    pub name: String,
    pub hazard_ratio: f64,
    /// Log hazard ratio of a unit of exposure.
    pub beta: f64,
    pub baseline: AssumedValue,
    pub world_sd: AssumedValue,
    /// Share of runs whose agent becomes competent.
    pub entered: AssumedValue,
    /// Whether exposure grows as in a pilot, or as for the careful operator.
    pub exposure_source: AssumptionSource,
    /// How far a pilot's values may be off, and what it does not tell.
    pub notes: Vec<String>,
    /// Steps by which the analysis lags exposure.
    pub lag: u64,
    pub simulations: u64,
    pub seed: u64,
    pub doses: Vec<DoseExposure>,
    pub worlds: usize,
    pub analyses: Vec<AnalysisPower>,
    /// Mean number of crashes of a study with the effect.
    pub events: f64,
    /// Share of the runs of the lowest dose that crashed in the simulations, to compare with
    /// `baseline`.
    pub baseline_simulated: f64,
    pub formula: SchoenfeldCheck,
    pub cost: DesignCost,
    /// The smallest designs that reach 80% power, by choice of doses.
    pub searched: Vec<SearchedDesign>,
    /// Index in `searched` of the cheapest one; `None` if none reaches the power.
    pub cheapest: Option<usize>,
}

impl AssumedValue {
    fn of(option: Option<f64>, default: f64) -> AssumedValue {
        match option {
            Some(value) => AssumedValue { value, source: AssumptionSource::Option },
            None => AssumedValue { value: default, source: AssumptionSource::Default },
        }
    }

    /// Takes the value of a pilot, unless an option gives one.
    fn take(&mut self, of_pilot: f64) {
        if self.source != AssumptionSource::Option {
            *self = AssumedValue { value: of_pilot, source: AssumptionSource::Pilot };
        }
    }
}

/// Simulates the declared analyses of a configuration.
///
/// # Errors
/// The configuration has one dose, one world, no exposure or design v1; an option is out of range;
/// the pilot has no runs at risk or has design v1.
pub fn power(
    config: &Config,
    pilot: Option<&ObservedStudy>,
    options: &PowerOptions,
) -> Result<PowerReport, ExperimentError> {
    if config.design() == Design::V1.label() {
        let why = "expected v2, found v1, whose runs have no exposure and no time at risk";
        return Err(ConfigProblem::Contradiction {
            key: "experiment.design".into(),
            why: why.into(),
        }
        .into());
    }
    let lag = AnalysisOptions::default().lag;
    let threads = options.threads.unwrap_or_else(usable_cores);
    let findings = PilotFindings::new(pilot, options, lowest_dose(config), lag)?;
    let growth = findings.growth.as_ref();
    let mut games = GameLibrary::default();
    games.play(config, lag, threads)?;
    let design = design(config, &games, growth)?;
    let assumed = HazardAssumptions {
        baseline: findings.baseline.value,
        world_sd: findings.world_sd.value,
        entered: findings.entered.value,
    };
    let solve = |ratio: f64| {
        PlantedHazard::solve(&design, ratio, &assumed).map_err(|error| refused(config, error))
    };
    let (hazard, without_effect) = (solve(options.hazard_ratio)?, solve(1.0)?);
    let PowerOptions { hazard_ratio, seed, simulations, .. } = *options;
    let found = simulate(&design, [hazard, without_effect], seed, simulations, threads)?;
    let formula = SchoenfeldCheck::new(hazard_ratio, design.dose_spread(), found.events)?;
    let search =
        DesignSearch { config, hazard, without_effect, growth, lag, seed, simulations, threads };
    let searched = search.designs(&mut games)?;
    let reached = searched.iter().enumerate().filter(|(_, design)| design.reached);
    let cheapest = reached.min_by(|(_, a), (_, b)| a.cost.amount().total_cmp(&b.cost.amount()));
    Ok(PowerReport {
        name: config.name().to_string(),
        hazard_ratio,
        beta: hazard.beta,
        baseline: findings.baseline,
        world_sd: findings.world_sd,
        entered: findings.entered,
        exposure_source: match growth {
            Some(_) => AssumptionSource::Pilot,
            None => AssumptionSource::Default,
        },
        notes: findings.notes,
        lag,
        simulations,
        seed,
        doses: doses(&design),
        worlds: design.worlds(),
        analyses: found.analyses,
        events: found.events,
        baseline_simulated: found.lowest_crashed,
        formula,
        cost: DesignCost::of(config)?,
        cheapest: cheapest.map(|(index, _)| index),
        searched,
    })
}

fn doses(design: &PowerDesign) -> Vec<DoseExposure> {
    let of = |dose: &f64| DoseExposure {
        p_shock: *dose,
        runs: design.runs().iter().filter(|run| run.dose == *dose).count(),
        exposure: design.mean_exposure(*dose),
    };
    design.doses().iter().map(of).collect()
}

/// The lowest dose of a configuration, and the mean horizon of its cells.
fn lowest_dose(config: &Config) -> LowestDose {
    let dose = |cell: &crate::config::Cell| cell.config().shocks.p_shock;
    let lowest = config.cells().iter().map(dose).fold(f64::INFINITY, f64::min);
    let of_lowest = config.cells().iter().filter(|cell| dose(cell) == lowest);
    let horizons: Vec<f64> = of_lowest.map(|cell| cell.steps_max() as f64).collect();
    let horizon = horizons.iter().sum::<f64>() / horizons.len().max(1) as f64;
    LowestDose { dose: lowest, horizon }
}
