//! A small local embedder of texts, for models without embeddings: counts of character trigrams,
//! hashed into a vector of length 1. Texts with few trigrams in common are far apart; meaning does
//! not count.

use base::mix64;

/// Name of the embedder in rows; it changes with the embeddings.
pub(super) const LOCAL_EMBEDDER: &str = "trigrams/1";
const DIMENSIONS: usize = 256;

/// The embedding of a text: a vector of length 1, or of length 0 for a text without a trigram.
pub(super) fn embed_trigrams(text: &str) -> Vec<f32> {
    let mut counts = vec![0_f32; DIMENSIONS];
    let letters: Vec<u64> =
        text.chars().flat_map(char::to_lowercase).map(|c| u64::from(u32::from(c))).collect();
    for trigram in letters.windows(3) {
        let hash = trigram.iter().fold(0, |hash: u64, letter| mix64(hash ^ letter));
        // The sign makes trigrams that share a dimension cancel on average.
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        counts[(hash % DIMENSIONS as u64) as usize] += sign;
    }
    let norm = counts.iter().map(|count| f64::from(*count) * f64::from(*count)).sum::<f64>().sqrt();
    if norm > 0.0 {
        counts.iter_mut().for_each(|count| *count = (f64::from(*count) / norm) as f32);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::embed_trigrams;

    #[test]
    fn texts_of_other_words_are_farther_than_texts_of_the_same() {
        let dot = |a: &str, b: &str| {
            let (a, b) = (embed_trigrams(a), embed_trigrams(b));
            a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>()
        };
        let text = "stock of P3 is low, order 20 units from S1";
        assert!((dot(text, text) - 1.0).abs() < 1e-6);
        let near = dot(text, "stock of P4 is low, order 30 units from S2");
        let far = dot(text, "the French Revolution began in the year of 1789");
        assert!(near > 0.6 && far < 0.4, "{near} {far}");
        assert!(embed_trigrams("ab").iter().all(|count| *count == 0.0));
    }
}
