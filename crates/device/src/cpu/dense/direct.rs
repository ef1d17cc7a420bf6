//! Few tokens, in few tiles: weights are multiplied where they lie, and memory sets the pace.

use std::mem::MaybeUninit;

use super::super::simd::{LANES, LINE, Simd};
use super::Block;
use super::dot::{CHUNK_BYTES, Dot, F};

/// Tokens of a tile. Few tokens leave registers for many rows, and a tile of them leaves room for
/// these in the first-level cache: eight tokens of 2048 numbers would fill it.
pub(super) const MOST_TOKENS: usize = 4;

/// Bytes that are asked for ahead of several rows side by side, at least.
const AHEAD_BYTES: usize = 12 << 10;

/// Rows and tokens of a tile are as many as there are registers for.
#[inline(always)]
pub(super) unsafe fn all<D: Dot>(block: &Block) {
    match (D::S::WIDE, block.x.layout.widest()) {
        (true, ..=2) => rows::<D, 4>(block),
        (true, _) => rows::<D, 6>(block),
        (false, 1) => rows::<D, 4>(block),
        (false, 2) => rows::<D, 2>(block),
        (false, _) => rows::<D, 1>(block),
    }
}

#[inline(always)]
unsafe fn rows<D: Dot, const R: usize>(block: &Block) {
    let mut row = 0;
    while row + R <= block.rows {
        tiles::<D, R>(block, row);
        row += R;
    }
    while R > 2 && row + 2 <= block.rows {
        tiles::<D, 2>(block, row);
        row += 2;
    }
    while row < block.rows {
        tiles::<D, 1>(block, row);
        row += 1;
    }
}

/// A few rows and all tokens: weights come from memory for the first tile, and from the first-level
/// cache for the others.
#[inline(always)]
unsafe fn tiles<D: Dot, const R: usize>(block: &Block, row: usize) {
    for tile in block.tiles.clone() {
        let tokens = block.x.layout.tile(tile);
        let place = Place {
            row,
            token: tokens.start,
            x: block.x.tile(tile),
            tile: tile - block.tiles.start,
        };
        match tokens.len() {
            1 => rows_and_tokens::<D, R, 1>(block, place),
            2 => rows_and_tokens::<D, R, 2>(block, place),
            3 => rows_and_tokens::<D, R, 3>(block, place),
            _ => rows_and_tokens::<D, R, 4>(block, place),
        }
    }
}

/// Where a tile begins, and which of the block's it is.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    token: usize,
    x: *const u8,
    tile: usize,
}

#[inline(always)]
unsafe fn rows_and_tokens<D: Dot, const R: usize, const T: usize>(block: &Block, place: Place) {
    let weights: [*const u8; R] =
        std::array::from_fn(|r| block.weights.add((place.row + r) * block.row_bytes));
    let mut acc = [[D::S::splat(0.0); T]; R];
    let whole = block.cols / D::CHUNK;
    whole_chunks::<D, R, T>(&mut acc, &weights, block, place, whole);
    if whole * D::CHUNK < block.cols {
        let at = whole * D::CHUNK;
        let w: [F<D>; R] = std::array::from_fn(|r| {
            D::weights_part(weights[r].add(at * D::WEIGHT_BYTES), block.cols - at)
        });
        multiply::<D, R, T>(&mut acc, &w, place.x.add(whole * T * CHUNK_BYTES));
    }
    finish::<D, R, T>(block, place, &acc);
}

/// All whole chunks, of all rows side by side. Meanwhile the rows that come after these are asked
/// for, a share with each tile, so that memory never waits; and in the order in which they lie,
/// which is how it gives most. They wait in the second-level cache: activations need the first.
#[inline(always)]
unsafe fn whole_chunks<D: Dot, const R: usize, const T: usize>(
    acc: &mut [[F<D>; T]; R],
    weights: &[*const u8; R],
    block: &Block,
    place: Place,
    whole: usize,
) {
    let (bytes, tiles) = (D::CHUNK * D::WEIGHT_BYTES, block.tiles.len());
    // With each chunk so many lines; the last tiles may have none to ask for.
    let lines = (R * bytes).div_ceil(LINE * tiles);
    let step = lines * LINE;
    let first = place.tile * step * whole;
    let asks = ((R * bytes * whole).saturating_sub(first) / step).min(whole);
    let ahead = weights[0].wrapping_add((R * block.row_bytes).max(AHEAD_BYTES) + first);
    // Behind the block's last row comes what this thread probably takes next.
    let end = block.weights.addr() + block.rows * block.row_bytes;
    let turn = (end.saturating_sub(ahead.addr()) / step).min(asks);
    let behind = (ahead.addr() + turn * step).saturating_sub(end);
    let next = block.next.wrapping_add(behind).wrapping_sub(turn * step);
    let mut chunk = 0;
    for (stop, ahead, lines) in [(turn, ahead, lines), (asks, next, lines), (whole, ahead, 0)] {
        while chunk < stop {
            for line in 0..lines {
                D::S::prefetch_far(ahead.wrapping_add(chunk * step + line * LINE));
            }
            let w: [F<D>; R] = std::array::from_fn(|r| D::weights(weights[r].add(chunk * bytes)));
            multiply::<D, R, T>(acc, &w, place.x.add(chunk * T * CHUNK_BYTES));
            chunk += 1;
        }
    }
}

/// One token at a time: with all of them in registers, accumulators would have to leave.
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

/// Adds up the accumulators, four at a time, adds the bias, and writes the sums.
#[inline(always)]
unsafe fn finish<D: Dot, const R: usize, const T: usize>(
    block: &Block,
    place: Place,
    acc: &[[F<D>; T]; R],
) {
    // Through memory: an array that is indexed by a number would be kept there from the start.
    let mut all = MaybeUninit::<[[[f32; LANES]; T]; R]>::uninit();
    let all = all.as_mut_ptr().cast::<f32>();
    for r in 0..R {
        for t in 0..T {
            D::S::store(all.add((r * T + t) * LANES), acc[r][t]);
        }
    }
    for first in (0..R * T).step_by(4) {
        // The last four may name one twice: nothing comes of the second.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| all.add((first + i).min(R * T - 1) * LANES));
        let sums = D::S::sum4(D::S::load(a), D::S::load(b), D::S::load(c), D::S::load(d));
        for (i, sum) in (first..R * T).zip(sums) {
            let (r, t) = (i / T, i % T);
            let bias = if block.bias.is_null() { 0.0 } else { *block.bias.add(place.row + r) };
            *block.out.add((place.token + t) * block.out_stride + place.row + r) = sum + bias;
        }
    }
}
