//! Arena memory while it is filled, and arena memory that stays writable.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Bytes;
use super::mapping::Mapping;
use crate::DeviceError;

/// Arena memory that becomes [`Bytes`] once filled. It is split into [`Part`]s, which threads fill
/// independently.
///
/// Parts own their memory. A reader that hangs in a system call keeps its part forever: the region
/// then never finishes, but the memory that the reader may still write to is not reused.
pub struct Region {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
    /// Bytes split off as parts so far.
    taken: usize,
    filled: Arc<AtomicUsize>,
}

impl Region {
    /// The caller guarantees that `offset..offset + len` of `mapping` has no other owner.
    pub(super) fn new(mapping: Arc<Mapping>, offset: usize, len: usize) -> Self {
        Self { mapping, offset, len, taken: 0, filled: Arc::default() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Splits off the next `len` bytes.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`] if fewer are left.
    pub fn part(&mut self, len: usize) -> Result<Part, DeviceError> {
        if len > self.len - self.taken {
            return Err(DeviceError::OutOfRange {
                what: "a region of an arena".into(),
                start: self.taken as u64,
                end: (self.taken as u64).saturating_add(len as u64),
                bytes: self.len as u64,
            });
        }
        let offset = self.offset + self.taken;
        self.taken += len;
        Ok(Part { mapping: self.mapping.clone(), offset, len, filled: self.filled.clone() })
    }

    /// Splits off all remaining bytes.
    ///
    /// # Errors
    /// None at present; fallible like [`Self::part`].
    pub fn whole(&mut self) -> Result<Part, DeviceError> {
        self.part(self.len - self.taken)
    }

    /// Splits off consecutive parts of the given lengths.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`] if fewer bytes are left.
    pub fn parts(&mut self, lens: &[usize]) -> Result<Vec<Part>, DeviceError> {
        lens.iter().map(|&len| self.part(len)).collect()
    }

    /// Turns the filled region into readable bytes.
    ///
    /// # Errors
    /// [`DeviceError::Unfilled`] unless a successful [`Part::fill`] covers every byte.
    pub fn finish(self) -> Result<Bytes, DeviceError> {
        let filled_bytes = self.filled.load(Ordering::Acquire);
        if filled_bytes != self.len {
            return Err(DeviceError::Unfilled { filled_bytes, expected_bytes: self.len });
        }
        Ok(Bytes::filled(self.mapping, self.offset, self.len))
    }
}

/// Exclusive ownership of some bytes of a [`Region`] until they are filled.
pub struct Part {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
    filled: Arc<AtomicUsize>,
}

impl Part {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Passes the bytes to `fill`, which must write all of them. They count as filled if `fill`
    /// returns `Ok`.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn fill<E>(self, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
        // SAFETY: the range lies in the mapping, which `self` keeps alive. Parts do not overlap
        // (Region::part only moves forward), and Bytes of the range exist only after this function
        // has consumed the part. Untouched pages are zero, hence initialized.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.mapping.start().add(self.offset), self.len)
        };
        fill(bytes)?;
        self.filled.fetch_add(self.len, Ordering::Release);
        Ok(())
    }
}

/// Arena memory that starts as zeros and stays writable for its single owner.
pub struct Zeroed {
    mapping: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Zeroed {
    /// The caller guarantees that `offset..offset + len` of `mapping` has no other owner.
    pub(super) fn new(mapping: Arc<Mapping>, offset: usize, len: usize) -> Self {
        Self { mapping, offset, len }
    }
}

impl Deref for Zeroed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, which `self` keeps alive; it is initialized (zero
        // pages); `self` is its only owner.
        unsafe { std::slice::from_raw_parts(self.mapping.start().add(self.offset), self.len) }
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start().add(self.offset), self.len) }
    }
}
