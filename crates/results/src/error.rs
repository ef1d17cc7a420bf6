//! Errors of reading and writing results.

use error_kind::{ErrorKind, HasKind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A configuration key whose value in the folder differs from the given one.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigDifference {
    pub key: String,
    /// The value in the folder; `None` if the folder lacks the key.
    pub stored: Option<Value>,
    /// The given value; `None` if the given configuration lacks the key.
    pub given: Option<Value>,
}

impl std::fmt::Display for ConfigDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text =
            |value: &Option<Value>| value.as_ref().map_or("absent".to_string(), Value::to_string);
        write!(f, "{}: {} there, {} now", self.key, text(&self.stored), text(&self.given))
    }
}

/// Errors of reading and writing results.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// A failed file operation that no other variant describes.
    #[error("cannot {what} {}{}: {source}", path.display(), at_byte(*offset))]
    Io {
        /// The failed operation as a verb: "read", "create", ...
        what: &'static str,
        path: PathBuf,
        /// Byte offset in the file, if known.
        offset: Option<u64>,
        source: std::io::Error,
    },
    /// The disk is full or the quota is used up.
    #[error(
        "no space left to write {} at byte {offset}: {source}. All earlier steps are kept; make room and give the same command \
         again, it goes on from there",
        path.display()
    )]
    NoSpace {
        path: PathBuf,
        /// Bytes written to the file so far.
        offset: u64,
        source: std::io::Error,
    },
    #[error("cannot write {}: {source}. Make the folder writable, or choose another with --out", path.display())]
    ReadOnly { path: PathBuf, source: std::io::Error },
    /// The file system has no hard links, which make commits atomic.
    #[error(
        "cannot link {} into place: {source}. Results need a file system with hard links; choose another with --out",
        path.display()
    )]
    NoLinks { path: PathBuf, source: std::io::Error },
    /// The folder contains no `experiment.json`.
    #[error("{} holds no experiment: expected experiment.json in it", path.display())]
    NotAnExperiment { path: PathBuf },
    /// A run's folder lacks the expected file.
    #[error("{} holds no run: expected {expected} in it", path.display())]
    NotARun { path: PathBuf, expected: &'static str },
    /// The folder belongs to another configuration.
    #[error(
        "{} holds the results of another configuration. These keys differ:\n{}\nUse another experiment.name or --out, or restore \
         the configuration{}",
        root.display(),
        lines(differences),
        design_hint(differences)
    )]
    OtherConfiguration { root: PathBuf, differences: Vec<ConfigDifference> },
    /// The model of this name differs from the one recorded in the folder.
    #[error(
        "{} was started with another {what} of model {model}: {stored} there, {given} now. Rows of both must not be mixed \
         unnoticed. Use another --out, or --accept-mixed to mark the rows",
        root.display()
    )]
    OtherModel {
        root: PathBuf,
        model: String,
        /// The property that differs: "weights", "dtype" or "kernel set".
        what: &'static str,
        stored: String,
        given: String,
    },
    /// The document has another format version than this program reads.
    #[error("{} has format version {found}; this program reads version {expected}", path.display())]
    OtherVersion { path: PathBuf, found: u64, expected: u32 },
    /// A log was edited, truncated or damaged.
    #[error("{} line {line}: expected {expected}, found {found}. The log was edited, cut or damaged", path.display())]
    BadLine {
        path: PathBuf,
        /// Number of the invalid line, counted from 1.
        line: usize,
        expected: String,
        found: String,
    },
    /// A JSON document cannot be parsed.
    #[error("{} cannot be parsed: {source}. The file was edited or damaged", path.display())]
    BadDocument { path: PathBuf, source: serde_json::Error },
    /// A row or record cannot be written as JSON.
    #[error("internal error: {what} cannot be written as JSON: {source}")]
    Unwritable { what: &'static str, source: serde_json::Error },
    /// An unknown table or format.
    #[error("unknown {what} {found:?}: expected one of {expected}")]
    UnknownChoice {
        /// The kind of choice: "table" or "format".
        what: &'static str,
        found: String,
        expected: &'static str,
    },
}

impl ResultsError {
    /// The variant for a failed system call; each variant has its own remedy.
    pub fn from_io(
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

fn at_byte(offset: Option<u64>) -> String {
    offset.map_or(String::new(), |bytes| format!(" at byte {bytes}"))
}

/// What to do if the folder holds another design of the experiment.
fn design_hint(differences: &[ConfigDifference]) -> &'static str {
    let design = differences.iter().find(|difference| difference.key == "experiment.design");
    match design {
        // Folders of design v1 do not name it.
        Some(ConfigDifference { stored: None, .. }) => {
            ". The folder holds design v1: experiment.design: v1 continues it"
        }
        Some(_) => ". The folder holds a later design than v1: leave experiment.design out",
        None => "",
    }
}

fn lines(differences: &[ConfigDifference]) -> String {
    differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
}
