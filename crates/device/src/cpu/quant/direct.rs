//! A few tokens times quantized weights: the weights are used as they come, without panels.
//!
//! Decoding reads every weight for few multiplications. Moving the codes about so that a lane is a
//! row, which pays when many tokens share the work, would cost more than the products. Here the
//! sums are moved instead: 16 rows' partial sums become one vector. The whole numbers are exact
//! either way, so the bits are those of [`super::tile`].
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES};
use super::formats::{Format, with_format};
use super::panel::GroupRows;
use super::{BLOCK, CodeView};

/// Tokens up to which this costs less than panels.
pub(super) const MOST_TOKENS: usize = 3;

/// 16 rows of a product, of which the first `rows` are there, with at most [`MOST_TOKENS`] tokens.
pub(super) struct DirectJob<'a> {
    pub group: GroupRows,
    pub rows: usize,
    pub x: CodeView<'a>,
    /// One for each row, or null.
    pub bias: *const f32,
    /// [tokens, out_stride], these rows first.
    pub out: *mut f32,
    pub out_stride: usize,
}

kernel! {
    /// Computes the group's outputs.
    ///
    /// # Safety
    /// As [`super::panel::fill`] of the group; `bias` (if any) is readable and `out` writable for `rows` rows, for each token of `x`,
    /// which are 1 to [`MOST_TOKENS`].
    pub(super) unsafe fn multiply_direct(job: &DirectJob) = multiply_direct_body
}

#[inline(always)]
unsafe fn multiply_direct_body<S: Ints>(job: &DirectJob) {
    with_format!(job.group.dtype, F => {
        match (job.x.wide, job.x.tokens) {
            (false, 1) => of_format::<S, F, 1, 1>(job),
            (false, 2) => of_format::<S, F, 1, 2>(job),
            (false, _) => of_format::<S, F, 1, MOST_TOKENS>(job),
            (true, 1) => of_format::<S, F, 2, 1>(job),
            (true, 2) => of_format::<S, F, 2, 2>(job),
            (true, _) => of_format::<S, F, 2, MOST_TOKENS>(job),
        }
    }, _ => ())
}

/// BYTES of an activation's code, T tokens.
#[inline(always)]
unsafe fn of_format<S: Ints, F: Format, const BYTES: usize, const T: usize>(job: &DirectJob) {
    let (group, x) = (&job.group, &job.x);
    let stride = group.row_bytes;
    // [sub][scale][row] and [sub][row] of one stored block
    let (mut scales, mut minima) = ([0f32; 16 * LANES], [0f32; 8 * LANES]);
    let mut acc = [S::splat(0.0); T];
    for stored in 0..group.blocks / F::SUBS {
        let from = group.first.add(stored * F::BYTES);
        group.ask::<S, F>(stored);
        F::scales::<S>(from, stride, scales.as_mut_ptr(), minima.as_mut_ptr());
        for sub in 0..F::SUBS {
            let block = stored * F::SUBS + sub;
            // Four partial sums of four rows in each, [token][half][..]; of both halves together
            // where they have one scale.
            let mut sums = [[[S::splat_i(0); 4]; 2]; T];
            // Rows q, 4 + q, 8 + q and 12 + q: side by side, sums over the words of a quarter are
            // in the rows' order.
            for q in 0..4 {
                let codes = F::codes::<S>(from.add(q * stride), 4 * stride, sub);
                for t in 0..T {
                    let at = x.codes.as_ptr().add(t * x.code_stride + block * BLOCK);
                    for half in 0..F::SCALES {
                        let (first, end) = if F::SCALES == 2 { (half, half + 1) } else { (0, 2) };
                        let mut sum = S::splat_i(0);
                        if BYTES == 2 {
                            for part in first..end {
                                sum = S::dot(
                                    sum,
                                    codes[part],
                                    S::splat_quarter(at.add(part * LANES)),
                                );
                            }
                            sum = S::shift_left(sum, 8);
                        }
                        let lowest = at.add((BYTES - 1) * group.blocks * BLOCK);
                        for part in first..end {
                            sum = S::dot(
                                sum,
                                codes[part],
                                S::splat_quarter(lowest.add(part * LANES)),
                            );
                        }
                        sums[t][half][q] = sum;
                    }
                }
            }
            for t in 0..T {
                let at = t * x.blocks + block;
                let dx = S::splat(*x.scales.get_unchecked(at));
                for half in 0..F::SCALES {
                    let codes = if F::SCALES == 2 {
                        *x.half_sums.get_unchecked(2 * at + half)
                    } else {
                        *x.sums.get_unchecked(at)
                    };
                    let zero = S::splat_i(F::ZERO.wrapping_neg().wrapping_mul(codes));
                    let [a, b, c, d] = S::transpose_quarters(sums[t][half]);
                    let dot = S::add_i(S::add_i(S::add_i(a, b), S::add_i(c, d)), zero);
                    let scale = S::load(scales.as_ptr().add((sub * F::SCALES + half) * LANES));
                    acc[t] = S::fma(S::to_f32(dot), S::mul(scale, dx), acc[t]);
                }
                if F::MIN {
                    let minimum = S::load(minima.as_ptr().add(sub * LANES));
                    acc[t] = S::fma(minimum, S::splat(*x.scaled_sums.get_unchecked(at)), acc[t]);
                }
            }
        }
    }
    for t in 0..T {
        let mut y = acc[t];
        if !job.bias.is_null() {
            y = S::add(y, S::load_part(job.bias, job.rows));
        }
        S::store_part(job.out.add(t * job.out_stride), y, job.rows);
    }
}
