//! The declared analyses, and the covariate of each.

use super::design::{PATH_STEPS, PlannedExposure, PowerDesign};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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

    /// The name of its covariate.
    pub fn short_label(self) -> &'static str {
        match self {
            DeclaredAnalysis::Exposure => "errors",
            DeclaredAnalysis::AssignedDose => "dose",
        }
    }
}

/// Standardized values of a covariate: those of all rows at one time lie together, since a risk set
/// reads them together.
#[derive(Debug, Clone)]
pub(super) struct CovariateTable {
    /// Values by time, then by row.
    pub values: Vec<f64>,
    /// Rows: paths, or doses with an entry.
    pub rows: usize,
    /// The step after which the runs of a row are at risk.
    pub entries: Vec<u32>,
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
        entries: paths.iter().map(|path| entry(path.entry)).collect(),
        row_of_run: design.runs().iter().map(|run| run.path as u32).collect(),
        steps: PATH_STEPS,
        scale: 1.0,
    }
}

fn of_dose(design: &PowerDesign) -> CovariateTable {
    let row = |run: &PlannedExposure| {
        let dose = design.doses().partition_point(|known| *known < run.dose);
        (dose, entry(design.paths()[run.path].entry))
    };
    let rows: BTreeSet<(usize, u32)> = design.runs().iter().map(row).collect();
    let index: BTreeMap<(usize, u32), u32> = rows.iter().copied().zip(0..).collect();
    CovariateTable {
        values: rows.iter().map(|(dose, _)| design.doses()[*dose]).collect(),
        rows: rows.len(),
        entries: rows.iter().map(|(_, entry)| *entry).collect(),
        row_of_run: design.runs().iter().map(|run| index[&row(run)]).collect(),
        steps: u64::MAX,
        scale: 1.0,
    }
}

/// An entry as a step of a path, whose end fits into 32 bits: a later entry is none.
fn entry(step: u64) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}
