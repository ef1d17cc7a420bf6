//! The hazard from which crashes are drawn.

use super::design::PowerDesign;
use crate::AnalysisError;

/// What a simulation takes for granted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HazardAssumptions {
    /// Share of the runs of the lowest dose that crash before they end, of those that enter.
    pub baseline: f64,
    /// Standard deviation between worlds of the log hazard.
    pub world_sd: f64,
    /// Share of runs whose agent becomes competent, and so enters the time at risk.
    pub entered: f64,
}

/// Hazard of a crash in a step: `hazard * exp(u + beta * exposure)`, with the lagged exposure, and
/// u normal with mean 0 and standard deviation `world_sd`, shared by the runs of a world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlantedHazard {
    /// Log hazard ratio of the highest dose to the lowest, at the mean exposure of each.
    pub log_ratio: f64,
    /// Log hazard ratio of a unit of exposure.
    pub beta: f64,
    /// Hazard of a step without exposure in an average world.
    pub hazard: f64,
    pub world_sd: f64,
    /// Share of runs that are at risk at all.
    pub entered: f64,
}

/// Bounds within which the log of the hazard is sought.
const LOG_HAZARD: (f64, f64) = (-50.0, 10.0);
/// Number of halvings of these bounds: to 1e-14.
const HALVINGS: usize = 52;
/// Standard normal values at which world effects are averaged: the trapezoid rule, whose error
/// is below 1e-12 for smooth functions at this spacing.
const NODES: usize = 65;
const NODES_END: f64 = 8.0;

impl PlantedHazard {
    /// The hazard under which the highest dose has `hazard_ratio` times the hazard of the lowest,
    /// at the mean exposure over time at risk that each brings about, and the share `baseline` of
    /// the runs of the lowest dose crashes.
    ///
    /// # Errors
    /// An assumption is out of range; exposure does not rise with the dose; no run of the lowest
    /// dose is at risk.
    pub fn solve(
        design: &PowerDesign,
        hazard_ratio: f64,
        assumed: &HazardAssumptions,
    ) -> Result<PlantedHazard, AnalysisError> {
        check(hazard_ratio, assumed)?;
        let log_ratio = hazard_ratio.ln();
        let beta = match log_ratio {
            0.0 => 0.0,
            _ => log_ratio / exposure_range(design)?,
        };
        let HazardAssumptions { world_sd, entered, .. } = *assumed;
        let hazard = baseline_hazard(design, beta, assumed)?;
        Ok(PlantedHazard { log_ratio, beta, hazard, world_sd, entered })
    }

    /// Cumulative hazard of a path without the factor `hazard` and in an average world, after each
    /// of its stretches of steps.
    pub(super) fn relative(&self, path: &super::ExposurePath) -> Vec<f64> {
        relative(path, self.beta)
    }
}

fn check(hazard_ratio: f64, assumed: &HazardAssumptions) -> Result<(), AnalysisError> {
    let HazardAssumptions { baseline, world_sd, entered } = *assumed;
    let problem = if !(hazard_ratio > 0.0 && hazard_ratio.is_finite()) {
        format!("hazard ratio: expected a number above 0, found {hazard_ratio}")
    } else if !(baseline > 0.0 && baseline < 1.0) {
        format!("baseline: expected a share of runs between 0 and 1, found {baseline}")
    } else if !(0.0..=10.0).contains(&world_sd) {
        format!("world SD: expected 0 to 10, found {world_sd}")
    } else if !(entered > 0.0 && entered <= 1.0) {
        format!("share of runs that enter: expected above 0 and at most 1, found {entered}")
    } else {
        return Ok(());
    };
    Err(AnalysisError::Usage(problem))
}

/// Mean exposure at the highest dose minus that at the lowest.
fn exposure_range(design: &PowerDesign) -> Result<f64, AnalysisError> {
    let (low, high) = (design.lowest_dose(), design.highest_dose());
    let (least, most) = (design.mean_exposure(low), design.mean_exposure(high));
    if most - least > 1e-9 {
        return Ok(most - least);
    }
    Err(AnalysisError::NotEstimable(format!(
        "mean exposure is {least:.3} at p_shock {low} and {most:.3} at {high}: it does not rise with \
         the dose, so that no hazard ratio can come about through it. Shocks of the types temporal, \
         quantity and rule break deliveries; causal ones and announcements without shocks do not, and a \
         short horizon has no deliveries"
    )))
}

fn relative(path: &super::ExposurePath, beta: f64) -> Vec<f64> {
    let mut after = vec![0.0; path.exposure.len()];
    let mut sum = 0.0;
    for (start, stop, exposure) in path.stretches() {
        sum += (beta * exposure).exp() * (stop - start) as f64;
        after[((stop - 1) / super::PATH_STEPS) as usize] = sum;
    }
    after
}

/// The hazard at which the baseline share of the runs of the lowest dose crashes.
fn baseline_hazard(
    design: &PowerDesign,
    beta: f64,
    assumed: &HazardAssumptions,
) -> Result<f64, AnalysisError> {
    let lowest = design.runs().iter().filter(|run| run.dose == design.lowest_dose());
    let totals: Vec<f64> = lowest
        .map(|run| relative(&design.paths()[run.path], beta).last().copied().unwrap_or(0.0))
        .collect();
    let crashed = |log_hazard: f64| {
        let shares = totals.iter().map(|total| {
            normal_mean(|z| -(-total * (log_hazard + assumed.world_sd * z).exp()).exp_m1())
        });
        shares.sum::<f64>() / totals.len() as f64
    };
    let (mut low, mut high) = LOG_HAZARD;
    if crashed(high) < assumed.baseline {
        return Err(AnalysisError::NotEstimable(format!(
            "too few runs of the dose {} are at risk for {} of them to crash",
            design.lowest_dose(),
            assumed.baseline
        )));
    }
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        match crashed(middle) < assumed.baseline {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(((low + high) / 2.0).exp())
}

/// Mean of a function of a standard normal variable.
fn normal_mean(of: impl Fn(f64) -> f64) -> f64 {
    let node = |i: usize| NODES_END * (2.0 * i as f64 / (NODES - 1) as f64 - 1.0);
    let weighted = (0..NODES).map(|i| ((-node(i).powi(2) / 2.0).exp(), node(i)));
    let (mut sum, mut total) = (0.0, 0.0);
    for (weight, z) in weighted {
        sum += weight * of(z);
        total += weight;
    }
    sum / total
}
