//! Structured output: at each position only tokens are sampled after which the response can still
//! conform to its grammar.
//!
//! As in vLLM's structured output with its `guidance` backend, [llguidance] is the parser; it uses
//! a trie of the tokenizer's tokens that is built once. A [`GrammarCompiler`] belongs to a
//! tokenizer and compiles [`Constraint`]s; each response gets its own [`GrammarMatcher`] from the
//! compiled grammar. The matcher computes which tokens are allowed next (a [`TokenMask`], in a
//! [`MaskPool`] in parallel with the forward pass) and which tokens are forced. Forced tokens are
//! appended without sampling.
//!
//! [llguidance]: https://github.com/guidance-ai/llguidance

mod compiler;
mod error;
mod mask_pool;
mod matcher;
mod schema_limits;
mod settings;
mod vocabulary;

pub use compiler::{CompiledGrammar, GrammarCompiler};
pub use error::GrammarError;
pub use mask_pool::{DraftPath, MaskPool, MaskResult};
pub use matcher::{GrammarMatcher, TokenMask};
pub use settings::{Constraint, GrammarSettings, Whitespace};

#[cfg(test)]
pub(crate) mod tests;
