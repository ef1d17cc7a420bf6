//! Structured output: only tokens that can still become a text of the grammar are sampled.
//!
//! As in vLLM's structured output with its `guidance` backend, [llguidance] parses, over a trie of
//! the tokenizer's tokens that is built once. A [`GrammarCompiler`] belongs to a tokenizer and
//! compiles a [`Constraint`]; each response gets its own [`GrammarMatcher`] from the result. The
//! matcher computes which tokens may come next (a [`TokenMask`], in a [`MaskPool`] beside the
//! forward pass) and which must: forced tokens are appended without asking the model.
//!
//! [llguidance]: https://github.com/guidance-ai/llguidance

mod compiler;
mod error;
mod mask_pool;
mod matcher;
mod settings;
mod vocabulary;

pub use compiler::{CompiledGrammar, GrammarCompiler};
pub use error::GrammarError;
pub use mask_pool::{DraftPath, MaskPool, MaskResult};
pub use matcher::{GrammarMatcher, TokenMask};
pub use settings::{Constraint, GrammarSettings, Whitespace};

#[cfg(test)]
pub(crate) mod tests;
