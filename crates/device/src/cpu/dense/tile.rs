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

/// All rows and tokens of a block.
#[inline(always)]
pub(super) unsafe fn all<D: Dot>(block: &Block) {
    let most = if D::S::WIDE { 6 } else { 2 };
    let mut token = 0;
    while token < block.tokens {
        let left = block.tokens - token;
        let now = left.div_ceil(left.div_ceil(most)); // evenly filled tiles
        match now {
            1 => rows::<D, 4, 1>(block, token),
            2 => rows::<D, 4, 2>(block, token),
            3 => rows::<D, 4, 3>(block, token),
            4 => rows::<D, 4, 4>(block, token),
            5 => rows::<D, 4, 5>(block, token),
            _ => rows::<D, 4, 6>(block, token),
        }
        token += now;
    }
}

/// All rows of a block for T tokens, R at a time.
#[inline(always)]
unsafe fn rows<D: Dot, const R: usize, const T: usize>(block: &Block, token: usize) {
    let mut row = 0;
    while row + R <= block.rows {
        tile::<D, R, T>(block, row, token);
        row += R;
    }
    while row < block.rows {
        tile::<D, 1, T>(block, row, token);
        row += 1;
    }
}

#[inline(always)]
unsafe fn tile<D: Dot, const R: usize, const T: usize>(block: &Block, row: usize, token: usize) {
    let weights: [*const u8; R] = std::array::from_fn(|r| block.weights.add((row + r) * block.row_bytes));
    let x: [*const u8; T] = std::array::from_fn(|t| block.x.add((token + t) * block.x_stride));
    // The weights of the next rows are asked for while these are multiplied; later tokens find them in the cache.
    let fetch = token == 0 && row + R < block.rows;
    let ahead = if fetch { (R * block.row_bytes).min(2048) } else { 0 };
    let mut acc = [[D::S::splat(0.0); T]; R];
    let mut at = 0;
    while at + D::CHUNK <= block.cols {
        let x: [D::Chunk; T] = std::array::from_fn(|t| D::activations(x[t].add(at * D::X_BYTES)));
        for r in 0..R {
            let from = weights[r].add(at * D::WEIGHT_BYTES);
            if fetch {
                D::S::prefetch(from.wrapping_add(ahead));
            }
            let w = D::weights(from);
            for t in 0..T {
                acc[r][t] = D::accumulate(acc[r][t], w, x[t]);
            }
        }
        at += D::CHUNK;
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

/// Adds up the accumulators of R rows of one token, and the bias, and writes them.
#[inline(always)]
unsafe fn finish<S: Simd, const R: usize>(block: &Block, row: usize, token: usize, acc: &[S::F; R]) {
    let mut sums = [0f32; LANES];
    if R == 1 {
        sums[0] = S::sum(acc[0]);
    } else {
        for four in 0..R / 4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| acc[(4 * four + i) % R]);
            sums[4 * four..4 * four + 4].copy_from_slice(&S::sum4(a, b, c, d));
        }
    }
    let out = block.out.add(token * block.out_stride + row);
    for r in 0..R {
        let bias = if block.bias.is_null() { None } else { Some(*block.bias.add(row + r)) };
        *out.add(r) = bias.map_or(sums[r], |bias| sums[r] + bias);
    }
}
