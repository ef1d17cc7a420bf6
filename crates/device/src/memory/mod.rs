//! Memory of weights and caches.
//!
//! An [`Arena`] is one anonymous mapping with a hard limit. A [`Region`] of it becomes readable, as
//! [`Bytes`], once every [`Part`] has been filled. A range of a [`FileMap`] is readable at once,
//! since its contents are those of the file. Memory that stays writable, such as a KV cache, is
//! [`Zeroed`].
#![allow(unsafe_code)]

mod arena;
mod bytes;
mod direct_io;
mod file_map;
mod mapping;
mod region;
mod scratch;

pub use arena::{Arena, HUGE_PAGE_BYTES};
pub use bytes::Bytes;
pub use direct_io::{DirectFile, ReadMode};
pub use file_map::{AccessPattern, FileMap};
pub use region::{Part, Region, Zeroed};
pub use scratch::{Plain, Scratch};
