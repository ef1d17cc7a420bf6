use crate::TextError;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper, Tokenizer};

/// A byte-level tokenizer in its parts.
pub(super) struct ByteLevelBpe<'a> {
    /// The file, for errors.
    pub file: &'a Path,
    /// Token to id.
    pub vocab: BTreeMap<String, u32>,
    /// Which two tokens become one, first come first served.
    pub merges: Merges,
    /// A word that is a token stays one, whether merges make it or not (Llama 3).
    pub ignore_merges: bool,
    /// How text is cut before merging.
    pub cut: PreTokenizerWrapper,
    /// Tokens that are found in text before it is cut.
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
        tokenizer.with_pre_tokenizer(Some(self.cut));
        tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
        add(&mut tokenizer, &self.added);
        Ok(tokenizer)
    }
}

/// Adds tokens, special or not, in their order.
pub(super) fn add(tokenizer: &mut Tokenizer, added: &[AddedToken]) {
    for token in added {
        // How many were added says nothing: those that the vocabulary has already are not counted.
        let _counted = match token.special {
            true => tokenizer.add_special_tokens(std::slice::from_ref(token)),
            false => tokenizer.add_tokens(std::slice::from_ref(token)),
        };
    }
}

/// An added token that is found as it is written.
pub(super) fn added(text: &str, special: bool) -> AddedToken {
    AddedToken::from(text.to_owned(), special).normalized(false)
}

/// The pairs of merges that are written as two tokens with a space between.
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
