//! Errors of sampling. An error ends one request and does not affect others.

use error_kind::{ErrorKind, HasKind};

/// Why a token could not be sampled, or why sampling parameters are invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    #[error("{name}: expected {expected}, found {found}")]
    Setting { name: &'static str, expected: &'static str, found: f32 },
    #[error(
        "the logit of token {token} at position {position} is {value}, expected a finite number; \
         the weights or the arithmetic are broken: try --dtype f32, and check the checkpoint's files"
    )]
    NotFinite {
        token: u32,
        /// Position in the sequence of the token to sample.
        position: usize,
        value: f32,
    },
    #[error(
        "the constraint allows no token of the vocabulary at position {position}; the schema cannot be met with this tokenizer"
    )]
    NothingAllowed {
        /// Position in the sequence of the token to sample.
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
