//! Constrained decoding: only tokens that can still become a text of the wanted form are chosen.
//!
//! The parser is llguidance's, over a trie of the tokenizer's tokens that is built once.
//! [`GrammarCompiler`] belongs to a tokenizer and compiles a [`Constraint`]; from that each reply has its
//! own [`GrammarMatcher`]. A guide tells which tokens may come next (a [`TokenMask`], computed by [`MaskPool`]
//! while the model computes the logits) and which must: those go into the next pass as one chunk.

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
