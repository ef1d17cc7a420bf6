//! Constrained decoding: only tokens that can still become a text of the wanted form are chosen.
//!
//! The parser is llguidance's, over a trie of the tokenizer's tokens that is built once.
//! [`Grammars`] belongs to a tokenizer and compiles a [`Constraint`]; from that each reply has its
//! own [`Guide`]. A guide tells which tokens may come next (a [`Mask`], computed by [`MaskPool`]
//! while the model computes the logits) and which must: those go into the next pass as one chunk.

mod error;
mod grammars;
mod guide;
mod mask_pool;
mod settings;
mod vocabulary;

pub use error::ConstrainError;
pub use grammars::{Compiled, Grammars};
pub use guide::{Guide, Mask};
pub use mask_pool::{Done, MaskPool, Path};
pub use settings::{ConstrainSettings, Constraint, Whitespace};

#[cfg(test)]
pub(crate) mod tests;
