//! Attention metadata of a batch (as in vLLM): positions, cache slots, sequences and block tables.

use std::time::Instant;

use super::kv::GpuKvLayer;
use super::{check_gpu, to_i32};
use crate::DeviceError;
use crate::backend::AttentionSequence;
use crate::cpu::attention::check_sequences;
use crate::cpu::expect;
use crate::cuda::{Buffer, Gpu};

/// Limits of a batch, and properties of the model that all batches share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Largest number of new tokens.
    pub tokens: usize,
    /// Largest number of sequences.
    pub sequences: usize,
    /// Largest number of entries of all block tables together.
    pub entries: usize,
    /// Query heads per KV head.
    pub group: usize,
    /// Tokens per KV block.
    pub block_tokens: usize,
    /// KV blocks per layer.
    pub blocks: usize,
}

/// Data about a batch that attention reads in all layers, uploaded once per pass in one copy; and
/// memory for the states of parallel splits.
pub struct AttentionMetadata {
    shape: BatchShape,
    /// All arrays on the GPU, one after the other; see [`MetadataLayout`].
    data: Buffer<u32>,
    staging: Vec<u32>,
    pub(super) split_states: Buffer<f32>,
    layout: MetadataLayout,
    tokens: usize,
    positions: usize,
    /// Query tiles of each size in [`TILE_ROWS`].
    pub(super) tiles: [Vec<TileExtent>; 2],
}

/// A query tile: query rows of a sequence that one thread block computes for one KV head.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileExtent {
    sequence: usize,
    first_row: usize,
    /// Position of the tile's first token.
    pub first: usize,
    /// Position of the tile's last token.
    pub last: usize,
}

/// Number of rows of a query tile, in two sizes. Sequences with few rows, for example during
/// decode, use the small size.
pub(super) const TILE_ROWS: [usize; 2] = [8, 32];

/// Bytes of memory for split states; with less memory, parallel splits take more rounds.
const SPLIT_STATES_BYTES: usize = 16 << 20;

/// Offsets of the arrays in [`AttentionMetadata::data`], in 32-bit words.
#[derive(Debug, Clone, Copy, Default)]
struct MetadataLayout {
    /// Position of each token in its sequence, `[tokens]`.
    positions: usize,
    /// Slot of each token in the KV cache, `[tokens]`.
    slots: usize,
    /// Index of each token's sequence in the batch, `[tokens]`.
    sequence_of_row: usize,
    /// `[sequences]` of 4 words: `SequenceArgs` in `kv_cache.cuh`.
    sequences: usize,
    /// For each tile size, `[tiles]` of 2 words: `QueryTileArgs` in `attention.cuh`.
    tiles: [usize; 2],
    /// Block tables of all sequences, one after the other, `[entries]`.
    block_tables: usize,
    end: usize,
}

impl MetadataLayout {
    fn new(tokens: usize, sequences: usize, tiles: [usize; 2], entries: usize) -> Self {
        let mut end = 0;
        let mut append = |count: usize| {
            let start = end;
            end += count;
            start
        };
        let (positions, slots, sequence_of_row) = (append(tokens), append(tokens), append(tokens));
        let (sequences, tiles, block_tables) =
            (append(4 * sequences), tiles.map(|count| append(2 * count)), append(entries));
        Self { positions, slots, sequence_of_row, sequences, tiles, block_tables, end }
    }
}

impl BatchShape {
    /// Number of 32-bit words that the largest batch uploads.
    fn words_max(&self) -> usize {
        let large_tiles = self.tokens * self.group / TILE_ROWS[1] + self.sequences;
        let tiles = [self.sequences, large_tiles];
        MetadataLayout::new(self.tokens, self.sequences, tiles, self.entries).end
    }

    fn check(&self) -> Result<(), DeviceError> {
        expect(
            "BatchShape: block_tokens is a power of two",
            self.block_tokens.next_power_of_two(),
            self.block_tokens,
        )?;
        expect("BatchShape: group is not 0", self.group.max(1), self.group)?;
        to_i32("BatchShape: slots of a layer", self.blocks.saturating_mul(self.block_tokens))?;
        to_i32("BatchShape: query rows", self.tokens.saturating_mul(self.group))?;
        Ok(())
    }
}

impl AttentionMetadata {
    /// Allocates memory for batches of up to `shape` on `gpu`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, shape: BatchShape) -> Result<Self, DeviceError> {
        shape.check()?;
        Ok(Self {
            shape,
            data: Buffer::new(gpu, shape.words_max())?,
            staging: Vec::new(),
            split_states: Buffer::new(gpu, SPLIT_STATES_BYTES / 4)?,
            layout: MetadataLayout::default(),
            tokens: 0,
            positions: 0,
            tiles: [Vec::new(), Vec::new()],
        })
    }

    /// Bytes that [`Self::new`] allocates on the GPU.
    pub fn bytes(shape: &BatchShape) -> usize {
        shape.words_max() * 4 + SPLIT_STATES_BYTES
    }

    /// Sets the batch and uploads its metadata.
    ///
    /// # Errors
    /// [`DeviceError::Shape`] or [`DeviceError::Index`] for invalid sequences;
    /// [`DeviceError::Shape`] for a batch that exceeds the shape; or those of [`Buffer::upload`].
    pub fn set_batch(
        &mut self,
        sequences: &[AttentionSequence],
        deadline: Instant,
    ) -> Result<(), DeviceError> {
        let shape = self.shape;
        let tokens = check_sequences(shape.block_tokens, shape.blocks, sequences)?;
        let entries = sequences.iter().map(|s| s.blocks.len()).sum();
        let at_most = |what, max: usize, found: usize| expect(what, max.min(found), found);
        at_most("batch: largest number of tokens", shape.tokens, tokens)?;
        at_most("batch: largest number of sequences", shape.sequences, sequences.len())?;
        at_most("batch: largest number of block table entries", shape.entries, entries)?;
        let positions =
            sequences.iter().map(|s| s.first_position + s.rows.len()).max().unwrap_or(0);
        to_i32("batch: positions", positions)?;
        self.tiles = query_tiles(sequences, shape.group);
        let tiles = [self.tiles[0].len(), self.tiles[1].len()];
        self.layout = MetadataLayout::new(tokens, sequences.len(), tiles, entries);
        (self.tokens, self.positions) = (tokens, positions);
        self.stage(sequences);
        self.data.resize(self.staging.len())?;
        Ok(self.data.upload(0, &self.staging, deadline)?)
    }

    /// Writes all arrays to `staging`.
    fn stage(&mut self, sequences: &[AttentionSequence]) {
        let (at, block_tokens) = (self.layout, self.shape.block_tokens);
        self.staging.clear();
        self.staging.resize(at.end, 0);
        let (mut entry, staging) = (0, &mut self.staging);
        for (index, sequence) in sequences.iter().enumerate() {
            for (i, row) in sequence.rows.clone().enumerate() {
                let position = sequence.first_position + i;
                let block = sequence.blocks[position / block_tokens] as usize;
                let slot = block * block_tokens + position % block_tokens;
                staging[at.positions + row] = position as u32;
                staging[at.slots + row] = slot as u32;
                staging[at.sequence_of_row + row] = index as u32;
            }
            let args = [sequence.rows.start, sequence.rows.len(), sequence.first_position, entry];
            staging[at.sequences + 4 * index..][..4].copy_from_slice(&args.map(|arg| arg as u32));
            staging[at.block_tables + entry..][..sequence.blocks.len()]
                .copy_from_slice(sequence.blocks);
            entry += sequence.blocks.len();
        }
        for (start, tiles) in at.tiles.iter().zip(&self.tiles) {
            for (to, tile) in staging[*start..].chunks_exact_mut(2).zip(tiles) {
                to.copy_from_slice(&[tile.sequence as u32, tile.first_row as u32]);
            }
        }
    }

    /// Number of new tokens in the batch.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// One past the largest position of a token in the batch.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn shape(&self) -> &BatchShape {
        &self.shape
    }

    /// Checks that `layer` has the block size and the number of blocks for which the batch was
    /// checked.
    pub(super) fn check(&self, layer: &GpuKvLayer) -> Result<(), DeviceError> {
        let block_tokens = layer.shape().block_tokens;
        expect("batch: tokens per block of the layer", self.shape.block_tokens, block_tokens)?;
        expect("batch: blocks of the layer", self.shape.blocks, layer.blocks())
    }

    pub(super) fn positions_address(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.positions)
    }

    pub(super) fn slots_address(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.slots)
    }

    pub(super) fn sequence_of_row_address(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.sequence_of_row)
    }

    pub(super) fn sequences_address(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.sequences)
    }

    pub(super) fn tiles_address(&self, gpu: &Gpu, size: usize) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.tiles[size])
    }

    pub(super) fn block_tables_address(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.address(gpu, self.layout.block_tables)
    }

    fn address(&self, gpu: &Gpu, offset: usize) -> Result<u64, DeviceError> {
        check_gpu(gpu, &self.data)?;
        Ok(self.data.address_of(offset)?)
    }
}

/// Divides the query rows of a batch into tiles of the two sizes. The tiles of a sequence are in
/// descending order, since the last ones attend to the most keys and take longest.
fn query_tiles(sequences: &[AttentionSequence], group: usize) -> [Vec<TileExtent>; 2] {
    let mut tiles = [Vec::new(), Vec::new()];
    for (index, sequence) in sequences.iter().enumerate() {
        let rows = sequence.rows.len() * group;
        let size = usize::from(rows > TILE_ROWS[0]);
        let position = |row: usize| sequence.first_position + row / group;
        for first_row in (0..rows).step_by(TILE_ROWS[size]).rev() {
            let last = position((first_row + TILE_ROWS[size]).min(rows) - 1);
            let first = position(first_row);
            tiles[size].push(TileExtent { sequence: index, first_row, first, last });
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_once_and_fit_the_allocated_memory() {
        for group in 1..9 {
            let lengths = [1, 2, 9, 33, 100, 1];
            let mut row = 0;
            let sequences: Vec<AttentionSequence> = lengths
                .iter()
                .map(|&tokens| {
                    row += tokens;
                    AttentionSequence { blocks: &[], rows: row - tokens..row, first_position: 1000 }
                })
                .collect();
            let tiles = query_tiles(&sequences, group);
            for (sequence, &tokens) in lengths.iter().enumerate() {
                let mut extents: Vec<(usize, usize, usize)> = Vec::new();
                for (size, tiles) in tiles.iter().enumerate() {
                    let of_sequence = tiles.iter().filter(|tile| tile.sequence == sequence);
                    extents.extend(of_sequence.map(|tile| {
                        let end = (tile.first_row + TILE_ROWS[size]).min(tokens * group);
                        (tile.first_row, end, tile.last)
                    }));
                }
                extents.sort_unstable();
                assert_eq!((extents[0].0, extents[extents.len() - 1].1), (0, tokens * group));
                assert!(extents.windows(2).all(|pair| pair[0].1 == pair[1].0));
                assert_eq!(extents[extents.len() - 1].2, 1000 + tokens - 1);
            }
            let shape = BatchShape {
                tokens: row,
                sequences: 6,
                entries: 7,
                group,
                block_tokens: 32,
                blocks: 100,
            };
            let words = MetadataLayout::new(row, 6, [tiles[0].len(), tiles[1].len()], 7).end;
            assert!(words <= shape.words_max(), "{group}: {words} of {}", shape.words_max());
        }
    }
}
