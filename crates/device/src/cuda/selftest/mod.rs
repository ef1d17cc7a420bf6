//! Self-test: checks of every kernel on a GPU, and benchmarks. Used by `vendomini selftest`, and by
//! the tests on fake GPUs.
//!
//! A check compares results of the GPU with reference arithmetic in f64
//! ([`crate::cpu::reference`]), with the CPU's kernels, or with results of the GPU in other
//! batches, other chunks and by other kernels. All checks together take seconds on a GPU and some
//! tens of MiB of its memory.

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

type Run = Box<dyn Fn(&Gpu, &Cpu) -> Result<CheckReport, DeviceError> + Send + Sync>;

/// One check of a kernel.
pub struct Check {
    /// For example `linear q4_0 exact`.
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

    /// Runs the check. A wrong result is not an error; it is recorded in the report.
    ///
    /// # Errors
    /// The error of an operation that could not run.
    pub fn run(&self, gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
        (self.run)(gpu, cpu)
    }
}

/// All checks of the self-test.
pub fn checks() -> Vec<Check> {
    [linear::checks(), rows::checks(), elementwise::checks(), attention::checks()]
        .into_iter()
        .flatten()
        .collect()
}
