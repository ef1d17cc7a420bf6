//! Byte-level BPE (GPT-2), built from vocabulary, merges and added tokens.
use crate::TextError;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper, Tokenizer};

/// The parts of a byte-level BPE tokenizer.
pub(super) struct ByteLevelBpe<'a> {
    /// The source, for error messages.
    pub file: &'a Path,
    /// Token to id.
    pub vocab: BTreeMap<String, u32>,
    /// Pairs of tokens to merge, the highest priority first.
    pub merges: Merges,
    /// Whether a word that is in the vocabulary becomes one token even if no merges produce it
    /// (Llama 3).
    pub ignore_merges: bool,
    pub pre_tokenizer: PreTokenizerWrapper,
    /// Tokens that are matched before pre-tokenization.
    pub added: Vec<AddedToken>,
}

impl ByteLevelBpe<'_> {
    pub fn build(self) -> Result<Tokenizer, TextError> {
        let model = BPE::builder()
            .vocab_and_merges(self.vocab.into_iter().collect::<Vocab>(), self.merges)
            .ignore_merges(self.ignore_merges)
            .build()
            .map_err(|e| TextError::tokenizer(self.file, e))?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(self.pre_tokenizer));
        tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
        add(&mut tokenizer, &self.added);
        Ok(tokenizer)
    }
}

/// Adds special and other tokens, in order.
pub(super) fn add(tokenizer: &mut Tokenizer, added: &[AddedToken]) {
    for token in added {
        // The returned count excludes tokens that are already in the vocabulary, so it does not
        // tell success from failure.
        let _count = match token.special {
            true => tokenizer.add_special_tokens(std::slice::from_ref(token)),
            false => tokenizer.add_tokens(std::slice::from_ref(token)),
        };
    }
}

/// An added token that is matched without normalization.
pub(super) fn added(text: &str, special: bool) -> AddedToken {
    AddedToken::from(text.to_owned(), special).normalized(false)
}

/// Parses merges: lines of two tokens separated by a space.
pub(super) fn pairs<'a>(
    file: &Path,
    lines: impl Iterator<Item = &'a str>,
) -> Result<Merges, TextError> {
    let pair = |line: &str| match line.split_once(' ') {
        Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains(' ') => {
            Ok((a.to_owned(), b.to_owned()))
        }
        _ => {
            Err(TextError::tokenizer(file, format!("the merge {line:?}, which is not two tokens")))
        }
    };
    lines.map(pair).collect()
}
