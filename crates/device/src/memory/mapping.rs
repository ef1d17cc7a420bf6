//! Owner of one `mmap`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// One `mmap`, unmapped on drop. Every owner of a pointer into the mapping holds an `Arc` of it.
pub(super) struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the mapping is plain memory; Region, Zeroed and Bytes govern which thread may read or
// write which part.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` zero bytes. Pages are allocated when they are first touched.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | NO_RESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases no existing memory.
        unsafe { Self::map(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1) }
    }

    /// Maps the first `len` bytes of `file`, read-only.
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice aliases no existing memory.
        // The descriptor is open during the call; the mapping does not need it afterwards.
        unsafe { Self::map(len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd()) }
    }

    unsafe fn map(len: usize, protection: i32, flags: i32, descriptor: i32) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self { start: std::ptr::dangling_mut::<Aligned>().cast(), len });
        }
        // SAFETY: as the caller guarantees.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), len })
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Calls `madvise` for the pages of `len` bytes from `offset`; returns false if the kernel
    /// refused, which affects speed only.
    pub(super) fn advise(&self, offset: usize, len: usize, advice: i32) -> bool {
        let page = page_bytes();
        let first = offset / page * page;
        let end = offset.saturating_add(len).min(self.len);
        if end <= first {
            return true;
        }
        // SAFETY: first..end lies inside the mapping; no advice used here discards data.
        unsafe { libc::madvise(self.start.add(first).cast(), end - first, advice) == 0 }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: start and len are those of the mapping; all pointers into it are gone, since
            // this was the last owner.
            unsafe { libc::munmap(self.start.cast(), self.len) };
        }
    }
}

/// Alignment of the dangling pointer of an empty mapping.
#[repr(align(64))]
struct Aligned;

#[cfg(target_os = "linux")]
const NO_RESERVE: i32 = libc::MAP_NORESERVE;
#[cfg(not(target_os = "linux"))]
const NO_RESERVE: i32 = 0;

/// Page size of the system in bytes.
pub(super) fn page_bytes() -> usize {
    // SAFETY: sysconf reads a constant.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|b| b.is_power_of_two()).unwrap_or(4096)
}
