//! Checks of every kernel on a GPU, and how fast the GPU is: for `vendomini selftest`, and for the
//! tests on fake GPUs.
//!
//! Each check computes on the GPU what [`crate::cpu::plain`] computes in f64, or what the GPU
//! itself computes in other batches, in other pieces, with other kernels. It takes seconds on a GPU
//! and needs some ten MiB of it.

mod attention;
mod bench;
mod elementwise;
mod linear;
mod operands;
mod report;
mod rows;

use super::Gpu;
use crate::DeviceError;
use crate::cpu::Cpu;

pub use bench::{BenchSizes, KernelBench, KernelBenchReport, benches};
pub use report::CheckReport;

/// What a check runs.
type Run = Box<dyn Fn(&Gpu, &Cpu) -> Result<CheckReport, DeviceError> + Send + Sync>;

/// One check.
pub struct Check {
    /// Its name, such as `linear q4_0`.
    pub name: String,
    run: Run,
}

impl Check {
    fn new(
        name: impl Into<String>,
        run: impl Fn(&Gpu, &Cpu) -> Result<CheckReport, DeviceError> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What stops it from comparing anything: [`DeviceError::Cuda`]. A difference is in the report.
    pub fn run(&self, gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
        (self.run)(gpu, cpu)
    }
}

/// All checks.
pub fn checks() -> Vec<Check> {
    [linear::checks(), rows::checks(), elementwise::checks(), attention::checks()]
        .into_iter()
        .flatten()
        .collect()
}
