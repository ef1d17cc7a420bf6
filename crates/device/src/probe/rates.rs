//! Measurements of read rates of disk and memory.

use std::hint::black_box;
use std::path::Path;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::DeviceError;
use crate::memory::{DirectFile, ReadMode, Scratch};

/// Bytes of the first read: few, since the disk may be slow. Each further read is twice as large.
const FIRST_BYTES: usize = 256 << 10;
/// Maximum bytes of one read.
const READ_BYTES_MAX: usize = 8 << 20;
/// Maximum bytes of memory that one thread reads: more than its share of any cache.
const THREAD_BYTES_MAX: u64 = 64 << 20;
const THREAD_BYTES_MIN: u64 = 4 << 20;

/// A measured read rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadRate {
    pub bytes: u64,
    pub seconds: f64,
    /// Whether the page cache was bypassed, so that the disk itself was measured.
    pub direct: bool,
}

impl ReadRate {
    pub fn bytes_per_s(&self) -> u64 {
        (self.bytes as f64 / self.seconds.max(1e-9)) as u64
    }
}

/// Reads `file` from its start, without the page cache where possible, until `bytes` or `limit` is
/// reached.
///
/// The limit is checked between reads of at most 8 MiB, and `progress` receives the size of each
/// read. A read that never returns must be handled by the caller's watchdog.
///
/// # Errors
/// [`DeviceError::Io`].
pub fn measure_disk(
    file: &Path,
    bytes: u64,
    limit: Duration,
    progress: &dyn Fn(u64),
) -> Result<ReadRate, DeviceError> {
    let file = DirectFile::open(file, ReadMode::Direct)?;
    let requested = file.bytes().min(bytes);
    let mut buffer = Scratch::<u8>::new();
    // Direct reads need a page-aligned address.
    let space = buffer.resize(READ_BYTES_MAX + 4096);
    let pad = space.as_ptr().align_offset(4096);
    let start = Instant::now();
    let (mut done, mut piece) = (0u64, FIRST_BYTES);
    while done < requested && start.elapsed() < limit {
        let len = piece.min((requested - done) as usize);
        file.read_exact_at(&mut space[pad..pad + len], done, &mut |_| true)?;
        done += len as u64;
        piece = READ_BYTES_MAX.min(piece * 2);
        progress(len as u64);
    }
    Ok(ReadRate {
        bytes: done,
        seconds: start.elapsed().as_secs_f64(),
        direct: file.mode() == ReadMode::Direct,
    })
}

/// Measures memory reads of `threads` threads for about `limit`, half of which is spent on the
/// first touch. Uses at most `bytes_max` bytes of memory, but at least 4 MiB per thread.
pub fn measure_memory(threads: usize, bytes_max: u64, limit: Duration) -> ReadRate {
    let threads = threads.max(1);
    let each = (bytes_max / threads as u64).clamp(THREAD_BYTES_MIN, THREAD_BYTES_MAX) as usize / 8;
    let parts: Vec<(u64, f64)> = std::thread::scope(|scope| {
        // A thread that the system refuses, as under a limit on address space, is left out.
        let spawn = |_| Builder::new().spawn_scoped(scope, move || read_memory(each, limit)).ok();
        let workers: Vec<_> = (1..threads).filter_map(spawn).collect();
        let own = read_memory(each, limit);
        // Each thread ends at its own time limit.
        #[allow(clippy::disallowed_methods)]
        let others = workers.into_iter().filter_map(|worker| worker.join().ok());
        std::iter::once(own).chain(others).collect()
    });
    let rate: f64 = parts.iter().map(|(bytes, seconds)| *bytes as f64 / seconds).sum();
    let bytes: u64 = parts.iter().map(|(bytes, _)| bytes).sum();
    ReadRate { bytes, seconds: bytes as f64 / rate.max(1.0), direct: false }
}

fn read_memory(words: usize, limit: Duration) -> (u64, f64) {
    let memory: Vec<u64> = (0..words as u64).collect();
    let start = Instant::now();
    let mut bytes = 0u64;
    while bytes == 0 || start.elapsed() < limit / 2 {
        let (lanes, _) = memory.as_chunks::<32>();
        let mut sums = [0u64; 32];
        for lane in lanes {
            for (sum, word) in sums.iter_mut().zip(lane) {
                *sum = sum.wrapping_add(*word);
            }
        }
        black_box(sums);
        bytes += (words * 8) as u64;
    }
    (bytes, start.elapsed().as_secs_f64())
}
