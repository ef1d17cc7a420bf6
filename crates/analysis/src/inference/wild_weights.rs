//! Random factors of clusters in the wild bootstrap.

use crate::fit_warning::FitWarning;
use crate::inference::draws::{below, p_error};
use base::SplitMix64;
use serde::Serialize;

/// Two-sided p-values cannot be below this with so few clusters: a warning.
const P_SMALLEST_MAX: f64 = 0.02;

/// Random factors of the clusters' residuals or scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WildWeights {
    /// -1 or 1.
    Rademacher,
    /// Six values (Webb 2023), for fewer than about 10 clusters, where signs are too few.
    Webb,
}

/// The vectors of factors of one test, one factor a cluster: all signs, or drawn ones.
pub(super) struct WeightVectors {
    clusters: usize,
    weights: WildWeights,
    seed: u64,
    /// All sign vectors are enumerated.
    pub exact: bool,
    /// Vectors that stand behind p.
    pub number: u64,
}

impl WeightVectors {
    /// Signs are enumerated if their vectors are at most `exact_max`.
    pub fn new(
        clusters: usize,
        weights: WildWeights,
        replicates: usize,
        exact_max: u64,
        seed: u64,
    ) -> WeightVectors {
        let all = u32::try_from(clusters).ok().and_then(|bits| 1u64.checked_shl(bits));
        let exact = weights == WildWeights::Rademacher && all.is_some_and(|n| n <= exact_max);
        let number = if exact { all.unwrap_or(u64::MAX) } else { replicates as u64 };
        WeightVectors { clusters, weights, seed, exact, number }
    }

    /// p of a test, the share of vectors for which the two-sided test is extreme.
    ///
    /// The statistic has to change only its sign with the sign of all factors: the first sign is
    /// then left at 1, which halves the enumeration.
    pub fn p(&self, mut is_extreme: impl FnMut(&[f64]) -> bool) -> f64 {
        let mut vector = vec![1.0; self.clusters];
        let mut extreme = 0u64;
        if self.exact {
            let vectors = self.number / 2;
            for signs in 0..vectors {
                for (bit, factor) in vector[1..].iter_mut().enumerate() {
                    *factor = if signs >> bit & 1 == 1 { -1.0 } else { 1.0 };
                }
                extreme += u64::from(is_extreme(&vector));
            }
            return extreme as f64 / vectors as f64;
        }
        let mut random = SplitMix64(self.seed);
        for _ in 0..self.number {
            for factor in &mut vector {
                *factor = self.factor(&mut random);
            }
            extreme += u64::from(is_extreme(&vector));
        }
        (1.0 + extreme as f64) / (1.0 + self.number as f64)
    }

    fn factor(&self, random: &mut SplitMix64) -> f64 {
        match self.weights {
            WildWeights::Rademacher => {
                if random.next_u64() >> 63 == 1 {
                    -1.0
                } else {
                    1.0
                }
            }
            WildWeights::Webb => {
                let draw = below(random, 6);
                let size = [0.5f64, 1.0, 1.5][draw % 3].sqrt();
                if draw < 3 { -size } else { size }
            }
        }
    }

    pub fn p_error(&self, p: f64) -> f64 {
        if self.exact { 0.0 } else { p_error(p, self.number) }
    }

    /// Cautions for the number of clusters.
    pub fn warnings(&self) -> Vec<FitWarning> {
        let smallest = 0.5f64.powf(self.clusters as f64 - 1.0);
        if self.weights == WildWeights::Webb || smallest <= P_SMALLEST_MAX {
            return Vec::new();
        }
        let text = format!(
            "{} worlds have {} sign vectors: p cannot be below {smallest:.3}; Webb's weights have \
             more",
            self.clusters,
            1u64 << self.clusters
        );
        vec![FitWarning { code: "few_sign_vectors", text }]
    }
}
