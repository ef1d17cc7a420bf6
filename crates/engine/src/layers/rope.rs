//! RoPE: cosines and sines of all positions of the loaded context, computed once.

use checkpoint::{Pairing, RopeConfig};
use device::cpu::RopeTable;

/// Cosines and sines, each `[positions, rotary_dim / 2]`.
#[derive(Debug)]
pub(crate) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    rotary_dim: usize,
    pairing: Pairing,
}

impl Rope {
    /// The table for positions `0..positions`.
    ///
    /// Dynamic NTK and LongRoPE choose their frequencies by the length of the text, which would
    /// invalidate keys that are already cached. This implementation chooses them by the length of
    /// the loaded context, so that a token's activations do not depend on later tokens.
    pub fn new(config: &RopeConfig, positions: usize) -> Self {
        let frequencies = config.inverse_frequencies(positions);
        let scaling = config.attention_scaling();
        let angles = (0..positions).flat_map(|position| {
            // `position * frequency` is rounded to f32, as in transformers: at large positions the
            // rounding error is part of the model.
            frequencies.iter().map(move |frequency| f64::from(position as f32 * frequency))
        });
        let (sin, cos) = angles
            .map(|angle| (angle.sin() as f32 * scaling, angle.cos() as f32 * scaling))
            .unzip();
        Rope { cos, sin, rotary_dim: config.rotary_dim, pairing: config.pairing }
    }

    /// The tables in the form that kernels read.
    pub fn table(&self) -> RopeTable<'_> {
        RopeTable {
            cos: &self.cos,
            sin: &self.sin,
            rotary_dim: self.rotary_dim,
            pairing: self.pairing,
        }
    }

    pub fn bytes(&self) -> u64 {
        4 * (self.cos.len() + self.sin.len()) as u64
    }
}
