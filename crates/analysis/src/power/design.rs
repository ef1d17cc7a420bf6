//! The runs of a planned study, and the exposure that each would accumulate.

use crate::AnalysisError;
use std::collections::{BTreeMap, BTreeSet};

/// Number of steps in which the exposure of a path is constant. Detectors look back 20 steps, so
/// that a finer path would change no result.
pub const PATH_STEPS: u64 = 10;

/// The course of a run that does not crash.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposurePath {
    /// The step after which the run is at risk.
    pub entry: u64,
    /// The last step: the horizon, or that in which the world ends the run.
    pub end: u64,
    /// Lagged exposure: element i is that of the steps from `i * PATH_STEPS + 1` to
    /// `(i + 1) * PATH_STEPS`.
    pub exposure: Vec<f64>,
}

/// One run of the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedExposure {
    /// Index of its path in the list that it comes with.
    pub path: usize,
    /// The assigned dose: probability of a shock in a step.
    pub dose: f64,
    /// Whether its shocks change something; announcements of no change (sham) do not.
    pub acts: bool,
    pub stratum: u32,
    /// Its world. Runs of one world are not independent.
    pub world: u32,
}

/// A study that can be simulated: at least two doses and two worlds.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerDesign {
    paths: Vec<ExposurePath>,
    runs: Vec<PlannedExposure>,
    /// Doses, ascending.
    doses: Vec<f64>,
    worlds: usize,
}

impl ExposurePath {
    /// A path from the exposure after each step, as the analysis lags it: a step at risk counts
    /// what had accumulated `lag` steps before the step before it. `after_step[i]` is the exposure
    /// after step i + 1.
    pub fn lagged(entry: u64, after_step: &[f64], lag: u64) -> ExposurePath {
        let end = after_step.len() as u64;
        let at = |step: u64| match step.checked_sub(lag) {
            None | Some(0) => 0.0,
            Some(then) => after_step[then as usize - 1],
        };
        let exposure = (0..end).step_by(PATH_STEPS as usize).map(at).collect();
        ExposurePath { entry, end, exposure }
    }

    /// The stretches of the time at risk, each with its exposure: (start, stop].
    pub(super) fn stretches(&self) -> impl Iterator<Item = (u64, u64, f64)> + '_ {
        self.exposure.iter().enumerate().filter_map(|(index, exposure)| {
            let start = (index as u64 * PATH_STEPS).max(self.entry);
            let stop = ((index as u64 + 1) * PATH_STEPS).min(self.end);
            (start < stop).then_some((start, stop, *exposure))
        })
    }

    /// Steps at risk.
    pub fn steps_at_risk(&self) -> u64 {
        self.end.saturating_sub(self.entry)
    }
}

impl PowerDesign {
    /// A study of these runs.
    ///
    /// # Errors
    /// No run, fewer than two doses or two worlds, or a path that does not fit its run.
    pub fn new(
        paths: Vec<ExposurePath>,
        runs: Vec<PlannedExposure>,
    ) -> Result<PowerDesign, AnalysisError> {
        let mut doses: Vec<f64> = runs.iter().map(|run| run.dose).collect();
        doses.sort_by(f64::total_cmp);
        doses.dedup();
        if let [] | [_] = doses[..] {
            return Err(AnalysisError::NotEstimable(match doses.first() {
                None => "the plan has no runs".to_owned(),
                Some(0.0) => {
                    "no run has shocks: power needs two doses or more, expected levels of \
                              pe_induction.p_shock in the grid"
                        .to_owned()
                }
                Some(dose) => format!(
                    "every run has the dose {dose}: power needs two doses or more, expected levels \
                     of pe_induction.p_shock in the grid"
                ),
            }));
        }
        let worlds = runs.iter().map(|run| run.world).collect::<BTreeSet<_>>().len();
        if worlds < 2 {
            return Err(AnalysisError::NotEstimable(
                "all runs are of one world: errors are computed between worlds, expected 2 or more \
                 (experiment.replications)"
                    .to_owned(),
            ));
        }
        check(&paths, &runs)?;
        let (paths, runs) = without_repetitions(paths, runs);
        Ok(PowerDesign { paths, runs, doses, worlds })
    }

    /// Paths, each once.
    pub fn paths(&self) -> &[ExposurePath] {
        &self.paths
    }

    pub fn runs(&self) -> &[PlannedExposure] {
        &self.runs
    }

    /// Assigned doses, ascending.
    pub fn doses(&self) -> &[f64] {
        &self.doses
    }

    pub fn lowest_dose(&self) -> f64 {
        self.doses[0]
    }

    pub fn highest_dose(&self) -> f64 {
        self.doses[self.doses.len() - 1]
    }

    /// Number of worlds.
    pub fn worlds(&self) -> usize {
        self.worlds
    }

    /// Mean lagged exposure over the time at risk of runs with a dose, without those whose shocks
    /// change nothing.
    pub fn mean_exposure(&self, dose: f64) -> f64 {
        let (mut sum, mut steps) = (0.0, 0.0);
        for run in self.runs.iter().filter(|run| run.dose == dose && (run.acts || dose == 0.0)) {
            for (start, stop, exposure) in self.paths[run.path].stretches() {
                sum += exposure * (stop - start) as f64;
                steps += (stop - start) as f64;
            }
        }
        if steps > 0.0 { sum / steps } else { 0.0 }
    }

    /// Variance of the dose between runs, in units of the range of doses: with two doses, the
    /// product of their shares.
    pub fn dose_spread(&self) -> f64 {
        let range = self.highest_dose() - self.lowest_dose();
        let n = self.runs.len() as f64;
        let mean = self.runs.iter().map(|run| run.dose).sum::<f64>() / n;
        self.runs.iter().map(|run| (run.dose - mean).powi(2)).sum::<f64>() / n / range.powi(2)
    }
}

/// The paths that differ, with the runs that refer to them. Arms that differ in what agents are
/// told have the same paths.
fn without_repetitions(
    paths: Vec<ExposurePath>,
    mut runs: Vec<PlannedExposure>,
) -> (Vec<ExposurePath>, Vec<PlannedExposure>) {
    let key = |path: &ExposurePath| {
        let bits: Vec<u64> = path.exposure.iter().map(|exposure| exposure.to_bits()).collect();
        (path.entry, path.end, bits)
    };
    let (mut known, mut kept, mut moved) = (BTreeMap::new(), Vec::new(), Vec::new());
    for path in paths {
        let index = *known.entry(key(&path)).or_insert(kept.len());
        if index == kept.len() {
            kept.push(path);
        }
        moved.push(index);
    }
    runs.iter_mut().for_each(|run| run.path = moved[run.path]);
    (kept, runs)
}

fn check(paths: &[ExposurePath], runs: &[PlannedExposure]) -> Result<(), AnalysisError> {
    let fits = |path: &ExposurePath| {
        path.exposure.len() as u64 == path.end.div_ceil(PATH_STEPS)
            && path.exposure.iter().all(|exposure| exposure.is_finite())
            && path.end <= u32::MAX.into()
    };
    if let Some(index) = paths.iter().position(|path| !fits(path)) {
        let text =
            format!("path {index}: expected one finite exposure for each {PATH_STEPS} steps");
        return Err(AnalysisError::Usage(text));
    }
    if let Some(index) = runs.iter().position(|run| run.path >= paths.len()) {
        let text = format!("run {index}: expected a path of {}, found none", paths.len());
        return Err(AnalysisError::Usage(text));
    }
    Ok(())
}
