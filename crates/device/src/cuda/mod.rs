//! GPUs: the CUDA driver, opened at run time, and memory, copies and kernels on each GPU.
//!
//! The program is not linked to the driver. [`Driver::open`] finds it or says by name why not, and
//! a host without one goes on with its CPU. Everything above the driver's own functions is ours:
//!
//! - a [`Gpu`] is one GPU with a stream for kernels and one for copies from the disk;
//! - a [`GpuArena`] is GPU memory with a hard limit, a [`GpuBytes`] can only be had for memory that
//!   was filled, a [`Buffer`] is for activations;
//! - a [`PinnedRing`] carries bytes from readers to GPUs, overlapped and bounded;
//! - a [`PeerLink`] copies between two GPUs, through the host where they do not reach each other;
//! - operations mirror those of [`crate::cpu`], and [`selftest`] compares every one with plain
//!   arithmetic.
//!
//! Work is queued and returns before it is done. Whatever waits for it asks again and again until a
//! deadline (see [`CudaError::Timeout`]). Starting the driver, taking and giving back memory and
//! loading kernels have waits of the driver's own, which nobody can bound from here: call
//! them where the supervisor watches. A GPU that failed for good says so at once ever after
//! ([`CudaError::Lost`]); one on which a deadline passed keeps its memory until the process ends,
//! since giving it back would wait for what hangs.
#![allow(unsafe_code)]

mod api;
mod args;
mod context;
mod driver;
mod error;
mod event;
mod gpu;
mod info;
mod kernels;
mod launch;
mod link;
mod measure;
mod memory;
mod module;
mod ops;
mod pinned;
pub mod selftest;
mod stream;
mod transfer;
mod wait;

pub use driver::Driver;
pub use error::CudaError;
pub use gpu::{Gpu, GpuMemory};
pub use info::GpuInfo;
pub use link::{LinkPath, PeerLink};
pub use measure::{CopyRates, measure_copies};
pub use memory::{Buffer, GpuArena, GpuBytes, GpuPart, GpuRegion, GpuSpan};
pub use ops::{
    AttentionMetadata, BatchShape, GpuActivationDtypes, GpuAttentionOptions, GpuEpilogue,
    GpuIndices, GpuKvLayer, GpuMatrix, GpuPackedActivations, GpuProduct, GpuRopeTable,
};
pub use pinned::{PinnedBuffer, PinnedBytes, PinnedRing};

pub(crate) use kernels::Kernel;
pub(crate) use launch::Grid;
