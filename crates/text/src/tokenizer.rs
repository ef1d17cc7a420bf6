use crate::{TextError, build};
use checkpoint::Checkpoint;
use std::sync::Arc;

/// Turns text into token ids and back. Clones share it.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    tokenizer: tokenizers::Tokenizer,
    /// The bytes that each id stands for; none for special tokens and for ids without a token.
    bytes: Vec<Option<Vec<u8>>>,
    special: Vec<bool>,
}

impl Tokenizer {
    /// The tokenizer of a checkpoint: `tokenizer.json`, `vocab.json` with `merges.txt`, or the one inside a GGUF file.
    /// `None` if there is none.
    ///
    /// # Errors
    /// 65 if it is malformed, 74 if it cannot be read.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Tokenizer>, TextError> {
        let Some(tokenizer) = build::tokenizer(checkpoint)? else { return Ok(None) };
        let count = tokenizer.get_vocab_size(true);
        let (mut bytes, mut special) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let added = tokenizer.get_added_tokens_decoder();
        for id in 0..count as u32 {
            let is_special = added.get(&id).is_some_and(|token| token.special);
            special.push(is_special);
            let text = tokenizer.id_to_token(id).filter(|_| !is_special);
            bytes.push(
                text.map(|t| if added.contains_key(&id) { t.into_bytes() } else { build::token_bytes(&tokenizer, &t) }),
            );
        }
        Ok(Some(Tokenizer(Arc::new(Inner { tokenizer, bytes, special }))))
    }

    /// The ids of a text. Special tokens in it are recognised, as transformers does; `add_special` adds those that the
    /// model wants round every text.
    ///
    /// # Errors
    /// 2 if the tokenizer refuses the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.0.tokenizer.encode_fast(text, add_special);
        encoding
            .map(|e| e.get_ids().to_vec())
            .map_err(|e| TextError::Input { doing: "tokenize the text", why: e.to_string() })
    }

    /// The text of ids.
    ///
    /// # Errors
    /// 2 if the tokenizer refuses the ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let text = self.0.tokenizer.decode(ids, skip_special);
        text.map_err(|e| TextError::Input { doing: "turn the ids into text", why: e.to_string() })
    }

    /// How many ids there are, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.0.special.len()
    }

    /// The bytes that an id stands for; `None` for special tokens and for ids without a token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.0.bytes.get(id as usize).cloned().flatten()
    }

    /// Whether an id is a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.0.special.get(id as usize).copied().unwrap_or(false)
    }

    /// The id of a token's own text.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.tokenizer.token_to_id(token)
    }

    /// The token's own text.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.tokenizer.id_to_token(id)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids)", self.vocab_size())
    }
}
