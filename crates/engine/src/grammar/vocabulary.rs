//! The tokenizer as llguidance sees it: a trie of bytes, and the way it cuts a text.

use text::Tokenizer;
use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

use super::GrammarError;

/// A token trie with the tokenizer that it was made of.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    trie: TokTrie,
    canonical: bool,
    /// Put before a text that is cut, and taken away again: tokenizers of the SentencePiece kind
    /// add a space to the beginning of a text, which the middle of a reply does not have.
    before: Option<Before>,
}

struct Before {
    text: &'static str,
    ids: Vec<u32>,
}

impl Vocabulary {
    /// Builds the trie; takes a fraction of a second. `end` are the tokens that end a reply.
    pub fn new(tokenizer: &Tokenizer, end: &[u32], canonical: bool) -> Result<Self, GrammarError> {
        let vocab = tokenizer.vocab_size();
        if let Some(&token) = end.iter().find(|&&token| token as usize >= vocab) {
            return Err(GrammarError::End { token, vocab });
        }
        let words: Vec<Vec<u8>> =
            (0..vocab as u32).map(|id| word(tokenizer, id, end.contains(&id))).collect();
        let first = end.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
        let mut trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first), &words);
        if end.len() > 1 {
            trie = trie.with_eos_tokens(end);
        }
        let mut vocabulary =
            Vocabulary { tokenizer: tokenizer.clone(), trie, canonical, before: None };
        vocabulary.before = vocabulary.find_before()?;
        Ok(vocabulary)
    }

    /// Finds what to put before a text so that it is cut as in the middle of a text.
    fn find_before(&self) -> Result<Option<Before>, GrammarError> {
        const PROBE: &str = "{\"a\":1}";
        if self.bytes_of(&self.encode(PROBE)?) == PROBE.as_bytes() {
            return Ok(None);
        }
        for text in ["\n", "\u{1}", "{"] {
            let before = Before { text, ids: self.encode(text)? };
            if self.cut_after(&before, PROBE).is_some() {
                return Ok(Some(before));
            }
        }
        let cause = format!("it cuts {PROBE:?} into tokens that do not hold the same bytes");
        Err(GrammarError::Tokenizer { cause })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, GrammarError> {
        self.tokenizer
            .encode(text, false)
            .map_err(|cause| GrammarError::Tokenizer { cause: cause.to_string() })
    }

    fn cut_after(&self, before: &Before, text: &str) -> Option<Vec<u32>> {
        let ids = self.encode(&format!("{}{text}", before.text)).ok()?;
        let rest = ids.strip_prefix(before.ids.as_slice())?;
        (self.bytes_of(rest) == text.as_bytes()).then(|| rest.to_vec())
    }

    fn bytes_of(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.trie.token(id).iter().copied()).collect()
    }

    /// Cuts a text as the tokenizer does. Where that changes its bytes (the name of a special token
    /// in it), by the longest tokens.
    fn cut(&self, text: &str) -> Vec<u32> {
        let ids = match &self.before {
            Some(before) => self.cut_after(before, text),
            None => self.encode(text).ok().filter(|ids| self.bytes_of(ids) == text.as_bytes()),
        };
        ids.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
    }
}

/// A token's bytes; a special token's name behind llguidance's mark, so that no text can spell it.
fn word(tokenizer: &Tokenizer, id: u32, ends: bool) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).filter(|_| !ends);
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
        self.trie.tokenize_with_greedy_fallback(bytes, |text| self.cut(text))
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
