//! Why a reply cannot be held to its form.

use error_kind::{ErrorKind, HasKind};
/// A constraint that cannot be met. It concerns one request; the others go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The tokenizer cannot be used for constrained decoding.
    #[error("constrained decoding with this tokenizer: {cause}; check the tokenizer's files")]
    Tokenizer {
        /// What is wrong.
        cause: String,
    },
    /// An end token that the tokenizer does not have.
    #[error(
        "end token {token} is outside the tokenizer's {vocab} ids; check eos_token_id in the generation config"
    )]
    End {
        /// The id.
        token: u32,
        /// Ids there are.
        vocab: usize,
    },
    /// No tokenizer at all.
    #[error(
        "a constraint needs a tokenizer, and this model has none; add tokenizer.json to its folder or leave the constraint out"
    )]
    NoTokenizer,
    /// The schema cannot be compiled.
    #[error("the schema cannot be met: {cause}")]
    Schema {
        /// llguidance's words.
        cause: String,
    },
    /// The parser refused to go on.
    #[error("the reply cannot go on under its schema: {cause}")]
    Step {
        /// llguidance's words.
        cause: String,
    },
    /// A mask did not come in time.
    #[error(
        "the tokens that the schema allows were not found within {limit_s} s; simplify the schema"
    )]
    Slow {
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// A helper thread is gone or cannot be had.
    #[error(
        "a thread that computes masks {what}; this is a defect or the machine is out of threads"
    )]
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
