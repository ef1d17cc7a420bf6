//! Errors of sampling. They end one request; the others go on.

use error_kind::{ErrorKind, HasKind};

/// Why no token could be sampled, or sampling parameters are invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// A sampling parameter out of range.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// Name of the parameter.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f32,
    },
    /// A logit or hidden state that is NaN or infinite.
    #[error(
        "the logit of token {token} at position {position} is {value}, expected a finite number; \
         the weights or the arithmetic are broken: try --dtype f32, and check the checkpoint's files"
    )]
    NotFinite {
        /// The logit's token.
        token: u32,
        /// Position in the sequence of the token to sample.
        position: usize,
        /// The value found.
        value: f32,
    },
    /// The mask allows no token.
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
