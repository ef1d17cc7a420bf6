//! Memory, threads and arithmetic on one machine. The only crate of the workspace with `unsafe`
//! code.
//!
//! - [`memory`]: where weights live. A [`memory::Bytes`] can only be had for memory that was
//!   filled.
//! - [`pool`]: fork and join in microseconds.
//! - [`cpu`]: kernels whose results depend on the kernel set and the operands alone, never on the
//!   number of threads, the size of the batch or its other members.
//! - [`cuda`]: GPUs, through a driver that is opened at run time where there is one.

pub mod cpu;
pub mod cuda;
mod error;
pub mod memory;
pub mod pool;
pub mod probe;

pub use error::DeviceError;
