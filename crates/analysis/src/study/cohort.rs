//! The runs at risk, as data of survival models.
//!
//! A run is at risk from its entry to its event. What the agent met before is left-truncated.
//! Worlds are the independent units, so they are the clusters. Factors that are no property of
//! shocks are strata: effects of shocks are compared within them.

use super::run::{ObservedRun, ObservedStudy, PathPoint, RunColumn};
use crate::AnalysisError;
use crate::numbering::numbered;
use crate::survival::{Covariates, RiskData, SurvivalCurve, kaplan_meier};
use std::collections::BTreeMap;

/// Prefix of the factors that describe shocks.
const SHOCK_FACTORS: &str = "pe_induction.";
/// A hazard ratio is given for this difference of the assigned dose.
pub const DOSE_UNIT: f64 = 0.1;

/// The runs at risk of one or several studies.
#[derive(Debug, Clone)]
pub struct Cohort<'a> {
    pub runs: Vec<&'a ObservedRun>,
    /// Stratum of each run: its levels of the factors that do not describe shocks, and its model.
    strata: Vec<u32>,
    /// World of each run, counted from 0 by seed.
    worlds: Vec<u32>,
    /// Number of worlds.
    pub worlds_count: usize,
}

/// A covariate of a run at a step, such as its exposure.
pub type PathCovariate = (&'static str, fn(&PathPoint) -> f64);

/// Accumulated delivery errors.
pub const EXPOSURE: PathCovariate = ("exposure", |point| point.exposure);
/// Shocks that changed something.
pub const DOSE: PathCovariate = ("dose", |point| point.dose());

impl<'a> Cohort<'a> {
    /// The runs at risk of the studies.
    pub fn of(studies: &'a [ObservedStudy]) -> Cohort<'a> {
        Cohort::select(studies.iter().flat_map(|study| &study.runs))
    }

    /// Those of the runs that are at risk.
    pub fn select(runs: impl Iterator<Item = &'a ObservedRun>) -> Cohort<'a> {
        let runs: Vec<&ObservedRun> = runs.filter(|run| run.is_at_risk()).collect();
        let strata = strata(&runs, |run| stratum_name(&run.model, &run.levels, None));
        let seeds: Vec<u64> = runs.iter().map(|run| run.world).collect();
        let (worlds, known) = numbered(&seeds);
        let worlds = worlds.into_iter().map(|world| world as u32).collect();
        Cohort { strata, worlds, worlds_count: known.len(), runs }
    }

    /// The runs that `keep` keeps.
    pub fn filter(&self, keep: impl Fn(&ObservedRun) -> bool) -> Cohort<'a> {
        Cohort::select(self.runs.iter().copied().filter(|run| keep(run)))
    }

    /// The runs of an assigned dose.
    pub fn of_dose(&self, dose: f64) -> Cohort<'a> {
        self.filter(|run| run.p_shock == dose)
    }

    pub fn crashes(&self) -> usize {
        self.runs.iter().filter(|run| run.crashed()).count()
    }

    /// Strata of the runs without one of the factors.
    pub fn strata_without(&self, factor: &str) -> Vec<u32> {
        strata(&self.runs, |run| stratum_name(&run.model, &run.levels, Some(factor)))
    }

    /// Stratum of each run.
    pub fn strata(&self) -> &[u32] {
        &self.strata
    }

    /// Number of the world within the stratum of each run: its runs differ in their doses alone.
    pub fn blocks(&self) -> Vec<u32> {
        let blocks = self.strata.iter().zip(&self.worlds);
        blocks.map(|(stratum, world)| stratum * self.worlds_count as u32 + world).collect()
    }

    /// World of each run.
    pub fn worlds(&self) -> &[u32] {
        &self.worlds
    }

    /// One row a run, from its entry to its end. `cause`: what its end counts as, 0 for censored.
    pub fn risk(&self, cause: impl Fn(&ObservedRun) -> u32) -> RiskData {
        RiskData {
            start: self.runs.iter().map(|run| run.entry.unwrap_or(0) as f64).collect(),
            stop: self.runs.iter().map(|run| run.end_step as f64).collect(),
            cause: self.runs.iter().map(|run| cause(run)).collect(),
            strata: self.strata.clone(),
            clusters: self.worlds.clone(),
            subjects: (0..self.runs.len() as u32).collect(),
        }
    }

    /// One row a run, with a crash of any kind as the event.
    pub fn crash_risk(&self) -> RiskData {
        self.risk(ObservedRun::crash_cause)
    }

    /// Kaplan-Meier curve of all runs together.
    ///
    /// # Errors
    /// No run is at risk.
    pub fn survival_curve(&self, level: f64) -> Result<SurvivalCurve, AnalysisError> {
        kaplan_meier(&RiskData { strata: Vec::new(), ..self.crash_risk() }, level)
    }

    /// The assigned dose in units of [`DOSE_UNIT`], one row a run.
    pub fn assigned_dose(&self) -> Covariates {
        self.covariates(&[("p_shock", &|run| run.p_shock / DOSE_UNIT)])
    }

    /// Values of covariates, one row a run.
    pub fn covariates(&self, columns: &[RunColumn<'_>]) -> Covariates {
        let values =
            self.runs.iter().flat_map(|run| columns.iter().map(|(_, value)| value(run))).collect();
        Covariates { names: columns.iter().map(|(name, _)| (*name).to_owned()).collect(), values }
    }

    /// Time at risk with covariates of the run's path, `lag` steps ago: a new row begins where one
    /// of them changes. A crash of any kind is the event. Returns the rows, their covariates, and
    /// the run of each row.
    pub fn time_varying(
        &self,
        covariates: &[PathCovariate],
        lag: u64,
    ) -> (RiskData, Covariates, Vec<usize>) {
        let (mut risk, mut rows) = (RiskData::default(), Vec::new());
        let mut values = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            for (start, stop) in spans(run, covariates, lag) {
                risk.start.push(start as f64);
                risk.stop.push(stop as f64);
                risk.cause.push(if stop == run.end_step { run.crash_cause() } else { 0 });
                risk.strata.push(self.strata[index]);
                risk.clusters.push(self.worlds[index]);
                risk.subjects.push(index as u32);
                let at = lagged(run, start, lag);
                values.extend(covariates.iter().map(|(_, value)| value(&at)));
                rows.push(index);
            }
        }
        let names = covariates.iter().map(|(name, _)| (*name).to_owned()).collect();
        (risk, Covariates { names, values }, rows)
    }
}

/// Strata of runs by their names.
pub fn strata(runs: &[&ObservedRun], name: impl Fn(&ObservedRun) -> String) -> Vec<u32> {
    let names: Vec<String> = runs.iter().map(|run| name(run)).collect();
    numbered(&names).0.into_iter().map(|stratum| stratum as u32).collect()
}

/// What had accumulated `lag` steps before the step after `step`.
pub fn lagged(run: &ObservedRun, step: u64, lag: u64) -> PathPoint {
    match step.checked_sub(lag) {
        Some(then) => run.at(then),
        None => PathPoint::default(),
    }
}

/// The spans (start, stop] of a run's time at risk in which its lagged covariates are constant.
fn spans(run: &ObservedRun, covariates: &[PathCovariate], lag: u64) -> Vec<(u64, u64)> {
    let Some(entry) = run.entry else { return Vec::new() };
    let values = |point: &PathPoint| covariates.iter().map(|(_, value)| value(point)).collect();
    let mut before: Vec<f64> = values(&lagged(run, entry, lag));
    let mut starts = vec![entry];
    for point in &run.path {
        let at = point.step + lag;
        if at <= entry || at >= run.end_step {
            continue;
        }
        let now: Vec<f64> = values(point);
        if now != before {
            starts.push(at);
            before = now;
        }
    }
    let ends = starts.iter().copied().skip(1).chain([run.end_step]);
    starts.iter().copied().zip(ends).collect()
}

/// The stratum of a run: its model, and its levels of the factors that do not describe shocks, but
/// `left_out`.
pub fn stratum_name(
    model: &str,
    levels: &BTreeMap<String, String>,
    left_out: Option<&str>,
) -> String {
    let is_named = |key: &str| key == "model.name" || key == "agent.policy";
    let factors = levels.iter().filter(|(key, _)| {
        !key.starts_with(SHOCK_FACTORS) && !is_named(key) && Some(key.as_str()) != left_out
    });
    let levels = factors.map(|(key, level)| format!("{}={level}", short(key)));
    std::iter::once(model.to_owned()).chain(levels).collect::<Vec<_>>().join(" ")
}

/// The last part of a dotted key.
pub fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}
