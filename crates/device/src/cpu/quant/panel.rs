//! Weights on their way to the multiplier: 16 rows side by side.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;

use super::super::dispatch::kernel;
use super::super::simd::{Ints, LANES, LINE, Simd};
use super::BLOCK;
use super::formats::{Format, with_format};
use crate::memory::Scratch;

/// 16 rows of a quantized matrix, interleaved so that a lane is a row.
#[derive(Default)]
pub(in crate::cpu) struct Panel {
    /// [blocks][8][16 rows][4 codes]
    codes: Scratch<u8>,
    /// [blocks][scales][16 rows]
    scales: Scratch<f32>,
    /// [blocks][16 rows]
    minima: Scratch<f32>,
}

/// What the multiplier must know of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) struct PanelShape {
    pub blocks: usize,
    pub zero: i32,
    pub scales: usize,
    pub min: bool,
}

/// Where a panel's parts lie.
#[derive(Clone, Copy)]
pub(super) struct PanelPointers {
    pub codes: *const u8,
    pub scales: *const f32,
    pub minima: *const f32,
}

impl PanelShape {
    /// The shape of rows of `cols` elements; `None` for a dtype without codes.
    pub(in crate::cpu) fn of(dtype: Dtype, cols: usize) -> Option<Self> {
        with_format!(dtype, F => Some(Self { blocks: cols / BLOCK, zero: F::ZERO, scales: F::SCALES, min: F::MIN }), _ => None)
    }
}

impl Panel {
    /// Room for a panel of `shape`.
    pub(super) fn make_room(&mut self, shape: PanelShape) {
        self.codes.resize(shape.blocks * BLOCK * LANES);
        self.scales.resize(shape.blocks * shape.scales * LANES);
        self.minima.resize(if shape.min { shape.blocks * LANES } else { 0 });
    }

    pub(super) fn pointers(&self) -> PanelPointers {
        PanelPointers {
            codes: self.codes.as_ptr(),
            scales: self.scales.as_ptr(),
            minima: self.minima.as_ptr(),
        }
    }

    fn pointers_mut(&mut self) -> (*mut u8, *mut f32, *mut f32) {
        (self.codes.as_mut_ptr(), self.scales.as_mut_ptr(), self.minima.as_mut_ptr())
    }
}

/// Sixteen rows of weights.
#[derive(Clone, Copy)]
pub(super) struct GroupRows {
    pub dtype: Dtype,
    pub first: *const u8,
    pub row_bytes: usize,
    pub blocks: usize,
    /// The sixteen rows that come next, which are asked for meanwhile (any address).
    pub next: *const u8,
}

impl GroupRows {
    /// Asks for as much of the next rows as stored block `stored` of 16 rows has: they lie in one
    /// piece and are asked for in their order, which memory answers fastest.
    #[inline(always)]
    pub(super) unsafe fn ask<S: Simd, F: Format>(&self, stored: usize) {
        for line in (stored * LANES * F::BYTES..(stored + 1) * LANES * F::BYTES).step_by(LINE) {
            S::prefetch_far(self.next.wrapping_add(line));
        }
    }
}

kernel! {
    /// Fills `panel` (which has room) from `group`.
    ///
    /// # Safety
    /// `first` is readable for 16 rows of `row_bytes`, each of `blocks` 32-blocks of `dtype`.
    pub(super) unsafe fn fill(group: &GroupRows, panel: &mut Panel) = fill_body
}

#[inline(always)]
unsafe fn fill_body<S: Ints>(group: &GroupRows, panel: &mut Panel) {
    with_format!(group.dtype, F => fill_format::<S, F>(group, panel), _ => ())
}

#[inline(always)]
unsafe fn fill_format<S: Ints, F: Format>(group: &GroupRows, panel: &mut Panel) {
    let (codes, scales, minima) = panel.pointers_mut();
    let stride = group.row_bytes;
    for stored in 0..group.blocks / F::SUBS {
        let block = group.first.add(stored * F::BYTES);
        let at = stored * F::SUBS;
        group.ask::<S, F>(stored);
        F::scales::<S>(
            block,
            stride,
            scales.add(at * F::SCALES * LANES),
            if F::MIN { minima.add(at * LANES) } else { minima },
        );
        for sub in 0..F::SUBS {
            let mut halves = [[S::splat_i(0); 4]; 2];
            // Rows q, 4 + q, 8 + q and 12 + q: side by side, words of the same quarter are in the
            // rows' order.
            for q in 0..4 {
                [halves[0][q], halves[1][q]] =
                    F::codes::<S>(block.add(q * stride), 4 * stride, sub);
            }
            for half in 0..2 {
                let steps = S::transpose_quarters(halves[half]);
                for step in 0..4 {
                    S::store_i(
                        codes.add((((at + sub) * 2 + half) * 4 + step) * 4 * LANES),
                        steps[step],
                    );
                }
            }
        }
    }
}
