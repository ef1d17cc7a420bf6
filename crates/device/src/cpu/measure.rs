//! Measured limits of the machine (roofline), with which kernels are compared.
#![allow(unsafe_op_in_unsafe_fn)]

use std::hint::black_box;
use std::time::Instant;

use super::dispatch::kernel;
use super::simd::{LANES, Simd, SimdInt};
use super::{Cpu, KernelSet};
use crate::DeviceError;
use crate::memory::{Arena, Zeroed};
use crate::pool::Pool;

/// Clock for the work of a [`Cpu`]: wall time, or with one thread its CPU time, which is
/// independent of other processes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Instant,
    started_cpu_s: Option<f64>,
}

impl Stopwatch {
    /// Starts a stopwatch.
    pub fn start(cpu: &Cpu) -> Self {
        let alone = cpu.pool.threads() == 1;
        Self { started: Instant::now(), started_cpu_s: alone.then(thread_cpu_s).flatten() }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        match (self.started_cpu_s, thread_cpu_s()) {
            (Some(start), Some(now)) => now - start,
            _ => self.started.elapsed().as_secs_f64(),
        }
    }
}

/// CPU time of the calling thread in seconds.
fn thread_cpu_s() -> Option<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer points to a local timespec.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (code == 0).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// Bytes of memory that the bandwidth measurement reads: far more than any cache.
const READ_BYTES: usize = 1 << 30;

/// Memory for repeated measurements of the read bandwidth of all threads.
pub struct ReadMemory {
    bytes: Zeroed,
    next: usize,
}

impl ReadMemory {
    /// Bytes per measurement: few, so that interference by other processes spoils some measurements
    /// but not the best.
    const PIECE_BYTES: usize = 32 << 20;

    /// Allocates 1 GiB.
    ///
    /// # Errors
    /// [`DeviceError::MemoryRefused`].
    pub fn new() -> Result<Self, DeviceError> {
        let mut bytes = Arena::new(READ_BYTES)?.zeroed(READ_BYTES)?;
        for page in bytes.chunks_mut(4096) {
            page[0] = 1; // untouched pages would all map to the same zero page
        }
        Ok(Self { bytes, next: 0 })
    }

    /// The best read rate in bytes/s of the next `pieces` pieces of 32 MiB. Successive measurements
    /// read different pieces, so that no piece is in a cache when it is read again.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`].
    pub fn best_rate(&mut self, cpu: &Cpu, pieces: usize) -> Result<f64, DeviceError> {
        const CHUNK: usize = 512 << 10;
        let mut best = 0f64;
        for _ in 0..pieces {
            let piece = &self.bytes[self.next..self.next + Self::PIECE_BYTES];
            self.next = (self.next + Self::PIECE_BYTES) % READ_BYTES;
            let start = Stopwatch::start(cpu);
            cpu.pool.run_chunks(Self::PIECE_BYTES / CHUNK, 1, &|chunks| {
                let bytes = &piece[chunks.start * CHUNK..chunks.end * CHUNK];
                // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set.
                black_box(unsafe { read_all(cpu.set, bytes) });
            })?;
            best = best.max(Self::PIECE_BYTES as f64 / start.seconds());
        }
        Ok(best)
    }
}

/// Kind of multiply-add to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DotKind {
    /// f32 fused multiply-adds.
    F32,
    /// Multiply-adds of kernels for bf16: the bf16 dot product instruction, or f32 FMA without it.
    Bf16,
    /// Multiply-adds of kernels for quantized weights: 8-bit dot products, without scaling.
    Int8,
}

/// Peak rate of multiply-adds in registers on all threads, in operations/s (2 per multiply-add):
/// the best of `rounds`.
///
/// # Errors
/// [`DeviceError::WorkerPanicked`].
pub fn measure_dot_peak(cpu: &Cpu, kind: DotKind, rounds: usize) -> Result<f64, DeviceError> {
    const ITERATIONS: usize = 50_000;
    let mut best = 0f64;
    for _ in 0..rounds {
        let start = Stopwatch::start(cpu);
        let parts = cpu.pool.threads();
        let per_iteration = std::sync::atomic::AtomicUsize::new(0);
        cpu.pool.run(parts, &|_, _| {
            // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set.
            let operations = unsafe { iterate(cpu.set, kind, ITERATIONS) };
            per_iteration.store(operations, std::sync::atomic::Ordering::Relaxed);
        })?;
        let operations = (per_iteration.into_inner() * ITERATIONS * parts) as f64;
        best = best.max(operations / start.seconds());
    }
    Ok(best)
}

/// Mean time in seconds of a fork and join of a job with one empty part per thread.
///
/// # Errors
/// [`DeviceError::WorkerPanicked`].
pub fn measure_fork_join(pool: &Pool, rounds: usize) -> Result<f64, DeviceError> {
    let start = Instant::now();
    for _ in 0..rounds {
        pool.run(pool.threads(), &|part, _| {
            black_box(part);
        })?;
    }
    Ok(start.elapsed().as_secs_f64() / rounds.max(1) as f64)
}

unsafe fn iterate(set: KernelSet, kind: DotKind, count: usize) -> usize {
    match kind {
        DotKind::F32 => iterate_f32(set, count),
        DotKind::Int8 => iterate_int8(set, count),
        #[cfg(target_arch = "x86_64")]
        DotKind::Bf16 if set == KernelSet::Avx512Bf16 => iterate_bf16(count),
        DotKind::Bf16 => iterate_f32(set, count),
    }
}

kernel! { unsafe fn read_all(bytes: &[u8]) -> f32 = read_all_body }
kernel! { unsafe fn iterate_f32(count: usize) -> usize = iterate_f32_body }
kernel! { unsafe fn iterate_int8(count: usize) -> usize = iterate_int8_body }

/// Reads all bytes. The result depends on all loads, so that the compiler keeps them.
#[inline(always)]
unsafe fn read_all_body<S: Simd>(bytes: &[u8]) -> f32 {
    let mut acc = [S::splat(0.0); 4];
    for chunk in bytes.chunks_exact(4 * LANES * 4) {
        for (i, acc) in acc.iter_mut().enumerate() {
            *acc = S::max(S::load(chunk.as_ptr().cast::<f32>().add(i * LANES)), *acc);
        }
    }
    S::max_lane(S::max(S::max(acc[0], acc[1]), S::max(acc[2], acc[3])))
}

/// Number of independent dependency chains: enough to hide the latency of the instructions, few
/// enough to stay in registers.
const CHAINS: usize = 16;

#[inline(always)]
unsafe fn iterate_f32_body<S: Simd>(count: usize) -> usize {
    let chains = if S::WIDE { CHAINS } else { 5 };
    let (a, b) = (S::splat(black_box(1.0)), S::splat(black_box(1e-9)));
    let mut acc = [S::splat(0.0); CHAINS];
    for _ in 0..count {
        for acc in &mut acc[..chains] {
            *acc = S::fma(a, b, *acc);
        }
    }
    for acc in acc {
        black_box(S::sum(acc));
    }
    2 * LANES * chains
}

#[inline(always)]
unsafe fn iterate_int8_body<S: SimdInt>(count: usize) -> usize {
    let chains = if S::WIDE { CHAINS } else { 3 };
    let source = black_box([1u8; 64]);
    let (mut codes, x) = (S::load_i(source.as_ptr()), S::splat_i(black_box(0x0101_0101)));
    let one = S::splat_i(black_box(1));
    let mut acc = [S::splat_i(0); CHAINS];
    for _ in 0..count {
        // The codes differ between iterations. Otherwise, where a dot product takes several
        // instructions, the compiler would hoist all but the last out of the loop.
        codes = S::add_i(codes, one);
        for acc in &mut acc[..chains] {
            *acc = S::dot(*acc, codes, x);
        }
    }
    for acc in acc {
        black_box(S::sum(S::to_f32(acc)));
    }
    2 * 64 * chains
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
unsafe fn iterate_bf16(count: usize) -> usize {
    use super::simd::{Avx512, dot_bf16};
    use std::arch::x86_64::_mm512_set1_epi16;
    let (a, b) = (_mm512_set1_epi16(black_box(0x3f80)), _mm512_set1_epi16(black_box(0x3000)));
    let mut acc = [Avx512::<true>::splat(0.0); CHAINS];
    for _ in 0..count {
        for acc in &mut acc {
            *acc = dot_bf16(*acc, a, b);
        }
    }
    for acc in acc {
        black_box(Avx512::<true>::sum(acc));
    }
    2 * 2 * LANES * CHAINS
}
