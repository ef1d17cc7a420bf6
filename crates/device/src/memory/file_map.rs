//! Memory-mapped files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Bytes;
use super::mapping::{Mapping, page_bytes};
use crate::DeviceError;

/// Expected access to a range of a file map, for `madvise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessPattern {
    Sequential,
    /// Starts reading the range immediately.
    WillNeed,
    /// Disables read-ahead.
    Random,
}

/// A file mapped read-only.
///
/// Access beyond the end of a file that was truncated while it was mapped raises SIGBUS, which
/// kills the process; the supervisor reports the cause.
#[derive(Clone)]
pub struct FileMap {
    path: PathBuf,
    mapping: Arc<Mapping>,
}

impl FileMap {
    /// Maps the whole file.
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

    /// Size of the file in bytes.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

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

    /// Advises the kernel about a range; returns false if it refused. The advice affects speed
    /// only.
    pub fn advise(&self, offset: usize, len: usize, access: AccessPattern) -> bool {
        let advice = match access {
            AccessPattern::Sequential => libc::MADV_SEQUENTIAL,
            AccessPattern::WillNeed => libc::MADV_WILLNEED,
            AccessPattern::Random => libc::MADV_RANDOM,
        };
        self.mapping.advise(offset, len, advice)
    }

    /// Reads one byte of every page of a range, so that later reads cause no page faults. Returns
    /// the number of pages.
    pub fn touch(&self, offset: usize, len: usize) -> usize {
        let end = offset.saturating_add(len).min(self.len());
        let mut pages = 0;
        for at in (offset.min(end)..end).step_by(page_bytes()) {
            // SAFETY: `at` lies inside the mapping. A volatile read is not optimized away.
            unsafe { std::ptr::read_volatile(self.mapping.start().add(at)) };
            pages += 1;
        }
        pages
    }
}
