use crate::{TextError, Tokenizer};

/// Turns a stream of tokens into text that never breaks a character in two.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder for one reply.
    pub fn new(tokenizer: Tokenizer) -> Self {
        StreamDecoder { tokenizer, pending: Vec::new() }
    }

    /// The text that is certain after this token. Special tokens are no text.
    ///
    /// # Errors
    /// None today; a tokenizer may refuse an id.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.pending.extend(self.tokenizer.token_bytes(id).unwrap_or_default());
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // Bytes that can still become a character wait for the next token.
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(_) => self.pending.len(),
        };
        let rest = self.pending.split_off(whole);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        Ok(text)
    }

    /// What is left at the end, with U+FFFD for a broken character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}
