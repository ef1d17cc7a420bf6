//! Attention over a paged cache of keys and values.

use std::ops::Range;

use placement::KvDtype;

use super::kv::{GpuKvLayer, element_type};
use super::metadata::{AttentionMetadata, TILE_ROWS, TileExtent};
use super::{GpuEpilogue, blocks, on, size};
use crate::DeviceError;
use crate::cpu::attention::KvShape;
use crate::cpu::expect;
use crate::cuda::args::{AttentionArgs, ElementType, EpilogueArgs};
use crate::cuda::{Buffer, Gpu, Grid, Kernel};

/// Positions of a split, and dimensions of a slice of values, as `attention.cuh` and `attention.cu`
/// have them.
const SPLIT: usize = 256;
const SLICE: usize = 128;

/// Most dimensions of the fast kernels, and of the plain one.
const DIM_MAX: usize = 256;
const PLAIN_DIM_MAX: usize = 1024;

/// Threads of a block of the plain kernel.
const PLAIN_THREADS: u32 = 128;

/// What attention computes besides its operands.
#[derive(Debug, Clone, Copy)]
pub struct GpuAttentionOptions<'a> {
    /// Query heads; a multiple of the cache's kv heads.
    pub heads: usize,
    /// Factor of the scores, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// A token sees itself and the `window - 1` tokens before it; all of them if `None`.
    pub window: Option<usize>,
    /// One logit a head that takes part in the softmax without a value (gpt-oss).
    pub sinks: Option<&'a Buffer<f32>>,
}

/// Whether splits are computed side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Splits {
    /// Where that keeps the GPU busier.
    Auto,
    /// One after the other.
    Sequential,
    /// At most so many of each tile at a time.
    Parallel(usize),
}

impl Gpu {
    /// out[t, h, :] = softmax(q[t, h] . keys * scale) values, causal. `q` is [tokens, heads,
    /// key_dim] after rope, `out` [tokens, heads, value_dim]. The new tokens' keys and values
    /// were written before.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::Index`] for a block that is not there, or the
    /// driver's error.
    pub fn attention(
        &self,
        layer: &GpuKvLayer,
        pass: &mut AttentionMetadata,
        options: &GpuAttentionOptions,
        q: &Buffer<f32>,
        out: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.attention_with(layer, pass, options, Splits::Auto, q, (out, epilogue))
    }

    /// [`Self::attention`], with a choice that changes no bit.
    pub(crate) fn attention_with(
        &self,
        layer: &GpuKvLayer,
        pass: &mut AttentionMetadata,
        options: &GpuAttentionOptions,
        splits: Splits,
        q: &Buffer<f32>,
        (out, epilogue): (&mut Buffer<f32>, Option<GpuEpilogue>),
    ) -> Result<(), DeviceError> {
        let args = self.attention_args(layer, pass, options, q, out)?;
        let (shape, heads) = (layer.shape(), options.heads);
        GpuEpilogue::fill(epilogue, self, out, |epilogue| {
            self.attend(shape, pass, heads, splits, AttentionArgs { epilogue, ..args })
        })
    }

    fn attend(
        &self,
        shape: &KvShape,
        pass: &mut AttentionMetadata,
        heads: usize,
        splits: Splits,
        mut args: AttentionArgs,
    ) -> Result<(), DeviceError> {
        if pass.tokens() == 0 {
            return Ok(());
        }
        let Some(kernels) = fast(shape) else {
            return self.attention_plain(shape, pass.tokens(), heads, &args);
        };
        args.slices = shape.value_dim.div_ceil(SLICE) as i32;
        for (kind, kernel) in kernels.into_iter().enumerate() {
            if !pass.tiles[kind].is_empty() {
                args.tiles = pass.tile_numbers(self, kind)?;
                self.attention_tiles(shape, pass, (kind, kernel), splits, args)?;
            }
        }
        Ok(())
    }

    /// [`Self::attention`] by the plain kernel, whatever the shape.
    pub(crate) fn attention_by_plain_kernel(
        &self,
        layer: &GpuKvLayer,
        pass: &AttentionMetadata,
        options: &GpuAttentionOptions,
        q: &Buffer<f32>,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        let args = self.attention_args(layer, pass, options, q, out)?;
        self.attention_plain(layer.shape(), pass.tokens(), options.heads, &args)
    }

    /// The arguments, tiles and splits aside, if everything fits.
    fn attention_args(
        &self,
        layer: &GpuKvLayer,
        pass: &AttentionMetadata,
        options: &GpuAttentionOptions,
        q: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<AttentionArgs, DeviceError> {
        let (shape, tokens, heads) = (layer.shape(), pass.tokens(), options.heads);
        let group = pass.shape().group;
        pass.check(layer)?;
        expect(
            "attention: heads are the pass's group times kv_heads",
            group * shape.kv_heads,
            heads,
        )?;
        expect(
            "attention: q is [tokens, heads, key_dim]",
            tokens * heads * shape.key_dim,
            q.len(),
        )?;
        expect(
            "attention: out is [tokens, heads, value_dim]",
            tokens * heads * shape.value_dim,
            out.len(),
        )?;
        expect("attention: sinks", heads, options.sinks.map_or(heads, Buffer::len))?;
        expect(
            "attention: window is not 0",
            options.window.map_or(1, |window| window.max(1)),
            options.window.unwrap_or(1),
        )?;
        on(self, q)?;
        on(self, out)?;
        options.sinks.map_or(Ok(()), |sinks| on(self, sinks))?;
        Ok(AttentionArgs {
            cache: layer.args(self)?,
            q: q.address(),
            out: out.address(),
            epilogue: EpilogueArgs::default(),
            sinks: options.sinks.map_or(0, Buffer::address),
            sequences: pass.spans(self)?,
            blocks: pass.block_numbers(self)?,
            tiles: 0,
            sequence_of_row: pass.span_of_row(self)?,
            states: 0,
            totals: 0,
            first_split: 0,
            splits: 0,
            group: size("attention: group", group)?,
            // A window past all positions hides nothing.
            window: options
                .window
                .filter(|&window| window < pass.positions())
                .map_or(Ok(0), |w| size("window", w))?,
            scale: options.scale,
            slices: 1,
            first_round: 0,
            last_round: 0,
        })
    }

    fn attention_plain(
        &self,
        shape: &KvShape,
        tokens: usize,
        heads: usize,
        args: &AttentionArgs,
    ) -> Result<(), DeviceError> {
        for dim in [shape.key_dim, shape.value_dim] {
            expect("attention: numbers of a head", dim.min(PLAIN_DIM_MAX), dim)?;
        }
        let kernel = match element_type(shape.dtype) {
            ElementType::F32 => Kernel::AttentionPlainF32,
            ElementType::Int8 => Kernel::AttentionPlainInt8,
            ElementType::F16 | ElementType::Bf16 => Kernel::AttentionPlainBf16,
        };
        let grid = Grid { threads: [PLAIN_THREADS, 1, 1], ..blocks(tokens, heads, 1)? };
        // SAFETY: `attention_args` has checked all sizes; heads fit the kernel's shared memory;
        // block tables cover all positions, as the pass has checked.
        Ok(unsafe { self.launch(kernel, grid, args) }?)
    }

    /// All tiles of one kind: in one launch, or in rounds of splits side by side.
    fn attention_tiles(
        &self,
        shape: &KvShape,
        pass: &mut AttentionMetadata,
        (kind, kernel): (usize, Kernel),
        splits: Splits,
        mut args: AttentionArgs,
    ) -> Result<(), DeviceError> {
        let tiles = &pass.tiles[kind];
        let (count, heads) = (tiles.len(), shape.kv_heads * args.slices as usize);
        let seen = |tile: &TileExtent| splits_of(tile, args.window as usize);
        let most = tiles.iter().map(|tile| seen(tile).len()).max().unwrap_or(0);
        let state = TILE_ROWS[kind] * (2 + shape.value_dim) * shape.kv_heads * count;
        let together = self.together(splits, most, count * heads, pass.states.len() / state.max(1));
        if together == 0 {
            // SAFETY: as above; tiles and spans are the pass's.
            return Ok(unsafe { self.launch(kernel, blocks(count, heads, 1)?, &args) }?);
        }
        let begin = tiles.iter().map(|tile| seen(tile).start).min().unwrap_or(0);
        let end = tiles.iter().map(|tile| seen(tile).end).max().unwrap_or(0);
        args.states = pass.states.address();
        args.totals = pass.states.address_of(together * state)?;
        let merge = [Kernel::MergeSplits8, Kernel::MergeSplits32][kind];
        for first in (begin..end).step_by(together) {
            args.first_split = first as i32;
            args.splits = together.min(end - first) as i32;
            args.first_round = i32::from(first == begin);
            args.last_round = i32::from(first + together >= end);
            let merging = AttentionArgs { slices: 1, ..args };
            // SAFETY: as above; the states of `together` splits and the totals fit the pass's
            // memory, and are used by this call alone: it has borrowed the pass, and
            // the stream keeps its order.
            unsafe {
                self.launch(kernel, blocks(count, heads, args.splits as usize)?, &args)?;
                self.launch(merge, blocks(count, shape.kv_heads, 1)?, &merging)?;
            }
        }
        Ok(())
    }

    /// How many splits of each tile are computed side by side; 0: one after the other, by one
    /// block. `busy` blocks come without splitting, and there is memory for `room` times a
    /// state of every tile.
    fn together(&self, splits: Splits, most: usize, busy: usize, room: usize) -> usize {
        // One is for the totals.
        let room = room.saturating_sub(1);
        match splits {
            Splits::Sequential => 0,
            Splits::Parallel(wanted) => wanted.min(room),
            Splits::Auto if most <= 1 || busy >= 2 * self.info().multiprocessors as usize => 0,
            Splits::Auto => room.min(most),
        }
    }
}

/// The kernels for tiles of each kind, where the heads suit them.
fn fast(shape: &KvShape) -> Option<[Kernel; 2]> {
    let suits = |dim: usize| dim.is_multiple_of(8) && dim <= DIM_MAX;
    if !suits(shape.key_dim) || !suits(shape.value_dim) {
        return None;
    }
    match shape.dtype {
        KvDtype::F32 => None,
        KvDtype::Bf16 => Some([Kernel::AttentionBf16Rows8, Kernel::AttentionBf16Rows32]),
        KvDtype::Int8 => Some([Kernel::AttentionInt8Rows8, Kernel::AttentionInt8Rows32]),
    }
}

/// Splits that a tile's rows see.
fn splits_of(tile: &TileExtent, window: usize) -> Range<usize> {
    let first = if window == 0 { 0 } else { (tile.first + 1).saturating_sub(window) };
    first / SPLIT..tile.last / SPLIT + 1
}
