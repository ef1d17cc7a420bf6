//! W4A16/W8A16-style block dot product with VNNI (`vpdpbusd`), for a few tokens.
//!
//! Decoding uses every weight for few multiplications. Packing the weights into panels, which pays
//! for many tokens, would cost more than the multiplications. Here the partial sums of 16 rows are
//! transposed instead. Integer sums are exact, so the results are bit-identical to those of
//! [`super::tile`].
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::dispatch::kernel;
use super::super::simd::{LANES, SimdInt};
use super::formats::{BlockFormat, with_format};
use super::panel::RowGroup;
use super::{BLOCK, CodeView};

/// Maximum tokens for which this kernel is faster than packing into panels.
pub(super) const DIRECT_TOKENS_MAX: usize = 3;

/// Multiplication of 16 weight rows, of which the first `rows` exist, with at most
/// [`DIRECT_TOKENS_MAX`] tokens.
pub(super) struct DirectJob<'a> {
    pub group: RowGroup,
    pub rows: usize,
    pub x: CodeView<'a>,
    /// Bias of the rows, `[rows]`, or null.
    pub bias: *const f32,
    /// [tokens, out_stride], from the column of the first row.
    pub out: *mut f32,
    pub out_stride: usize,
}

kernel! {
    /// Computes the outputs of the group.
    ///
    /// # Safety
    /// The conditions of [`super::panel::fill`] hold for `job.group`; `bias` (if any) is readable
    /// for `rows` rows, `out` writable for `rows` rows of each token of `x`, which has 1 to
    /// [`DIRECT_TOKENS_MAX`] tokens.
    pub(super) unsafe fn multiply_direct(job: &DirectJob) = multiply_direct_body
}

#[inline(always)]
unsafe fn multiply_direct_body<S: SimdInt>(job: &DirectJob) {
    with_format!(job.group.dtype, F => {
        match (job.x.wide, job.x.tokens) {
            (false, 1) => of_format::<S, F, 1, 1>(job),
            (false, 2) => of_format::<S, F, 1, 2>(job),
            (false, _) => of_format::<S, F, 1, DIRECT_TOKENS_MAX>(job),
            (true, 1) => of_format::<S, F, 2, 1>(job),
            (true, 2) => of_format::<S, F, 2, 2>(job),
            (true, _) => of_format::<S, F, 2, DIRECT_TOKENS_MAX>(job),
        }
    }, _ => ())
}

/// Dot products of four rows' codes with one token's codes of BYTES bytes: over half `half` of the
/// quantization block, or over both halves if they share a scale. `at` points to the upper bytes of
/// the token's codes, `lowest` to the lower bytes; they are equal if BYTES is 1.
#[inline(always)]
unsafe fn half_dot<S: SimdInt, F: BlockFormat, const BYTES: usize>(
    codes: &[S::I; 2],
    at: *const i8,
    lowest: *const i8,
    half: usize,
) -> S::I {
    let (first, end) = if F::SCALES == 2 { (half, half + 1) } else { (0, 2) };
    let mut sum = S::splat_i(0);
    if BYTES == 2 {
        for part in first..end {
            sum = S::dot(sum, codes[part], S::splat_quarter(at.add(part * LANES)));
        }
        sum = S::shift_left(sum, 8);
    }
    for part in first..end {
        sum = S::dot(sum, codes[part], S::splat_quarter(lowest.add(part * LANES)));
    }
    sum
}

/// Multiplies the 16 rows with T tokens whose codes have BYTES bytes.
#[inline(always)]
unsafe fn of_format<S: SimdInt, F: BlockFormat, const BYTES: usize, const T: usize>(
    job: &DirectJob,
) {
    let (group, x) = (&job.group, &job.x);
    let stride = group.row_bytes;
    // Scales, [sub][scale][row], and minima, [sub][row], of one stored block.
    let (mut scales, mut minima) = ([0f32; 16 * LANES], [0f32; 8 * LANES]);
    let mut acc = [S::splat(0.0); T];
    for stored in 0..group.blocks / F::SUBS {
        let from = group.first.add(stored * F::BYTES);
        group.prefetch::<S, F>(stored);
        let (scales_from, scales_stride) = group.scales_of::<F>(stored);
        F::scales::<S>(scales_from, scales_stride, scales.as_mut_ptr(), minima.as_mut_ptr());
        for sub in 0..F::SUBS {
            let block = stored * F::SUBS + sub;
            // Partial sums, [token][half of the block][group of four rows]. Halves with one scale
            // accumulate into the same sums.
            let mut sums = [[[S::splat_i(0); 4]; 2]; T];
            // The quarters of a vector hold rows q, 4 + q, 8 + q and 12 + q, so that the transposed
            // sums are in row order.
            for q in 0..4 {
                let codes = F::codes::<S>(from.add(q * stride), 4 * stride, sub);
                for t in 0..T {
                    let at = x.codes.as_ptr().add(t * x.code_stride + block * BLOCK);
                    let lowest = at.add((BYTES - 1) * group.blocks * BLOCK);
                    for half in 0..F::SCALES {
                        sums[t][half][q] = half_dot::<S, F, BYTES>(&codes, at, lowest, half);
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
