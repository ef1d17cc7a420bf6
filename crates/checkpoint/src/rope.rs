//! Rotary position embedding: the frequencies of every scaling that the models use, as transformers computes them
//! (`modeling_rope_utils.py`).
use crate::Pairing;

/// How positions rotate queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How many dimensions of a head rotate.
    pub rotary_dim: usize,
    /// Which of them rotate together.
    pub pairing: Pairing,
    /// How frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
}

/// How frequencies are stretched for long contexts.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
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
    LongRope {
        short_factor: Vec<f64>,
        long_factor: Vec<f64>,
        original_max_positions: usize,
        max_positions: usize,
        attention_factor: Option<f64>,
    },
}

impl Rope {
    /// The angle that each rotating pair turns in one position: `rotary_dim / 2` numbers.
    ///
    /// `context` is the number of positions in use; it matters to dynamic and long RoPE alone.
    pub fn inverse_frequencies(&self, context: usize) -> Vec<f32> {
        let plain = |theta: f64| -> Vec<f64> {
            (0..self.rotary_dim / 2).map(|i| theta.powf(-(2.0 * i as f64) / self.rotary_dim as f64)).collect()
        };
        let base = plain(self.theta);
        let stretched: Vec<f64> = match &self.scaling {
            RopeScaling::None => base,
            RopeScaling::Linear { factor } => base.iter().map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor, original_max_positions } => {
                let (original, dim) = (*original_max_positions as f64, self.rotary_dim as f64);
                let length = (context as f64).max(original);
                plain(self.theta * (factor * length / original - (factor - 1.0)).powf(dim / (dim - 2.0)))
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let original = *original_max_positions as f64;
                base.iter().map(|&f| llama3(f, *factor, *low_freq_factor, *high_freq_factor, original)).collect()
            }
            RopeScaling::Yarn { .. } => self.yarn(&base),
            RopeScaling::LongRope { short_factor, long_factor, original_max_positions, .. } => {
                let factors = if context > *original_max_positions { long_factor } else { short_factor };
                base.iter().zip(factors).map(|(f, factor)| f / factor).collect()
            }
        };
        stretched.into_iter().map(|f| f as f32).collect()
    }

    fn yarn(&self, base: &[f64]) -> Vec<f64> {
        let RopeScaling::Yarn { factor, original_max_positions, beta_fast, beta_slow, truncate, .. } = self.scaling
        else {
            return base.to_vec();
        };
        let dim = self.rotary_dim as f64;
        let turn = |rotations: f64| {
            let wave = original_max_positions as f64 / (rotations * 2.0 * std::f64::consts::PI);
            dim * wave.ln() / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (turn(beta_fast), turn(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        let blend = |(i, &f): (usize, &f64)| {
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / factor * ramp + f * (1.0 - ramp)
        };
        base.iter().enumerate().map(blend).collect()
    }

    /// What cosines and sines are multiplied with.
    pub fn attention_scaling(&self) -> f32 {
        let scaling = match &self.scaling {
            RopeScaling::Yarn { factor, attention_factor, mscale, mscale_all_dim, .. } => {
                let get = |scale: f64, m: f64| if scale <= 1.0 { 1.0 } else { 0.1 * m * scale.ln() + 1.0 };
                attention_factor.unwrap_or_else(|| match (mscale, mscale_all_dim) {
                    (Some(m), Some(all)) if *m != 0.0 && *all != 0.0 => get(*factor, *m) / get(*factor, *all),
                    _ => get(*factor, 1.0),
                })
            }
            RopeScaling::LongRope { original_max_positions, max_positions, attention_factor, .. } => {
                let factor = *max_positions as f64 / *original_max_positions as f64;
                attention_factor.unwrap_or_else(|| match factor {
                    f if f <= 1.0 => 1.0,
                    f => (1.0 + f.ln() / (*original_max_positions as f64).ln()).sqrt(),
                })
            }
            _ => 1.0,
        };
        scaling as f32
    }
}

fn llama3(f: f64, factor: f64, low_freq_factor: f64, high_freq_factor: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / f;
    if wavelength < original / high_freq_factor {
        f
    } else if wavelength > original / low_freq_factor {
        f / factor
    } else {
        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        (1.0 - smooth) * f / factor + smooth * f
    }
}
