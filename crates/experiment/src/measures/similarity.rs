//! How like its beginning an agent's talk still is: the series that slow divergence is seen in.

use crate::provider::{Provider, ProviderError};

/// Summaries that the later ones are compared with.
const REFERENCE: usize = 8;

/// Embeddings of a run's first summaries.
#[derive(Debug, Default)]
pub(crate) struct SummarySimilarity {
    reference: Vec<Vec<f32>>,
    /// First summaries of a resumed run, whose embeddings are not there yet.
    pending: Vec<String>,
    /// The provider has none to give.
    none_here: bool,
}

impl SummarySimilarity {
    /// A summary of a step that was done before.
    pub fn recall(&mut self, summary: String) {
        if self.pending.len() < REFERENCE {
            self.pending.push(summary);
        }
    }

    /// Cosine of a summary's embedding and the mean of the first eight. `None` for these
    /// themselves, and where embeddings are not to be had.
    pub fn of(
        &mut self,
        summary: &str,
        provider: &dyn Provider,
    ) -> Result<Option<f64>, ProviderError> {
        for earlier in std::mem::take(&mut self.pending) {
            self.embed(&earlier, provider)?;
        }
        if self.reference.len() < REFERENCE {
            self.embed(summary, provider)?;
            return Ok(None);
        }
        if self.none_here {
            return Ok(None);
        }
        Ok(provider.embed(summary)?.and_then(|vector| cosine(&vector, &self.mean())))
    }

    fn embed(&mut self, summary: &str, provider: &dyn Provider) -> Result<(), ProviderError> {
        if self.none_here {
            return Ok(());
        }
        match provider.embed(summary)? {
            Some(vector) => self.reference.push(vector),
            None => self.none_here = true,
        }
        Ok(())
    }

    /// In double precision, in order: the same bits every time.
    fn mean(&self) -> Vec<f64> {
        let width = self.reference.first().map_or(0, Vec::len);
        let at = |i: usize| {
            self.reference.iter().map(|v| f64::from(*v.get(i).unwrap_or(&0.0))).sum::<f64>()
        };
        (0..width).map(|i| at(i) / self.reference.len() as f64).collect()
    }
}

/// `None` for vectors of unlike length or none.
fn cosine(a: &[f32], b: &[f64]) -> Option<f64> {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    let length = |squares: f64| squares.sqrt();
    let (a_length, b_length) = (
        length(a.iter().map(|a| f64::from(*a) * f64::from(*a)).sum()),
        length(b.iter().map(|b| b * b).sum()),
    );
    let whole = a.len() == b.len() && a_length > 0.0 && b_length > 0.0;
    let cosine = dot / (a_length * b_length);
    (whole && cosine.is_finite()).then_some(cosine)
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn cosines_by_hand() {
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
