//! Constrained decoding: which tokens a JSON schema allows next, by llguidance.

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use std::sync::Arc;
use text::Tokenizer;
use toktrie::{SimpleVob, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

/// Makes constraints for one tokenizer. Costs a fraction of a second to build; clones share it.
#[derive(Clone)]
pub struct Grammars(Arc<ParserFactory>);

/// A schema that no reply can be decoded under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON schema cannot be decoded under: {0}")]
pub struct GrammarError(String);

struct Environment {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        // A text that the tokenizer refuses has no canonical form, and one that it changes (SentencePiece puts a space
        // before it, special tokens in it are no text) none that stands for these bytes; the trie's greedy one serves.
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let canonical = self.tokenizer.encode(text, false).ok().filter(|ids| self.stands_for(ids, text));
            canonical.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }
}

impl Environment {
    fn stands_for(&self, ids: &[u32], text: &str) -> bool {
        let bytes: Option<Vec<Vec<u8>>> = ids.iter().map(|id| self.tokenizer.token_bytes(*id)).collect();
        bytes.is_some_and(|bytes| bytes.concat() == text.as_bytes())
    }
}

impl Grammars {
    /// Prepares a tokenizer of `vocab` ids whose replies end with `eos`.
    ///
    /// # Errors
    /// If llguidance refuses the vocabulary.
    pub fn new(tokenizer: &Tokenizer, vocab: usize, eos: u32) -> Result<Grammars, GrammarError> {
        let word = |id: u32| match tokenizer.token_bytes(id) {
            Some(bytes) => bytes,
            None => {
                let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
                marked.extend(tokenizer.id_to_token(id).unwrap_or_else(|| format!("<unused {id}>")).into_bytes());
                marked
            }
        };
        let words: Vec<Vec<u8>> = (0..vocab as u32).map(word).collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, eos), &words);
        let environment: toktrie::TokEnv = Arc::new(Environment { trie, tokenizer: tokenizer.clone() });
        let mut factory = ParserFactory::new_simple(&environment).map_err(|e| GrammarError(e.to_string()))?;
        factory.quiet();
        Ok(Grammars(Arc::new(factory)))
    }

    /// A constraint to one JSON schema, at the start of a reply.
    ///
    /// # Errors
    /// llguidance's own words on the schema.
    pub fn json_schema(&self, schema: &Value) -> Result<Constraint, GrammarError> {
        let grammar = TopLevelGrammar::from_json_schema(schema.clone());
        let parser = self.0.create_parser(grammar).map_err(|e| GrammarError(e.to_string()))?;
        Ok(Constraint(Matcher::new(Ok(parser))))
    }
}

/// Where a reply stands in its grammar.
pub struct Constraint(Matcher);

impl Constraint {
    /// The tokens that are allowed next; the end of the reply is one of them where the grammar may end.
    ///
    /// # Errors
    /// If the parser ran into its limits.
    pub fn mask(&mut self) -> Result<SimpleVob, GrammarError> {
        self.0.compute_mask_or_eos().map_err(|e| GrammarError(e.to_string()))
    }

    /// Takes a token that was chosen.
    ///
    /// # Errors
    /// If the grammar does not allow it.
    pub fn take(&mut self, token: u32) -> Result<(), GrammarError> {
        self.0.consume_token(token).map_err(|e| GrammarError(e.to_string()))
    }

    /// Tokens that can only follow now, already taken: keys and punctuation need no forward pass each.
    pub fn forced(&mut self) -> Vec<u32> {
        if self.0.is_stopped() { Vec::new() } else { self.0.consume_ff_tokens() }
    }

    /// Whether nothing can follow.
    pub fn is_finished(&self) -> bool {
        self.0.is_stopped()
    }
}
