//! What every section of a report reads, and what it adds.

use super::cohort::Cohort;
use super::run::ObservedStudy;
use crate::document::{Refusal, Section, Severity};
use crate::inference::{BootstrapOptions, FamilyTest};
use crate::survival::cox::CoxOptions;
use base::shell_word;

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

/// Options of `vendomini survival` for the table `runs`: the runs that were at risk, with any
/// primary crash as the event.
pub const ANY_CRASH: &str = "--start entry_time --time event_time --event event_type \
     --drop-missing --censored horizon --censored ruin --censored expired --cause any";
/// The same with causes that compete.
pub const COMPETING: &str =
    "--start entry_time --time event_time --event event_type --drop-missing";

impl StudyContext<'_> {
    /// The command that prints the data of a figure or table that a method computes from `table`.
    pub fn command(&self, table: &str, model: &str) -> String {
        format!("{} && vendomini survival {table}.parquet {model}", self.export(table, "parquet"))
    }

    /// The command that exports a table.
    pub fn export(&self, table: &str, format: &str) -> String {
        let folder = self.studies.first().map_or("DIR".to_owned(), |s| shell_word(&s.folder));
        format!("vendomini export {folder} --table {table} --out {table}.{format}")
    }

    /// The command that writes the report again.
    pub fn report(&self, options: &str) -> String {
        let folders: Vec<String> = self.studies.iter().map(|s| shell_word(&s.folder)).collect();
        format!("vendomini report {} {options}", folders.join(" "))
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

/// Groups of tests that ask one question each. A configuration declares which of them form a family
/// (`analysis.families`); by default each is one.
pub const TEST_GROUPS: [&str; 4] = [DOSES, FACTORS, CAUSES, WITHIN_WORLDS];
pub const DOSES: &str = "doses";
pub const FACTORS: &str = "factors";
pub const CAUSES: &str = "causes";
pub const WITHIN_WORLDS: &str = "within_worlds";

/// Sections and refusals, as they are found.
#[derive(Debug, Default)]
pub struct Findings {
    pub sections: Vec<Section>,
    pub refusals: Vec<Refusal>,
    /// Tests by group; a family may have several groups.
    pub tests: Vec<FamilyTest>,
}

impl Findings {
    /// Adds a test to one of [`TEST_GROUPS`]; `None`: not estimable.
    pub fn test(&mut self, group: &'static str, name: String, p: Option<f64>) {
        self.tests.push(FamilyTest { family: group.to_owned(), name, p });
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
