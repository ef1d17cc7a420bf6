//! Builds a tokenizer from what a checkpoint carries.
mod bpe;
mod folder;
mod gguf;
mod pre_tokenizer;
mod sentencepiece;

pub(crate) use folder::from_folder;
pub(crate) use gguf::from_gguf;

use std::path::PathBuf;

/// A tokenizer of the library, and what it does not hold itself.
pub(crate) struct BuiltTokenizer {
    /// The library's part.
    pub tokenizer: tokenizers::Tokenizer,
    /// Where it is from.
    pub file: PathBuf,
    /// Ids that are put before a text, beside what the library's own post-processor adds.
    pub before: Vec<u32>,
    /// Ids that are put behind it.
    pub after: Vec<u32>,
}
