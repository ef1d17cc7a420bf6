use crate::codec::certain;
use crate::{TextError, Tokenizer};

/// Turns a stream of tokens into text that never breaks a character in two. All pieces together,
/// with what [`finish`](StreamDecoder::finish) gives, are what [`Tokenizer::decode`] makes of the
/// tokens without special ones.
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

    /// The text that is certain after this token. Special tokens are no text.
    ///
    /// # Errors
    /// None today; a tokenizer may refuse an id.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        let mut bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
        if !self.started && !bytes.is_empty() {
            self.started = true;
            self.tokenizer.strip_space(&mut bytes);
        }
        self.pending.extend(bytes);
        // Bytes that can still become a character wait for the next token.
        let rest = self.pending.split_off(certain(&self.pending));
        let text = self.tokenizer.codec().text(&self.pending);
        self.pending = rest;
        Ok(text)
    }

    /// What is left at the end, with U+FFFD for a broken character.
    pub fn finish(&mut self) -> String {
        self.started = false;
        self.tokenizer.codec().text(&std::mem::take(&mut self.pending))
    }
}
