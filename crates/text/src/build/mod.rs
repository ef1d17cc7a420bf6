//! Builds a tokenizer from a checkpoint's files or metadata.
mod bpe;
mod declared;
mod folder;
mod gguf;
mod pre_tokenizer;
mod sentencepiece;
mod settings_token;
mod special_names;

pub(crate) use folder::from_folder;
pub(crate) use gguf::from_gguf;

use std::path::PathBuf;

/// A tokenizer of the tokenizers library, with the data that the library does not store.
pub(crate) struct BuiltTokenizer {
    pub tokenizer: tokenizers::Tokenizer,
    /// The file of the tokenizer, for error messages.
    pub file: PathBuf,
    /// Ids to add before a text, in addition to those of the library's post-processor.
    pub before: Vec<u32>,
    /// Ids to add after a text, in addition to those of the library's post-processor.
    pub after: Vec<u32>,
}
