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
        let mut text = String::new();
        // Bytes that can still become a character wait for the next token; those that cannot are U+FFFD, one for each
        // broken sequence, as in the decoding of the whole.
        while let Err(broken) = std::str::from_utf8(&self.pending) {
            let valid = broken.valid_up_to();
            let Some(length) = broken.error_len() else {
                let rest = self.pending.split_off(valid);
                text.push_str(&String::from_utf8_lossy(&std::mem::replace(&mut self.pending, rest)));
                return Ok(text);
            };
            let rest = self.pending.split_off(valid + length);
            text.push_str(&String::from_utf8_lossy(&std::mem::replace(&mut self.pending, rest)));
        }
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.pending)));
        Ok(text)
    }

    /// What is left at the end, with U+FFFD for a broken character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}
