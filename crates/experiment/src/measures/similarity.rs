//! Similarity of an agent's summaries to its first summaries. The slow-divergence detector reads
//! this series.

use super::embedder::{LOCAL_EMBEDDER, embed_trigrams};
use crate::provider::{Provider, ProviderError};
use results::SimilarityRow;
use warehouse::Design;

/// Number of first summaries whose mean embedding is the reference.
const REFERENCE_SUMMARIES: usize = 8;

/// Embeddings of a run's first summaries, to which later summaries are compared.
#[derive(Debug, Default)]
pub(crate) struct SummarySimilarity {
    reference: Vec<Vec<f32>>,
    /// First summaries of a resumed run that are not yet embedded.
    pending: Vec<String>,
    /// Whether the provider was found to offer no embeddings.
    unavailable: bool,
    /// Root mean square distance of the reference from its mean; computed when it is complete.
    spread: Option<f64>,
}

impl SummarySimilarity {
    /// Adds the summary of a replayed step, which is embedded when the run continues.
    pub fn recall(&mut self, summary: String) {
        if self.pending.len() < REFERENCE_SUMMARIES {
            self.pending.push(summary);
        }
    }

    /// Similarity of the summary to the reference. `None` for the reference summaries themselves,
    /// and in design v1 if the provider offers no embeddings; since then the local embedder is used
    /// if the provider has none. `identity` names the provider's embedder.
    ///
    /// # Errors
    /// The provider fails to embed a text.
    pub fn with_reference(
        &mut self,
        summary: &str,
        provider: &dyn Provider,
        identity: &str,
        design: Design,
    ) -> Result<Option<SimilarityRow>, ProviderError> {
        for earlier in std::mem::take(&mut self.pending) {
            self.add_reference(&earlier, provider, design)?;
        }
        if self.reference.len() < REFERENCE_SUMMARIES {
            self.add_reference(summary, provider, design)?;
            return Ok(None);
        }
        let Some(vector) = self.embed(summary, provider, design)? else { return Ok(None) };
        let embedder = if self.unavailable { LOCAL_EMBEDDER } else { identity }.to_string();
        Ok(match design {
            Design::V1 => cosine(&vector, &self.mean()).map(|cosine| SimilarityRow {
                embedder,
                cosine: Some(cosine),
                centered: None,
            }),
            Design::V2 => self.centered(&vector).map(|centered| SimilarityRow {
                embedder,
                cosine: None,
                centered: Some(centered),
            }),
        })
    }

    fn add_reference(
        &mut self,
        summary: &str,
        provider: &dyn Provider,
        design: Design,
    ) -> Result<(), ProviderError> {
        let vector = self.embed(summary, provider, design)?;
        self.reference.extend(vector);
        Ok(())
    }

    fn embed(
        &mut self,
        text: &str,
        provider: &dyn Provider,
        design: Design,
    ) -> Result<Option<Vec<f32>>, ProviderError> {
        if !self.unavailable {
            match provider.embed(text)? {
                Some(vector) => return Ok(Some(vector)),
                None => self.unavailable = true,
            }
        }
        Ok((design != Design::V1).then(|| embed_trigrams(text)))
    }

    /// 2s / (s + d): 1 for a summary as far from the mean of the reference as the reference itself
    /// is, towards 0 for a distant one. Embeddings of any texts are similar, and what differs
    /// between them is their distance from the run's own center.
    fn centered(&mut self, vector: &[f32]) -> Option<f64> {
        let mean = self.mean();
        let distance = |vector: &[f32]| {
            let squares = vector.iter().zip(&mean).map(|(a, b)| (f64::from(*a) - b).powi(2));
            squares.sum::<f64>()
        };
        let count = self.reference.len() as f64;
        let reference = &self.reference;
        let spread = *self.spread.get_or_insert_with(|| {
            (reference.iter().map(|vector| distance(vector)).sum::<f64>() / count).sqrt()
        });
        let distance = distance(vector).sqrt();
        // A reference of equal texts has no spread; a text equal to it is as similar as can be.
        let similarity =
            if spread + distance > 0.0 { 2.0 * spread / (spread + distance) } else { 1.0 };
        (vector.len() == mean.len() && similarity.is_finite()).then_some(similarity)
    }

    /// Mean of the reference embeddings, computed in f64 and in a fixed order, so that it is
    /// bit-reproducible.
    fn mean(&self) -> Vec<f64> {
        let width = self.reference.first().map_or(0, Vec::len);
        let sum = |i: usize| {
            self.reference.iter().map(|v| f64::from(*v.get(i).unwrap_or(&0.0))).sum::<f64>()
        };
        (0..width).map(|i| sum(i) / self.reference.len() as f64).collect()
    }
}

/// Cosine similarity; `None` for vectors of different lengths, of length 0, or with a norm of 0 or
/// NaN.
fn cosine(a: &[f32], b: &[f64]) -> Option<f64> {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    let norm = |squares: f64| squares.sqrt();
    let (a_norm, b_norm) = (
        norm(a.iter().map(|a| f64::from(*a) * f64::from(*a)).sum()),
        norm(b.iter().map(|b| b * b).sum()),
    );
    let defined = a.len() == b.len() && a_norm > 0.0 && b_norm > 0.0;
    let cosine = dot / (a_norm * b_norm);
    (defined && cosine.is_finite()).then_some(cosine)
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn cosines_agree_with_hand_computed_values() {
        assert_eq!(cosine(&[3.0, 4.0], &[3.0, 4.0]), Some(1.0));
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
        assert!((cosine(&[1.0, 1.0], &[1.0, 0.0]).unwrap() - 0.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(
            (cosine(&[0.0], &[1.0]), cosine(&[1.0], &[1.0, 2.0]), cosine(&[], &[])),
            (None, None, None)
        );
        assert_eq!(cosine(&[f32::NAN], &[1.0]), None);
    }
}
