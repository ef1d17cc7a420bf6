//! Packing of quantized weights into panels of 16 interleaved rows.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, SimdInt};
use super::BLOCK;
use super::formats::{BlockFormat, with_format};
use crate::memory::Scratch;

/// 16 rows of a quantized matrix, interleaved so that each lane holds one row.
#[derive(Default)]
pub(in crate::cpu) struct Panel {
    /// Codes, [blocks][8 groups of four][16 rows][4 codes].
    codes: Scratch<u8>,
    /// Scales, [blocks][scales][16 rows].
    scales: Scratch<f32>,
    /// Minima, [blocks][16 rows].
    minima: Scratch<f32>,
}

/// Shape of a panel, and the parameters of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) struct PanelShape {
    pub blocks: usize,
    pub zero: i32,
    pub scales: usize,
    pub min: bool,
}

/// Pointers to the parts of a panel.
#[derive(Clone, Copy)]
pub(super) struct PanelPointers {
    pub codes: *const u8,
    pub scales: *const f32,
    pub minima: *const f32,
}

impl PanelShape {
    /// The shape for rows of `cols` elements; `None` for a dtype that is not quantized.
    pub(in crate::cpu) fn of(dtype: Dtype, cols: usize) -> Option<Self> {
        with_format!(dtype, F => Some(Self { blocks: cols / BLOCK, zero: F::ZERO, scales: F::SCALES, min: F::MIN }), _ => None)
    }
}

impl Panel {
    /// Resizes to `shape`.
    pub(super) fn resize(&mut self, shape: PanelShape) {
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

/// 16 rows of weights to multiply or to pack.
#[derive(Clone, Copy)]
pub(super) struct RowGroup {
    pub dtype: Dtype,
    pub first: *const u8,
    pub row_bytes: usize,
    pub blocks: usize,
    /// Scales that are stored apart, or null.
    pub scales: *const u8,
    /// Bytes of scales of a row.
    pub scale_bytes: usize,
}

impl RowGroup {
    /// Address of the scales of stored block `stored`, and the distance to those of the next row.
    #[inline(always)]
    pub(super) unsafe fn scales_of<F: BlockFormat>(&self, stored: usize) -> (*const u8, usize) {
        if F::APART {
            (self.scales.add(stored), self.scale_bytes)
        } else {
            (self.first.add(stored * F::BYTES), self.row_bytes)
        }
    }
}

kernel! {
    /// Packs `group` into `panel`.
    ///
    /// # Safety
    /// `first` is readable for 16 rows of `row_bytes`, each of `blocks` quantization blocks of 32
    /// weights of `dtype`; `scales`, if the format has them apart, for 16 rows of `scale_bytes`,
    /// one for each block. `panel` was resized to the shape of the group.
    pub(super) unsafe fn fill(group: &RowGroup, panel: &mut Panel) = fill_body
}

#[inline(always)]
unsafe fn fill_body<S: SimdInt>(group: &RowGroup, panel: &mut Panel) {
    with_format!(group.dtype, F => fill_format::<S, F>(group, panel), _ => ())
}

#[inline(always)]
unsafe fn fill_format<S: SimdInt, F: BlockFormat>(group: &RowGroup, panel: &mut Panel) {
    let (codes, scales, minima) = panel.pointers_mut();
    let stride = group.row_bytes;
    for stored in 0..group.blocks / F::SUBS {
        let block = group.first.add(stored * F::BYTES);
        let at = stored * F::SUBS;
        let (from, scales_stride) = group.scales_of::<F>(stored);
        F::scales::<S>(
            from,
            scales_stride,
            scales.add(at * F::SCALES * LANES),
            if F::MIN { minima.add(at * LANES) } else { minima },
        );
        if S::WIDE
            && let Some(nibbles) = F::NIBBLES
        {
            for half in 0..2 {
                let upper = F::upper::<S>(block, stride, half);
                for (eight, subs) in F::SUBS_OF_EIGHT.into_iter().enumerate() {
                    let from = block.add(nibbles + 64 * half + 32 * eight);
                    let words = S::load_columns(from, stride);
                    let subs = [4 * half + subs[0], 4 * half + subs[1]];
                    for w in 0..8 {
                        let of_word = F::word_codes::<S>(words[w], upper[w], subs);
                        for n in 0..2 {
                            S::store_i(codes.add(((at + subs[n]) * 8 + w) * 4 * LANES), of_word[n]);
                        }
                    }
                }
            }
            continue;
        }
        for sub in 0..F::SUBS {
            let mut halves = [[S::splat_i(0); 4]; 2];
            // The quarters of a vector hold rows q, 4 + q, 8 + q and 12 + q, so that the transposed
            // words are in row order.
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
