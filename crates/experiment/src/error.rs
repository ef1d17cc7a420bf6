use crate::provider::ProviderError;
use error_kind::{ErrorKind, HasKind};
use results::ResultsError;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// The file, or "--set".
    pub file: String,
    /// 0 where there is no line.
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

/// What is wrong with a configuration. Each variant names the key, the place, what was expected and
/// what was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigProblem {
    /// The text is no YAML.
    #[error("{place}: not YAML: {words}")]
    NotYaml {
        /// Where.
        place: SourceLocation,
        /// The parser's words.
        words: String,
    },
    /// A key that nothing reads.
    #[error("{place}: unknown key {key}{}", suggest(suggestion))]
    UnknownKey {
        /// Where.
        place: SourceLocation,
        /// The key as written.
        key: String,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// A value of another type, or outside its range.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    WrongType {
        /// Where.
        place: SourceLocation,
        /// The key.
        key: String,
        /// What may stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// One key in two spellings.
    #[error("{place}: {key} is given twice, perhaps in two spellings: keep one")]
    Twice {
        /// Where.
        place: SourceLocation,
        /// The key.
        key: String,
    },
    /// One level of a factor twice.
    #[error("{place}: grid: {key} lists the level {level} twice: keep one")]
    LevelTwice {
        /// Where.
        place: SourceLocation,
        /// The factor.
        key: String,
        /// The level, as JSON.
        level: String,
    },
    /// A factor without levels.
    #[error("{place}: grid: {key} has no levels: expected a list of at least one, or no such line")]
    NoLevels {
        /// Where.
        place: SourceLocation,
        /// The factor.
        key: String,
    },
    /// A key that cannot be varied.
    #[error(
        "{place}: grid: {key} cannot be a factor: it is not part of a run. Give it outside of grid"
    )]
    NoFactor {
        /// Where.
        place: SourceLocation,
        /// The key.
        key: String,
    },
    /// A key both varied and fixed in one file.
    #[error("{file}: {key} is both in grid and in fixed: remove one")]
    VariedAndFixed {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// `--set` without `=`.
    #[error("--set {text}: expected key=value, as in --set pe_induction.p_shock=0.2")]
    BadSet {
        /// What was given.
        text: String,
    },
    /// Files that inherit each other.
    #[error("{file} inherits itself, through {}", chain.join(" -> "))]
    Circle {
        /// The file.
        file: String,
        /// The files between.
        chain: Vec<String>,
    },
    /// Values that contradict each other.
    #[error("{key}: {why}")]
    Contradiction {
        /// The key.
        key: String,
        /// What does not go together, and what to change.
        why: String,
    },
}

/// Everything that can go wrong with an experiment, short of a provider's failure within a run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigProblem),
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Unreadable {
        /// "the configuration", ...
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Results on disk.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A model cannot be found or loaded at all.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A log does not follow from its seed and replies.
    #[error("{} line {line}: {field} does not follow from the seed and the recorded replies: expected {expected}, found {found}. It was edited, or written by another version of this program: to do the run anew, \
         move its folder away", path.display())]
    Diverged {
        /// The log.
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
    /// A stored cell cannot be understood by this program.
    #[error("{}: the stored configuration cannot be read: {words}", path.display())]
    BadCell {
        /// The run's folder.
        path: PathBuf,
        /// Why.
        words: String,
    },
    /// A thread could not be started, or died.
    #[error("a defect of ours: {0}")]
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

fn suggest(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or(String::new(), |near| format!(": did you mean {near}?"))
}
