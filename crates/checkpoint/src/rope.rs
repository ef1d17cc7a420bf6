//! Rotary position embedding (RoPE, Su et al. 2021): the frequencies for each kind of scaling.
//! Rounding follows transformers (`modeling_rope_utils.py`): tensor operations in f32, Python
//! scalars in f64.
use serde::Serialize;
use std::f64::consts::PI;

/// Which dimensions of a head RoPE rotates together: `i` and `i + rotary_dim / 2` (`Halves`), or `2
/// i` and `2 i + 1` (`Interleaved`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Pairing {
    Halves,
    Interleaved,
}

/// The parameters of RoPE.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RopeConfig {
    /// Base of the frequencies: pair `i` has the frequency `theta^(-2 i / rotary_dim)`.
    pub theta: f64,
    /// Number of dimensions of a head that are rotated; even.
    pub rotary_dim: usize,
    pub pairing: Pairing,
    pub scaling: RopeScaling,
}

/// How the frequencies are scaled for long contexts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// Dynamic NTK scaling. `original_max_positions` is the model's `max_position_embeddings`, as
    /// in transformers.
    Dynamic {
        factor: f64,
        original_max_positions: usize,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_positions: usize,
    },
    Yarn {
        factor: f64,
        original_max_positions: usize,
        beta_fast: f64,
        beta_slow: f64,
        attention_factor: Option<f64>,
        mscale: Option<f64>,
        mscale_all_dim: Option<f64>,
        truncate: bool,
    },
    /// LongRoPE: a divisor for each of the `rotary_dim / 2` frequencies. `short_factor` applies up
    /// to the original context length, `long_factor` beyond it. Configuration readers always set
    /// `attention_factor`.
    LongRope {
        short_factor: Vec<f64>,
        long_factor: Vec<f64>,
        original_max_positions: usize,
        attention_factor: Option<f64>,
    },
}

impl RopeConfig {
    /// The angle in radians by which each pair of dimensions rotates from one position to the next:
    /// `[rotary_dim / 2]`.
    ///
    /// `context` is the number of positions in use; only dynamic and LongRoPE scaling depend on it.
    pub fn inverse_frequencies(&self, context: usize) -> Vec<f32> {
        match &self.scaling {
            RopeScaling::None => self.inverse(self.theta),
            RopeScaling::Linear { factor } => {
                self.inverse(self.theta).into_iter().map(|f| f / *factor as f32).collect()
            }
            RopeScaling::Dynamic { factor, original_max_positions } => {
                self.inverse(self.stretched_base(*factor, *original_max_positions, context))
            }
            RopeScaling::Llama3 { .. } => {
                self.inverse(self.theta).into_iter().map(|f| self.llama3(f)).collect()
            }
            RopeScaling::Yarn { .. } => self.yarn(),
            RopeScaling::LongRope { short_factor, long_factor, original_max_positions, .. } => {
                let factors =
                    if context > *original_max_positions { long_factor } else { short_factor };
                self.powers(self.theta)
                    .into_iter()
                    .zip(factors)
                    .map(|(p, factor)| 1.0 / (*factor as f32 * p))
                    .collect()
            }
        }
    }

    /// The factor that multiplies all cosines and sines.
    pub fn attention_scaling(&self) -> f32 {
        match &self.scaling {
            RopeScaling::Yarn { factor, attention_factor, mscale, mscale_all_dim, .. } => {
                attention_factor.unwrap_or_else(|| match (mscale, mscale_all_dim) {
                    (Some(m), Some(all)) if *m != 0.0 && *all != 0.0 => {
                        yarn_mscale(*factor, *m) / yarn_mscale(*factor, *all)
                    }
                    _ => yarn_mscale(*factor, 1.0),
                }) as f32
            }
            RopeScaling::LongRope { attention_factor, .. } => {
                attention_factor.unwrap_or(1.0) as f32
            }
            _ => 1.0,
        }
    }

    /// `base^(2 i / rotary_dim)` for each pair `i` of dimensions.
    fn powers(&self, base: f64) -> Vec<f32> {
        let (base, dim) = (f64::from(base as f32), self.rotary_dim as f32);
        let exponent = |i: usize| f64::from((2 * i) as f32 / dim);
        (0..self.rotary_dim / 2).map(|i| base.powf(exponent(i)) as f32).collect()
    }

    fn inverse(&self, base: f64) -> Vec<f32> {
        self.powers(base).into_iter().map(|p| 1.0 / p).collect()
    }

    fn stretched_base(&self, factor: f64, original: usize, context: usize) -> f64 {
        let (original, dim) = (original as f64, self.rotary_dim as f64);
        let length = original.max(context as f64);
        self.theta * ((factor * length / original) - (factor - 1.0)).powf(dim / (dim - 2.0))
    }

    /// Llama 3.1's scaling of one frequency: divides low frequencies by `factor`, keeps high ones,
    /// and interpolates in between.
    fn llama3(&self, f: f32) -> f32 {
        let RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_positions,
        } = self.scaling
        else {
            return f;
        };
        let original = original_max_positions as f64;
        let wavelength = (1.0 / f) * (2.0 * PI) as f32;
        if wavelength < (original / high_freq_factor) as f32 {
            f
        } else if wavelength > (original / low_freq_factor) as f32 {
            f / factor as f32
        } else {
            let turns = (1.0 / wavelength) * original as f32;
            let smooth =
                (turns - low_freq_factor as f32) / (high_freq_factor - low_freq_factor) as f32;
            (1.0 - smooth) * f / factor as f32 + smooth * f
        }
    }

    fn yarn(&self) -> Vec<f32> {
        let RopeScaling::Yarn { factor, .. } = self.scaling else { return Vec::new() };
        let (low, high) = self.yarn_range();
        let ramp = |i: usize| ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let blend = |(i, power): (usize, f32)| {
            let extrapolated = 1.0 - ramp(i);
            1.0 / (factor as f32 * power) * (1.0 - extrapolated) + 1.0 / power * extrapolated
        };
        self.powers(self.theta).into_iter().enumerate().map(blend).collect()
    }

    /// The range of pair indices over which YaRN blends from the original frequencies
    /// (extrapolation) to the divided ones (interpolation).
    fn yarn_range(&self) -> (f64, f64) {
        let RopeScaling::Yarn { original_max_positions, beta_fast, beta_slow, truncate, .. } =
            self.scaling
        else {
            return (0.0, 1.0);
        };
        let dim = self.rotary_dim as f64;
        let pair = |turns: f64| {
            dim * (original_max_positions as f64 / (turns * 2.0 * PI)).ln()
                / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high { (low, high + 0.001) } else { (low, high) }
    }
}

/// YaRN's attention factor for `scale` and multiplier `m`: `0.1 m ln(scale) + 1`, or 1 for `scale
/// <= 1`.
pub(crate) fn yarn_mscale(scale: f64, m: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * m * scale.ln() + 1.0 }
}
