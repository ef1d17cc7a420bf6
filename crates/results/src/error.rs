use error_kind::{ErrorKind, HasKind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One key in which a folder and a configuration differ.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigDifference {
    /// The dotted key.
    pub key: String,
    /// What the folder holds; `None` where it lacks the key.
    pub stored: Option<Value>,
    /// What was given now; `None` where it lacks the key.
    pub given: Option<Value>,
}

impl std::fmt::Display for ConfigDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words =
            |value: &Option<Value>| value.as_ref().map_or("absent".to_string(), Value::to_string);
        write!(f, "{}: {} there, {} now", self.key, words(&self.stored), words(&self.given))
    }
}

/// Everything that can go wrong with results on disk.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file system refused something.
    #[error("cannot {what} {}{}: {source}", path.display(), at(*offset))]
    Io {
        /// The verb: "read", "create", ...
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Where in the file, in bytes, if known.
        offset: Option<u64>,
        /// The system's words.
        source: std::io::Error,
    },
    /// No space, or over quota.
    #[error(
        "no space left to write {} at byte {offset}: {source}. Every step before is kept; make room and give the same command \
         again, it goes on from there",
        path.display()
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Bytes written before.
        offset: u64,
        /// The system's words.
        source: std::io::Error,
    },
    /// The folder cannot be written.
    #[error("cannot write {}: {source}. Make the folder writable, or choose another with --out", path.display())]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file system has no hard links, on which "committed once" rests.
    #[error(
        "cannot link {} into place: {source}. Results need a file system with hard links; choose another with --out",
        path.display()
    )]
    NoLinks {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// No experiment lies there.
    #[error("{} holds no experiment: expected experiment.json in it", path.display())]
    NotAnExperiment {
        /// The folder.
        path: PathBuf,
    },
    /// No run lies there.
    #[error("{} holds no run: expected {expected} in it", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// The folder belongs to another configuration.
    #[error(
        "{} holds the results of another configuration. These keys differ:\n{}\nUse another experiment.name or --out, or restore \
         the configuration",
        root.display(),
        lines(differences)
    )]
    OtherConfiguration {
        /// The experiment's folder.
        root: PathBuf,
        /// In what they differ.
        differences: Vec<ConfigDifference>,
    },
    /// The model behind a name is not the one the folder was begun with.
    #[error(
        "{} was begun with another {what} of model {model}: {stored} there, {given} now. Rows of both must not be mixed \
         unknowingly: use another --out, or --accept-mixed to mark the rows",
        root.display()
    )]
    OtherModel {
        /// The experiment's folder.
        root: PathBuf,
        /// The model's name.
        model: String,
        /// Weights, dtype or kernel set.
        what: &'static str,
        /// What the folder says.
        stored: String,
        /// What is there now.
        given: String,
    },
    /// Written by a version of this program with another format.
    #[error("{} has format version {found}; this program reads version {expected}", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        expected: u32,
    },
    /// A log was edited, cut or damaged.
    #[error("{} line {line}: expected {expected}, found {found}. The log was edited, cut or damaged", path.display())]
    BadLine {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A JSON document of ours cannot be read.
    #[error("{} is not what was written: {source}", path.display())]
    BadDocument {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A row or record cannot be written as JSON.
    #[error("a defect of ours: {what} cannot be written as JSON: {source}")]
    Unwritable {
        /// Which document.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A table or format that does not exist.
    #[error("unknown {what} {found:?}: expected one of {expected}")]
    UnknownChoice {
        /// "table" or "format".
        what: &'static str,
        /// What was given.
        found: String,
        /// What there is.
        expected: &'static str,
    },
}

impl ResultsError {
    /// The error for a failed system call, told apart where the remedy differs.
    pub(crate) fn from_io(
        what: &'static str,
        path: &Path,
        offset: Option<u64>,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind as Kind;
        let path = path.to_path_buf();
        match source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                Self::NoSpace { path, offset: offset.unwrap_or(0), source }
            }
            Kind::ReadOnlyFilesystem | Kind::PermissionDenied if what != "read" => {
                Self::ReadOnly { path, source }
            }
            _ => Self::Io { what, path, offset, source },
        }
    }
}

impl HasKind for ResultsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Io { .. }
            | Self::NoSpace { .. }
            | Self::ReadOnly { .. }
            | Self::NoLinks { .. } => ErrorKind::Io,
            Self::NotAnExperiment { .. } | Self::NotARun { .. } => ErrorKind::NotFound,
            Self::OtherConfiguration { .. }
            | Self::OtherModel { .. }
            | Self::OtherVersion { .. } => ErrorKind::Usage,
            Self::UnknownChoice { .. } => ErrorKind::Usage,
            Self::BadLine { .. } | Self::BadDocument { .. } => ErrorKind::BadInput,
            Self::Unwritable { .. } => ErrorKind::Bug,
        }
    }
}

fn at(offset: Option<u64>) -> String {
    offset.map_or(String::new(), |bytes| format!(" at byte {bytes}"))
}

fn lines(differences: &[ConfigDifference]) -> String {
    differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
}
