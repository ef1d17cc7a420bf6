//! CPU kernels with batch-invariant arithmetic.
//!
//! Activations are row-major f32, `[tokens, features]`. Every result depends only on the kernel set
//! and the operands of its own row: the order of additions does not depend on the batch, the
//! threads or the position of a row in memory.
#![allow(unsafe_code)]

mod activation_dtypes;
pub mod attention;
mod backend;
mod convert;
mod dense;
mod dispatch;
mod elementwise;
mod embed;
mod experts;
mod fp8;
mod kernel_set;
mod latent;
mod linear;
mod logits;
mod matrix;
pub mod measure;
mod norm;
mod packed_activations;
mod quant;
pub(crate) mod random_operands;
pub mod reference;
mod rope;
mod row_decoder;
mod shared;
mod simd;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::DeviceError;
use crate::pool::{Pool, PoolOptions};

pub use activation_dtypes::ActivationDtypes;
pub use backend::HostBuffer;
pub use convert::{DtypeConversion, widen};
pub use experts::ExpertRoutes;
pub use kernel_set::{KERNELS_VARIABLE, KernelSet, provenance};
pub use logits::TopLogit;
pub use matrix::{Matrix, readable};
pub(crate) use matrix::{check_matrix, is_quantized};
pub use packed_activations::PackedActivations;
pub use rope::RopeTable;

/// The CPU as a compute device: an available kernel set and a thread pool. Cheap to clone.
#[derive(Clone)]
pub struct Cpu {
    set: KernelSet,
    pool: Arc<Pool>,
}

impl Cpu {
    /// The best kernel set ([`KernelSet::best`]) on a new pool.
    ///
    /// # Errors
    /// Those of [`KernelSet::best`] and [`Pool::with`].
    pub fn new(options: &PoolOptions) -> Result<Self, DeviceError> {
        Self::with(KernelSet::best()?, Arc::new(Pool::with(options)?))
    }

    /// The given kernel set on the given pool.
    ///
    /// # Errors
    /// [`DeviceError::KernelSetUnavailable`].
    pub fn with(set: KernelSet, pool: Arc<Pool>) -> Result<Self, DeviceError> {
        Ok(Self { set: set.checked()?, pool })
    }

    pub fn kernel_set(&self) -> KernelSet {
        self.set
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Runs `job` on ranges of rows: in parallel, or on this thread if there is little work.
    fn over_rows(
        &self,
        rows: usize,
        row_elements: usize,
        job: &(dyn Fn(std::ops::Range<usize>) + Sync),
    ) -> Result<(), DeviceError> {
        /// Number of elements whose elementwise processing takes about as long as a fork and join.
        const PARALLEL_ELEMENTS_MIN: usize = 32 << 10;
        if rows * row_elements < PARALLEL_ELEMENTS_MIN || self.pool.threads() == 1 {
            return self.pool.run_chunks(rows, rows, job);
        }
        let chunk = rows.div_ceil(4 * self.pool.threads()).max(1);
        self.pool.run_chunks(rows, chunk, job)
    }
}

/// Returns [`DeviceError::Shape`] unless `found == expected`.
pub(crate) fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), DeviceError> {
    if expected == found { Ok(()) } else { Err(DeviceError::Shape { what, expected, found }) }
}
