//! What every section of a report reads, and what it adds.

use super::cohort::Cohort;
use super::run::ObservedStudy;
use crate::document::{Refusal, Section, Severity};
use crate::inference::{BootstrapOptions, FamilyTest};
use crate::survival::cox::CoxOptions;

/// How to analyze.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisOptions {
    /// Of intervals.
    pub level: f64,
    /// Steps by which accumulated errors are lagged in the headline. A detector's window: so the
    /// errors come before what the detector reads.
    pub lag: u64,
    /// Seed of permutations and bootstraps.
    pub seed: u64,
    /// Number of replicates of permutations and bootstraps.
    pub replicates: usize,
}

impl Default for AnalysisOptions {
    fn default() -> AnalysisOptions {
        AnalysisOptions { level: 0.95, lag: 20, seed: 20_261_130, replicates: 2000 }
    }
}

/// Resamples of a bootstrap whose every replicate is an optimization.
const BOOTSTRAP_MAX: usize = 400;

/// A study that is analyzed.
pub struct StudyContext<'a> {
    pub studies: &'a [ObservedStudy],
    pub cohort: Cohort<'a>,
    pub options: &'a AnalysisOptions,
}

impl StudyContext<'_> {
    /// The command that prints the data of a figure or table that a method computes from `table`.
    pub fn command(&self, table: &str, model: &str) -> String {
        format!("{} && vendomini survival {table}.parquet {model}", self.export(table, "parquet"))
    }

    /// The command that exports a table.
    pub fn export(&self, table: &str, format: &str) -> String {
        let folder = self.studies.first().map_or("DIR", |study| &study.folder);
        format!("vendomini export {folder} --table {table} --out {table}.{format}")
    }

    pub fn cox(&self) -> CoxOptions {
        CoxOptions { level: self.options.level, ..CoxOptions::default() }
    }

    pub fn bootstrap(&self) -> BootstrapOptions {
        BootstrapOptions {
            replicates: self.options.replicates.min(BOOTSTRAP_MAX),
            seed: self.options.seed,
            level: self.options.level,
        }
    }

    /// Assigned doses, ascending.
    pub fn doses(&self) -> Vec<f64> {
        let mut doses: Vec<f64> = self.cohort.runs.iter().map(|run| run.p_shock).collect();
        doses.sort_by(f64::total_cmp);
        doses.dedup();
        doses
    }

    /// The last step that any run could take.
    pub fn horizon(&self) -> f64 {
        self.cohort.runs.iter().map(|run| run.horizon).max().unwrap_or(0) as f64
    }
}

/// Sections and refusals, as they are found.
#[derive(Debug, Default)]
pub struct Findings {
    pub sections: Vec<Section>,
    pub refusals: Vec<Refusal>,
    /// Tests of one question each, in families within which they are corrected.
    pub tests: Vec<FamilyTest>,
}

impl Findings {
    /// Adds a test to a family; `None`: not estimable.
    pub fn test(&mut self, family: &str, name: String, p: Option<f64>) {
        self.tests.push(FamilyTest { family: family.to_owned(), name, p });
    }

    pub fn refuse(&mut self, code: &'static str, severity: Severity, what: &str, why: String) {
        let refusal = Refusal { code, severity, what: what.to_owned(), why };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }
}

/// A dose as a label.
pub fn dose_label(p_shock: f64) -> String {
    format!("p(shock) = {p_shock}")
}
