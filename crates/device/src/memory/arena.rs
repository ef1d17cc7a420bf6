//! Bump allocator over one anonymous mapping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mapping::{Mapping, page_bytes};
use super::{Bytes, Region, Zeroed};
use crate::DeviceError;
use crate::numa::NumaLayout;

/// Size of huge pages, in bytes (x86-64 and most of aarch64).
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bump allocator of aligned regions with a hard limit.
///
/// The limit is reserved as address space; physical memory is allocated when it is first touched.
/// Regions keep the mapping alive, so an arena may be dropped before them; the memory is freed when
/// the arena and all regions are dropped. A single region cannot be freed.
#[derive(Clone)]
pub struct Arena {
    mapping: Arc<Mapping>,
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
    huge_pages: bool,
    /// Whether the memory may have other values than zeros, from before [`Self::clear`].
    cleared: bool,
}

impl Arena {
    /// Alignment of regions in bytes.
    pub const ALIGNMENT_BYTES: usize = 64;

    /// An arena that allocates at most `limit_bytes`.
    ///
    /// # Errors
    /// [`DeviceError::MemoryRefused`] if the system refuses the address space.
    pub fn new(limit_bytes: usize) -> Result<Self, DeviceError> {
        let refused = |source| DeviceError::MemoryRefused { bytes: limit_bytes, source };
        let mapping = Mapping::anonymous(limit_bytes).map_err(refused)?;
        // Both only affect speed, and have to precede the first touch of the pages.
        let huge_pages = advise_huge_pages(&mapping);
        NumaLayout::system().interleave(mapping.start(), mapping.len());
        let mapping = Arc::new(mapping);
        Ok(Self { mapping, used: Arc::default(), limit_bytes, huge_pages, cleared: false })
    }

    /// Makes all memory available again. Returns false, and does nothing, if a region, bytes or a
    /// clone of the arena still use it.
    pub fn clear(&mut self) -> bool {
        // Whatever may read or write the memory holds the mapping.
        if Arc::get_mut(&mut self.mapping).is_none() {
            return false;
        }
        self.used.store(0, Ordering::Relaxed);
        self.cleared = true;
        true
    }

    /// Bytes allocated so far, padding included.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The hard limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether the kernel accepted the advice to use huge pages.
    pub fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// Allocates a region of `len` bytes to be filled, aligned to [`Self::ALIGNMENT_BYTES`].
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn region(&self, len: usize) -> Result<Region, DeviceError> {
        self.region_aligned(len, Self::ALIGNMENT_BYTES, 0)
    }

    /// As [`Self::region`], but at an address that is `phase` bytes past a multiple of the page
    /// size. With `phase = file offset % page size`, direct reads need no bounce buffer.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn region_at_phase(&self, len: usize, phase: usize) -> Result<Region, DeviceError> {
        let page = page_bytes();
        self.region_aligned(len, page, phase % page)
    }

    /// Allocates `len` zero bytes that stay writable, such as those of a KV cache.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn zeroed(&self, len: usize) -> Result<Zeroed, DeviceError> {
        let offset = self.allocate(len, Self::ALIGNMENT_BYTES, 0)?;
        let mut zeroed = Zeroed::new(self.mapping.clone(), offset, len);
        if self.cleared {
            zeroed.fill(0);
        }
        Ok(zeroed)
    }

    /// Allocates `len` bytes and fills them with `fill`.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`], or the error of `fill`.
    pub fn fill<E: From<DeviceError>>(
        &self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Bytes, E> {
        let mut region = self.region(len)?;
        region.whole()?.fill(fill)?;
        Ok(region.finish()?)
    }

    fn region_aligned(
        &self,
        len: usize,
        alignment: usize,
        phase: usize,
    ) -> Result<Region, DeviceError> {
        let offset = self.allocate(len, alignment, phase)?;
        Ok(Region::new(self.mapping.clone(), offset, len))
    }

    /// Allocates `len` bytes at an address that is `phase` bytes past a multiple of `alignment`;
    /// returns their offset in the mapping.
    fn allocate(&self, len: usize, alignment: usize, phase: usize) -> Result<usize, DeviceError> {
        let range = |used: usize| {
            let address = self.mapping.start() as usize;
            let padding = (alignment + phase - (address + used) % alignment) % alignment;
            let offset = used.checked_add(padding)?;
            let end = offset.checked_add(len)?;
            (end <= self.limit_bytes).then_some((offset, end))
        };
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let full = DeviceError::ArenaFull {
                requested_bytes: len,
                used_bytes: used,
                limit_bytes: self.limit_bytes,
            };
            let (offset, end) = range(used).ok_or(full)?;
            match self.used.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(offset),
                Err(now) => used = now,
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn advise_huge_pages(mapping: &Mapping) -> bool {
    mapping.advise(0, mapping.len(), libc::MADV_HUGEPAGE)
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_: &Mapping) -> bool {
    false
}
