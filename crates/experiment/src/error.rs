//! Errors of configurations and experiments.

use crate::provider::ProviderError;
use error_kind::{ErrorKind, HasKind};
use results::ResultsError;
use std::path::PathBuf;

/// The file and line of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// A path, or the text of a `--set`.
    pub file: String,
    /// Counted from 1; 0 where there is no line.
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

/// A mistake in a configuration, with the key, its location, what was expected and what was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigProblem {
    #[error("{at}: not YAML: {message}")]
    NotYaml { at: SourceLocation, message: String },
    #[error("{at}: unknown key {key}{}", did_you_mean(suggestion))]
    UnknownKey {
        at: SourceLocation,
        key: String,
        /// The most similar known key.
        suggestion: Option<String>,
    },
    /// A value of the wrong type, or outside its range.
    #[error("{at}: {key}: expected {expected}, found {found}")]
    WrongType { at: SourceLocation, key: String, expected: String, found: String },
    /// One key in two spellings.
    #[error("{at}: {key} is given twice, perhaps in two spellings: keep one")]
    Twice { at: SourceLocation, key: String },
    #[error("{at}: grid: {key} lists the level {level} twice: keep one")]
    LevelTwice {
        at: SourceLocation,
        key: String,
        /// As JSON.
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
    /// `--set` without `=`.
    #[error("--set {text}: expected key=value, as in --set pe_induction.p_shock=0.2")]
    BadSet { text: String },
    /// Files that inherit each other.
    #[error("{file} inherits itself, through {}", chain.join(" -> "))]
    Circle {
        file: String,
        /// The files between.
        chain: Vec<String>,
    },
    /// Values that contradict each other.
    #[error("{key}: {why}")]
    Contradiction {
        key: String,
        /// The contradiction and its remedy.
        why: String,
    },
}

/// Every error of an experiment, except a provider's failure within a run: that makes the run
/// failed and the command goes on.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("{0}")]
    Config(#[from] ConfigProblem),
    #[error("cannot read {what} {}: {source}", path.display())]
    Unreadable {
        /// "the configuration", ...
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A model cannot be found or loaded.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A log does not follow from its seed and replies.
    #[error(
        "{} line {line}: {field} does not follow from the seed and the recorded replies: expected \
         {expected}, found {found}. The log was edited, or written by another version of this \
         program: to repeat the run, move its folder away",
        path.display()
    )]
    Diverged {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The first field that differs.
        field: String,
        /// As derived.
        expected: String,
        /// As recorded.
        found: String,
    },
    /// The stored configuration of a run.
    #[error("{}: the stored configuration cannot be read: {message}", path.display())]
    BadCell {
        /// The run's folder.
        path: PathBuf,
        message: String,
    },
    /// A violated assumption of this program.
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
            Self::Diverged { .. } | Self::BadCell { .. } => ErrorKind::BadInput,
            Self::Defect(_) => ErrorKind::Bug,
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |near| format!(": did you mean {near}?"))
}
