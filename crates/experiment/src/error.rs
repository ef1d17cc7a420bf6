//! Errors of configurations and experiments.

use crate::provider::ProviderError;
use analysis::AnalysisError;
use error_kind::{ErrorKind, HasKind};
use results::ResultsError;
use std::path::PathBuf;

/// The location of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// Path of the file, or the text of the `--set` option.
    pub file: String,
    /// Line number, counted from 1; 0 for a `--set` option.
    pub line: u64,
}

impl std::fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{} line {line}", self.file),
        }
    }
}

/// A mistake in a configuration, with the key, the location, the expected value and the value
/// found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigProblem {
    #[error("{at}: not YAML: {message}")]
    NotYaml { at: SourceLocation, message: String },
    #[error("{at}: unknown key {key}{}", did_you_mean(suggestion))]
    UnknownKey {
        at: SourceLocation,
        key: String,
        /// The most similar known key, if one is similar enough.
        suggestion: Option<String>,
    },
    /// A value of the wrong type or outside its range.
    #[error("{at}: {key}: expected {expected}, found {found}")]
    WrongType { at: SourceLocation, key: String, expected: String, found: String },
    /// A mistake in a site file.
    #[error("{at}: {key}: {why}")]
    Site {
        at: SourceLocation,
        key: String,
        /// What was expected and found, and what to do.
        why: String,
    },
    /// A key that is set twice in one source, under the same name or under an old and a new name.
    #[error("{at}: {key} is given twice, perhaps in two spellings: keep one")]
    Twice { at: SourceLocation, key: String },
    #[error("{at}: grid: {key} lists the level {level} twice: keep one")]
    LevelTwice {
        at: SourceLocation,
        key: String,
        /// The repeated level as JSON.
        level: String,
    },
    #[error("{at}: grid: {key} has no levels: expected a list of at least one, or no such line")]
    NoLevels { at: SourceLocation, key: String },
    #[error(
        "{at}: grid: {key} cannot be a factor: it is not part of a run. Give it outside of grid"
    )]
    NoFactor { at: SourceLocation, key: String },
    #[error("{file}: {key} is both in grid and in fixed: remove one")]
    VariedAndFixed { file: String, key: String },
    /// A `--set` option without `=`.
    #[error("--set {text}: expected key=value, as in --set pe_induction.p_shock=0.2")]
    BadSet { text: String },
    /// Files that inherit each other in a circle, or a chain of more than 16 files.
    #[error("{file} inherits itself, through {}", chain.join(" -> "))]
    Circle {
        file: String,
        /// Paths of the files read before, from the loaded file on.
        chain: Vec<String>,
    },
    /// Settings that contradict each other.
    #[error("{key}: {why}")]
    Contradiction {
        key: String,
        /// The contradiction, and what to change.
        why: String,
    },
}

/// Every error of an experiment, except a provider's failure within a run: that makes the run
/// failed, and the command continues.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("{0}")]
    Config(#[from] ConfigProblem),
    #[error("cannot read {what} {}: {source}", path.display())]
    Unreadable {
        /// The kind of file, for the message: "the configuration", ...
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A model cannot be found or loaded.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// What a statistic needs is missing.
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    /// A recomputed run differs from its stored log or record.
    #[error(
        "{} line {line}: {field} does not follow from the seed and the recorded replies: expected \
         {expected}, found {found}. The log was edited, or written by another version of this \
         program: to repeat the run, move its folder away",
        path.display()
    )]
    Diverged {
        path: PathBuf,
        /// Line number in the log, counted from 1.
        line: usize,
        /// Name of the first field that differs.
        field: String,
        /// The recomputed value.
        expected: String,
        /// The stored value.
        found: String,
    },
    /// The stored configuration of a run is invalid.
    #[error("{}: the stored configuration cannot be read: {message}", path.display())]
    BadCell {
        /// Path of the run's folder.
        path: PathBuf,
        message: String,
    },
    /// A violated assumption of the program itself.
    #[error("internal error: {0}")]
    Defect(String),
}

impl HasKind for ExperimentError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) => ErrorKind::Usage,
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Unreadable { .. } => ErrorKind::Io,
            Self::Results(error) => error.kind(),
            Self::Provider(error) => error.kind(),
            Self::Analysis(error) => error.kind(),
            Self::Diverged { .. } | Self::BadCell { .. } => ErrorKind::BadInput,
            Self::Defect(_) => ErrorKind::Bug,
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |near| format!(": did you mean {near}?"))
}
