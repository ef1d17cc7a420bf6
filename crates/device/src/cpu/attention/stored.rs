//! What depends on the precision of the cache.

use super::super::simd::{LANES, Simd};
use super::cache::bf16_pair;

/// Keys and values of one dtype. A query is kept as one 32-bit word for each word of a key.
pub(super) trait Stored {
    const VALUE_BYTES: usize;
    /// Fills the words of a query.
    fn query(q: &[f32], words: &mut [u32]);
    /// acc + sixteen keys' word times the query's word.
    unsafe fn score<S: Simd>(acc: S::F, keys: *const u8, query: u32) -> S::F;
    unsafe fn value<S: Simd>(from: *const u8) -> S::F;
}

pub(super) struct InF32;
pub(super) struct InBf16;

impl Stored for InF32 {
    const VALUE_BYTES: usize = 4;

    #[inline(always)]
    fn query(q: &[f32], words: &mut [u32]) {
        for (word, x) in words.iter_mut().zip(q) {
            *word = x.to_bits();
        }
    }
    #[inline(always)]
    unsafe fn score<S: Simd>(acc: S::F, keys: *const u8, query: u32) -> S::F {
        S::fma(S::load(keys.cast()), S::splat(f32::from_bits(query)), acc)
    }
    #[inline(always)]
    unsafe fn value<S: Simd>(from: *const u8) -> S::F {
        S::load(from.cast())
    }
}

impl Stored for InBf16 {
    const VALUE_BYTES: usize = 2;

    #[inline(always)]
    fn query(q: &[f32], words: &mut [u32]) {
        for (word, pair) in words.iter_mut().zip(q.chunks(2)) {
            *word = bf16_pair(pair);
        }
    }
    #[inline(always)]
    unsafe fn score<S: Simd>(acc: S::F, keys: *const u8, query: u32) -> S::F {
        S::bf16_pair_dot(acc, keys.cast(), query)
    }
    #[inline(always)]
    unsafe fn value<S: Simd>(from: *const u8) -> S::F {
        S::load_bf16(from.cast())
    }
}

/// Vectors of a value that are kept in registers at a time.
pub(super) const VALUE_VECTORS: usize = 4;
const _: () = assert!(VALUE_VECTORS * LANES == 64);
