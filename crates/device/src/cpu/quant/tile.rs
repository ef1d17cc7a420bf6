//! Block-quantized GEMM on packed panels with VNNI, register tiles of 32 rows x 6 tokens.
#![allow(unsafe_op_in_unsafe_fn)]

use std::cell::RefCell;
use std::ops::Range;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, LINE, SimdInt};
use super::super::{KernelSet, Matrix};
use super::direct::{DIRECT_TOKENS_MAX, DirectJob, multiply_direct};
use super::panel::{PanelPointers, RowGroup, fill};
use super::{BLOCK, CodeView, Panel, PanelShape};
use crate::memory::Scratch;

/// Rows per tile: two panels.
pub(in crate::cpu) const GROUP_ROWS: usize = 2 * LANES;

/// Maximum tokens of a tile.
const TOKENS_MAX: usize = 6;

/// Minimum distance in bytes from the rows that are multiplied without packing to those prefetched
/// meanwhile.
const AHEAD_BYTES: usize = 12 << 10;

/// Multiplication of quantized weights with quantized activations.
pub(in crate::cpu) struct QuantJob<'a> {
    pub weight: &'a Matrix,
    pub bias: Option<&'a [f32]>,
    pub x: CodeView<'a>,
    /// [tokens, weight.rows]
    pub out: *mut f32,
    /// Address of the weights that this thread probably multiplies next: prefetched, never read.
    pub next: *const u8,
}

/// Operands of one tile.
#[derive(Clone, Copy)]
struct PanelTile<'a> {
    panels: [PanelPointers; 2],
    shape: PanelShape,
    x: CodeView<'a>,
    first_token: usize,
    /// Number of rows in both panels, without padding.
    rows: usize,
    bias: *const f32,
    out: *mut f32,
    out_stride: usize,
    /// Address of the weights to prefetch meanwhile.
    next: *const u8,
    /// Bytes to prefetch for each token.
    token_bytes: usize,
}

/// Per-thread buffers.
#[derive(Default)]
struct PanelBuffers {
    panels: [Panel; 2],
    padded: Scratch<u8>,
    padded_scales: Scratch<u8>,
}

thread_local! {
    static BUFFERS: RefCell<PanelBuffers> = RefCell::default();
}

/// Computes the outputs of `rows` for all tokens. The range starts at a multiple of [`GROUP_ROWS`].
///
/// # Safety
/// The matrix was checked and is quantized; `out` is writable for [tokens, weight.rows], and no
/// other thread accesses the elements of these rows.
pub(in crate::cpu) unsafe fn multiply(set: KernelSet, job: &QuantJob, rows: Range<usize>) {
    let Some(shape) = PanelShape::of(job.weight.dtype, job.weight.cols) else { return };
    if job.x.tokens == 0 {
        return;
    }
    BUFFERS.with_borrow_mut(|buffers| {
        let multiply =
            if job.x.tokens <= DIRECT_TOKENS_MAX { multiply_unpacked } else { multiply_panels };
        // SAFETY: as the caller guarantees.
        unsafe { multiply(set, job, shape, rows, buffers) }
    });
}

unsafe fn multiply_unpacked(
    set: KernelSet,
    job: &QuantJob,
    shape: PanelShape,
    rows: Range<usize>,
    buffers: &mut PanelBuffers,
) {
    let PanelBuffers { padded, padded_scales, .. } = buffers;
    // Whole groups between the rows multiplied and those prefetched meanwhile.
    let ahead = AHEAD_BYTES.div_ceil(LANES * job.weight.row_bytes().max(1)) * LANES;
    for first in rows.clone().step_by(LANES) {
        let count = (rows.end - first).min(LANES);
        let next = job.next(&rows, first + ahead);
        let direct = DirectJob {
            group: sixteen_rows(job, shape, first..first + count, [padded, padded_scales]),
            rows: count,
            x: job.x,
            bias: job.bias_from(first),
            // SAFETY: `first` is a row of the matrix, hence inside the outputs of the first token.
            out: unsafe { job.out.add(first) },
            out_stride: job.weight.rows,
            next,
        };
        // SAFETY: the group has 16 rows; the caller guarantees access to the outputs.
        unsafe { multiply_direct(set, &direct) };
    }
}

unsafe fn multiply_panels(
    set: KernelSet,
    job: &QuantJob,
    shape: PanelShape,
    rows: Range<usize>,
    buffers: &mut PanelBuffers,
) {
    let PanelBuffers { panels, padded, padded_scales } = buffers;
    panels.iter_mut().for_each(|panel| panel.resize(shape));
    for first in rows.clone().step_by(GROUP_ROWS) {
        let count = (rows.end - first).min(GROUP_ROWS);
        for (panel, from) in panels.iter_mut().zip([0, LANES]).filter(|(_, from)| *from < count) {
            let of_panel = first + from..first + from + (count - from).min(LANES);
            let group = sixteen_rows(job, shape, of_panel, [padded, padded_scales]);
            // SAFETY: the group has 16 rows; the panel was resized.
            unsafe { fill(set, &group, panel) };
        }
        let tile = PanelTile {
            panels: [panels[0].pointers(), panels[1].pointers()],
            shape,
            x: job.x,
            first_token: 0,
            rows: count,
            bias: job.bias_from(first),
            // SAFETY: `first` is a row of the matrix, hence inside the outputs of the first token.
            out: unsafe { job.out.add(first) },
            out_stride: job.weight.rows,
            next: job.next(&rows, first + GROUP_ROWS),
            token_bytes: count * job.weight.row_bytes() / job.x.tokens,
        };
        // SAFETY: the panels are filled; the caller guarantees access to the outputs.
        unsafe { multiply_group(set, &tile) };
    }
}

impl QuantJob<'_> {
    /// First row to prefetch while an earlier group is multiplied: `row` itself, or after the end
    /// of `rows` the row as far into those that the thread computes next.
    fn next(&self, rows: &Range<usize>, row: usize) -> *const u8 {
        let row_bytes = self.weight.row_bytes();
        if row < rows.end {
            self.weight.data.as_ptr().wrapping_add(row * row_bytes)
        } else {
            self.next.wrapping_add((row - rows.end) * row_bytes)
        }
    }

    fn bias_from(&self, row: usize) -> *const f32 {
        self.bias.map_or(std::ptr::null(), |bias| bias[row..].as_ptr())
    }
}

/// The 16-row group of the weight rows `rows`. Fewer than 16 rows are copied to `padded`, whose
/// remaining rows are arbitrary.
fn sixteen_rows(
    job: &QuantJob,
    shape: PanelShape,
    rows: Range<usize>,
    [padded, padded_scales]: [&mut Scratch<u8>; 2],
) -> RowGroup {
    let (row_bytes, scale_bytes) = (job.weight.row_bytes(), job.weight.scale_bytes());
    let first = readable_rows(&job.weight.data, row_bytes, &rows, padded);
    let scales = match &job.weight.scales {
        None => std::ptr::null(),
        Some(scales) => readable_rows(scales, scale_bytes, &rows, padded_scales),
    };
    let (dtype, blocks) = (job.weight.dtype, shape.blocks);
    RowGroup { dtype, first, row_bytes, blocks, scales, scale_bytes }
}

/// The first of 16 readable rows, of which `rows` are those of `data`: fewer than 16 are copied to
/// `padded`.
fn readable_rows(
    data: &[u8],
    row_bytes: usize,
    rows: &Range<usize>,
    padded: &mut Scratch<u8>,
) -> *const u8 {
    let from = &data[rows.start * row_bytes..rows.end * row_bytes];
    if rows.len() == LANES {
        return from.as_ptr();
    }
    padded.resize(LANES * row_bytes)[..from.len()].copy_from_slice(from);
    padded.as_ptr()
}

kernel! {
    /// Multiplies all tokens with the tile's panels.
    unsafe fn multiply_group(tile: &PanelTile) = multiply_group_body
}

#[inline(always)]
unsafe fn multiply_group_body<S: SimdInt>(tile: &PanelTile) {
    if tile.x.wide { of_bytes::<S, 2>(tile) } else { of_bytes::<S, 1>(tile) }
}

/// Multiplies the panels with activations whose codes have BYTES bytes.
#[inline(always)]
unsafe fn of_bytes<S: SimdInt, const BYTES: usize>(tile: &PanelTile) {
    match (tile.shape.scales, tile.shape.min, tile.rows > LANES) {
        (1, false, true) => all_tokens::<S, BYTES, 2, 1, false>(tile),
        (1, false, false) => all_tokens::<S, BYTES, 1, 1, false>(tile),
        (1, true, true) => all_tokens::<S, BYTES, 2, 1, true>(tile),
        (1, true, false) => all_tokens::<S, BYTES, 1, 1, true>(tile),
        (_, _, true) => all_tokens::<S, BYTES, 2, 2, false>(tile),
        (_, _, false) => all_tokens::<S, BYTES, 1, 2, false>(tile),
    }
}

#[inline(always)]
unsafe fn all_tokens<
    S: SimdInt,
    const BYTES: usize,
    const P: usize,
    const SCALES: usize,
    const MIN: bool,
>(
    tile: &PanelTile,
) {
    let mut tile = *tile;
    while tile.first_token < tile.x.tokens {
        let left = tile.x.tokens - tile.first_token;
        // Tiles of equal size; 2 tokens where registers are few.
        let tokens_max = if S::WIDE { TOKENS_MAX } else { 2 };
        let now = left.div_ceil(left.div_ceil(tokens_max));
        // Larger tiles are instantiated only for sets with enough registers.
        if now == 1 {
            one_tile::<S, BYTES, P, 1, SCALES, MIN>(&tile);
        } else if !S::WIDE {
            one_tile::<S, BYTES, P, 2, SCALES, MIN>(&tile);
        } else {
            match now {
                2 => one_tile::<S, BYTES, P, 2, SCALES, MIN>(&tile),
                3 => one_tile::<S, BYTES, P, 3, SCALES, MIN>(&tile),
                4 => one_tile::<S, BYTES, P, 4, SCALES, MIN>(&tile),
                5 => one_tile::<S, BYTES, P, 5, SCALES, MIN>(&tile),
                _ => one_tile::<S, BYTES, P, 6, SCALES, MIN>(&tile),
            }
        }
        tile.first_token += now;
        tile.next = tile.next.wrapping_add(tile.token_bytes * now);
    }
}

/// Multiplies P panels of 16 rows with T tokens.
#[inline(always)]
unsafe fn one_tile<
    S: SimdInt,
    const BYTES: usize,
    const P: usize,
    const T: usize,
    const SCALES: usize,
    const MIN: bool,
>(
    tile: &PanelTile,
) {
    let x = &tile.x;
    let mut acc = [[S::splat(0.0); P]; T];
    let codes_x: [*const i8; T] =
        std::array::from_fn(|t| x.codes.as_ptr().add((tile.first_token + t) * x.code_stride));
    let block_of = |t: usize| (tile.first_token + t) * x.blocks;
    let mut prefetched = 0;
    for block in 0..tile.shape.blocks {
        // In the same pace as the products: a burst of prefetches while panels are packed would
        // leave the memory idle while they are multiplied.
        let end = T * tile.token_bytes * (block + 1) / tile.shape.blocks;
        while prefetched < end {
            S::prefetch_far(tile.next.wrapping_add(prefetched));
            prefetched += LINE;
        }
        for half in 0..SCALES {
            let dot = block_dots::<S, BYTES, P, T, SCALES, MIN>(tile, &codes_x, block, half);
            let scales: [S::F; P] = std::array::from_fn(|p| {
                S::load(tile.panels[p].scales.add((block * SCALES + half) * LANES))
            });
            for t in 0..T {
                let dx = S::splat(*x.scales.get_unchecked(block_of(t) + block));
                for p in 0..P {
                    acc[t][p] = S::fma(S::to_f32(dot[t][p]), S::mul(scales[p], dx), acc[t][p]);
                }
            }
        }
        if MIN {
            let minima: [S::F; P] =
                std::array::from_fn(|p| S::load(tile.panels[p].minima.add(block * LANES)));
            for t in 0..T {
                let sum = S::splat(*x.scaled_sums.get_unchecked(block_of(t) + block));
                for p in 0..P {
                    acc[t][p] = S::fma(minima[p], sum, acc[t][p]);
                }
            }
        }
    }
    write_outputs::<S, P, T>(tile, &acc);
}

/// Integer dot products with quantization block `block`, or with its half `half` if its halves have
/// separate scales. The zero point is subtracted from the codes of the weights.
#[inline(always)]
unsafe fn block_dots<
    S: SimdInt,
    const BYTES: usize,
    const P: usize,
    const T: usize,
    const SCALES: usize,
    const MIN: bool,
>(
    tile: &PanelTile,
    codes_x: &[*const i8; T],
    block: usize,
    half: usize,
) -> [[S::I; P]; T] {
    let x = &tile.x;
    // A format with minima has no zero point.
    let mut zeros = [S::splat_i(0); T];
    if !MIN {
        for t in 0..T {
            let index = (tile.first_token + t) * x.blocks + block;
            let sum = if SCALES == 2 {
                *x.half_sums.get_unchecked(2 * index + half)
            } else {
                *x.sums.get_unchecked(index)
            };
            zeros[t] = S::splat_i(tile.shape.zero.wrapping_neg().wrapping_mul(sum));
        }
    }
    let mut dot = [[S::splat_i(0); P]; T];
    for byte in 0..BYTES {
        for t in 0..T {
            for p in 0..P {
                // Upper bytes have a factor of 256. The sum is exact: its absolute value is at most
                // 32 * 255 * 32512 < 2^31.
                if byte == 1 {
                    dot[t][p] = S::shift_left(dot[t][p], 8);
                }
                if byte + 1 == BYTES && !MIN {
                    dot[t][p] = S::add_i(dot[t][p], zeros[t]);
                }
            }
        }
        let steps = 8 / SCALES;
        for step in half * steps..(half + 1) * steps {
            let at = (block * 8 + step) * 4 * LANES;
            let mut codes = [S::splat_i(0); P];
            for p in 0..P {
                codes[p] = S::load_i(tile.panels[p].codes.add(at));
            }
            for t in 0..T {
                let at = codes_x[t].add((byte * tile.shape.blocks + block) * BLOCK + 4 * step);
                let four = S::splat_i(at.cast::<i32>().read_unaligned());
                for p in 0..P {
                    dot[t][p] = S::dot(dot[t][p], codes[p], four);
                }
            }
        }
    }
    dot
}

/// Adds the bias and writes the outputs, except those of padding rows.
#[inline(always)]
unsafe fn write_outputs<S: SimdInt, const P: usize, const T: usize>(
    tile: &PanelTile,
    acc: &[[S::F; P]; T],
) {
    for t in 0..T {
        for p in 0..P {
            let rows = (tile.rows - p * LANES).min(LANES);
            let mut y = acc[t][p];
            if !tile.bias.is_null() {
                y = S::add(y, S::load_part(tile.bias.add(p * LANES), rows));
            }
            S::store_part(
                tile.out.add((tile.first_token + t) * tile.out_stride + p * LANES),
                y,
                rows,
            );
        }
    }
}
