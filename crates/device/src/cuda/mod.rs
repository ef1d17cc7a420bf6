//! GPUs: the CUDA driver, opened at run time, and memory, copies and kernels on each GPU.
//!
//! The program does not link to the driver. [`Driver::open`] loads it or says why it cannot, and a
//! host without one computes on its CPU. Only the driver API is used; there is no CUDA runtime or
//! cuBLAS:
//!
//! - a [`Gpu`] is an opened GPU with a compute stream, and a copy stream for loading;
//! - a [`GpuArena`] is GPU memory with a hard limit, a [`GpuBytes`] exists only for memory that was
//!   filled, a [`Buffer`] is for activations;
//! - a [`PinnedRing`] carries bytes from readers to GPUs, bounded and asynchronously;
//! - a [`PeerLink`] copies between two GPUs, through the host where they have no peer access;
//! - `ops` mirrors [`crate::cpu`], and [`selftest`] compares every kernel with plain arithmetic.
//!
//! Work is queued and calls return before it is done. A wait polls until a deadline (see
//! [`CudaError::Timeout`]). Initializing the driver, allocating and freeing memory and loading
//! kernels block inside the driver without a limit: call them under the watchdog. A GPU with a
//! sticky error returns it from every later call ([`CudaError::Lost`]); one that missed a deadline
//! keeps its memory until the process ends, since freeing it would wait for the work that hangs.
#![allow(unsafe_code)]

mod api;
mod args;
mod backend;
mod context;
mod driver;
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

pub use crate::error::CudaError;
pub use backend::{GpuPassInput, GpuTensorData};
pub use driver::Driver;
pub use gpu::{Gpu, GpuMemory};
pub use info::GpuInfo;
pub use link::{LinkPath, PeerLink};
pub use measure::{CopyRates, measure_copies};
pub use memory::{Buffer, FillSpan, GpuArena, GpuBytes, GpuPart, GpuRegion};
pub use ops::{
    AttentionMetadata, BatchShape, GpuActivationDtypes, GpuKvLayer, GpuMatrix,
    GpuPackedActivations, GpuRopeTable, IndexList,
};
pub use pinned::{PinnedBuffer, PinnedBytes, PinnedRing};

pub(crate) use kernels::Kernel;
pub(crate) use launch::Grid;
