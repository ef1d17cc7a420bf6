use std::path::{Path, PathBuf};

/// Why a checkpoint cannot be used. Each says what was expected, what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or model is not there.
    #[error("{what} is not there: looked in {}. {remedy}", places(.looked_in))]
    NotFound {
        /// What was looked for.
        what: String,
        /// Every place.
        looked_in: Vec<PathBuf>,
        /// What to do.
        remedy: String,
    },
    /// A file breaks a rule of its format.
    #[error("{}: {subject}: expected {expected}, found {found}. {remedy}", .file.display())]
    Bad {
        /// The file.
        file: PathBuf,
        /// The part of it (a tensor, a key, "header").
        subject: String,
        /// The rule.
        expected: String,
        /// What is there.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// A file could not be read or written.
    #[error("{}: cannot {doing} at offset {offset}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Where in it, in bytes.
        offset: u64,
        /// The system's word.
        source: std::io::Error,
    },
}

fn places(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl CheckpointError {
    /// The process's exit code: 65 for bad data, 66 for what is not there, 74 for I/O.
    pub fn exit_code(&self) -> u8 {
        match self {
            CheckpointError::NotFound { .. } => 66,
            CheckpointError::Bad { .. } => 65,
            CheckpointError::Io { .. } => 74,
        }
    }

    pub(crate) fn bad(
        file: &Path,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let remedy = "Fetch the file again, or check how it was made".to_owned();
        CheckpointError::Bad {
            file: file.to_owned(),
            subject: subject.into(),
            expected: expected.into(),
            found: found.into(),
            remedy,
        }
    }

    pub(crate) fn with_remedy(self, words: &str) -> Self {
        match self {
            CheckpointError::Bad { file, subject, expected, found, .. } => {
                CheckpointError::Bad { file, subject, expected, found, remedy: words.to_owned() }
            }
            other => other,
        }
    }

    pub(crate) fn io(file: &Path, doing: &'static str, offset: u64, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            let dangling = std::fs::symlink_metadata(file).is_ok();
            let remedy = if dangling { "It is a link to nothing; fetch the model again" } else { "Check the path" };
            return CheckpointError::NotFound {
                what: format!("file {}", file.display()),
                looked_in: vec![file.to_owned()],
                remedy: remedy.to_owned(),
            };
        }
        CheckpointError::Io { file: file.to_owned(), doing, offset, source }
    }
}
