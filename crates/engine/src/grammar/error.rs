//! Errors of constrained decoding. An error ends one request and does not affect others.

use error_kind::{ErrorKind, HasKind};

/// Why a grammar cannot be compiled, or why a response cannot continue under its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    #[error("constrained decoding with this tokenizer: {cause}; check the tokenizer's files")]
    Tokenizer { cause: String },
    #[error(
        "end token {token} is outside the tokenizer's {vocab} ids; check eos_token_id in the generation config"
    )]
    End { token: u32, vocab: usize },
    #[error(
        "a constraint needs a tokenizer, and this model has none; add tokenizer.json to its folder or leave the constraint out"
    )]
    NoTokenizer,
    #[error("the schema cannot be met: {cause}")]
    Schema { cause: String },
    #[error("the schema's $refs nest more than {limit} deep, which is the limit; flatten it")]
    Refs { limit: usize },
    #[error("an object of the schema has {found} members; expected at most {limit}")]
    Members { found: usize, limit: usize },
    #[error(
        "the schema has more than {limit} subschemas with its references and combinations expanded, which is the limit; simplify it"
    )]
    Subschemas { limit: usize },
    #[error("the schema was not compiled within {limit_s} s; simplify it")]
    SlowCompile { limit_s: u64 },
    #[error("{compiling} schemas are being compiled, which is the limit; try again later")]
    Busy { compiling: usize },
    #[error("the reply cannot go on under its schema: {cause}")]
    Step { cause: String },
    #[error(
        "the tokens that the schema allows were not found within {limit_s} s; simplify the schema"
    )]
    Slow { limit_s: u64 },
    #[error("a thread that computes masks {what}; this is a bug, or the machine is out of threads")]
    Thread { what: String },
}

impl HasKind for GrammarError {
    fn kind(&self) -> ErrorKind {
        match self {
            GrammarError::Tokenizer { .. } | GrammarError::End { .. } => ErrorKind::BadInput,
            GrammarError::NoTokenizer => ErrorKind::NotFound,
            GrammarError::Schema { .. }
            | GrammarError::Refs { .. }
            | GrammarError::Members { .. }
            | GrammarError::Subschemas { .. }
            | GrammarError::SlowCompile { .. }
            | GrammarError::Step { .. } => ErrorKind::Usage,
            GrammarError::Busy { .. } => ErrorKind::Unavailable,
            GrammarError::Slow { .. } => ErrorKind::Timeout,
            GrammarError::Thread { .. } => ErrorKind::Bug,
        }
    }
}
