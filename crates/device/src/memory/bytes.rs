//! Handles to filled, read-only memory.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::mapping::Mapping;
use crate::DeviceError;

/// Reference-counted handle to read-only bytes, all of which have been filled.
///
/// There is no public constructor: a handle comes from [`super::Arena::fill`],
/// [`super::Region::finish`] or [`super::FileMap::bytes`], or is a slice of another handle.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Bytes {
    /// The caller guarantees that `offset..offset + len` lies in `owner`, is filled, and is never
    /// written again.
    pub(super) fn filled(owner: Arc<Mapping>, offset: usize, len: usize) -> Self {
        debug_assert!(offset + len <= owner.len());
        Self { owner, offset, len }
    }

    /// A handle to a sub-range, such as the q rows of a fused qkv matrix.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`].
    pub fn slice(&self, range: Range<usize>) -> Result<Self, DeviceError> {
        if range.start > range.end || range.end > self.len {
            return Err(DeviceError::OutOfRange {
                what: "a tensor's bytes".into(),
                start: range.start as u64,
                end: range.end as u64,
                bytes: self.len as u64,
            });
        }
        Ok(Self { owner: self.owner.clone(), offset: self.offset + range.start, len: range.len() })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping (a guarantee of `filled` and `slice`), which
        // `owner` keeps alive. It is initialized and no longer written: a region is consumed when
        // it turns into bytes.
        unsafe { std::slice::from_raw_parts(self.owner.start().add(self.offset), self.len) }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.len)
    }
}
