//! GPUs: the CUDA driver, opened at run time, and memory, copies and kernels on each GPU.
//!
//! The program does not link to the driver. [`Driver::open`] loads it or returns the reason why it
//! cannot; a host without a driver computes on its CPU. Only the driver API is used, not the CUDA
//! runtime or cuBLAS:
//!
//! - a [`Gpu`] is an opened GPU with a compute stream, and a copy stream for loading;
//! - a [`GpuArena`] is GPU memory with a hard limit, a [`GpuBytes`] is read-only memory that was
//!   filled completely, a [`Buffer`] is for activations and caches;
//! - a [`PinnedRing`] is a fixed number of pinned buffers that file readers fill and GPUs copy from
//!   asynchronously;
//! - a [`PeerLink`] copies between two GPUs, through the host if they have no peer access;
//! - `ops` implements the operations of [`crate::cpu`] on a GPU, and [`selftest`] compares every
//!   kernel with reference arithmetic or with the CPU.
//!
//! Calls queue work and return before it is done. A wait polls until a deadline (see
//! [`CudaError::Timeout`]). Initializing the driver, allocating and freeing memory and loading
//! kernels block inside the driver without a limit: call them under the watchdog. After a sticky
//! error, every later call for the GPU returns it ([`CudaError::Lost`]). After a missed deadline,
//! the GPU's memory is kept until the process ends, since freeing it would wait for work that may
//! never complete.
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
