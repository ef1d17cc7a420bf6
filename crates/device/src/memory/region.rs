use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Bytes;
use super::mapping::Mapping;
use crate::DeviceError;

/// Arena memory on its way to become [`Bytes`]: cut into [`Part`]s that threads fill independently.
///
/// Parts own their memory. A reader that is stuck in the kernel may keep its part for ever: the
/// region then never finishes, but nothing it might still write to is ever given to somebody else.
pub struct Region {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
    /// Bytes given out as parts so far.
    cut: usize,
    filled: Arc<AtomicUsize>,
}

impl Region {
    /// The caller promises that `offset..offset + len` of `mapping` belongs to nobody else.
    pub(super) fn new(mapping: Arc<Mapping>, offset: usize, len: usize) -> Self {
        Self { mapping, offset, len, cut: 0, filled: Arc::default() }
    }

    /// Bytes of the region.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `len` bytes of the region that were not cut yet.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`] where fewer are left.
    pub fn part(&mut self, len: usize) -> Result<Part, DeviceError> {
        if len > self.len - self.cut {
            return Err(DeviceError::OutOfRange {
                what: "a region of an arena".into(),
                start: self.cut as u64,
                end: (self.cut as u64).saturating_add(len as u64),
                bytes: self.len as u64,
            });
        }
        let offset = self.offset + self.cut;
        self.cut += len;
        Ok(Part { mapping: self.mapping.clone(), offset, len, filled: self.filled.clone() })
    }

    /// All bytes that were not cut yet, as one part.
    ///
    /// # Errors
    /// None at present; fallible like [`Self::part`].
    pub fn whole(&mut self) -> Result<Part, DeviceError> {
        self.part(self.len - self.cut)
    }

    /// Consecutive parts of the given lengths.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`] where they are longer than what is left.
    pub fn parts(&mut self, lens: &[usize]) -> Result<Vec<Part>, DeviceError> {
        lens.iter().map(|&len| self.part(len)).collect()
    }

    /// The filled region.
    ///
    /// # Errors
    /// [`DeviceError::Unfilled`] unless every byte was part of a successful [`Part::fill`].
    pub fn finish(self) -> Result<Bytes, DeviceError> {
        let filled_bytes = self.filled.load(Ordering::Acquire);
        if filled_bytes != self.len {
            return Err(DeviceError::Unfilled { filled_bytes, expected_bytes: self.len });
        }
        Ok(Bytes::filled(self.mapping, self.offset, self.len))
    }
}

/// Exclusive, owned access to some bytes of a [`Region`] until they are filled.
pub struct Part {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
    filled: Arc<AtomicUsize>,
}

impl Part {
    /// Bytes of the part.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `fill` write every byte. The bytes count as filled if it returns `Ok`.
    ///
    /// # Errors
    /// What `fill` returned.
    pub fn fill<E>(self, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        // SAFETY: the range lies in the mapping, which is kept alive here; parts never overlap
        // (Region::part only moves forward) and Bytes for it exist only after this function
        // has consumed the part. Fresh pages are zero.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.mapping.start().add(self.offset), self.len)
        };
        fill(bytes)?;
        self.filled.fetch_add(self.len, Ordering::Release);
        Ok(())
    }
}

/// Arena memory that starts as zeros and stays writable, exclusively, for as long as its owner
/// likes.
pub struct Zeroed {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Zeroed {
    /// The caller promises that `offset..offset + len` of `mapping` belongs to nobody else.
    pub(super) fn new(mapping: Arc<Mapping>, offset: usize, len: usize) -> Self {
        Self { mapping, offset, len }
    }
}

impl Deref for Zeroed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: in range, alive, initialized (zero pages), and borrowed from the only owner.
        unsafe { std::slice::from_raw_parts(self.mapping.start().add(self.offset), self.len) }
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start().add(self.offset), self.len) }
    }
}
