//! The cheapest design that finds an effect.

use super::games::GameLibrary;
use super::pilot::ExposureGrowth;
use super::plan::{design, level_text, refused};
use super::simulate::{AnalysisPower, DesignCost, simulate};
use crate::checks::audit::WORLDS_MIN;
use crate::config::Config;
use crate::error::ExperimentError;
use analysis::power::PlantedHazard;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Numbers of worlds that are tried. Fewer than [`WORLDS_MIN`] are refused before a study.
const WORLDS: [u64; 9] = [WORLDS_MIN, 12, 15, 20, 25, 30, 40, 60, 80];
/// Number of studies simulated for each design.
const SIMULATIONS: u64 = 300;
/// Power that a design must reach in each of the declared analyses.
const POWER: f64 = 0.8;
const DOSE_KEY: &str = "pe_induction.p_shock";

/// The smallest number of worlds that reaches the power, for one choice of doses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchedDesign {
    pub doses: Vec<f64>,
    /// `experiment.replications`, or the largest number tried if none reaches the power.
    pub worlds: u64,
    pub reached: bool,
    /// Settings of the configuration, as `key: value`.
    pub settings: Vec<String>,
    pub analyses: Vec<AnalysisPower>,
    pub cost: DesignCost,
}

/// What does not change between designs.
pub(super) struct DesignSearch<'a> {
    pub config: &'a Config,
    pub hazard: PlantedHazard,
    pub without_effect: PlantedHazard,
    pub growth: Option<&'a ExposureGrowth>,
    pub lag: u64,
    pub seed: u64,
    pub simulations: u64,
    pub threads: usize,
}

impl DesignSearch<'_> {
    /// The smallest design of each choice of doses: all, the outermost, and three.
    ///
    /// # Errors
    /// A cell has settings of the world that contradict each other.
    pub fn designs(&self, games: &mut GameLibrary) -> Result<Vec<SearchedDesign>, ExperimentError> {
        self.choices().iter().map(|doses| self.smallest(doses, games)).collect()
    }

    /// Levels of the dose: all; the lowest and the highest; these and the one nearest to their
    /// middle.
    fn choices(&self) -> Vec<Vec<Value>> {
        let dose = |level: &Value| level.as_f64().unwrap_or(0.0);
        let factor = self.config.grid().iter().find(|(key, _)| *key == DOSE_KEY);
        let mut all = factor.map_or(Vec::new(), |(_, levels)| levels.clone());
        all.sort_by(|a, b| dose(a).total_cmp(&dose(b)));
        let (Some(low), Some(high)) = (all.first().cloned(), all.last().cloned()) else {
            return Vec::new();
        };
        let mut choices = vec![all.clone()];
        if all.len() > 2 {
            choices.push(vec![low.clone(), high.clone()]);
        }
        if all.len() > 3 {
            let middle = (dose(&low) + dose(&high)) / 2.0;
            // Of two levels that are as near, the higher one.
            let distance = |level: &Value| (dose(level) - middle).abs() - 1e-9 * dose(level);
            let inner = &all[1..all.len() - 1];
            let nearest = inner.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            choices.extend(nearest.map(|nearest| vec![low, nearest.clone(), high]));
        }
        choices
    }

    fn smallest(
        &self,
        doses: &[Value],
        games: &mut GameLibrary,
    ) -> Result<SearchedDesign, ExperimentError> {
        // Power rises with worlds.
        let (mut low, mut high) = (0, WORLDS.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.reaches(WORLDS[middle], doses, games)? {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let reached = low < WORLDS.len();
        let worlds = WORLDS[low.min(WORLDS.len() - 1)];
        let (config, settings) = self.variant(worlds, doses)?;
        games.play(&config, self.lag, self.threads)?;
        let design = design(&config, games, self.growth)?;
        let hazards = [self.hazard, self.without_effect];
        let found = simulate(&design, hazards, self.seed, self.simulations(), self.threads)
            .map_err(|error| refused(&config, error))?;
        Ok(SearchedDesign {
            doses: doses.iter().filter_map(Value::as_f64).collect(),
            worlds,
            reached,
            settings,
            analyses: found.analyses,
            cost: DesignCost::of(&config)?,
        })
    }

    fn simulations(&self) -> u64 {
        self.simulations.min(SIMULATIONS)
    }

    /// Whether a design reaches the power in each analysis.
    fn reaches(
        &self,
        worlds: u64,
        doses: &[Value],
        games: &mut GameLibrary,
    ) -> Result<bool, ExperimentError> {
        let (config, _) = self.variant(worlds, doses)?;
        games.play(&config, self.lag, self.threads)?;
        let design = design(&config, games, self.growth)?;
        let n = self.simulations();
        let tally = super::simulate::tally(&design, self.hazard, self.seed, n, self.threads);
        Ok(tally.analyses.iter().all(|found| found.right_sign as f64 >= POWER * n as f64))
    }

    /// The configuration with other worlds and doses, and the settings that make it so.
    fn variant(
        &self,
        worlds: u64,
        doses: &[Value],
    ) -> Result<(Config, Vec<String>), ExperimentError> {
        let by_level = self.replications_by(worlds, doses);
        let values = [
            ("experiment.replications", json!(worlds)),
            ("experiment.replications_by", by_level.clone()),
        ];
        let config = self.config.with(&values, &[(DOSE_KEY, doses.to_vec())])?;
        let mut settings = vec![format!("experiment.replications: {worlds}")];
        if self.config.values()["experiment.replications_by"] != by_level {
            settings.push(format!("experiment.replications_by: {}", flow_map(&by_level)));
        }
        let levels: Vec<String> = doses.iter().map(level_text).collect();
        settings.push(format!("grid.{DOSE_KEY}: [{}]", levels.join(", ")));
        Ok((config, settings))
    }

    /// Other numbers of worlds, in the proportion to all worlds that they have in the
    /// configuration, without those of doses that are left out.
    fn replications_by(&self, worlds: u64, doses: &[Value]) -> Value {
        let factor = worlds as f64 / self.config.study().replications as f64;
        let mut by_key: Map<String, Value> = Map::new();
        for entry in &self.config.study().replications_by {
            let dose = entry.level.parse::<f64>().ok();
            if entry.key == DOSE_KEY && !doses.iter().any(|level| level.as_f64() == dose) {
                continue;
            }
            let count = (entry.count as f64 * factor).round().max(1.0) as u64;
            let counts = by_key.entry(entry.key.clone()).or_insert_with(|| json!({}));
            if let Some(counts) = counts.as_object_mut() {
                counts.insert(entry.level.clone(), json!(count));
            }
        }
        Value::Object(by_key)
    }
}

/// A mapping as YAML in one line.
fn flow_map(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}: {}", flow_map(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => level_text(other),
    }
}
