//! The tokens of a sequence, each once: what the repetition penalty applies to.

/// A set of token ids that also lists them.
#[derive(Clone, Debug, Default)]
pub struct SeenTokens {
    bits: Vec<u64>,
    ids: Vec<u32>,
}

impl SeenTokens {
    /// Adds tokens.
    pub fn extend(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let (word, bit) = (token as usize / 64, 1u64 << (token % 64));
            if word >= self.bits.len() {
                self.bits.resize(word + 1, 0);
            }
            if self.bits[word] & bit == 0 {
                self.bits[word] |= bit;
                self.ids.push(token);
            }
        }
    }

    /// Each token once.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}
