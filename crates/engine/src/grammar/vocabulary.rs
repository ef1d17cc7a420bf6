//! Adapts a tokenizer to llguidance: a trie of the tokens' bytes, and canonical tokenization.

use text::Tokenizer;
use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

use super::GrammarError;

/// A tokenizer with its token trie.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    trie: TokTrie,
    canonical: bool,
    /// SentencePiece tokenizers insert a space before a text, which would be wrong in the middle of
    /// a response. With such a tokenizer, text is tokenized after this prefix, and the prefix's
    /// tokens are removed.
    prefix: Option<TokenizationPrefix>,
}

struct TokenizationPrefix {
    text: &'static str,
    ids: Vec<u32>,
}

impl Vocabulary {
    /// Builds the trie, which takes a fraction of a second. `end` lists the tokens that end a
    /// response.
    pub fn new(tokenizer: &Tokenizer, end: &[u32], canonical: bool) -> Result<Self, GrammarError> {
        let vocab = tokenizer.vocab_size();
        if let Some(&token) = end.iter().find(|&&token| token as usize >= vocab) {
            return Err(GrammarError::End { token, vocab });
        }
        let tokens: Vec<Vec<u8>> =
            (0..vocab as u32).map(|id| trie_bytes(tokenizer, id, end.contains(&id))).collect();
        let first_end = end.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first_end), &tokens);
        if end.len() > 1 {
            trie = trie.with_eos_tokens(end);
        }
        let mut vocabulary =
            Vocabulary { tokenizer: tokenizer.clone(), trie, canonical, prefix: None };
        vocabulary.prefix = vocabulary.find_prefix()?;
        Ok(vocabulary)
    }

    /// Finds a prefix after which a text is tokenized as in the middle of a response; `None` if no
    /// prefix is needed.
    fn find_prefix(&self) -> Result<Option<TokenizationPrefix>, GrammarError> {
        const PROBE: &str = "{\"a\":1}";
        if self.bytes_of(&self.encode(PROBE)?) == PROBE.as_bytes() {
            return Ok(None);
        }
        for text in ["\n", "\u{1}", "{"] {
            let prefix = TokenizationPrefix { text, ids: self.encode(text)? };
            if self.tokenize_behind(&prefix, PROBE).is_some() {
                return Ok(Some(prefix));
            }
        }
        let cause = format!("it turns {PROBE:?} into tokens that do not hold the same bytes");
        Err(GrammarError::Tokenizer { cause })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, GrammarError> {
        self.tokenizer
            .encode(text, false)
            .map_err(|cause| GrammarError::Tokenizer { cause: cause.to_string() })
    }

    fn tokenize_behind(&self, prefix: &TokenizationPrefix, text: &str) -> Option<Vec<u32>> {
        let ids = self.encode(&format!("{}{text}", prefix.text)).ok()?;
        let rest = ids.strip_prefix(prefix.ids.as_slice())?;
        (self.bytes_of(rest) == text.as_bytes()).then(|| rest.to_vec())
    }

    fn bytes_of(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.trie.token(id).iter().copied()).collect()
    }

    /// Tokenizes a text with the tokenizer. If the bytes of the tokens differ from the text
    /// (because it contains the name of a special token), greedily takes the longest matching
    /// tokens instead.
    fn tokenize(&self, text: &str) -> Vec<u32> {
        let ids = match &self.prefix {
            Some(prefix) => self.tokenize_behind(prefix, text),
            None => self.encode(text).ok().filter(|ids| self.bytes_of(ids) == text.as_bytes()),
        };
        ids.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
    }
}

/// A token's bytes in the trie. A special or end token has its name after a marker byte, so that it
/// matches no text.
fn trie_bytes(tokenizer: &Tokenizer, id: u32, is_end: bool) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).filter(|_| !is_end);
    bytes.unwrap_or_else(|| match tokenizer.id_to_token(id) {
        Some(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
        None => Vec::new(),
    })
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.tokenize(text))
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
