//! Memory for weights and caches.
//!
//! An [`Arena`] is one anonymous mapping with a hard limit. A part of it becomes readable, as
//! [`Bytes`], only once every byte was filled; so does a range of a [`FileMap`], which the file
//! itself fills. What is written again and again, such as a KV cache, is a [`Zeroed`] region.
#![allow(unsafe_code)]

mod arena;
mod bytes;
mod direct;
mod file_map;
mod mapping;
mod region;
mod scratch;

pub use arena::{Arena, HUGE_PAGE_BYTES};
pub use bytes::Bytes;
pub use direct::{DirectFile, ReadMode};
pub use file_map::{AccessPattern, FileMap};
pub use region::{Part, Region, Zeroed};
pub use scratch::{Plain, Scratch};
