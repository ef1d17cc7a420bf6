//! The tokens that a grammar allows, as a bitmask in llguidance's layout.

/// A borrowed bitmask: bit `id % 32` of word `id / 32` is set if the token is allowed. Token ids
/// beyond the last word are not allowed.
#[derive(Clone, Copy, Debug)]
pub struct AllowedTokens<'a> {
    words: &'a [u32],
}

impl<'a> AllowedTokens<'a> {
    /// A mask of 32 tokens per word.
    pub fn new(words: &'a [u32]) -> Self {
        AllowedTokens { words }
    }

    /// Whether a token is allowed.
    pub fn has(&self, token: u32) -> bool {
        let word = self.words.get(token as usize / 32);
        word.is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// The ids of the allowed tokens below `vocab`, in ascending order.
    pub fn tokens(&self, vocab: usize) -> impl Iterator<Item = u32> + 'a {
        let words = self.words.iter().enumerate();
        words
            .flat_map(|(index, &word)| SetBits { word, base: index as u32 * 32 })
            .take_while(move |&id| (id as usize) < vocab)
    }
}

/// Iterates over the set bits of a word from the lowest; returns `base` plus the bit's index.
struct SetBits {
    word: u32,
    base: u32,
}

impl Iterator for SetBits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.word == 0 {
            return None;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word - 1;
        Some(self.base + bit)
    }
}
