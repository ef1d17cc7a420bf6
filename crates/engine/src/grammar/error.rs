//! Errors of constrained decoding. They end one request; the others go on.

use error_kind::{ErrorKind, HasKind};

/// Why a grammar cannot be compiled, or a response cannot be continued under it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The tokenizer cannot be used for constrained decoding.
    #[error("constrained decoding with this tokenizer: {cause}; check the tokenizer's files")]
    Tokenizer {
        /// What is wrong with it.
        cause: String,
    },
    /// An end token that the tokenizer does not have.
    #[error(
        "end token {token} is outside the tokenizer's {vocab} ids; check eos_token_id in the generation config"
    )]
    End {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// The model has no tokenizer.
    #[error(
        "a constraint needs a tokenizer, and this model has none; add tokenizer.json to its folder or leave the constraint out"
    )]
    NoTokenizer,
    /// The schema cannot be compiled.
    #[error("the schema cannot be met: {cause}")]
    Schema {
        /// llguidance's message.
        cause: String,
    },
    /// The parser failed in the middle of a response.
    #[error("the reply cannot go on under its schema: {cause}")]
    Step {
        /// llguidance's message.
        cause: String,
    },
    /// A mask was not computed in time.
    #[error(
        "the tokens that the schema allows were not found within {limit_s} s; simplify the schema"
    )]
    Slow {
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// A mask thread ended or could not start.
    #[error("a thread that computes masks {what}; this is a bug, or the machine is out of threads")]
    Thread {
        /// What happened.
        what: String,
    },
}

impl HasKind for GrammarError {
    fn kind(&self) -> ErrorKind {
        match self {
            GrammarError::Tokenizer { .. } | GrammarError::End { .. } => ErrorKind::BadInput,
            GrammarError::NoTokenizer => ErrorKind::NotFound,
            GrammarError::Schema { .. } | GrammarError::Step { .. } => ErrorKind::Usage,
            GrammarError::Slow { .. } => ErrorKind::Timeout,
            GrammarError::Thread { .. } => ErrorKind::Bug,
        }
    }
}
