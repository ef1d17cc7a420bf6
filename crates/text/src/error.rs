use checkpoint::CheckpointError;
use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

/// Why text cannot be turned into tokens or back.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A tokenizer's file is wrong.
    #[error("{}: expected a tokenizer that can be used, found: {why}. Fetch the file again", .file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A chat template is wrong, or refused its input.
    #[error("chat template of {}: {why}. Check the messages' roles and their order", .file.display())]
    Template {
        /// Where the template is from.
        file: PathBuf,
        /// The template's word.
        why: String,
    },
    /// A file is not there, is none that can be read, or cannot be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The text or the ids are no valid input.
    #[error("cannot {doing}: {why}")]
    Input {
        /// What was tried.
        doing: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl TextError {
    pub(crate) fn tokenizer(file: &Path, why: impl std::fmt::Display) -> Self {
        TextError::Tokenizer { file: file.to_owned(), why: why.to_string() }
    }

    pub(crate) fn template(file: &Path, why: impl std::fmt::Display) -> Self {
        TextError::Template { file: file.to_owned(), why: why.to_string() }
    }
}

impl HasKind for TextError {
    fn kind(&self) -> ErrorKind {
        match self {
            TextError::Tokenizer { .. } | TextError::Template { .. } => ErrorKind::BadInput,
            TextError::File(error) => error.kind(),
            TextError::Input { .. } => ErrorKind::Usage,
        }
    }
}
