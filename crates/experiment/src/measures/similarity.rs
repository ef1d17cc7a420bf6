//! Similarity of an agent's summaries to its first summaries. The slow-divergence detector reads
//! this series.

use crate::provider::{Provider, ProviderError};

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
}

impl SummarySimilarity {
    /// Adds the summary of a replayed step, which is embedded when the run continues.
    pub fn recall(&mut self, summary: String) {
        if self.pending.len() < REFERENCE_SUMMARIES {
            self.pending.push(summary);
        }
    }

    /// Cosine similarity of the summary's embedding and the mean embedding of the reference. `None`
    /// for the reference summaries themselves, and if the provider offers no embeddings.
    ///
    /// # Errors
    /// The provider fails to embed a text.
    pub fn with_reference(
        &mut self,
        summary: &str,
        provider: &dyn Provider,
    ) -> Result<Option<f64>, ProviderError> {
        for earlier in std::mem::take(&mut self.pending) {
            self.add_reference(&earlier, provider)?;
        }
        if self.reference.len() < REFERENCE_SUMMARIES {
            self.add_reference(summary, provider)?;
            return Ok(None);
        }
        if self.unavailable {
            return Ok(None);
        }
        Ok(provider.embed(summary)?.and_then(|vector| cosine(&vector, &self.mean())))
    }

    fn add_reference(
        &mut self,
        summary: &str,
        provider: &dyn Provider,
    ) -> Result<(), ProviderError> {
        if self.unavailable {
            return Ok(());
        }
        match provider.embed(summary)? {
            Some(vector) => self.reference.push(vector),
            None => self.unavailable = true,
        }
        Ok(())
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
