//! Many tokens: outer products.
//!
//! A row's 16 sums of [`super::direct`] are independent until they are added up. So each is
//! computed by itself for many rows at a time: a register holds one column of 16 rows, and meets
//! one number of each token. That asks for few loads, and gives the same bits. Weights are
//! copied for it, [lane][chunk][row], and stay in the second-level cache while all tiles of tokens
//! pass.

use std::cell::RefCell;
use std::ops::Range;

use super::super::simd::{LANES, LINE, Simd};
use super::Block;
use super::dot::{CHUNK_BYTES, Dot, R};
use super::layout::LANE_ORDER;
use crate::memory::Scratch;

/// Most chunks of columns that are copied at a time: copies of a block of rows then stay in the
/// second-level cache.
const COLUMNS_MOST: usize = 128;

/// Chunks that are multiplied in a turn of the innermost loop.
const UNROLL: usize = 4;

/// Registers of rows in a block.
const REGISTERS: usize = 2;

/// Sums that may wait for others.
const LEVELS: usize = 4;

thread_local! {
    static ROOM: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
}

/// How a block is cut, and the room that this takes.
pub(super) struct Cut {
    /// Rows that are copied at a time.
    rows: usize,
    /// Chunks of all columns, and of those that are copied at a time.
    chunks: usize,
    columns: usize,
    /// Numbers from a lane of the copies to the next: not a power of two, or they would compete
    /// for the same sets of a cache.
    lane_stride: usize,
    /// Numbers of a tile's sums.
    sums: usize,
    /// [lane][chunk][row]
    copies: *mut f32,
    /// Sums that wait for others of their tile, [level].
    levels: *mut f32,
    /// Sums that wait for more columns, [tile][lane].
    waiting: *mut f32,
}

impl Cut {
    /// With room for it, which the thread keeps.
    pub fn with(block: &Block, register_lanes: usize, chunk: usize, run: impl FnOnce(&Cut)) {
        let chunks = block.cols.div_ceil(chunk);
        let columns = chunks.div_ceil(chunks.div_ceil(COLUMNS_MOST).max(1)).max(1);
        let rows = REGISTERS * register_lanes;
        // Chunks may be copied in pairs: there is room for one more.
        let lane_stride = (columns + 1) * rows;
        let sums = rows * block.x.layout.widest();
        let (copies, levels) = (LANES * lane_stride, LEVELS * sums);
        let waiting = if columns < chunks { block.tiles.len() * LANES * sums } else { 0 };
        ROOM.with_borrow_mut(|room| {
            let copied = room.resize(copies + levels + waiting).as_mut_ptr();
            run(&Cut {
                rows,
                chunks,
                columns,
                lane_stride,
                sums,
                copies: copied,
                levels: copied.wrapping_add(copies),
                waiting: copied.wrapping_add(copies + levels),
            });
        });
    }

    fn lane(&self, lane: usize) -> *mut f32 {
        self.copies.wrapping_add(lane * self.lane_stride)
    }

    fn level(&self, level: usize) -> *mut f32 {
        self.levels.wrapping_add(level * self.sums)
    }

    fn waiting(&self, tile: usize, lane: usize) -> *mut f32 {
        self.waiting.wrapping_add((tile * LANES + lane) * self.sums)
    }
}

#[inline(always)]
pub(super) unsafe fn all<D: Dot>(block: &Block, cut: &Cut) {
    for first in (0..block.rows).step_by(cut.rows) {
        let rows = first..(first + cut.rows).min(block.rows);
        for first in (0..cut.chunks).step_by(cut.columns) {
            let columns = first..(first + cut.columns).min(cut.chunks);
            copy::<D>(block, cut, &rows, &columns);
            let mut next_weights = NextWeights::after::<D>(block, cut, &rows, &columns);
            for tile in block.tiles.clone() {
                tile_of::<D>(
                    block,
                    cut,
                    &Place { tile, rows: rows.clone(), columns: columns.clone() },
                    &mut next_weights,
                );
            }
        }
    }
}

/// Copies some columns of some rows, zeros for rows that there are not.
#[inline(always)]
unsafe fn copy<D: Dot>(block: &Block, cut: &Cut, rows: &Range<usize>, columns: &Range<usize>) {
    let (row_bytes, piece) =
        (block.cols * D::WEIGHT_BYTES, D::RAW_CHUNKS * D::CHUNK * D::WEIGHT_BYTES);
    for first in (0..cut.rows).step_by(LANES) {
        let there = rows.len().saturating_sub(first).min(LANES);
        let from = block.weights.wrapping_add((rows.start + first) * block.row_bytes);
        for chunk in (0..columns.len()).step_by(D::RAW_CHUNKS) {
            let at = (columns.start + chunk) * D::CHUNK * D::WEIGHT_BYTES;
            let mut raw = [D::S::splat(0.0); LANES];
            if there == LANES && at + piece <= row_bytes {
                for (row, raw) in raw.iter_mut().enumerate() {
                    *raw = D::raw(from.add(row * block.row_bytes + at));
                }
            } else {
                for (row, raw) in raw.iter_mut().enumerate().take(there) {
                    let mut some = [0u8; CHUNK_BYTES];
                    let bytes = piece.min(row_bytes - at);
                    from.add(row * block.row_bytes + at)
                        .copy_to_nonoverlapping(some.as_mut_ptr(), bytes);
                    *raw = D::raw(some.as_ptr());
                }
            }
            D::S::transpose(&mut raw);
            let to = cut.copies.add(chunk * cut.rows + first);
            for (i, raw) in raw.into_iter().enumerate() {
                let columns = D::columns(raw);
                for j in 0..D::RAW_CHUNKS {
                    let at = i * D::RAW_CHUNKS + j;
                    D::S::store(
                        to.add(LANE_ORDER[at % LANES] * cut.lane_stride + at / LANES * cut.rows),
                        columns[j],
                    );
                }
            }
        }
    }
}

/// The weights that are copied next, which are asked for while these are multiplied.
struct NextWeights {
    from: *const u8,
    row_bytes: usize,
    /// Lines to ask for at a time, and such times a row.
    lines: usize,
    turns: usize,
    turn: usize,
}

impl NextWeights {
    #[inline(always)]
    fn after<D: Dot>(
        block: &Block,
        cut: &Cut,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Self {
        let (row, column) =
            if columns.end < cut.chunks { (rows.start, columns.end) } else { (rows.end, 0) };
        let start = if row < block.rows {
            block.weights.wrapping_add(row * block.row_bytes)
        } else {
            block.next
        };
        let from = start.wrapping_add(column * D::CHUNK * D::WEIGHT_BYTES);
        let row_lines = (cut.columns * D::CHUNK * D::WEIGHT_BYTES).div_ceil(LINE);
        let turns = (block.tiles.len() * LANES / cut.rows).clamp(1, row_lines.max(1));
        Self { from, row_bytes: block.row_bytes, lines: row_lines.div_ceil(turns), turns, turn: 0 }
    }

    #[inline(always)]
    fn next(&mut self) -> Ask {
        let ask =
            Ask { from: self.from.wrapping_add(self.turn * self.lines * LINE), lines: self.lines };
        self.turn += 1;
        if self.turn == self.turns {
            self.turn = 0;
            self.from = self.from.wrapping_add(self.row_bytes);
        }
        ask
    }
}

/// Cache lines to ask for while something is multiplied.
struct Ask {
    from: *const u8,
    lines: usize,
}

impl Ask {
    /// Asks for all that so many calls of `Asking::one` do not.
    #[inline(always)]
    unsafe fn but<S: Simd>(self, calls: usize) -> Asking {
        let now = self.lines.saturating_sub(calls);
        for line in 0..now {
            S::prefetch_far(self.from.wrapping_add(line * LINE));
        }
        Asking {
            from: self.from.wrapping_add(now * LINE),
            step: if self.lines > 0 { LINE } else { 0 },
        }
    }
}

struct Asking {
    from: *const u8,
    step: usize,
}

impl Asking {
    #[inline(always)]
    unsafe fn one<S: Simd>(&mut self) {
        S::prefetch_far(self.from);
        self.from = self.from.wrapping_add(self.step);
    }
}

/// Which product: a tile of tokens, and the rows and columns that were copied.
struct Place {
    tile: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

#[inline(always)]
unsafe fn tile_of<D: Dot>(block: &Block, cut: &Cut, place: &Place, next: &mut NextWeights) {
    let tokens = block.x.layout.tile(place.tile).len();
    if D::S::WIDE {
        match tokens {
            ..=6 => tile::<D, 6>(block, cut, place, next),
            7 => tile::<D, 7>(block, cut, place, next),
            8 => tile::<D, 8>(block, cut, place, next),
            9 => tile::<D, 9>(block, cut, place, next),
            10 => tile::<D, 10>(block, cut, place, next),
            11 => tile::<D, 11>(block, cut, place, next),
            _ => tile::<D, 12>(block, cut, place, next),
        }
    } else {
        match tokens {
            ..=3 => tile::<D, 3>(block, cut, place, next),
            4 => tile::<D, 4>(block, cut, place, next),
            5 => tile::<D, 5>(block, cut, place, next),
            _ => tile::<D, 6>(block, cut, place, next),
        }
    }
}

/// The sums of T tokens and a block of rows.
type Sums<D, const T: usize> = [[R<D>; T]; REGISTERS];

#[inline(always)]
unsafe fn tile<D: Dot, const T: usize>(
    block: &Block,
    cut: &Cut,
    place: &Place,
    next: &mut NextWeights,
) {
    let x = block.x.tile(place.tile);
    let waits = place.tile - block.tiles.start;
    for lane in 0..LANES {
        let x = x.add((lane * cut.chunks + place.columns.start) * T * 4);
        // The next tile's numbers of this lane.
        let next_x = Ask {
            from: x.wrapping_add(T * block.x.token_bytes),
            lines: (place.columns.len() * T * 4).div_ceil(LINE),
        };
        let waiting =
            if place.columns.start > 0 { cut.waiting(waits, lane) } else { std::ptr::null_mut() };
        let w = cut.lane(lane).cast();
        let mut sums = multiply::<D, T>(waiting, w, x, place.columns.len(), next_x, next.next());
        if place.columns.end < cut.chunks {
            store::<D, T>(&sums, cut.waiting(waits, lane));
            continue;
        }
        let levels = lane.trailing_ones() as usize;
        for level in 0..levels {
            add::<D, T>(&mut sums, cut.level(level));
        }
        if lane + 1 < LANES {
            store::<D, T>(&sums, cut.level(levels));
        } else {
            finish::<D, T>(block, place, &sums);
        }
    }
}

/// Where the sums of a token and a register of rows wait.
#[inline(always)]
fn offset<D: Dot>(register: usize, token: usize) -> usize {
    (token * REGISTERS + register) * D::S::REGISTER_LANES
}

#[inline(always)]
unsafe fn store<D: Dot, const T: usize>(sums: &Sums<D, T>, to: *mut f32) {
    for t in 0..T {
        for r in 0..REGISTERS {
            D::S::store_register(to.add(offset::<D>(r, t)), sums[r][t]);
        }
    }
}

#[inline(always)]
unsafe fn add<D: Dot, const T: usize>(sums: &mut Sums<D, T>, others: *const f32) {
    for t in 0..T {
        for r in 0..REGISTERS {
            sums[r][t] =
                D::S::add_register(D::S::load_register(others.add(offset::<D>(r, t))), sums[r][t]);
        }
    }
}

/// So many chunks of one lane, added to the sums that wait, if any.
#[inline(always)]
unsafe fn multiply<D: Dot, const T: usize>(
    waiting: *const f32,
    mut w: *const u8,
    mut x: *const u8,
    chunks: usize,
    next_x: Ask,
    next_weights: Ask,
) -> Sums<D, T> {
    let mut sums = [[D::S::zero_register(); T]; REGISTERS];
    if !waiting.is_null() {
        for t in 0..T {
            for r in 0..REGISTERS {
                sums[r][t] = D::S::load_register(waiting.add(offset::<D>(r, t)));
            }
        }
    }
    let register_bytes = D::S::REGISTER_LANES * 4;
    let (mut next_x, mut next_weights) =
        (next_x.but::<D::S>(chunks / UNROLL * UNROLL), next_weights.but::<D::S>(chunks / UNROLL));
    for _ in 0..chunks / UNROLL {
        next_weights.one::<D::S>();
        for i in 0..UNROLL {
            next_x.one::<D::S>();
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
    sums: &mut Sums<D, T>,
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

/// Adds the bias and writes the rows that there are.
#[inline(always)]
unsafe fn finish<D: Dot, const T: usize>(block: &Block, place: &Place, sums: &Sums<D, T>) {
    let (rows, token) = (&place.rows, block.x.layout.tile(place.tile).start);
    for t in 0..T {
        for r in 0..REGISTERS {
            let row = rows.start + r * D::S::REGISTER_LANES;
            let there = rows.end.saturating_sub(row);
            let out = block.out.wrapping_add((token + t) * block.out_stride + row);
            if there >= D::S::REGISTER_LANES {
                let bias = if block.bias.is_null() {
                    D::S::zero_register()
                } else {
                    D::S::load_register(block.bias.add(row))
                };
                D::S::store_register(out, D::S::add_register(sums[r][t], bias));
            } else {
                let mut all = [0f32; LANES];
                D::S::store_register(all.as_mut_ptr(), sums[r][t]);
                for (i, sum) in all.into_iter().enumerate().take(there) {
                    let bias = if block.bias.is_null() { 0.0 } else { *block.bias.add(row + i) };
                    *out.add(i) = sum + bias;
                }
            }
        }
    }
}
