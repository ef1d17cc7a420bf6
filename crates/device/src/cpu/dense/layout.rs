use std::ops::Range;

use super::super::simd::LANES;
use super::dot::CHUNK_BYTES;

/// Where activations of dense products lie, so that a kernel reads them in order: in tiles of
/// tokens that are multiplied together, as numbers of 4 bytes (one f32, or two bf16), 16 of them a
/// chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cpu) struct Layout {
    tokens: usize,
    tiles: usize,
    order: Order,
}

/// What follows what in a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cpu) enum Order {
    /// [chunk][token][16]: for weights as they lie.
    #[default]
    Chunks,
    /// [lane, in their order][chunk][token]: for weights that were copied.
    Lanes,
}

impl Layout {
    /// As few tiles of at most `widest` tokens as possible, as even as possible.
    pub fn new(tokens: usize, widest: usize, order: Order) -> Self {
        Self { tokens, tiles: tokens.div_ceil(widest), order }
    }

    /// What follows what.
    pub fn order(self) -> Order {
        self.order
    }

    /// How many tiles there are.
    pub fn tiles(self) -> usize {
        self.tiles
    }

    /// The tokens of a tile. The first tiles may have one more than the others.
    pub fn tile(self, tile: usize) -> Range<usize> {
        let (few, wider) = (self.tokens / self.tiles, self.tokens % self.tiles);
        let first = tile * few + tile.min(wider);
        first..first + few + usize::from(tile < wider)
    }

    /// Tokens of the widest tile.
    pub fn widest(self) -> usize {
        self.tokens.div_ceil(self.tiles.max(1))
    }
}

/// Bytes of the chunks that `cols` numbers of a token take, `chunk` of them each.
pub(in crate::cpu) fn token_bytes(cols: usize, chunk: usize) -> usize {
    cols.div_ceil(chunk) * CHUNK_BYTES
}

/// The order of lanes, and a lane's place in it (it is its own inverse). Sums of lanes are added up
/// in it: each takes as many sums that wait as its place, a binary number, has ones at its end. It
/// is the tree of [`Simd::sum`].
///
/// [`Simd::sum`]: super::super::simd::Simd::sum
pub(in crate::cpu) const LANE_ORDER: [usize; LANES] =
    [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];

#[cfg(test)]
mod tests {
    use super::{Layout, Order};

    #[test]
    fn every_token_is_in_one_tile() {
        for tokens in 1..200 {
            for widest in 1..13 {
                let layout = Layout::new(tokens, widest, Order::Lanes);
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
