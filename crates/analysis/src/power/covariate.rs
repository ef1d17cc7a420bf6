//! The declared analyses, and the covariate of each.

use super::design::{PATH_STEPS, PowerDesign};
use serde::Serialize;

/// An analysis that a study declares before it is run. Both are Cox models with Efron's ties,
/// stratified as a cohort is ([`crate::study::Cohort`]), with errors by world and t(G - 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredAnalysis {
    /// The covariate is the lagged exposure, which varies in time.
    Exposure,
    /// The covariate is the assigned dose: intention to treat.
    AssignedDose,
}

impl DeclaredAnalysis {
    pub const ALL: [DeclaredAnalysis; 2] =
        [DeclaredAnalysis::Exposure, DeclaredAnalysis::AssignedDose];

    pub fn label(self) -> &'static str {
        match self {
            DeclaredAnalysis::Exposure => "accumulated errors, time-varying",
            DeclaredAnalysis::AssignedDose => "assigned dose",
        }
    }
}

/// Standardized values of a covariate: those of all rows at one time lie together, since a risk set
/// reads them together.
#[derive(Debug, Clone)]
pub(super) struct CovariateTable {
    /// Values by time, then by row.
    pub values: Vec<f64>,
    /// Rows: paths or doses.
    pub rows: usize,
    /// Row of each run.
    pub row_of_run: Vec<u32>,
    /// Steps for which values hold.
    steps: u64,
    /// Units of the covariate in one of the standardized values.
    pub scale: f64,
}

impl CovariateTable {
    pub fn new(design: &PowerDesign, analysis: DeclaredAnalysis) -> CovariateTable {
        match analysis {
            DeclaredAnalysis::Exposure => of_exposure(design),
            DeclaredAnalysis::AssignedDose => of_dose(design),
        }
        .standardized()
    }

    /// Where the values at a step begin.
    pub fn offset(&self, step: u32) -> usize {
        (u64::from(step - 1) / self.steps) as usize * self.rows
    }

    /// Numbers near 1 keep the sums of a risk set exact, and make tolerances free of units.
    fn standardized(mut self) -> CovariateTable {
        let n = self.values.len().max(1) as f64;
        let mean = self.values.iter().sum::<f64>() / n;
        let variance = self.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        self.scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        self.values.iter_mut().for_each(|value| *value = (*value - mean) / self.scale);
        self
    }
}

fn of_exposure(design: &PowerDesign) -> CovariateTable {
    let paths = design.paths();
    let stretches = paths.iter().map(|path| path.exposure.len()).max().unwrap_or(0);
    // After its end a path is in no risk set.
    let at = |stretch: usize| {
        paths.iter().map(move |path| path.exposure.get(stretch).copied().unwrap_or(0.0))
    };
    CovariateTable {
        values: (0..stretches).flat_map(at).collect(),
        rows: paths.len(),
        row_of_run: design.runs().iter().map(|run| run.path as u32).collect(),
        steps: PATH_STEPS,
        scale: 1.0,
    }
}

fn of_dose(design: &PowerDesign) -> CovariateTable {
    let doses = design.doses();
    let index = |dose: f64| doses.partition_point(|known| *known < dose) as u32;
    CovariateTable {
        values: doses.to_vec(),
        rows: doses.len(),
        row_of_run: design.runs().iter().map(|run| index(run.dose)).collect(),
        steps: u64::MAX,
        scale: 1.0,
    }
}
