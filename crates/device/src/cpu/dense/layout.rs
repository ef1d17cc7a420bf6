//! Layout of activations for matrix multiplications with dense weights.

use std::ops::Range;

use super::super::simd::LANES;
use super::dot::CHUNK_BYTES;

/// Division of tokens into tiles. The tokens of a tile are multiplied together. In a tile,
/// activations are words of 4 bytes (one f32, or two bf16), 16 to a chunk, in the order in which
/// the kernel reads them.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cpu) struct ActivationLayout {
    tokens: usize,
    tiles: usize,
    order: TileOrder,
}

/// Order of the words of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cpu) enum TileOrder {
    /// [chunk][token][16]: for unpacked weights.
    #[default]
    Chunks,
    /// [lane, in [`LANE_ORDER`]][chunk][token]: for packed weights.
    Lanes,
}

impl ActivationLayout {
    /// Divides `tokens` tokens into the fewest tiles of at most `widest` tokens, of equal size.
    pub fn new(tokens: usize, widest: usize, order: TileOrder) -> Self {
        Self { tokens, tiles: tokens.div_ceil(widest), order }
    }

    pub fn order(self) -> TileOrder {
        self.order
    }

    /// Number of tiles.
    pub fn tiles(self) -> usize {
        self.tiles
    }

    /// Tokens of tile `tile`. The first tiles may have one more than the others.
    pub fn tile(self, tile: usize) -> Range<usize> {
        let (few, wider) = (self.tokens / self.tiles, self.tokens % self.tiles);
        let first = tile * few + tile.min(wider);
        first..first + few + usize::from(tile < wider)
    }

    /// Number of tokens of the widest tile.
    pub fn widest(self) -> usize {
        self.tokens.div_ceil(self.tiles.max(1))
    }
}

/// Bytes of a token of `cols` elements, packed in chunks of `chunk` elements.
pub(in crate::cpu) fn token_bytes(cols: usize, chunk: usize) -> usize {
    cols.div_ceil(chunk) * CHUNK_BYTES
}

/// Order in which the sums of the lanes are reduced: bit-reversed, and its own inverse. After the
/// i-th lane in this order, as many completed subtrees are merged as i has trailing one bits. This
/// gives the reduction tree of [`Simd::sum`].
///
/// [`Simd::sum`]: super::super::simd::Simd::sum
pub(in crate::cpu) const LANE_ORDER: [usize; LANES] =
    [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];

#[cfg(test)]
mod tests {
    use super::{ActivationLayout, TileOrder};

    #[test]
    fn every_token_is_in_one_tile() {
        for tokens in 1..200 {
            for widest in 1..13 {
                let layout = ActivationLayout::new(tokens, widest, TileOrder::Lanes);
                let all: Vec<usize> =
                    (0..layout.tiles()).flat_map(|tile| layout.tile(tile)).collect();
                assert!(all.into_iter().eq(0..tokens));
                let widths = (0..layout.tiles()).map(|tile| layout.tile(tile).len());
                assert!(
                    layout.widest() <= widest
                        && widths
                            .into_iter()
                            .all(|w| w == layout.widest() || w + 1 == layout.widest())
                );
            }
        }
    }
}
