//! Errors of this crate. A message states the file, what was expected, what was found, and a
//! remedy.
use error_kind::{ErrorKind, HasKind};
use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::defect_kind::DefectKind;

/// The reason why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or model is missing.
    #[error("{what} is not there; looked in:{} {remedy}", list_places(.looked_in))]
    NotFound {
        what: String,
        /// All searched locations in search order, each with what was found there.
        looked_in: Vec<String>,
        remedy: String,
    },
    /// A file violates its format, or parts of the checkpoint contradict each other.
    #[error(transparent)]
    Bad(Box<Defect>),
    /// Reading or writing a file failed.
    #[error("{}: cannot {doing} at offset {offset}: {source}. {remedy}", .file.display())]
    Io {
        file: PathBuf,
        /// The operation, in the infinitive: "cannot {doing}".
        doing: &'static str,
        /// Position in the file, in bytes.
        offset: u64,
        source: std::io::Error,
        remedy: &'static str,
    },
    /// A location that may have the model cannot be searched.
    #[error("{}: cannot look for {}: {source}. {remedy}", .place.display(), .path.display())]
    NotSearched {
        /// The last part of `path` that can be seen.
        place: PathBuf,
        /// The path that would show whether the model is there.
        path: PathBuf,
        source: std::io::Error,
        remedy: &'static str,
    },
    /// The caller's argument is invalid.
    #[error("{what}: expected {expected}, found {found}. {remedy}")]
    InvalidArgument {
        /// The name of the argument.
        what: String,
        expected: String,
        found: String,
        remedy: String,
    },
}

/// One violated invariant of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    pub kind: DefectKind,
    pub file: PathBuf,
    /// The affected part of the file: `tensor model.norm.weight`, `key rope_theta`, `header`.
    pub subject: Option<String>,
    pub expected: String,
    pub found: String,
    pub remedy: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        let Defect { kind, expected, found, remedy, .. } = self;
        write!(f, "{}: expected {expected}, found {found}. {remedy}", kind.title())
    }
}

impl std::error::Error for Defect {}

impl Defect {
    /// A defect with the general remedy of `kind`.
    pub fn new(
        kind: DefectKind,
        file: &Path,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) -> Self {
        let remedy = kind.remedy().to_owned();
        let (expected, found) = (expected.into(), shorten(&found.to_string()));
        Defect { kind, file: file.to_owned(), subject: None, expected, found, remedy }
    }

    /// Sets the subject to a tensor.
    pub fn tensor(self, name: &str) -> Self {
        self.part(format!("tensor {}", shorten(name)))
    }

    /// Sets the subject to a key of the configuration or metadata.
    pub fn key(self, name: &str) -> Self {
        self.part(format!("key {}", shorten(name)))
    }

    /// Sets the subject to another part of the file.
    pub fn part(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Replaces the general remedy by a specific one.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl From<Defect> for CheckpointError {
    fn from(defect: Defect) -> Self {
        CheckpointError::Bad(Box::new(defect))
    }
}

impl CheckpointError {
    /// The violated invariant, if the error is a [`Defect`].
    pub fn defect_kind(&self) -> Option<DefectKind> {
        match self {
            CheckpointError::Bad(defect) => Some(defect.kind),
            _ => None,
        }
    }

    pub(crate) fn io(
        file: &Path,
        doing: &'static str,
        offset: u64,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind::{NotFound, PermissionDenied, StaleNetworkFileHandle, StorageFull};
        let remedy = match source.kind() {
            NotFound => return Self::absent(file),
            PermissionDenied => "Check the permissions of the file and of its folders",
            StorageFull => "Free some space, or choose another folder",
            StaleNetworkFileHandle => "The file was replaced on its server; run again",
            _ => "Check the disk or mount that holds it, and run again",
        };
        CheckpointError::Io { file: file.to_owned(), doing, offset, source, remedy }
    }

    /// The error for a missing file, with a remedy that depends on the cause: dangling link,
    /// unfinished download, or no file.
    pub(crate) fn absent(file: &Path) -> Self {
        let remedy = if std::fs::symlink_metadata(file).is_ok() {
            let target = std::fs::read_link(file).unwrap_or_default();
            format!(
                "It is a dangling link to {}; run `vendomini fetch` for the model again",
                target.display()
            )
        } else if let Some(part) = unfinished(file) {
            format!(
                "{} is a download that has not finished; run `vendomini fetch` for the model again",
                part.display()
            )
        } else {
            "Fetch the whole model again with `vendomini fetch`, or copy the file there".to_owned()
        };
        let place = file.parent().unwrap_or(Path::new(".")).display().to_string();
        CheckpointError::NotFound {
            what: format!("file {}", file.display()),
            looked_in: vec![place],
            remedy,
        }
    }
}

impl HasKind for CheckpointError {
    fn kind(&self) -> ErrorKind {
        match self {
            CheckpointError::NotFound { .. } => ErrorKind::NotFound,
            CheckpointError::Bad(_) => ErrorKind::BadInput,
            CheckpointError::Io { .. } | CheckpointError::NotSearched { .. } => ErrorKind::Io,
            CheckpointError::InvalidArgument { .. } => ErrorKind::Usage,
        }
    }
}

/// The partial download (`NAME.incomplete`) that hub clients leave beside a file, if it exists.
fn unfinished(file: &Path) -> Option<PathBuf> {
    let mut name = file.file_name()?.to_owned();
    name.push(".incomplete");
    let beside = file.with_file_name(name);
    std::fs::symlink_metadata(&beside).is_ok().then_some(beside)
}

fn list_places(places: &[String]) -> String {
    match places {
        [one] => format!(" {one}."),
        many => many.iter().map(|place| format!("\n  {place}")).collect::<String>() + "\n",
    }
}

/// Limits a text to 300 characters and replaces control characters, so that a hostile file cannot
/// send them to the terminal.
fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(300).map(clean).collect();
    if text.chars().nth(300).is_some() {
        short.push('\u{2026}');
    }
    short
}
