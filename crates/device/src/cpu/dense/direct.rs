//! Skinny GEMM on unpacked weights, for few tokens: bound by memory bandwidth.

use std::mem::MaybeUninit;

use super::super::simd::{LANES, LINE, Simd};
use super::GemmJob;
use super::dot::{CHUNK_BYTES, Dot, F};

/// Maximum tokens of a tile. Few tokens leave registers for many rows, and the activations of a
/// tile must fit in the L1 cache: eight tokens of 2048 elements would fill it.
pub(super) const TOKENS_MAX: usize = 4;

/// Minimum distance in bytes from the first row of a tile to the rows prefetched meanwhile.
const AHEAD_BYTES: usize = 12 << 10;

/// Computes the job with tiles of as many rows as the registers allow for the tokens of a tile.
#[inline(always)]
pub(super) unsafe fn all<D: Dot>(job: &GemmJob) {
    match (D::S::WIDE, job.x.layout.widest()) {
        (true, ..=2) => rows::<D, 4>(job),
        (true, _) => rows::<D, 6>(job),
        (false, 1) => rows::<D, 4>(job),
        (false, 2) => rows::<D, 2>(job),
        (false, _) => rows::<D, 1>(job),
    }
}

#[inline(always)]
unsafe fn rows<D: Dot, const R: usize>(job: &GemmJob) {
    let mut row = 0;
    while row + R <= job.rows {
        tiles::<D, R>(job, row);
        row += R;
    }
    while R > 2 && row + 2 <= job.rows {
        tiles::<D, 2>(job, row);
        row += 2;
    }
    while row < job.rows {
        tiles::<D, 1>(job, row);
        row += 1;
    }
}

/// Multiplies R rows with all tokens. The weights are read from memory for the first tile of
/// tokens, and from the L1 cache for the others.
#[inline(always)]
unsafe fn tiles<D: Dot, const R: usize>(job: &GemmJob, row: usize) {
    for index in job.tiles.clone() {
        let tokens = job.x.layout.tile(index);
        let tile = DirectTile {
            row,
            token: tokens.start,
            x: job.x.tile(index),
            index: index - job.tiles.start,
        };
        match tokens.len() {
            1 => rows_and_tokens::<D, R, 1>(job, tile),
            2 => rows_and_tokens::<D, R, 2>(job, tile),
            3 => rows_and_tokens::<D, R, 3>(job, tile),
            _ => rows_and_tokens::<D, R, 4>(job, tile),
        }
    }
}

/// A tile: its first row, its first token and the activations of its tokens.
#[derive(Clone, Copy)]
struct DirectTile {
    row: usize,
    token: usize,
    x: *const u8,
    /// Index of the tile of tokens in the job.
    index: usize,
}

#[inline(always)]
unsafe fn rows_and_tokens<D: Dot, const R: usize, const T: usize>(job: &GemmJob, tile: DirectTile) {
    let weights: [*const u8; R] =
        std::array::from_fn(|r| job.weights.add((tile.row + r) * job.row_bytes));
    let mut acc = [[D::S::splat(0.0); T]; R];
    let whole = job.cols / D::CHUNK;
    whole_chunks::<D, R, T>(&mut acc, &weights, job, tile, whole);
    if whole * D::CHUNK < job.cols {
        let at = whole * D::CHUNK;
        let w: [F<D>; R] = std::array::from_fn(|r| {
            D::weights_part(weights[r].add(at * D::WEIGHT_BYTES), job.cols - at)
        });
        multiply::<D, R, T>(&mut acc, &w, tile.x.add(whole * T * CHUNK_BYTES));
    }
    finish::<D, R, T>(job, tile, &acc);
}

/// Multiplies all whole chunks of R rows. While multiplying, prefetches the following rows into the
/// L2 cache (the L1 cache is needed for activations): an equal part with each tile of tokens, in
/// memory order, which gives the highest bandwidth.
#[inline(always)]
unsafe fn whole_chunks<D: Dot, const R: usize, const T: usize>(
    acc: &mut [[F<D>; T]; R],
    weights: &[*const u8; R],
    job: &GemmJob,
    tile: DirectTile,
    whole: usize,
) {
    let (bytes, tiles) = (D::CHUNK * D::WEIGHT_BYTES, job.tiles.len());
    // Cache lines to prefetch per chunk. For the last tiles of tokens none may be left.
    let lines = (R * bytes).div_ceil(LINE * tiles);
    let step = lines * LINE;
    let first = tile.index * step * whole;
    let prefetches = ((R * bytes * whole).saturating_sub(first) / step).min(whole);
    let ahead = weights[0].wrapping_add((R * job.row_bytes).max(AHEAD_BYTES) + first);
    // Past the job's last row, continue with the weights that this thread probably takes next.
    let end = job.weights.addr() + job.rows * job.row_bytes;
    let own = (end.saturating_sub(ahead.addr()) / step).min(prefetches);
    let beyond = (ahead.addr() + own * step).saturating_sub(end);
    let next = job.next.wrapping_add(beyond).wrapping_sub(own * step);
    let mut chunk = 0;
    for (stop, ahead, lines) in [(own, ahead, lines), (prefetches, next, lines), (whole, ahead, 0)]
    {
        while chunk < stop {
            for line in 0..lines {
                D::S::prefetch_far(ahead.wrapping_add(chunk * step + line * LINE));
            }
            let w: [F<D>; R] = std::array::from_fn(|r| D::weights(weights[r].add(chunk * bytes)));
            multiply::<D, R, T>(acc, &w, tile.x.add(chunk * T * CHUNK_BYTES));
            chunk += 1;
        }
    }
}

/// Multiplies one chunk of R rows with T tokens. Loads one token at a time: all tokens together
/// would spill the accumulators.
#[inline(always)]
unsafe fn multiply<D: Dot, const R: usize, const T: usize>(
    acc: &mut [[F<D>; T]; R],
    w: &[F<D>; R],
    x: *const u8,
) {
    for t in 0..T {
        let x = D::S::load(x.add(t * CHUNK_BYTES).cast());
        for r in 0..R {
            acc[r][t] = D::accumulate(acc[r][t], w[r], x);
        }
    }
}

/// Reduces the accumulators, four at a time, adds the bias, and writes the outputs.
#[inline(always)]
unsafe fn finish<D: Dot, const R: usize, const T: usize>(
    job: &GemmJob,
    tile: DirectTile,
    acc: &[[F<D>; T]; R],
) {
    // The accumulators are stored before they are indexed by a variable; indexing `acc` itself
    // would make the compiler keep it in memory from the start.
    let mut all = MaybeUninit::<[[[f32; LANES]; T]; R]>::uninit();
    let all = all.as_mut_ptr().cast::<f32>();
    for r in 0..R {
        for t in 0..T {
            D::S::store(all.add((r * T + t) * LANES), acc[r][t]);
        }
    }
    for first in (0..R * T).step_by(4) {
        // The last group of four may repeat an accumulator; the additional sums are not used.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| all.add((first + i).min(R * T - 1) * LANES));
        let sums = D::S::sum4(D::S::load(a), D::S::load(b), D::S::load(c), D::S::load(d));
        for (i, sum) in (first..R * T).zip(sums) {
            let (r, t) = (i / T, i % T);
            let bias = if job.bias.is_null() { 0.0 } else { *job.bias.add(tile.row + r) };
            *job.out.add((tile.token + t) * job.out_stride + tile.row + r) = sum + bias;
        }
    }
}
