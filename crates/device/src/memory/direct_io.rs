//! Positioned file reads that bypass the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Scratch;
use crate::DeviceError;

/// Alignment of offsets, lengths and addresses of direct reads, in bytes.
const DIRECT_BYTES: usize = 4096;

/// Maximum bytes of one system call: large enough for the full rate of a disk, small enough for
/// regular progress reports and deadline checks.
const CALL_BYTES_MAX: usize = 8 << 20;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// Bypassing the page cache (`O_DIRECT`).
    Direct,
    /// Through the page cache.
    Buffered,
}

/// A file for large positioned reads, direct where the file system supports it.
pub struct DirectFile {
    path: PathBuf,
    buffered: File,
    direct: Option<File>,
    bytes: u64,
}

impl DirectFile {
    /// Opens `path`. [`ReadMode::Direct`] falls back to buffered reads where the file system
    /// refuses `O_DIRECT`.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn open(path: &Path, mode: ReadMode) -> Result<Self, DeviceError> {
        let failed =
            |source| DeviceError::Io { path: path.to_owned(), action: "open", offset: 0, source };
        let buffered = File::open(path).map_err(failed)?;
        let bytes = buffered.metadata().map_err(failed)?.len();
        let direct = if mode == ReadMode::Direct { open_direct(path) } else { None };
        Ok(Self { path: path.to_owned(), buffered, direct, bytes })
    }

    /// The mode in effect, after a possible fallback.
    pub fn mode(&self) -> ReadMode {
        if self.direct.is_some() { ReadMode::Direct } else { ReadMode::Buffered }
    }

    /// Size of the file in bytes when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from byte `offset` of the file. `progress` receives the number of bytes that
    /// each system call has read, and may cancel the read by returning false.
    ///
    /// Direct reads need no copy where the buffer's address equals `offset` modulo 4096 (see
    /// [`super::Arena::region_at_phase`]); otherwise they go through a bounce buffer.
    ///
    /// # Errors
    /// [`DeviceError::Io`] (kind `Interrupted` if `progress` canceled) and
    /// [`DeviceError::FileEnded`].
    pub fn read_exact_at(
        &self,
        buffer: &mut [u8],
        offset: u64,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<(), DeviceError> {
        let mut bounce = Scratch::<u8>::new();
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let read = self
                .read_some(&mut buffer[done..], at, &mut bounce)
                .map_err(|e| self.failed(at, e))?;
            if read == 0 {
                return Err(DeviceError::FileEnded {
                    path: self.path.clone(),
                    offset,
                    expected_bytes: buffer.len() as u64,
                    end: at,
                });
            }
            done += read;
            if !progress(read) {
                return Err(self.failed(at, io::Error::from(io::ErrorKind::Interrupted)));
            }
        }
        Ok(())
    }

    fn failed(&self, offset: u64, source: io::Error) -> DeviceError {
        DeviceError::Io { path: self.path.clone(), action: "read", offset, source }
    }

    /// Reads at most [`CALL_BYTES_MAX`] bytes with one system call; returns 0 at the end of the
    /// file.
    fn read_some(&self, buffer: &mut [u8], at: u64, bounce: &mut Scratch<u8>) -> io::Result<usize> {
        let Some(direct) = &self.direct else {
            let len = buffer.len().min(CALL_BYTES_MAX);
            return retry(|| self.buffered.read_at(&mut buffer[..len], at));
        };
        let head = (at % DIRECT_BYTES as u64) as usize;
        let whole = buffer.len().min(CALL_BYTES_MAX) / DIRECT_BYTES * DIRECT_BYTES;
        if head == 0 && whole > 0 && (buffer.as_ptr() as usize).is_multiple_of(DIRECT_BYTES) {
            return retry(|| direct.read_at(&mut buffer[..whole], at));
        }
        // Reads the whole 4096-byte blocks around the requested bytes. Near the end of the file the
        // kernel returns fewer bytes.
        let until_aligned = if (buffer.as_ptr() as usize + DIRECT_BYTES - head)
            .is_multiple_of(DIRECT_BYTES)
            && head > 0
        {
            DIRECT_BYTES - head // the rest can be read in place
        } else {
            CALL_BYTES_MAX - head
        };
        let requested = buffer.len().min(until_aligned);
        let span = (head + requested).div_ceil(DIRECT_BYTES) * DIRECT_BYTES;
        let space = bounce.resize(span + DIRECT_BYTES);
        let pad = space.as_ptr().align_offset(DIRECT_BYTES);
        let space = &mut space[pad..pad + span];
        let read = retry(|| direct.read_at(space, at - head as u64))?;
        let got = read.saturating_sub(head).min(requested);
        buffer[..got].copy_from_slice(&space[head..head + got]);
        Ok(got)
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

/// Opens `path` with `O_DIRECT` if a first aligned read succeeds: some file systems accept the flag
/// but refuse the reads.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
    let mut probe = Scratch::<u8>::new();
    let space = probe.resize(2 * DIRECT_BYTES);
    let pad = space.as_ptr().align_offset(DIRECT_BYTES);
    retry(|| file.read_at(&mut space[pad..pad + DIRECT_BYTES], 0)).ok()?;
    Some(file)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}
