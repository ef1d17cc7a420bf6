//! One token times quantised weights: the weights are used as they come, without panels.
//!
//! Decoding reads every weight for one multiplication. Moving the codes about so that a lane is a row, which pays when several tokens
//! share the work, would cost more than the product. Here the sums are moved instead: 16 rows' partial sums become one vector. The
//! whole numbers are exact either way, so the bits are those of [`super::tile`].
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES};
use super::formats::{Format, with_format};
use super::panel::GroupRows;
use super::{BLOCK, CodeView};

/// Up to 16 rows of a product with one token.
pub(super) struct SingleJob<'a> {
    pub group: GroupRows,
    pub x: CodeView<'a>,
    /// One for each row, or null.
    pub bias: *const f32,
    /// One for each row.
    pub out: *mut f32,
}

kernel! {
    /// Computes the group's outputs.
    ///
    /// # Safety
    /// As [`super::panel::fill`] of the group; `x` holds one token; `bias` (if any) is readable and `out` writable for the group's rows.
    pub(super) unsafe fn multiply_single(job: &SingleJob) = multiply_single_body
}

#[inline(always)]
unsafe fn multiply_single_body<S: Ints>(job: &SingleJob) {
    with_format!(job.group.dtype, F => {
        if job.x.wide { of_format::<S, F, 2>(job) } else { of_format::<S, F, 1>(job) }
    }, _ => ())
}

#[inline(always)]
unsafe fn of_format<S: Ints, F: Format, const BYTES: usize>(job: &SingleJob) {
    let (group, x) = (&job.group, &job.x);
    let offsets = S::row_offsets(group.row_bytes, group.rows);
    // [sub][scale][row] and [sub][row] of one stored block
    let (mut scales, mut minima) = ([0f32; 16 * LANES], [0f32; 8 * LANES]);
    let mut acc = S::splat(0.0);
    for stored in 0..group.blocks / F::SUBS {
        let from = group.first.add(stored * F::BYTES);
        // The next group's bytes lie in one piece: asked for in their order, which memory answers fastest.
        for line in (stored * LANES * F::BYTES..(stored + 1) * LANES * F::BYTES).step_by(64) {
            S::prefetch_far(group.first.wrapping_add(LANES * group.row_bytes + line));
        }
        F::scales::<S>(from, offsets, scales.as_mut_ptr(), minima.as_mut_ptr());
        for sub in 0..F::SUBS {
            let block = stored * F::SUBS + sub;
            let mut rows = [F::codes::<S>(from, sub); LANES];
            for (r, row) in rows.iter_mut().enumerate().skip(1) {
                let at = from.add(r.min(group.rows - 1) * group.row_bytes);
                *row = F::codes::<S>(at, sub);
            }
            let lowest = x.codes.as_ptr().add((BYTES - 1) * group.blocks * BLOCK + block * BLOCK);
            let upper = if BYTES == 2 { Some(x.codes.as_ptr().add(block * BLOCK)) } else { None };
            let dots = S::dots(&rows, lowest, upper);
            let dx = S::splat(*x.scales.get_unchecked(block));
            let zero = F::ZERO.wrapping_neg();
            if F::SCALES == 2 {
                for (half, dot) in dots.into_iter().enumerate() {
                    let sum = *x.half_sums.get_unchecked(2 * block + half);
                    let dot = S::add_i(dot, S::splat_i(zero.wrapping_mul(sum)));
                    let scale = S::load(scales.as_ptr().add((2 * sub + half) * LANES));
                    acc = S::fma(S::to_f32(dot), S::mul(scale, dx), acc);
                }
            } else {
                let sum = S::splat_i(zero.wrapping_mul(*x.sums.get_unchecked(block)));
                let dot = S::add_i(S::add_i(dots[0], dots[1]), sum);
                let scale = S::load(scales.as_ptr().add(sub * LANES));
                acc = S::fma(S::to_f32(dot), S::mul(scale, dx), acc);
            }
            if F::MIN {
                let minimum = S::load(minima.as_ptr().add(sub * LANES));
                acc = S::fma(minimum, S::splat(*x.scaled_sums.get_unchecked(block)), acc);
            }
        }
    }
    if !job.bias.is_null() {
        acc = S::add(acc, S::load_part(job.bias, group.rows));
    }
    S::store_part(job.out, acc, group.rows);
}
