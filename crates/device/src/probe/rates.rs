//! Rates that a caller may want measured: a few tens of milliseconds each.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::DeviceError;
use crate::memory::{DirectFile, ReadMode, Scratch};

/// Bytes of the first read: little, since the disk may crawl. Each next one is twice as large.
const FIRST_BYTES: usize = 256 << 10;
/// Most bytes of one read, and the room they are read into.
const READ_BYTES: usize = 8 << 20;
/// Memory that one thread reads: more than its share of any cache.
const THREAD_BYTES_MAX: u64 = 64 << 20;
const THREAD_BYTES_MIN: u64 = 4 << 20;

/// What was read, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadRate {
    /// Bytes read.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Whether the page cache was passed by, so that the disk itself was measured.
    pub direct: bool,
}

impl ReadRate {
    /// Bytes a second.
    pub fn bytes_per_s(&self) -> u64 {
        (self.bytes as f64 / self.seconds.max(1e-9)) as u64
    }
}

/// Reads `file` from its start, past the page cache where the file system allows it, until `bytes`
/// or `limit` are reached.
///
/// The limit is looked at between reads of at most 8 MiB; `progress` is told each one's bytes. A
/// read that never returns is its caller's watchdog's business.
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
    let wanted = file.bytes().min(bytes);
    let mut room = Scratch::<u8>::new();
    // Direct reads want the address on a page.
    let space = room.resize(READ_BYTES + 4096);
    let pad = space.as_ptr().align_offset(4096);
    let start = Instant::now();
    let (mut done, mut piece) = (0u64, FIRST_BYTES);
    while done < wanted && start.elapsed() < limit {
        let len = piece.min((wanted - done) as usize);
        file.read_exact_at(&mut space[pad..pad + len], done, &mut |_| true)?;
        done += len as u64;
        piece = READ_BYTES.min(piece * 2);
        progress(len as u64);
    }
    Ok(ReadRate {
        bytes: done,
        seconds: start.elapsed().as_secs_f64(),
        direct: file.mode() == ReadMode::Direct,
    })
}

/// Reads memory with `threads` threads for about `limit`, of which half goes into touching it
/// first; takes at most `bytes_max` of memory.
pub fn measure_memory(threads: usize, bytes_max: u64, limit: Duration) -> ReadRate {
    let threads = threads.max(1);
    let each = (bytes_max / threads as u64).clamp(THREAD_BYTES_MIN, THREAD_BYTES_MAX) as usize / 8;
    let parts: Vec<(u64, f64)> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(move || read_memory(each, limit))).collect();
        // Each ends by its own clock.
        #[allow(clippy::disallowed_methods)]
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
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
