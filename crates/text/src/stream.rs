//! [`StreamDecoder`]: text of a stream of tokens.
use crate::codec::complete_len;
use crate::{TextError, Tokenizer};

/// Decodes a stream of tokens without splitting characters. The concatenated texts, including that
/// of [`finish`](StreamDecoder::finish), equal [`Tokenizer::decode`] of the tokens without special
/// tokens.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
    started: bool,
}

impl StreamDecoder {
    /// A decoder for one reply.
    pub fn new(tokenizer: Tokenizer) -> Self {
        StreamDecoder { tokenizer, pending: Vec::new(), started: false }
    }

    /// Adds a token and returns the characters that have become complete. Special tokens have no
    /// text.
    ///
    /// # Errors
    /// At present this never fails.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        let mut bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
        if !self.started && !bytes.is_empty() {
            self.started = true;
            self.tokenizer.strip_space(&mut bytes);
        }
        self.pending.extend(bytes);
        // The bytes of an incomplete character are kept for the next token.
        let rest = self.pending.split_off(complete_len(&self.pending));
        let text = self.tokenizer.codec().text(&self.pending);
        self.pending = rest;
        Ok(text)
    }

    /// The remaining text at the end of the stream, with U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        self.started = false;
        self.tokenizer.codec().text(&std::mem::take(&mut self.pending))
    }
}
