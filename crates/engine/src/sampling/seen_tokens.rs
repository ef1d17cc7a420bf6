//! The distinct tokens of a sequence, to which the repetition penalty applies.

/// A set of token ids, as a bitmask and as a list.
#[derive(Clone, Debug, Default)]
pub struct SeenTokens {
    bits: Vec<u64>,
    ids: Vec<u32>,
}

impl SeenTokens {
    /// Adds tokens to the set; tokens that it already contains have no effect.
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

    /// Each token once, in order of first occurrence.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}
