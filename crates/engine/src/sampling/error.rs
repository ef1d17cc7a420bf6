//! Why no token could be chosen.

use error_kind::{ErrorKind, HasKind};
/// A row that gives no token, or settings that mean nothing. It concerns one request; the others go
/// on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A setting out of range.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: f32,
    },
    /// A logit that is NaN or infinite.
    #[error(
        "the logit of token {token} at position {position} is {value}, expected a finite number; \
         the weights or the arithmetic are broken: try --dtype f32, and check the checkpoint's files"
    )]
    NotFinite {
        /// Its token.
        token: u32,
        /// Position of the token to sample.
        position: usize,
        /// What was found.
        value: f32,
    },
    /// A mask without a token in it.
    #[error(
        "the constraint allows no token of the vocabulary at position {position}; the schema cannot be met with this tokenizer"
    )]
    NothingAllowed {
        /// Position of the token to sample.
        position: usize,
    },
}

impl HasKind for SampleError {
    fn kind(&self) -> ErrorKind {
        match self {
            SampleError::Setting { .. } | SampleError::NothingAllowed { .. } => ErrorKind::Usage,
            SampleError::NotFinite { .. } => ErrorKind::BadInput,
        }
    }
}
