//! Cards: the CUDA driver, opened at run time, and memory, copies and kernels on each card.
//!
//! The program is not linked to the driver. [`Driver::open`] finds it or says by name why not, and a host without one goes on with
//! its CPU. Everything above the driver's own functions is ours:
//!
//! - a [`Card`] is one card with a stream for kernels and one for copies from the disk;
//! - a [`CardArena`] is card memory with a hard limit, a [`CardBytes`] can only be had for memory that was filled, a [`CardBuffer`] is
//!   for activations;
//! - a [`PinnedRing`] carries bytes from readers to cards, overlapped and bounded;
//! - a [`CardLink`] copies between two cards, through the host where they do not reach each other;
//! - operations mirror those of [`crate::cpu`], and [`selftest`] compares every one with plain arithmetic.
//!
//! Work is queued and returns before it is done. Whatever waits for it asks again and again until a deadline (see [`CudaError::Timeout`]).
//! Starting the driver, taking and giving back memory and loading kernels have waits of the driver's own, which nobody can bound from here: call
//! them where the supervisor watches. A card that failed for good says so at once ever after ([`CudaError::Lost`]); one on which a deadline
//! passed keeps its memory until the process ends, since giving it back would wait for what hangs.
#![allow(unsafe_code)]

mod api;
mod args;
mod card;
mod context;
mod driver;
mod error;
mod event;
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

pub use card::{Card, CardMemory};
pub use driver::Driver;
pub use error::CudaError;
pub use info::CardInfo;
pub use link::{CardLink, LinkPath};
pub use measure::{CopyRates, measure_copies};
pub use memory::{CardArena, CardBuffer, CardBytes, CardPart, CardRegion, CardSpan};
pub use ops::{
    CardAttentionOptions, CardFeed, CardForms, CardIndices, CardInputs, CardMatrix, CardPass,
    CardProduct, CardRopeTable, KvLayer, PassShape,
};
pub use pinned::{PinnedBuffer, PinnedBytes, PinnedRing};

pub(crate) use kernels::Kernel;
pub(crate) use launch::Grid;
