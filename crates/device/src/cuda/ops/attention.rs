//! Attention over the paged KV cache: flash-decoding (Dao et al. 2023) on tensor cores, and a plain
//! kernel for other shapes.

use std::ops::Range;

use placement::KvDtype;

use super::activations::with_epilogue;
use super::kv::{GpuKvLayer, element_type};
use super::metadata::{AttentionMetadata, TILE_ROWS, TileExtent};
use super::{check_gpu, grid, to_i32};
use crate::DeviceError;
use crate::backend::{AttentionOptions, Epilogue};
use crate::cpu::attention::KvShape;
use crate::cpu::expect;
use crate::cuda::args::{AttentionArgs, ElementType, EpilogueArgs};
use crate::cuda::{Buffer, Gpu, Grid, Kernel};

/// Positions per split; equal to the constant in `attention.cuh`.
const SPLIT: usize = 256;
/// Value dimensions per slice; equal to the constant in `attention_tile.cuh`.
const SLICE: usize = 128;

/// Largest head dimension of the tensor-core kernels.
const TILED_DIM_MAX: usize = 256;
/// Largest head dimension of the plain kernel.
const PLAIN_DIM_MAX: usize = 1024;

/// Threads per thread block of the plain kernel.
const PLAIN_THREADS: u32 = 128;

/// How the splits of a query tile (ranges of KV positions) are scheduled. The results of all
/// variants are bit-identical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cuda) enum Splits {
    /// Parallel if the query tiles alone do not occupy the whole GPU, sequential otherwise.
    Auto,
    /// One thread block computes all splits of a query tile, in order.
    Sequential,
    /// At most this many splits of each tile are computed in parallel.
    Parallel(usize),
}

/// Operands of attention.
pub(in crate::cuda) struct AttentionOperands<'a> {
    /// KV cache, which already contains the keys and values of the new tokens.
    pub layer: &'a GpuKvLayer,
    pub metadata: &'a mut AttentionMetadata,
    pub options: &'a AttentionOptions<'a, Gpu>,
    /// Queries `[tokens, heads, key_dim]`, after RoPE.
    pub q: &'a Buffer<f32>,
}

/// Causal attention: `out[t, h, :] = softmax(q[t, h] . keys * scale) values`. `out` becomes
/// `[tokens, heads, value_dim]`.
///
/// # Errors
/// [`DeviceError::Shape`], [`DeviceError::Index`] for a missing block, or the driver's error.
pub(in crate::cuda) fn attention(
    gpu: &Gpu,
    operands: AttentionOperands<'_>,
    splits: Splits,
    out: &mut Buffer<f32>,
    epilogue: Option<Epilogue<'_, Gpu>>,
) -> Result<(), DeviceError> {
    let args = attention_args(gpu, &operands, out)?;
    let AttentionOperands { layer, metadata, options, .. } = operands;
    let shape = layer.shape();
    with_epilogue(gpu, epilogue, out, |epilogue| {
        let args = AttentionArgs { epilogue, ..args };
        match tiled_kernels(shape) {
            Some(kernels) => TiledAttention { gpu, shape, metadata, kernels }.launch(splits, args),
            None => launch_plain(gpu, shape, metadata.tokens(), options.heads, &args),
        }
    })
}

/// [`attention`] by the plain kernel, for any head dimensions up to `PLAIN_DIM_MAX`.
pub(in crate::cuda) fn attention_plain(
    gpu: &Gpu,
    operands: AttentionOperands<'_>,
    out: &mut Buffer<f32>,
) -> Result<(), DeviceError> {
    let args = attention_args(gpu, &operands, out)?;
    let AttentionOperands { layer, metadata, options, .. } = operands;
    launch_plain(gpu, layer.shape(), metadata.tokens(), options.heads, &args)
}

/// Checks the operands, resizes `out`, and returns the kernel arguments except those of tiles and
/// splits.
fn attention_args(
    gpu: &Gpu,
    operands: &AttentionOperands<'_>,
    out: &mut Buffer<f32>,
) -> Result<AttentionArgs, DeviceError> {
    let AttentionOperands { layer, metadata, options, q } = operands;
    let (shape, tokens, heads) = (layer.shape(), metadata.tokens(), options.heads);
    let group = metadata.shape().group;
    metadata.check(layer)?;
    let expected_heads = group * shape.kv_heads;
    expect("attention: heads are the batch's group times kv_heads", expected_heads, heads)?;
    let q_len = tokens * heads * shape.key_dim;
    expect("attention: q is [tokens, heads, key_dim]", q_len, q.len())?;
    let sinks = options.sinks.map(AsRef::as_ref);
    expect("attention: sinks is [heads]", heads, sinks.map_or(heads, Buffer::len))?;
    let window = options.window.unwrap_or(1);
    expect("attention: window is not 0", window.max(1), window)?;
    check_gpu(gpu, q)?;
    check_gpu(gpu, out)?;
    sinks.map_or(Ok(()), |sinks| check_gpu(gpu, sinks))?;
    out.resize(tokens * heads * shape.value_dim)?;
    // A window at least as long as the longest sequence masks nothing.
    let window = options.window.filter(|&window| window < metadata.positions());
    Ok(AttentionArgs {
        cache: layer.args(gpu)?,
        q: q.address(),
        out: out.address(),
        epilogue: EpilogueArgs::default(),
        sinks: sinks.map_or(0, Buffer::address),
        sequences: metadata.sequences_address(gpu)?,
        blocks: metadata.block_tables_address(gpu)?,
        sequence_of_row: metadata.sequence_of_row_address(gpu)?,
        group: to_i32("attention: group", group)?,
        window: window.map_or(Ok(0), |window| to_i32("attention: window", window))?,
        scale: options.scale,
        slices: 1,
        ..AttentionArgs::default()
    })
}

fn launch_plain(
    gpu: &Gpu,
    shape: &KvShape,
    tokens: usize,
    heads: usize,
    args: &AttentionArgs,
) -> Result<(), DeviceError> {
    for dim in [shape.key_dim, shape.value_dim] {
        expect("attention: largest head dimension", dim.min(PLAIN_DIM_MAX), dim)?;
    }
    let kernel = match element_type(shape.dtype) {
        ElementType::F32 => Kernel::AttentionPlainF32,
        ElementType::Int8 => Kernel::AttentionPlainInt8,
        ElementType::F16 | ElementType::Bf16 => Kernel::AttentionPlainBf16,
    };
    let grid = Grid { threads: [PLAIN_THREADS, 1, 1], ..grid(tokens, heads, 1)? };
    // SAFETY: `attention_args` has checked all sizes; the head dimensions fit the kernel's shared
    // memory; block tables cover all positions, as checked when the metadata was set.
    Ok(unsafe { gpu.launch(kernel, grid, args) }?)
}

/// Attention by the tensor-core kernels.
struct TiledAttention<'a> {
    gpu: &'a Gpu,
    shape: &'a KvShape,
    metadata: &'a AttentionMetadata,
    /// The kernel for each tile size in [`TILE_ROWS`].
    kernels: [Kernel; 2],
}

impl TiledAttention<'_> {
    /// Launches the kernels for both sizes of query tiles.
    fn launch(&self, splits: Splits, mut args: AttentionArgs) -> Result<(), DeviceError> {
        args.slices = self.shape.value_dim.div_ceil(SLICE) as i32;
        for (size, tiles) in self.metadata.tiles.iter().enumerate() {
            if !tiles.is_empty() {
                args.tiles = self.metadata.tiles_address(self.gpu, size)?;
                self.launch_size(size, splits, args)?;
            }
        }
        Ok(())
    }

    /// Launches the kernel for one size of query tiles: once with sequential splits, or in rounds
    /// of parallel splits, each round followed by a merge.
    fn launch_size(
        &self,
        size: usize,
        splits: Splits,
        mut args: AttentionArgs,
    ) -> Result<(), DeviceError> {
        let Self { gpu, shape, metadata, kernels } = *self;
        let (tiles, kernel) = (&metadata.tiles[size], kernels[size]);
        let (count, heads) = (tiles.len(), shape.kv_heads * args.slices as usize);
        let visible = |tile: &TileExtent| visible_splits(tile, args.window as usize);
        let splits_max = tiles.iter().map(|tile| visible(tile).len()).max().unwrap_or(0);
        let state_len = TILE_ROWS[size] * (2 + shape.value_dim) * shape.kv_heads * count;
        let states = metadata.split_states.len() / state_len.max(1);
        let parallel = self.parallel_splits(splits, splits_max, count * heads, states);
        if parallel == 0 {
            // SAFETY: as in `launch_plain`; tiles and sequences are those of the metadata.
            return Ok(unsafe { gpu.launch(kernel, grid(count, heads, 1)?, &args) }?);
        }
        let begin = tiles.iter().map(|tile| visible(tile).start).min().unwrap_or(0);
        let end = tiles.iter().map(|tile| visible(tile).end).max().unwrap_or(0);
        args.states = metadata.split_states.address();
        args.totals = metadata.split_states.address_of(parallel * state_len)?;
        let merge = [Kernel::MergeSplits8, Kernel::MergeSplits32][size];
        for first in (begin..end).step_by(parallel) {
            args.first_split = first as i32;
            args.splits = parallel.min(end - first) as i32;
            args.first_round = i32::from(first == begin);
            args.last_round = i32::from(first + parallel >= end);
            let merge_args = AttentionArgs { slices: 1, ..args };
            // SAFETY: as above; the states of `parallel` splits and the totals fit in
            // `split_states`. Only this call uses them: `attention` borrows the metadata
            // exclusively, and the stream runs its kernels in order.
            unsafe {
                gpu.launch(kernel, grid(count, heads, args.splits as usize)?, &args)?;
                gpu.launch(merge, grid(count, shape.kv_heads, 1)?, &merge_args)?;
            }
        }
        Ok(())
    }

    /// Number of splits of each tile that are computed in parallel; 0: sequentially. `splits_max`
    /// is the largest number of splits of a tile, `blocks` the number of thread blocks without
    /// splitting, and `states` the number of states per tile that fit in the reserved memory.
    fn parallel_splits(
        &self,
        splits: Splits,
        splits_max: usize,
        blocks: usize,
        states: usize,
    ) -> usize {
        // One state per tile is reserved for the totals.
        let available = states.saturating_sub(1);
        let fills_gpu = blocks >= 2 * self.gpu.info().multiprocessors as usize;
        match splits {
            Splits::Sequential => 0,
            Splits::Parallel(requested) => requested.min(available),
            Splits::Auto if splits_max <= 1 || fills_gpu => 0,
            Splits::Auto => available.min(splits_max),
        }
    }
}

/// The tensor-core kernels for both sizes of query tiles; `None` if they do not support the head
/// dimensions or the KV dtype.
fn tiled_kernels(shape: &KvShape) -> Option<[Kernel; 2]> {
    let supported = |dim: usize| dim.is_multiple_of(8) && dim <= TILED_DIM_MAX;
    if !supported(shape.key_dim) || !supported(shape.value_dim) {
        return None;
    }
    match shape.dtype {
        KvDtype::F32 => None,
        KvDtype::Bf16 => Some([Kernel::AttentionBf16Rows8, Kernel::AttentionBf16Rows32]),
        KvDtype::Int8 => Some([Kernel::AttentionInt8Rows8, Kernel::AttentionInt8Rows32]),
    }
}

/// Splits that contain positions visible to a row of the tile; `window` is 0 without a sliding
/// window.
fn visible_splits(tile: &TileExtent, window: usize) -> Range<usize> {
    let first = if window == 0 { 0 } else { (tile.first + 1).saturating_sub(window) };
    first / SPLIT..tile.last / SPLIT + 1
}
