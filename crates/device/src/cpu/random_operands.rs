//! Random operands for the tests of the kernels and the self-test, the same in every run.

use base::SplitMix64;
use checkpoint::Dtype;
use half::{bf16, f16};

/// The dtypes that the kernels read.
pub(crate) const DTYPES: [Dtype; 11] = [
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::Q8_0,
    Dtype::Q4_0,
    Dtype::Q4_1,
    Dtype::Q5_0,
    Dtype::Q5_1,
    Dtype::Q4K,
    Dtype::Q5K,
    Dtype::Q6K,
];

/// Dtypes that only the CPU's kernels read.
#[cfg(test)]
pub(crate) const CPU_DTYPES: [Dtype; 1] = [Dtype::Mxfp4];

/// A seeded generator of operands.
pub(crate) struct OperandRng(SplitMix64);

impl OperandRng {
    pub fn new(seed: u64) -> Self {
        OperandRng(SplitMix64(seed))
    }

    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// An approximately normal number with mean 0 and standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        (0..4).map(|_| uniform(self.bits())).sum::<f32>() * 1.732
    }

    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal()).collect()
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }
}

/// Bytes of `count` random weights in `dtype`. Quantized weights have uniform random codes and
/// small scales.
pub(crate) fn random_weights(rng: &mut OperandRng, dtype: Dtype, count: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; count / dtype.block_elements() * dtype.block_bytes()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        block.iter_mut().for_each(|byte| *byte = rng.bits() as u8);
        let scale = |rng: &mut OperandRng| f16::from_f32(0.02 + 0.02 * rng.normal()).to_le_bytes();
        match dtype {
            Dtype::F32 => block.copy_from_slice(&rng.normal().to_le_bytes()),
            Dtype::F16 => block.copy_from_slice(&f16::from_f32(rng.normal()).to_le_bytes()),
            Dtype::BF16 => block.copy_from_slice(&bf16::from_f32(rng.normal()).to_le_bytes()),
            Dtype::Mxfp4 => block[0] = 118 + rng.below(6) as u8,
            Dtype::Q6K => block[208..210].copy_from_slice(&scale(rng)),
            Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => block[..2].copy_from_slice(&scale(rng)),
            _ => {
                block[..2].copy_from_slice(&scale(rng));
                block[2..4].copy_from_slice(&scale(rng));
            }
        }
    }
    bytes
}
