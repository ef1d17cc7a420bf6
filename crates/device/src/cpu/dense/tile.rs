use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::simd::{LANES, Simd};
use super::dot::{Dot, F};

/// Rows of a weight matrix times all tokens.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Block {
    /// The first row, readable for `rows` rows of `cols` weights, `row_bytes` apart, at any alignment.
    pub weights: *const u8,
    pub row_bytes: usize,
    pub rows: usize,
    pub cols: usize,
    /// Where the weights begin that this thread probably takes next: asked for meanwhile, never read.
    pub next: *const u8,
    /// [tokens], `x_stride` bytes apart; zeros from `cols` to the next multiple of 32.
    pub x: *const u8,
    pub x_stride: usize,
    pub tokens: usize,
    /// One a row, or null.
    pub bias: *const f32,
    /// The first row's output of the first token; tokens are `out_stride` elements apart.
    pub out: *mut f32,
    pub out_stride: usize,
}

/// Rows of a tile.
const ROWS: usize = 4;

/// Tokens of the widest tile.
const MOST_TOKENS: usize = 6;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of a row that tiles work through at a time where there are many tokens: rows and tokens of a tile then stay in the first-level
/// cache.
const SPAN_BYTES: usize = 4 << 10;

/// Rows whose accumulators wait between spans.
const SPAN_ROWS: usize = 64;

/// All rows and tokens of a block.
#[inline(always)]
pub(super) unsafe fn all<D: Dot>(block: &Block) {
    let most = if D::S::WIDE { MOST_TOKENS } else { 2 };
    if block.tokens <= most {
        one_tile_of_tokens::<D>(block);
    } else {
        tokens_then_rows::<D>(block, most);
    }
}

/// Calls `$run::<D, R, T>` with `$tokens` for T. Tiles of more than 2 tokens are compiled only where there are registers for them.
macro_rules! with_tokens {
    ($run:ident, $D:ident, $R:expr, $tokens:expr, ($($arg:expr),*)) => {
        if $tokens == 1 {
            $run::<$D, { $R }, 1>($($arg),*)
        } else if !$D::S::WIDE {
            $run::<$D, { $R }, 2>($($arg),*)
        } else {
            match $tokens {
                2 => $run::<$D, { $R }, 2>($($arg),*),
                3 => $run::<$D, { $R }, 3>($($arg),*),
                4 => $run::<$D, { $R }, 4>($($arg),*),
                5 => $run::<$D, { $R }, 5>($($arg),*),
                _ => $run::<$D, { $R }, 6>($($arg),*),
            }
        }
    };
}

/// Memory sets the pace: while some rows are multiplied, these rows' bytes 2 KiB on are asked for.
#[inline(always)]
unsafe fn one_tile_of_tokens<D: Dot>(block: &Block) {
    with_tokens!(few_tokens, D, ROWS, block.tokens, (block));
}

#[inline(always)]
unsafe fn few_tokens<D: Dot, const R: usize, const T: usize>(block: &Block) {
    let ahead = block.row_bytes.min(2048);
    let mut row = 0;
    while row + R <= block.rows {
        let fetch = Fetch::AlongRows { ahead };
        tile::<D, R, T>(block, &Place::whole(block, row, 0, fetch));
        row += R;
    }
    while row < block.rows {
        tile::<D, 1, T>(block, &Place::whole(block, row, 0, Fetch::Nothing));
        row += 1;
    }
}

/// More tokens: a tile of tokens meets all rows, span by span where rows are long, so that its activations stay in the first-level cache
/// while weights come from the second. Each tile asks for its share of the next block's weights.
#[inline(always)]
unsafe fn tokens_then_rows<D: Dot>(block: &Block, most: usize) {
    let mut waiting = [MaybeUninit::<f32>::uninit(); SPAN_ROWS * MOST_TOKENS * LANES];
    let span = (SPAN_BYTES / D::WEIGHT_BYTES.max(D::X_BYTES)).next_multiple_of(D::CHUNK);
    // The last span may be half as long again: a short one would cost more than it saves.
    let spans = if block.cols <= span + span / 2 { 1 } else { block.cols.div_ceil(span) };
    let tiles = block.tokens.div_ceil(most) * block.rows.div_ceil(ROWS) * spans;
    let share = (block.rows * block.row_bytes).div_ceil(tiles).next_multiple_of(LINE);
    let mut from = block.next;
    for first in (0..block.rows).step_by(SPAN_ROWS) {
        let rows = first..(first + SPAN_ROWS).min(block.rows);
        let mut token = 0;
        while token < block.tokens {
            let now = even(block.tokens - token, most);
            for part in 0..spans {
                let end = if part + 1 == spans { block.cols } else { (part + 1) * span };
                let columns = part * span..end;
                let mut waiting = waiting.as_mut_ptr().cast::<f32>();
                let mut row = rows.start;
                while row < rows.end {
                    let whole = row + ROWS <= rows.end;
                    let fetch = Fetch::piece::<D>(from, share, columns.len());
                    let place = Place { row, token, columns: columns.clone(), waiting, fetch };
                    if whole {
                        with_tokens!(tile, D, ROWS, now, (block, &place));
                    } else {
                        with_tokens!(tile, D, 1, now, (block, &place));
                    }
                    let done = if whole { ROWS } else { 1 };
                    waiting = waiting.add(done * now * LANES);
                    from = from.wrapping_add(if whole { share } else { 0 });
                    row += done;
                }
            }
            token += now;
        }
    }
}

/// Tokens of the next tile, so that tiles are evenly filled.
#[inline(always)]
fn even(left: usize, most: usize) -> usize {
    left.div_ceil(left.div_ceil(most))
}

/// What a tile asks memory for while it multiplies.
#[derive(Clone, Copy)]
enum Fetch {
    Nothing,
    /// Its own rows, so many bytes on.
    AlongRows {
        ahead: usize,
    },
    /// So many lines at each chunk of columns.
    Piece {
        from: *const u8,
        lines: usize,
    },
}

impl Fetch {
    /// `bytes` from `from`, spread over `cols` columns.
    #[inline(always)]
    fn piece<D: Dot>(from: *const u8, bytes: usize, cols: usize) -> Self {
        Self::Piece { from, lines: bytes.div_ceil(LINE).div_ceil((cols / D::CHUNK).max(1)) }
    }
}

/// Where a tile lies.
struct Place {
    row: usize,
    token: usize,
    columns: Range<usize>,
    /// Its accumulators between spans of columns: [R][T][16].
    waiting: *mut f32,
    fetch: Fetch,
}

impl Place {
    /// A tile of whole rows.
    #[inline(always)]
    fn whole(block: &Block, row: usize, token: usize, fetch: Fetch) -> Self {
        Self { row, token, columns: 0..block.cols, waiting: std::ptr::null_mut(), fetch }
    }
}

/// R rows and T tokens.
#[inline(always)]
unsafe fn tile<D: Dot, const R: usize, const T: usize>(block: &Block, place: &Place) {
    let (row, token) = (place.row, place.token);
    let weights: [*const u8; R] = std::array::from_fn(|r| block.weights.add((row + r) * block.row_bytes));
    let x: [*const u8; T] = std::array::from_fn(|t| block.x.add((token + t) * block.x_stride));
    let mut acc = [[D::S::splat(0.0); T]; R];
    if place.columns.start > 0 {
        for r in 0..R {
            for t in 0..T {
                acc[r][t] = D::S::load(place.waiting.add((r * T + t) * LANES));
            }
        }
    }
    let mut at = place.columns.start;
    let whole = (place.columns.len() / D::CHUNK) * D::CHUNK + at;
    match place.fetch {
        Fetch::Nothing => {
            while at < whole {
                chunk::<D, R, T>(&mut acc, &weights, &x, at);
                at += D::CHUNK;
            }
        }
        Fetch::AlongRows { ahead } => {
            // Towards its end, a row asks for the row that follows it in the next tile.
            let turn = whole.saturating_sub(ahead / D::WEIGHT_BYTES);
            for (end, ahead) in [(turn, ahead), (whole, ahead + (R - 1) * block.row_bytes)] {
                while at < end {
                    for weights in &weights {
                        D::S::prefetch(weights.wrapping_add(at * D::WEIGHT_BYTES + ahead));
                    }
                    chunk::<D, R, T>(&mut acc, &weights, &x, at);
                    at += D::CHUNK;
                }
            }
        }
        Fetch::Piece { mut from, lines } => {
            while at < whole {
                for _ in 0..lines {
                    D::S::prefetch_far(from);
                    from = from.wrapping_add(LINE);
                }
                chunk::<D, R, T>(&mut acc, &weights, &x, at);
                at += D::CHUNK;
            }
        }
    }
    if place.columns.end < block.cols {
        for r in 0..R {
            for t in 0..T {
                D::S::store(place.waiting.add((r * T + t) * LANES), acc[r][t]);
            }
        }
        return;
    }
    if at < block.cols {
        let x: [D::Chunk; T] = std::array::from_fn(|t| D::activations(x[t].add(at * D::X_BYTES)));
        for r in 0..R {
            let w = D::weights_part(weights[r].add(at * D::WEIGHT_BYTES), block.cols - at);
            for t in 0..T {
                acc[r][t] = D::accumulate(acc[r][t], w, x[t]);
            }
        }
    }
    for t in 0..T {
        let column: [F<D>; R] = std::array::from_fn(|r| acc[r][t]);
        finish::<D::S, R>(block, row, token + t, &column);
    }
}

/// The columns from `at` on that one vector holds.
#[inline(always)]
unsafe fn chunk<D: Dot, const R: usize, const T: usize>(
    acc: &mut [[F<D>; T]; R],
    weights: &[*const u8; R],
    x: &[*const u8; T],
    at: usize,
) {
    // The fewer rows wait in registers, and one token at a time: with all tokens there, accumulators would have to leave.
    let w: [D::Chunk; R] = std::array::from_fn(|r| D::weights(weights[r].add(at * D::WEIGHT_BYTES)));
    for t in 0..T {
        let x = D::activations(x[t].add(at * D::X_BYTES));
        for r in 0..R {
            acc[r][t] = D::accumulate(acc[r][t], w[r], x);
        }
    }
}

/// Adds up the accumulators of R rows of one token, and the bias, and writes them.
#[inline(always)]
unsafe fn finish<S: Simd, const R: usize>(block: &Block, row: usize, token: usize, acc: &[S::F; R]) {
    let mut sums = [0f32; R];
    for first in (0..R).step_by(4) {
        // The last four may name a row twice: nothing comes of the second.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| acc[(first + i).min(R - 1)]);
        let last = (first + 4).min(R);
        sums[first..last].copy_from_slice(&S::sum4(a, b, c, d)[..last - first]);
    }
    let out = block.out.add(token * block.out_stride + row);
    for r in 0..R {
        let bias = if block.bias.is_null() { None } else { Some(*block.bias.add(row + r)) };
        *out.add(r) = bias.map_or(sums[r], |bias| sums[r] + bias);
    }
}
