//! What a pilot tells of the runs of a planned study.

use super::games::PlayedGame;
use super::{AssumedValue, AssumptionSource, PowerOptions};
use analysis::AnalysisError;
use analysis::inference::{BootstrapOptions, icc_binary, wilson};
use analysis::power::{ExposurePath, PATH_STEPS};
use analysis::study::{ObservedRun, ObservedStudy};
use std::collections::{BTreeMap, BTreeSet};

/// Share of the runs without shocks that crash, if neither a pilot nor an option tells it.
pub(super) const BASELINE: f64 = 0.3;
/// Standard deviation of worlds, if neither a pilot nor an option tells it.
pub(super) const WORLD_SD: f64 = 0.7;

/// Level of the pilot's intervals.
const LEVEL: f64 = 0.95;

/// Growth of exposure in a step at each dose of a pilot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExposureGrowth {
    /// Doses, ascending, with exposure per step.
    by_dose: Vec<(f64, f64)>,
    lag: u64,
}

/// What is taken for granted, and what of it a pilot told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PilotFindings {
    pub baseline: AssumedValue,
    pub world_sd: AssumedValue,
    pub entered: AssumedValue,
    pub growth: Option<ExposureGrowth>,
    /// How far a pilot's values may be off, and what it does not tell.
    pub notes: Vec<String>,
}

/// The lowest dose of the planned study, and the mean horizon of its runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct LowestDose {
    pub dose: f64,
    pub horizon: f64,
}

impl PilotFindings {
    /// What holds for a study: an option, or else the pilot's value, or else the default.
    ///
    /// # Errors
    /// The pilot has no runs at risk, or has design v1.
    pub fn new(
        pilot: Option<&ObservedStudy>,
        options: &PowerOptions,
        lowest: LowestDose,
        lag: u64,
    ) -> Result<PilotFindings, AnalysisError> {
        let mut findings = PilotFindings {
            baseline: AssumedValue::of(options.baseline, BASELINE),
            world_sd: AssumedValue::of(options.world_sd, WORLD_SD),
            entered: AssumedValue::of(None, 1.0),
            growth: None,
            notes: Vec::new(),
        };
        let Some(pilot) = pilot else { return Ok(findings) };
        let runs = at_risk(pilot)?;
        findings.entered.take(runs.len() as f64 / pilot.runs.len() as f64);
        findings.baseline = findings.told("baseline", findings.baseline, baseline(&runs, lowest));
        let world_sd = world_sd(&runs, options.seed).map_err(|error| error.to_string());
        findings.world_sd = findings.told("world SD", findings.world_sd, world_sd);
        findings.growth = Some(ExposureGrowth { by_dose: growth(&runs), lag });
        Ok(findings)
    }

    /// The pilot's value, or else what was assumed, with a note on how much the pilot tells. An
    /// option needs no pilot.
    fn told(
        &mut self,
        what: &str,
        assumed: AssumedValue,
        of_pilot: Result<PilotEstimate, String>,
    ) -> AssumedValue {
        match of_pilot {
            _ if assumed.source == AssumptionSource::Option => assumed,
            Ok(PilotEstimate { value, interval }) => {
                if let Some((low, high)) = interval {
                    self.notes.push(format!(
                        "the pilot's {what} may be {low:.2} to {high:.2} (95% interval): try both"
                    ));
                }
                AssumedValue { value, source: AssumptionSource::Pilot }
            }
            Err(why) => {
                self.notes.push(format!("the pilot does not tell the {what}: {why}"));
                assumed
            }
        }
    }
}

/// A value with its 95% interval, if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PilotEstimate {
    value: f64,
    interval: Option<(f64, f64)>,
}

/// The pilot's runs that were at risk.
fn at_risk(pilot: &ObservedStudy) -> Result<Vec<&ObservedRun>, AnalysisError> {
    let refuse = |why: &str| Err(AnalysisError::NotEstimable(format!("{}: {why}", pilot.folder)));
    if pilot.runs.is_empty() {
        return refuse("the pilot has no committed runs");
    }
    if pilot.design == "v1" {
        return refuse("the pilot is of design v1, whose runs have no exposure; expected v2");
    }
    let runs: Vec<&ObservedRun> = pilot.runs.iter().filter(|run| run.is_at_risk()).collect();
    if runs.is_empty() {
        return refuse(
            "no run of the pilot was at risk: its agent never was competent, and would crash \
             without shocks (vendomini qualify)",
        );
    }
    Ok(runs)
}

/// Share of the runs of the lowest dose that crash by the horizon of the planned study. The
/// interval is that of independent runs.
fn baseline(runs: &[&ObservedRun], lowest: LowestDose) -> Result<PilotEstimate, String> {
    let LowestDose { dose, horizon } = lowest;
    let controls: Vec<&&ObservedRun> = runs.iter().filter(|run| run.p_shock == dose).collect();
    if controls.is_empty() {
        return Err(format!("it has no run of the lowest dose, {dose}"));
    }
    let n = controls.len();
    let crashed = controls.iter().filter(|run| run.crashed()).count();
    if crashed == 0 || crashed == n {
        return Err(format!("{crashed} of its {n} runs of the lowest dose crashed"));
    }
    let of_pilot = controls.iter().map(|run| run.horizon as f64).sum::<f64>() / n as f64;
    // With a constant hazard, over a horizon of another length.
    let by_horizon = |share: f64| 1.0 - (1.0 - share).powf(horizon / of_pilot.max(1.0));
    let share = wilson(crashed as u64, n as u64, LEVEL).map_err(|error| error.to_string())?;
    let interval = (by_horizon(share.interval.low), by_horizon(share.interval.high));
    Ok(PilotEstimate { value: by_horizon(share.share), interval: Some(interval) })
}

/// Standard deviation between worlds of the log hazard.
fn world_sd(runs: &[&ObservedRun], seed: u64) -> Result<PilotEstimate, AnalysisError> {
    let crashed: Vec<bool> = runs.iter().map(|run| run.crashed()).collect();
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.world).collect();
    let numbers: BTreeMap<u64, u32> = seeds.into_iter().zip(0..).collect();
    let worlds: Vec<u32> = runs.iter().map(|run| numbers[&run.world]).collect();
    let options = BootstrapOptions { replicates: 199, seed, level: LEVEL };
    let latent = icc_binary(&crashed, &worlds, &options)?;
    // A small difference of log odds, as one of log hazards: d log(-log(1 - p)) / d logit(p).
    let of_hazard = latent.share / -(-latent.share).ln_1p();
    Ok(PilotEstimate {
        value: latent.world_sd * of_hazard,
        interval: latent.world_sd_interval.map(|i| (i.low * of_hazard, i.high * of_hazard)),
    })
}

/// Exposure per step by dose, of runs whose shocks change something.
fn growth(runs: &[&ObservedRun]) -> Vec<(f64, f64)> {
    let sham = |run: &&&ObservedRun| {
        run.levels.get("pe_induction.observability").is_some_and(|level| level == "sham")
    };
    let mut sums: Vec<(f64, f64, f64)> = Vec::new();
    for run in runs.iter().filter(|run| !sham(run)) {
        let exposure = run.at(run.end_step).exposure;
        match sums.iter_mut().find(|(dose, ..)| *dose == run.p_shock) {
            Some((_, sum, steps)) => {
                (*sum, *steps) = (*sum + exposure, *steps + run.end_step as f64)
            }
            None => sums.push((run.p_shock, exposure, run.end_step as f64)),
        }
    }
    sums.sort_by(|a, b| a.0.total_cmp(&b.0));
    sums.into_iter().map(|(dose, sum, steps)| (dose, sum / steps.max(1.0))).collect()
}

impl ExposureGrowth {
    /// Exposure per step at a dose, between the pilot's doses by interpolation.
    fn at(&self, dose: f64) -> f64 {
        let above = self.by_dose.partition_point(|(known, _)| *known < dose);
        match (above.checked_sub(1).map(|below| self.by_dose[below]), self.by_dose.get(above)) {
            (Some((low, from)), Some((high, to))) => {
                from + (to - from) * (dose - low) / (high - low)
            }
            (Some((_, last)), None) => last,
            (None, Some((_, first))) => *first,
            (None, None) => 0.0,
        }
    }

    /// The paths of games of a dose, such that exposure grows as fast as in the pilot on average:
    /// what the pilot has more is added evenly, since it is the agent's own error; what it has less
    /// is taken away in proportion.
    pub fn fit(&self, dose: f64, games: &[&PlayedGame]) -> Vec<ExposurePath> {
        let total: f64 = games.iter().map(|game| game.exposure_at_end).sum();
        let steps: f64 = games.iter().map(|game| game.path.end as f64).sum();
        let (played, wanted) = (total / steps.max(1.0), self.at(dose));
        let factor = if played > wanted { wanted / played } else { 1.0 };
        let added = (wanted - played).max(0.0);
        let fit = |game: &&PlayedGame| {
            let at = |(stretch, exposure): (usize, &f64)| {
                let step = (stretch as u64 * PATH_STEPS).saturating_sub(self.lag);
                factor * exposure + added * step as f64
            };
            ExposurePath {
                exposure: game.path.exposure.iter().enumerate().map(at).collect(),
                ..game.path
            }
        };
        games.iter().map(fit).collect()
    }
}
