use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mapping::{Mapping, page_bytes};
use super::{Bytes, Region, Zeroed};
use crate::DeviceError;

/// Size of the pages that arenas ask for, in bytes (x86-64 and most of aarch64).
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One anonymous mapping from which aligned regions are cut until a hard limit is reached.
///
/// The limit is address space; memory is taken from the system when it is touched. Regions keep the
/// mapping alive, so an arena may be dropped before them; memory is given back when the last handle
/// goes.
#[derive(Clone)]
pub struct Arena {
    mapping: Arc<Mapping>,
    used: Arc<AtomicUsize>,
    limit_bytes: usize,
    huge_pages: bool,
}

impl Arena {
    /// Every region starts at a multiple of this many bytes.
    pub const ALIGNMENT_BYTES: usize = 64;

    /// An arena that never hands out more than `limit_bytes`.
    ///
    /// # Errors
    /// [`DeviceError::MemoryRefused`] where the system refuses the address space.
    pub fn new(limit_bytes: usize) -> Result<Self, DeviceError> {
        let refused = |source| DeviceError::MemoryRefused { bytes: limit_bytes, source };
        let mapping = Mapping::anonymous(limit_bytes).map_err(refused)?;
        let huge_pages = advise_huge_pages(&mapping);
        Ok(Self { mapping: Arc::new(mapping), used: Arc::default(), limit_bytes, huge_pages })
    }

    /// Bytes handed out so far, padding included.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The hard limit in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether the kernel agreed to back the arena with huge pages.
    pub fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// `len` bytes to be filled, perhaps by several threads, at a multiple of 64 bytes.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn region(&self, len: usize) -> Result<Region, DeviceError> {
        self.region_aligned(len, Self::ALIGNMENT_BYTES, 0)
    }

    /// Like [`Self::region`], placed so that its address is `phase` past a multiple of the page
    /// size. With `phase = file offset % page size` direct reads go straight into the region.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn region_at_phase(&self, len: usize, phase: usize) -> Result<Region, DeviceError> {
        let page = page_bytes();
        self.region_aligned(len, page, phase % page)
    }

    /// `len` zero bytes that stay writable, for caches.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`].
    pub fn zeroed(&self, len: usize) -> Result<Zeroed, DeviceError> {
        let offset = self.cut(len, Self::ALIGNMENT_BYTES, 0)?;
        Ok(Zeroed::new(self.mapping.clone(), offset, len))
    }

    /// Cuts `len` bytes, lets `fill` write all of them, and yields them once it has succeeded.
    ///
    /// # Errors
    /// [`DeviceError::ArenaFull`], or what `fill` returned.
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
        let offset = self.cut(len, alignment, phase)?;
        Ok(Region::new(self.mapping.clone(), offset, len))
    }

    /// Reserves `len` bytes whose address is `phase` past a multiple of `alignment` and returns
    /// their offset.
    fn cut(&self, len: usize, alignment: usize, phase: usize) -> Result<usize, DeviceError> {
        let place = |used: usize| {
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
            let (offset, end) = place(used).ok_or(full)?;
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
