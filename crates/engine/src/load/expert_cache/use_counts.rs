//! [`UseCounts`]: how often the experts of a layer were used lately.

/// Tokens after which a use counts half.
const HALF_LIFE_TOKENS: f64 = 256.0;

/// A weight above which all counts are scaled down.
const WEIGHT_MAX: f64 = 1e100;

/// Uses of each expert of a layer, older ones counted less: a token's uses count half of those of
/// the token [`HALF_LIFE_TOKENS`] after it.
pub(super) struct UseCounts {
    /// The weight of a use now. It grows with every token, instead of all counts shrinking.
    weight: f64,
    /// The sum of the weights of each expert's uses.
    sums: Vec<f64>,
}

impl UseCounts {
    pub fn new(experts: usize) -> Self {
        UseCounts { weight: 1.0, sums: vec![0.0; experts] }
    }

    /// Adds a pass of `tokens` tokens, with the number of tokens that use each expert.
    pub fn add(&mut self, tokens: usize, uses: impl Iterator<Item = (usize, usize)>) {
        self.weight *= (tokens as f64 / HALF_LIFE_TOKENS).exp2();
        for (expert, tokens) in uses {
            self.sums[expert] += tokens as f64 * self.weight;
        }
        if self.weight > WEIGHT_MAX {
            self.sums.iter_mut().for_each(|sum| *sum /= self.weight);
            self.weight = 1.0;
        }
    }

    /// The uses of an expert, comparable between layers.
    pub fn of(&self, expert: usize) -> f64 {
        self.sums[expert] / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_counts_half_after_the_half_life_and_the_scale_does_not_matter() {
        let mut counts = UseCounts::new(2);
        counts.add(1, [(0, 1)].into_iter());
        assert_eq!(counts.of(0), 1.0);
        counts.add(256, [(1, 3)].into_iter());
        assert_eq!((counts.of(0), counts.of(1)), (0.5, 3.0));
        // Weights pass 1e100 several times.
        for _ in 0..2000 {
            counts.add(256, [(1, 1)].into_iter());
        }
        assert!((counts.of(1) - 2.0).abs() < 1e-9 && counts.of(0) < 1e-9);
    }
}
