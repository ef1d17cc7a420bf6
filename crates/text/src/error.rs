//! Errors of this crate.
use checkpoint::CheckpointError;
use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

/// An error of a tokenizer or a chat template.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A tokenizer's file is malformed.
    #[error("{}: expected a tokenizer that can be used, found: {why}. Fetch the file again", .file.display())]
    Tokenizer { file: PathBuf, why: String },
    /// A chat template is malformed, or rejects its input.
    #[error("chat template of {}: {why}. Check the messages' roles and their order", .file.display())]
    Template { file: PathBuf, why: String },
    /// Thinking is requested, and the template has none.
    #[error(
        "chat template of {}: expected one with <think> or the channels of gpt-oss, to turn \
         thinking on, found neither: this model does not think", .file.display()
    )]
    NoThinking { file: PathBuf },
    /// A file that the user named does not exist.
    #[error("{}: expected a chat template, found no file", .file.display())]
    NoFile { file: PathBuf },
    /// A file of the checkpoint is missing or cannot be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// The text or the ids are invalid.
    #[error("cannot {doing}: {why}")]
    Input {
        /// The operation, as an infinitive.
        doing: &'static str,
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
            TextError::NoFile { .. } => ErrorKind::NotFound,
            TextError::File(error) => error.kind(),
            TextError::NoThinking { .. } | TextError::Input { .. } => ErrorKind::Usage,
        }
    }
}
