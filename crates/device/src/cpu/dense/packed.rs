//! Packed GEMM, 12x32 register tiles (as in GotoBLAS), for many tokens.
//!
//! The 16 partial sums of a dot product in [`super::direct`] are independent until the final
//! reduction. Here each partial sum (lane) is computed for many rows at once: a register holds one
//! column of 16 rows and is multiplied with one element of each token. This needs few loads and
//! gives the same bits. Weights are packed to [lane][chunk][row] and stay in the L2 cache while all
//! tiles of tokens are multiplied.

use std::cell::RefCell;
use std::ops::Range;

use super::super::simd::{LANES, LINE, Simd};
use super::GemmJob;
use super::dot::{CHUNK_BYTES, Dot, R};
use super::layout::LANE_ORDER;
use super::prefetch::Prefetch;
use crate::memory::Scratch;

/// Maximum chunks of columns packed at a time, so that the packed weights fit in the L2 cache.
const COLUMN_CHUNKS_MAX: usize = 128;

/// Chunks per iteration of the innermost loop.
const UNROLL: usize = 4;

/// Number of registers that hold the rows of a tile.
const REGISTERS: usize = 2;

/// Levels of the reduction tree over 16 lanes.
const LEVELS: usize = 4;

thread_local! {
    static PACK_BUFFER: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
}

/// Sizes of the parts in which weights are packed, and the buffers for them.
pub(super) struct PackPlan {
    /// Rows packed at a time.
    rows: usize,
    /// Number of chunks of a whole row.
    chunks: usize,
    /// Number of chunks of a row packed at a time.
    columns: usize,
    /// Elements from one packed lane to the next. Not a power of two, which would map the lanes to
    /// the same cache sets.
    lane_stride: usize,
    /// Number of sums of a tile: rows times tokens of the widest tile.
    sums: usize,
    /// Packed weights, [lane][chunk][row].
    packed: *mut f32,
    /// Sums of completed subtrees of the lane reduction, [level][token][row].
    levels: *mut f32,
    /// Sums over the columns packed so far, [tile][lane][token][row].
    partial: *mut f32,
}

impl PackPlan {
    /// Calls `run` with a plan that uses thread-local buffers.
    pub fn with(job: &GemmJob, register_lanes: usize, chunk: usize, run: impl FnOnce(&PackPlan)) {
        let chunks = job.cols.div_ceil(chunk);
        let columns = chunks.div_ceil(chunks.div_ceil(COLUMN_CHUNKS_MAX).max(1)).max(1);
        let rows = REGISTERS * register_lanes;
        // One more chunk, since chunks may be packed in pairs.
        let lane_stride = (columns + 1) * rows;
        let sums = rows * job.x.layout.widest();
        let (packed, levels) = (LANES * lane_stride, LEVELS * sums);
        let partial = if columns < chunks { job.tiles.len() * LANES * sums } else { 0 };
        PACK_BUFFER.with_borrow_mut(|buffer| {
            let start = buffer.resize(packed + levels + partial).as_mut_ptr();
            run(&PackPlan {
                rows,
                chunks,
                columns,
                lane_stride,
                sums,
                packed: start,
                levels: start.wrapping_add(packed),
                partial: start.wrapping_add(packed + levels),
            });
        });
    }

    fn lane(&self, lane: usize) -> *mut f32 {
        self.packed.wrapping_add(lane * self.lane_stride)
    }

    fn level(&self, level: usize) -> *mut f32 {
        self.levels.wrapping_add(level * self.sums)
    }

    fn partial(&self, tile: usize, lane: usize) -> *mut f32 {
        self.partial.wrapping_add((tile * LANES + lane) * self.sums)
    }
}

#[inline(always)]
pub(super) unsafe fn all<D: Dot>(job: &GemmJob, plan: &PackPlan) {
    for first in (0..job.rows).step_by(plan.rows) {
        let rows = first..(first + plan.rows).min(job.rows);
        for first in (0..plan.chunks).step_by(plan.columns) {
            let columns = first..(first + plan.columns).min(plan.chunks);
            pack::<D>(job, plan, &rows, &columns);
            let mut next_weights = NextWeights::after::<D>(job, plan, &rows, &columns);
            for index in job.tiles.clone() {
                dispatch_tile::<D>(
                    job,
                    plan,
                    &PackedTile { index, rows: rows.clone(), columns: columns.clone() },
                    &mut next_weights,
                );
            }
        }
    }
}

/// Packs the columns `columns` (in chunks) of the rows `rows`; rows past the end are zeros.
#[inline(always)]
unsafe fn pack<D: Dot>(
    job: &GemmJob,
    plan: &PackPlan,
    rows: &Range<usize>,
    columns: &Range<usize>,
) {
    let (row_bytes, piece) =
        (job.cols * D::WEIGHT_BYTES, D::RAW_CHUNKS * D::CHUNK * D::WEIGHT_BYTES);
    for first in (0..plan.rows).step_by(LANES) {
        let available = rows.len().saturating_sub(first).min(LANES);
        let from = job.weights.wrapping_add((rows.start + first) * job.row_bytes);
        for chunk in (0..columns.len()).step_by(D::RAW_CHUNKS) {
            let at = (columns.start + chunk) * D::CHUNK * D::WEIGHT_BYTES;
            let mut raw = [D::S::splat(0.0); LANES];
            if available == LANES && at + piece <= row_bytes {
                for (row, raw) in raw.iter_mut().enumerate() {
                    *raw = D::raw(from.add(row * job.row_bytes + at));
                }
            } else {
                for (row, raw) in raw.iter_mut().enumerate().take(available) {
                    let mut buffer = [0u8; CHUNK_BYTES];
                    let bytes = piece.min(row_bytes - at);
                    from.add(row * job.row_bytes + at)
                        .copy_to_nonoverlapping(buffer.as_mut_ptr(), bytes);
                    *raw = D::raw(buffer.as_ptr());
                }
            }
            D::S::transpose(&mut raw);
            let to = plan.packed.add(chunk * plan.rows + first);
            for (i, raw) in raw.into_iter().enumerate() {
                let columns = D::columns(raw);
                for j in 0..D::RAW_CHUNKS {
                    let at = i * D::RAW_CHUNKS + j;
                    D::S::store(
                        to.add(LANE_ORDER[at % LANES] * plan.lane_stride + at / LANES * plan.rows),
                        columns[j],
                    );
                }
            }
        }
    }
}

/// Prefetches the weights to pack next while the current ones are multiplied.
struct NextWeights {
    from: *const u8,
    row_bytes: usize,
    /// Cache lines per call of [`Self::next`].
    lines: usize,
    /// Calls per row.
    calls: usize,
    /// Calls made for the current row.
    call: usize,
}

impl NextWeights {
    #[inline(always)]
    fn after<D: Dot>(
        job: &GemmJob,
        plan: &PackPlan,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Self {
        let (row, column) =
            if columns.end < plan.chunks { (rows.start, columns.end) } else { (rows.end, 0) };
        let start =
            if row < job.rows { job.weights.wrapping_add(row * job.row_bytes) } else { job.next };
        let from = start.wrapping_add(column * D::CHUNK * D::WEIGHT_BYTES);
        let row_lines = (plan.columns * D::CHUNK * D::WEIGHT_BYTES).div_ceil(LINE);
        let calls = (job.tiles.len() * LANES / plan.rows).clamp(1, row_lines.max(1));
        Self { from, row_bytes: job.row_bytes, lines: row_lines.div_ceil(calls), calls, call: 0 }
    }

    #[inline(always)]
    fn next(&mut self) -> Prefetch {
        let from = self.from.wrapping_add(self.call * self.lines * LINE);
        let prefetch = Prefetch { from, lines: self.lines };
        self.call += 1;
        if self.call == self.calls {
            self.call = 0;
            self.from = self.from.wrapping_add(self.row_bytes);
        }
        prefetch
    }
}

/// A tile of tokens, and the packed rows and columns that it is multiplied with.
struct PackedTile {
    /// Index of the tile of tokens.
    index: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

#[inline(always)]
unsafe fn dispatch_tile<D: Dot>(
    job: &GemmJob,
    plan: &PackPlan,
    tile: &PackedTile,
    next: &mut NextWeights,
) {
    let tokens = job.x.layout.tile(tile.index).len();
    if D::S::WIDE {
        match tokens {
            ..=6 => multiply_tile::<D, 6>(job, plan, tile, next),
            7 => multiply_tile::<D, 7>(job, plan, tile, next),
            8 => multiply_tile::<D, 8>(job, plan, tile, next),
            9 => multiply_tile::<D, 9>(job, plan, tile, next),
            10 => multiply_tile::<D, 10>(job, plan, tile, next),
            11 => multiply_tile::<D, 11>(job, plan, tile, next),
            _ => multiply_tile::<D, 12>(job, plan, tile, next),
        }
    } else {
        match tokens {
            ..=3 => multiply_tile::<D, 3>(job, plan, tile, next),
            4 => multiply_tile::<D, 4>(job, plan, tile, next),
            5 => multiply_tile::<D, 5>(job, plan, tile, next),
            _ => multiply_tile::<D, 6>(job, plan, tile, next),
        }
    }
}

/// Sums of T tokens and the rows of a tile.
type TileSums<D, const T: usize> = [[R<D>; T]; REGISTERS];

#[inline(always)]
unsafe fn multiply_tile<D: Dot, const T: usize>(
    job: &GemmJob,
    plan: &PackPlan,
    tile: &PackedTile,
    next: &mut NextWeights,
) {
    let x = job.x.tile(tile.index);
    let index = tile.index - job.tiles.start;
    for lane in 0..LANES {
        let x = x.add((lane * plan.chunks + tile.columns.start) * T * 4);
        // Activations of the next tile of tokens, for the same lane.
        let next_x = Prefetch {
            from: x.wrapping_add(T * job.x.token_bytes),
            lines: (tile.columns.len() * T * 4).div_ceil(LINE),
        };
        let partial =
            if tile.columns.start > 0 { plan.partial(index, lane) } else { std::ptr::null_mut() };
        let w = plan.lane(lane).cast();
        let operands = LaneOperands { partial, w, x, chunks: tile.columns.len() };
        let mut sums = multiply::<D, T>(operands, next_x, next.next());
        if tile.columns.end < plan.chunks {
            store::<D, T>(&sums, plan.partial(index, lane));
            continue;
        }
        let levels = lane.trailing_ones() as usize;
        for level in 0..levels {
            add::<D, T>(&mut sums, plan.level(level));
        }
        if lane + 1 < LANES {
            store::<D, T>(&sums, plan.level(levels));
        } else {
            finish::<D, T>(job, tile, &sums);
        }
    }
}

/// Offset in elements of the sums of one token and one register of rows.
#[inline(always)]
fn offset<D: Dot>(register: usize, token: usize) -> usize {
    (token * REGISTERS + register) * D::S::REGISTER_LANES
}

#[inline(always)]
unsafe fn store<D: Dot, const T: usize>(sums: &TileSums<D, T>, to: *mut f32) {
    for t in 0..T {
        for r in 0..REGISTERS {
            D::S::store_register(to.add(offset::<D>(r, t)), sums[r][t]);
        }
    }
}

#[inline(always)]
unsafe fn add<D: Dot, const T: usize>(sums: &mut TileSums<D, T>, others: *const f32) {
    for t in 0..T {
        for r in 0..REGISTERS {
            sums[r][t] =
                D::S::add_register(D::S::load_register(others.add(offset::<D>(r, t))), sums[r][t]);
        }
    }
}

/// Operands of one lane of a tile of tokens.
struct LaneOperands {
    /// Sums over the columns packed earlier, or null.
    partial: *const f32,
    /// Packed weights, [chunk][row].
    w: *const u8,
    /// Activations, [chunk][T].
    x: *const u8,
    chunks: usize,
}

/// Multiplies the chunks of one lane and adds the products to the partial sums, if any.
#[inline(always)]
unsafe fn multiply<D: Dot, const T: usize>(
    operands: LaneOperands,
    next_x: Prefetch,
    next_weights: Prefetch,
) -> TileSums<D, T> {
    let LaneOperands { partial, mut w, mut x, chunks } = operands;
    let mut sums = [[D::S::zero_register(); T]; REGISTERS];
    if !partial.is_null() {
        for t in 0..T {
            for r in 0..REGISTERS {
                sums[r][t] = D::S::load_register(partial.add(offset::<D>(r, t)));
            }
        }
    }
    let register_bytes = D::S::REGISTER_LANES * 4;
    let (mut next_x, mut next_weights) = (
        next_x.start::<D::S>(chunks / UNROLL * UNROLL),
        next_weights.start::<D::S>(chunks / UNROLL),
    );
    for _ in 0..chunks / UNROLL {
        next_weights.step::<D::S>();
        for i in 0..UNROLL {
            next_x.step::<D::S>();
            multiply_chunk::<D, T>(
                &mut sums,
                w.add(i * REGISTERS * register_bytes),
                x.add(i * T * 4),
            );
        }
        w = w.add(UNROLL * REGISTERS * register_bytes);
        x = x.add(UNROLL * T * 4);
    }
    for _ in 0..chunks % UNROLL {
        multiply_chunk::<D, T>(&mut sums, w, x);
        w = w.add(REGISTERS * register_bytes);
        x = x.add(T * 4);
    }
    sums
}

#[inline(always)]
unsafe fn multiply_chunk<D: Dot, const T: usize>(
    sums: &mut TileSums<D, T>,
    w: *const u8,
    x: *const u8,
) {
    let mut rows = [D::S::load_register(w.cast()); REGISTERS];
    for (r, rows) in rows.iter_mut().enumerate().skip(1) {
        *rows = D::S::load_register(w.cast::<f32>().add(r * D::S::REGISTER_LANES));
    }
    for t in 0..T {
        let x = D::S::broadcast_register(x.cast::<f32>().add(t));
        for r in 0..REGISTERS {
            sums[r][t] = D::accumulate_register(sums[r][t], rows[r], x);
        }
    }
}

/// Adds the bias and writes the outputs, except those of rows past the end.
#[inline(always)]
unsafe fn finish<D: Dot, const T: usize>(job: &GemmJob, tile: &PackedTile, sums: &TileSums<D, T>) {
    let (rows, token) = (&tile.rows, job.x.layout.tile(tile.index).start);
    for t in 0..T {
        for r in 0..REGISTERS {
            let row = rows.start + r * D::S::REGISTER_LANES;
            let available = rows.end.saturating_sub(row);
            let out = job.out.wrapping_add((token + t) * job.out_stride + row);
            if available >= D::S::REGISTER_LANES {
                let bias = if job.bias.is_null() {
                    D::S::zero_register()
                } else {
                    D::S::load_register(job.bias.add(row))
                };
                D::S::store_register(out, D::S::add_register(sums[r][t], bias));
            } else {
                let mut all = [0f32; LANES];
                D::S::store_register(all.as_mut_ptr(), sums[r][t]);
                for (i, sum) in all.into_iter().enumerate().take(available) {
                    let bias = if job.bias.is_null() { 0.0 } else { *job.bias.add(row + i) };
                    *out.add(i) = sum + bias;
                }
            }
        }
    }
}
