use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Bytes;
use super::mapping::{Mapping, page_bytes};
use crate::DeviceError;

/// How a map's bytes are about to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessPattern {
    /// Read ahead a lot.
    Sequential,
    /// Wanted soon: start reading now.
    WillNeed,
    /// No read-ahead.
    Random,
}

/// A file mapped read-only.
///
/// The kernel delivers SIGBUS if the file is cut short while it is mapped; the supervisor turns
/// that into words.
#[derive(Clone)]
pub struct FileMap {
    path: PathBuf,
    mapping: Arc<Mapping>,
}

impl FileMap {
    /// Maps all of the file at `path`.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let failed = |action| {
            move |source| DeviceError::Io { path: path.to_owned(), action, offset: 0, source }
        };
        let file = File::open(path).map_err(failed("open"))?;
        let len = file.metadata().map_err(failed("stat"))?.len();
        let len = usize::try_from(len).map_err(|e| failed("map")(std::io::Error::other(e)))?;
        let mapping = Mapping::of_file(&file, len).map_err(failed("map"))?;
        Ok(Self { path: path.to_owned(), mapping: Arc::new(mapping) })
    }

    /// Bytes of the file.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A handle to `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`].
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Bytes, DeviceError> {
        let end = offset.checked_add(len).filter(|&end| end <= self.len() as u64);
        if end.is_none() {
            let (start, end) = (offset, offset.saturating_add(len));
            return Err(DeviceError::OutOfRange {
                what: self.path.display().to_string(),
                start,
                end,
                bytes: self.len() as u64,
            });
        }
        Ok(Bytes::filled(self.mapping.clone(), offset as usize, len as usize))
    }

    /// Tells the kernel what to expect of a range. Whether it listens changes speed alone.
    pub fn advise(&self, offset: usize, len: usize, access: AccessPattern) -> bool {
        let advice = match access {
            AccessPattern::Sequential => libc::MADV_SEQUENTIAL,
            AccessPattern::WillNeed => libc::MADV_WILLNEED,
            AccessPattern::Random => libc::MADV_RANDOM,
        };
        self.mapping.advise(offset, len, advice)
    }

    /// Reads a byte of every page of a range, so that later reads fault no more. Returns how many
    /// pages it touched.
    pub fn touch(&self, offset: usize, len: usize) -> usize {
        let end = offset.saturating_add(len).min(self.len());
        let mut pages = 0;
        for at in (offset.min(end)..end).step_by(page_bytes()) {
            // SAFETY: `at` lies inside the mapping; the volatile read only keeps the access from
            // being optimized away.
            unsafe { std::ptr::read_volatile(self.mapping.start().add(at)) };
            pages += 1;
        }
        pages
    }
}
