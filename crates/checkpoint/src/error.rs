//! Why a checkpoint cannot be used. One [`DefectKind`] for each invariant; every message says where, what
//! was expected, what was found and what to do.
use error_kind::{ErrorKind, HasKind};
use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::defect_kind::DefectKind;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or model is not there (exit 66).
    #[error("{what} is not there; looked in:{} {remedy}", places(.looked_in))]
    NotFound {
        /// What was looked for.
        what: String,
        /// Every place, in the order in which they were tried, with what was there.
        looked_in: Vec<String>,
        /// What to do.
        remedy: String,
    },
    /// A file breaks a rule of its format, or the parts contradict each other (exit 65).
    #[error(transparent)]
    Bad(Box<Defect>),
    /// A file could not be read or written (exit 74).
    #[error("{}: cannot {doing} at offset {offset}: {source}. {remedy}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Where in it, in bytes.
        offset: u64,
        /// The system's word.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// What was asked for makes no sense (exit 2).
    #[error("{what}: expected {expected}, found {found}. {remedy}")]
    InvalidArgument {
        /// The argument.
        what: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
        /// What to do.
        remedy: String,
    },
}

/// One broken invariant of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Which invariant.
    pub kind: DefectKind,
    /// The file that breaks it.
    pub file: PathBuf,
    /// The part of it: `tensor model.norm.weight`, `key rope_theta`, `header`.
    pub subject: Option<String>,
    /// The rule.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do.
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
    /// A defect with its kind's own remedy.
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

    /// Names the tensor.
    pub fn tensor(self, name: &str) -> Self {
        self.part(format!("tensor {}", shorten(name)))
    }

    /// Names the key.
    pub fn key(self, name: &str) -> Self {
        self.part(format!("key {}", shorten(name)))
    }

    /// Names the part of the file.
    pub fn part(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says something better than the kind's own remedy.
    pub fn remedy(mut self, words: impl Into<String>) -> Self {
        self.remedy = words.into();
        self
    }
}

impl From<Defect> for CheckpointError {
    fn from(defect: Defect) -> Self {
        CheckpointError::Bad(Box::new(defect))
    }
}

impl CheckpointError {
    /// Which invariant is broken, where one is.
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

    /// A file that is not there, or a link to nothing, or a download that has not finished.
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
            CheckpointError::Io { .. } => ErrorKind::Io,
            CheckpointError::InvalidArgument { .. } => ErrorKind::Usage,
        }
    }
}

/// The unfinished download beside a file, as hub clients leave it.
fn unfinished(file: &Path) -> Option<PathBuf> {
    let mut name = file.file_name()?.to_owned();
    name.push(".incomplete");
    let beside = file.with_file_name(name);
    std::fs::symlink_metadata(&beside).is_ok().then_some(beside)
}

fn places(places: &[String]) -> String {
    match places {
        [one] => format!(" {one}."),
        many => many.iter().map(|place| format!("\n  {place}")).collect::<String>() + "\n",
    }
}

/// Keeps what was found from filling the screen, and control characters from the terminal.
fn shorten(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(300).map(clean).collect();
    if text.chars().nth(300).is_some() {
        short.push('\u{2026}');
    }
    short
}
