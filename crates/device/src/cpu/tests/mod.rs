//! Tests of the kernels: agreement with the reference implementations, and bit-identity across
//! batches, threads and kernel sets.

mod attention;
mod linear;
mod rows;
mod shared_prefix;

use std::sync::{Arc, OnceLock};

use checkpoint::Dtype;
use half::{bf16, f16};

use super::{Cpu, KernelSet, Matrix};
use crate::DeviceError;
use crate::memory::{Arena, Bytes};
use crate::pool::Pool;

/// Every available kernel set, on one thread and on three.
pub(super) fn cpus() -> &'static [Cpu] {
    static CPUS: OnceLock<Vec<Cpu>> = OnceLock::new();
    CPUS.get_or_init(|| {
        let pools = [1, 3].map(|threads| Arc::new(Pool::new(threads).unwrap()));
        let sets = KernelSet::ALL.into_iter().filter(|set| set.checked().is_ok());
        sets.flat_map(|set| pools.clone().map(|pool| Cpu::with(set, pool).unwrap())).collect()
    })
}

/// Deterministic random numbers (SplitMix64).
pub(super) struct TestRandom(pub u64);

impl TestRandom {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// An approximately normal random number with mean 0 and standard deviation 1.
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

/// A copy of `bytes` at an odd address.
pub(super) fn unaligned(bytes: &[u8]) -> Bytes {
    let arena = Arena::new(bytes.len() + 4096).unwrap();
    let all = arena
        .fill::<DeviceError>(bytes.len() + 3, |to| {
            to[3..].copy_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    all.slice(3..bytes.len() + 3).unwrap()
}

/// Random matrix of a dtype that kernels read, with random codes and small scales.
pub(super) fn matrix(random: &mut TestRandom, dtype: Dtype, rows: usize, cols: usize) -> Matrix {
    let mut bytes = vec![0u8; rows * cols / dtype.block_elements() * dtype.block_bytes()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        block.iter_mut().for_each(|b| *b = random.bits() as u8);
        let small =
            |random: &mut TestRandom| f16::from_f32(0.02 + 0.02 * random.normal()).to_le_bytes();
        match dtype {
            Dtype::F32 => block.copy_from_slice(&random.normal().to_le_bytes()),
            Dtype::F16 => block.copy_from_slice(&f16::from_f32(random.normal()).to_le_bytes()),
            Dtype::BF16 => block.copy_from_slice(&bf16::from_f32(random.normal()).to_le_bytes()),
            Dtype::Q6K => block[208..210].copy_from_slice(&small(random)),
            Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0 => block[..2].copy_from_slice(&small(random)),
            _ => {
                block[..2].copy_from_slice(&small(random));
                block[2..4].copy_from_slice(&small(random));
            }
        }
    }
    Matrix::new(dtype, rows, cols, unaligned(&bytes)).unwrap()
}

/// The elements of a matrix, decoded by the reference implementation.
pub(super) fn decoded(matrix: &Matrix) -> Vec<Vec<f64>> {
    let row =
        |bytes: &[u8]| super::reference::decode_row(matrix.dtype, bytes, matrix.cols).unwrap();
    matrix.data.chunks_exact(matrix.row_bytes()).map(row).collect()
}

pub(super) const DTYPES: [Dtype; 11] = [
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

/// Asserts that `a` and `b` are bit-identical.
#[track_caller]
pub(super) fn same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(a.to_bits() == b.to_bits(), "{what}: element {i}: {a} and {b}");
    }
}
