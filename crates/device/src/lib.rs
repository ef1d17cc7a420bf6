//! Memory, threads and kernels of one machine. The only crate of the workspace with `unsafe` code.
//!
//! - [`backend`]: the operations of a forward pass, which the CPU and GPUs implement.
//! - [`memory`]: memory of weights and caches. A [`memory::Bytes`] exists only for filled memory.
//! - [`pool`]: a fork-join thread pool with latencies of microseconds.
//! - [`cpu`]: kernels whose results depend only on the kernel set and the operands, not on the
//!   number of threads, the batch size or the other rows of the batch.
//! - [`cuda`]: GPUs, through a driver library that is opened at run time.
//! - [`probe`]: detection of memory, cores, GPUs and disk, as a [`placement::Machine`].

pub mod backend;
pub mod cpu;
pub mod cuda;
mod error;
pub mod memory;
mod numa;
pub mod pool;
pub mod probe;

pub use backend::Backend;
pub use error::DeviceError;
