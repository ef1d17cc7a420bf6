//! What depends on the precision of the cache.
#![allow(unsafe_op_in_unsafe_fn)]

use half::bf16;

use super::super::simd::{Ints, LANES, Simd};
use super::cache::{Codes, GROUP, KEY_OFFSET, KvShape, bf16_pair};
use super::row_block::SIXTEENS;

/// Keys and values of one dtype.
pub(super) trait Stored {
    const VALUE_BYTES: usize;
    /// 32-bit words that a query is kept in.
    fn query_words(shape: &KvShape) -> usize;
    /// Fills the words of a query.
    fn query(q: &[f32], words: &mut [u32]);
    /// The dot products of R queries, each `query_words` long, with the 64 keys of a tile.
    unsafe fn dots<S: Ints, const R: usize>(
        shape: &KvShape,
        keys: &TileKeys,
        queries: *const u32,
    ) -> [[S::F; SIXTEENS]; R];
    /// Sixteen numbers of a value, which begin with its vector `vector`; `scales` are the value's.
    unsafe fn value<S: Ints>(from: *const u8, scales: *const u16, vector: usize) -> S::F;
}

/// Where the keys of each 16 positions of a tile are, and their scales.
pub(super) struct TileKeys {
    pub keys: [*const u8; SIXTEENS],
    pub scales: [*const u16; SIXTEENS],
}

pub(super) struct InF32;
pub(super) struct InBf16;
pub(super) struct InInt8;

impl Stored for InF32 {
    const VALUE_BYTES: usize = 4;

    fn query_words(shape: &KvShape) -> usize {
        shape.key_words()
    }
    #[inline(always)]
    fn query(q: &[f32], words: &mut [u32]) {
        for (word, x) in words.iter_mut().zip(q) {
            *word = x.to_bits();
        }
    }
    #[inline(always)]
    unsafe fn dots<S: Ints, const R: usize>(
        shape: &KvShape,
        keys: &TileKeys,
        queries: *const u32,
    ) -> [[S::F; SIXTEENS]; R] {
        word_by_word::<S, R>(shape, keys, queries, |acc, keys, query| {
            S::fma(S::load(keys.cast()), S::splat(f32::from_bits(query)), acc)
        })
    }
    #[inline(always)]
    unsafe fn value<S: Ints>(from: *const u8, _scales: *const u16, _vector: usize) -> S::F {
        S::load(from.cast())
    }
}

impl Stored for InBf16 {
    const VALUE_BYTES: usize = 2;

    fn query_words(shape: &KvShape) -> usize {
        shape.key_words()
    }
    #[inline(always)]
    fn query(q: &[f32], words: &mut [u32]) {
        for (word, pair) in words.iter_mut().zip(q.chunks(2)) {
            *word = bf16_pair(pair);
        }
    }
    #[inline(always)]
    unsafe fn dots<S: Ints, const R: usize>(
        shape: &KvShape,
        keys: &TileKeys,
        queries: *const u32,
    ) -> [[S::F; SIXTEENS]; R] {
        word_by_word::<S, R>(shape, keys, queries, |acc, keys, query| S::bf16_pair_dot(acc, keys.cast(), query))
    }
    #[inline(always)]
    unsafe fn value<S: Ints>(from: *const u8, _scales: *const u16, _vector: usize) -> S::F {
        S::load_bf16(from.cast())
    }
}

/// A query for int8 keys: for each group its scale, what undoes the keys' offset, and eight words of codes.
const GROUP_WORDS: usize = 2 + GROUP / 4;

impl Stored for InInt8 {
    const VALUE_BYTES: usize = 1;

    fn query_words(shape: &KvShape) -> usize {
        shape.key_groups() * GROUP_WORDS
    }
    #[inline(always)]
    fn query(q: &[f32], words: &mut [u32]) {
        for (words, numbers) in words.chunks_exact_mut(GROUP_WORDS).zip(q.chunks(GROUP)) {
            let (scale, codes) = Codes::of(numbers);
            words[0] = scale.to_f32().to_bits();
            words[1] = (-KEY_OFFSET * codes.0.iter().map(|&code| i32::from(code)).sum::<i32>()) as u32;
            words[2..].iter_mut().zip(codes.words(0)).for_each(|(word, four)| *word = four);
        }
    }
    /// Whole numbers are added up exactly within a group; groups are added in order.
    #[inline(always)]
    unsafe fn dots<S: Ints, const R: usize>(
        shape: &KvShape,
        keys: &TileKeys,
        queries: *const u32,
    ) -> [[S::F; SIXTEENS]; R] {
        let (words, tokens, row_words) = (shape.key_words(), shape.block_tokens, Self::query_words(shape));
        let mut total = [[S::splat(0.0); SIXTEENS]; R];
        for group in 0..shape.key_groups() {
            let query = queries.add(group * GROUP_WORDS);
            let mut acc: [[S::I; SIXTEENS]; R] =
                std::array::from_fn(|r| [S::splat_i(*query.add(r * row_words + 1) as i32); SIXTEENS]);
            let first = group * GROUP / 4;
            for word in first..words.min(first + GROUP / 4) {
                for sixteen in 0..SIXTEENS {
                    let codes = S::load_wide(keys.keys[sixteen].add(word * tokens * 4));
                    for r in 0..R {
                        let q = *query.add(r * row_words + 2 + word - first) as i32;
                        acc[r][sixteen] = S::dot4(acc[r][sixteen], codes, q);
                    }
                }
            }
            for sixteen in 0..SIXTEENS {
                let scales = S::load_bf16(keys.scales[sixteen].add(group * tokens));
                for r in 0..R {
                    let scale = S::mul(scales, S::splat(f32::from_bits(*query.add(r * row_words))));
                    total[r][sixteen] = S::fma(S::to_f32(acc[r][sixteen]), scale, total[r][sixteen]);
                }
            }
        }
        total
    }
    #[inline(always)]
    unsafe fn value<S: Ints>(from: *const u8, scales: *const u16, vector: usize) -> S::F {
        let scale = bf16::from_bits(*scales.add(vector * LANES / GROUP)).to_f32();
        S::mul(S::load_i8(from.cast()), S::splat(scale))
    }
}

/// Dot products where a word of the keys meets the same word of the query.
#[inline(always)]
unsafe fn word_by_word<S: Simd, const R: usize>(
    shape: &KvShape,
    keys: &TileKeys,
    queries: *const u32,
    meet: impl Fn(S::F, *const u8, u32) -> S::F,
) -> [[S::F; SIXTEENS]; R] {
    let words = shape.key_words();
    let step = shape.block_tokens * 4;
    let mut acc = [[S::splat(0.0); SIXTEENS]; R];
    for word in 0..words {
        for r in 0..R {
            let q = *queries.add(r * words + word);
            for sixteen in 0..SIXTEENS {
                acc[r][sixteen] = meet(acc[r][sixteen], keys.keys[sixteen].add(word * step), q);
            }
        }
    }
    acc
}

/// Vectors of a value that are kept in registers at a time.
pub(super) const VALUE_VECTORS: usize = 4;
const _: () = assert!(VALUE_VECTORS * LANES == 64);
