//! Tests of the kernels: agreement with the reference implementations, and bit-identity across
//! batches, threads and kernel sets.

mod attention;
mod experts;
mod fp8;
mod latent;
mod linear;
mod rows;
mod shared_prefix;

use std::sync::{Arc, OnceLock};

use checkpoint::Dtype;

pub(super) use super::random_operands::{CPU_DTYPES, DTYPES, OperandRng, random_weights};
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

/// All dtypes that kernels of the CPU read.
pub(super) fn dtypes() -> impl Iterator<Item = Dtype> {
    DTYPES.into_iter().chain(CPU_DTYPES)
}

/// Random matrix of a dtype that kernels read, at an odd address.
pub(super) fn matrix(rng: &mut OperandRng, dtype: Dtype, rows: usize, cols: usize) -> Matrix {
    let bytes = random_weights(rng, dtype, rows * cols);
    Matrix::new(dtype, rows, cols, unaligned(&bytes)).unwrap()
}

/// The elements of a matrix, decoded by the reference implementation.
pub(super) fn decoded(matrix: &Matrix) -> Vec<Vec<f64>> {
    let row =
        |bytes: &[u8]| super::reference::decode_row(matrix.dtype, bytes, matrix.cols).unwrap();
    matrix.data.chunks_exact(matrix.row_bytes()).map(row).collect()
}

/// Asserts that `a` and `b` are bit-identical.
#[track_caller]
pub(super) fn same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(a.to_bits() == b.to_bits(), "{what}: element {i}: {a} and {b}");
    }
}
