use std::time::Instant;

use super::kv::GpuKvLayer;
use super::{on, size};
use crate::DeviceError;
use crate::backend::AttentionSequence;
use crate::cpu::attention::check_sequences;
use crate::cpu::expect;
use crate::cuda::{Buffer, Gpu};

/// What the passes of a model have in common, and the most that one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// Most new tokens.
    pub tokens: usize,
    /// Most sequences.
    pub sequences: usize,
    /// Most entries of all their block tables.
    pub entries: usize,
    /// Query heads of a kv head.
    pub group: usize,
    /// Tokens of a block.
    pub block_tokens: usize,
    /// Blocks of a layer.
    pub blocks: usize,
}

/// What all layers of a pass share: where its tokens stand and where their keys and values go.
/// Uploaded once, in one piece.
///
/// It also has the memory in which attention keeps the states of splits that are computed side by
/// side.
pub struct AttentionMetadata {
    shape: BatchShape,
    numbers: Buffer<u32>,
    host: Vec<u32>,
    pub(super) states: Buffer<f32>,
    places: MetadataLayout,
    tokens: usize,
    positions: usize,
    /// Of the two kinds.
    pub(super) tiles: [Vec<TileExtent>; 2],
}

/// Query rows of one kv head that share a pass over the keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileExtent {
    span: usize,
    first_row: usize,
    /// Positions of its first and last token.
    pub first: usize,
    pub last: usize,
}

/// Rows of the two kinds of tiles. Sequences of few rows, such as those that decode, have the small
/// one.
pub(super) const TILE_ROWS: [usize; 2] = [8, 32];

/// Bytes for states of splits: with fewer there are more rounds.
const STATES_BYTES: usize = 16 << 20;

/// Where things are in `numbers`.
#[derive(Debug, Clone, Copy, Default)]
struct MetadataLayout {
    positions: usize,
    slots: usize,
    span_of_row: usize,
    spans: usize,
    tiles: [usize; 2],
    blocks: usize,
    end: usize,
}

impl MetadataLayout {
    /// For so many tokens, sequences, tiles of each kind, and block table entries.
    fn new(tokens: usize, sequences: usize, tiles: [usize; 2], entries: usize) -> Self {
        let mut end = 0;
        let mut take = |count: usize| {
            let start = end;
            end += count;
            start
        };
        let (positions, slots, span_of_row) = (take(tokens), take(tokens), take(tokens));
        let (spans, tiles, blocks) =
            (take(4 * sequences), tiles.map(|count| take(2 * count)), take(entries));
        Self { positions, slots, span_of_row, spans, tiles, blocks, end }
    }
}

impl BatchShape {
    /// Numbers that the largest pass uploads.
    fn numbers(&self) -> usize {
        let large = self.tokens * self.group / TILE_ROWS[1] + self.sequences;
        MetadataLayout::new(self.tokens, self.sequences, [self.sequences, large], self.entries).end
    }

    fn check(&self) -> Result<(), DeviceError> {
        expect(
            "BatchShape: block_tokens is a power of two",
            self.block_tokens.next_power_of_two(),
            self.block_tokens,
        )?;
        expect("BatchShape: group is not 0", self.group.max(1), self.group)?;
        size("BatchShape: places of a layer", self.blocks.saturating_mul(self.block_tokens))?;
        size("BatchShape: query rows", self.tokens.saturating_mul(self.group))?;
        Ok(())
    }
}

impl AttentionMetadata {
    /// Memory for passes of this shape on `gpu`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or those of [`Buffer::new`].
    pub fn new(gpu: &Gpu, shape: BatchShape) -> Result<Self, DeviceError> {
        shape.check()?;
        Ok(Self {
            shape,
            numbers: Buffer::new(gpu, shape.numbers())?,
            host: Vec::new(),
            states: Buffer::new(gpu, STATES_BYTES / 4)?,
            places: MetadataLayout::default(),
            tokens: 0,
            positions: 0,
            tiles: [Vec::new(), Vec::new()],
        })
    }

    /// Bytes that [`Self::new`] takes on the GPU.
    pub fn bytes(shape: &BatchShape) -> usize {
        shape.numbers() * 4 + STATES_BYTES
    }

    /// Begins a pass of these sequences.
    ///
    /// # Errors
    /// [`DeviceError::Shape`] and [`DeviceError::Index`], also for more than the shape allows;
    /// those of [`Buffer::upload`].
    pub fn begin(
        &mut self,
        sequences: &[AttentionSequence],
        deadline: Instant,
    ) -> Result<(), DeviceError> {
        let shape = self.shape;
        let tokens = check_sequences(shape.block_tokens, shape.blocks, sequences)?;
        let entries = sequences.iter().map(|s| s.blocks.len()).sum();
        expect(
            "AttentionMetadata: tokens that there is room for",
            shape.tokens.min(tokens),
            tokens,
        )?;
        expect(
            "AttentionMetadata: sequences that there is room for",
            shape.sequences.min(sequences.len()),
            sequences.len(),
        )?;
        expect(
            "AttentionMetadata: block table entries that there is room for",
            shape.entries.min(entries),
            entries,
        )?;
        let positions =
            sequences.iter().map(|s| s.first_position + s.rows.len()).max().unwrap_or(0);
        size("AttentionMetadata: positions", positions)?;
        self.tiles = tiles(sequences, shape.group);
        self.places = MetadataLayout::new(
            tokens,
            sequences.len(),
            [self.tiles[0].len(), self.tiles[1].len()],
            entries,
        );
        (self.tokens, self.positions) = (tokens, positions);
        self.write(sequences);
        self.numbers.resize(self.host.len())?;
        Ok(self.numbers.upload(0, &self.host, deadline)?)
    }

    /// Puts everything that kernels ask for into `host`.
    fn write(&mut self, sequences: &[AttentionSequence]) {
        let (at, block_tokens) = (self.places, self.shape.block_tokens);
        self.host.clear();
        self.host.resize(at.end, 0);
        let (mut block, host) = (0, &mut self.host);
        for (index, sequence) in sequences.iter().enumerate() {
            for (i, row) in sequence.rows.clone().enumerate() {
                let position = sequence.first_position + i;
                let slot = sequence.blocks[position / block_tokens] as usize * block_tokens
                    + position % block_tokens;
                host[at.positions + row] = position as u32;
                host[at.slots + row] = slot as u32;
                host[at.span_of_row + row] = index as u32;
            }
            let span = [sequence.rows.start, sequence.rows.len(), sequence.first_position, block];
            host[at.spans + 4 * index..][..4].copy_from_slice(&span.map(|number| number as u32));
            host[at.blocks + block..][..sequence.blocks.len()].copy_from_slice(sequence.blocks);
            block += sequence.blocks.len();
        }
        for (start, tiles) in at.tiles.iter().zip(&self.tiles) {
            for (to, tile) in host[*start..].chunks_exact_mut(2).zip(tiles) {
                to.copy_from_slice(&[tile.span as u32, tile.first_row as u32]);
            }
        }
    }

    /// New tokens of the pass.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// One past the last position of any token.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// What passes have in common.
    pub fn shape(&self) -> &BatchShape {
        &self.shape
    }

    /// Fails unless `layer` has the blocks that the pass was checked for.
    pub(super) fn check(&self, layer: &GpuKvLayer) -> Result<(), DeviceError> {
        expect(
            "AttentionMetadata: tokens of the layer's blocks",
            self.shape.block_tokens,
            layer.shape().block_tokens,
        )?;
        expect("AttentionMetadata: blocks of the layer", self.shape.blocks, layer.blocks())
    }

    /// The position of each token, `[tokens]`.
    pub(super) fn position_numbers(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.positions)
    }

    /// Where each token's key goes, `[tokens]`.
    pub(super) fn slots(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.slots)
    }

    /// Which sequence each token belongs to, `[tokens]`.
    pub(super) fn span_of_row(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.span_of_row)
    }

    /// The sequences.
    pub(super) fn spans(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.spans)
    }

    /// Tiles of one kind.
    pub(super) fn tile_numbers(&self, gpu: &Gpu, kind: usize) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.tiles[kind])
    }

    /// Block tables.
    pub(super) fn block_numbers(&self, gpu: &Gpu) -> Result<u64, DeviceError> {
        self.number(gpu, self.places.blocks)
    }

    fn number(&self, gpu: &Gpu, place: usize) -> Result<u64, DeviceError> {
        on(gpu, &self.numbers)?;
        Ok(self.numbers.address_of(place)?)
    }
}

/// Cuts the pass into tiles of the two kinds. A sequence's last ones, which see most, come first:
/// the GPU starts with them.
fn tiles(sequences: &[AttentionSequence], group: usize) -> [Vec<TileExtent>; 2] {
    let mut tiles = [Vec::new(), Vec::new()];
    for (span, sequence) in sequences.iter().enumerate() {
        let rows = sequence.rows.len() * group;
        let kind = usize::from(rows > TILE_ROWS[0]);
        let position = |row: usize| sequence.first_position + row / group;
        for first_row in (0..rows).step_by(TILE_ROWS[kind]).rev() {
            let last = position((first_row + TILE_ROWS[kind]).min(rows) - 1);
            tiles[kind].push(TileExtent { span, first_row, first: position(first_row), last });
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_and_no_more_than_there_is_room_for() {
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
            let tiles = tiles(&sequences, group);
            for (span, &tokens) in lengths.iter().enumerate() {
                let mut of_span: Vec<(usize, usize, usize)> = Vec::new();
                for (kind, tiles) in tiles.iter().enumerate() {
                    let rows =
                        |tile: &TileExtent| (tile.first_row + TILE_ROWS[kind]).min(tokens * group);
                    of_span.extend(
                        tiles
                            .iter()
                            .filter(|t| t.span == span)
                            .map(|t| (t.first_row, rows(t), t.last)),
                    );
                }
                of_span.sort_unstable();
                assert_eq!((of_span[0].0, of_span[of_span.len() - 1].1), (0, tokens * group));
                assert!(of_span.windows(2).all(|pair| pair[0].1 == pair[1].0));
                assert_eq!(of_span[of_span.len() - 1].2, 1000 + tokens - 1);
            }
            let shape = BatchShape {
                tokens: row,
                sequences: 6,
                entries: 7,
                group,
                block_tokens: 32,
                blocks: 100,
            };
            let found = MetadataLayout::new(row, 6, [tiles[0].len(), tiles[1].len()], 7).end;
            assert!(found <= shape.numbers(), "{group}: {found} of {}", shape.numbers());
        }
    }
}
