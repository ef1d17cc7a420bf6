//! Dot products with keys and weighted sums of values for each dtype of the KV cache.
#![allow(unsafe_op_in_unsafe_fn)]

use half::bf16;

use super::super::simd::{LANES, Simd, SimdInt};
use super::TILE;
use super::cache::{GROUP, KEY_OFFSET, KvLane16, KvShape};
use super::int8_group::Int8Group;

/// A dtype of the KV cache: packs queries, computes scores and accumulates values.
pub(super) trait KvFormat {
    const VALUE_BYTES: usize;
    /// Number of positions whose values are interleaved, and thus accumulated in one step.
    const VALUE_POSITIONS: usize;
    /// Number of 32-bit words of a packed query.
    fn query_words<S: Simd>(shape: &KvShape) -> usize;
    /// Packs a query: word w is written to `words[w * stride]`.
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize);
    /// Dot products of R queries with 16 W keys. Word w of query r is at `queries[w * stride + r]`.
    /// Prefetches the keys of `next`.
    unsafe fn dots<S: SimdInt, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[KvLane16],
        next: &[KvLane16],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R];
    /// Writes values of 16 positions in the layout of stored values, from 16 words of their keys.
    /// `words[j]` has the words of position j, the first of which is `first`. `to` has space for
    /// 16 values.
    unsafe fn values_of_keys<S: Simd>(
        shape: &KvShape,
        words: &[[u32; LANES]; LANES],
        first: usize,
        to: *mut u8,
    );
    /// Stores the softmax weights of 16 keys, the first of which is `key`, in the weights `row` of
    /// one query row, in the form that [`Self::add`] reads.
    #[inline(always)]
    unsafe fn store_weights<S: Simd>(row: *mut f32, key: usize, weights: S::F) {
        S::store(row.add(key), weights);
    }
    /// Adds the values of one step, multiplied with their softmax weights, to the accumulators of R
    /// rows: N vectors of each value. `key` is the first of the interleaved keys; `weights` is
    /// [R][[`TILE`]].
    unsafe fn add<S: SimdInt, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: ValueStep,
        weights: *const f32,
        key: usize,
    );
}

/// Values of the interleaved positions that are accumulated in one step.
#[derive(Clone, Copy)]
pub(super) struct ValueStep {
    /// Address of the first vector to accumulate.
    pub from: *const u8,
    /// Index of that vector within the value.
    pub first: usize,
    /// Scales of the value, in an int8 cache.
    pub scales: *const u16,
    /// Whether only the first of two interleaved positions is accumulated.
    pub alone: bool,
}

/// f32 cache, without rounding.
pub(super) struct KvInF32;
/// bf16 cache. Queries are rounded to bf16, and so are softmax weights if the kernel set has a bf16
/// dot product instruction.
pub(super) struct KvInBf16;
/// int8 cache with a bf16 scale for each group of 32 elements. Queries are quantized likewise.
pub(super) struct KvInInt8;

impl KvFormat for KvInF32 {
    const VALUE_BYTES: usize = 4;
    const VALUE_POSITIONS: usize = 1;

    fn query_words<S: Simd>(shape: &KvShape) -> usize {
        shape.key_words()
    }
    #[inline(always)]
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize) {
        for (word, x) in q.iter().enumerate() {
            words.add(word * stride).write(x.to_bits());
        }
    }
    #[inline(always)]
    unsafe fn dots<S: SimdInt, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[KvLane16],
        next: &[KvLane16],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R] {
        let mut acc = [[S::splat(0.0); W]; R];
        for word in 0..shape.key_words() {
            let mut keys = [S::splat(0.0); W];
            for w in 0..W {
                keys[w] = S::load(key_word::<S>(shape, &here[w], &next[w], word));
            }
            for r in 0..R {
                let q = splat_word::<S>(queries.add(word * stride + r));
                for w in 0..W {
                    acc[r][w] = S::fma(keys[w], q, acc[r][w]);
                }
            }
        }
        acc
    }
    #[inline(always)]
    unsafe fn values_of_keys<S: Simd>(
        shape: &KvShape,
        words: &[[u32; LANES]; LANES],
        first: usize,
        to: *mut u8,
    ) {
        let stride = shape.value_stride();
        for (position, words) in words.iter().enumerate() {
            let to = to.cast::<u32>().add(position * stride + first);
            std::ptr::copy_nonoverlapping(words.as_ptr(), to, LANES);
        }
    }
    #[inline(always)]
    unsafe fn add<S: SimdInt, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: ValueStep,
        weights: *const f32,
        key: usize,
    ) {
        let mut v = [S::splat(0.0); N];
        for n in 0..N {
            v[n] = S::load(values.from.add(n * LANES * 4).cast());
        }
        add_weighted::<S, R, N>(acc, &v, weights.add(key));
    }
}

impl KvFormat for KvInBf16 {
    const VALUE_BYTES: usize = 2;
    const VALUE_POSITIONS: usize = 2;

    /// A word is a pair of bf16 if the kernel set has a bf16 dot product instruction, else one f32.
    fn query_words<S: Simd>(shape: &KvShape) -> usize {
        if S::PAIR_DOT { shape.key_words() } else { 2 * shape.key_words() }
    }
    #[inline(always)]
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize) {
        for (from, some) in q.chunks(LANES).enumerate() {
            let mut rounded = [0u16; LANES];
            S::store_bf16(rounded.as_mut_ptr(), S::load_part(some.as_ptr(), some.len()));
            for (i, pair) in rounded.chunks_exact(2).take(some.len().div_ceil(2)).enumerate() {
                let word = from * LANES / 2 + i;
                if S::PAIR_DOT {
                    words.add(word * stride).write(u32::from(pair[0]) | u32::from(pair[1]) << 16);
                } else {
                    words.add(2 * word * stride).write(u32::from(pair[0]) << 16);
                    words.add((2 * word + 1) * stride).write(u32::from(pair[1]) << 16);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn dots<S: SimdInt, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[KvLane16],
        next: &[KvLane16],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R] {
        let mut acc = [[S::splat(0.0); W]; R];
        for word in 0..shape.key_words() {
            let mut pairs = [S::splat(0.0); W];
            for w in 0..W {
                pairs[w] = S::load(key_word::<S>(shape, &here[w], &next[w], word));
            }
            if S::PAIR_DOT {
                for r in 0..R {
                    let q = *queries.add(word * stride + r);
                    for w in 0..W {
                        acc[r][w] = S::pair_dot(acc[r][w], pairs[w], q);
                    }
                }
            } else {
                let mut wide = [[S::splat(0.0); 2]; W];
                for w in 0..W {
                    wide[w] = S::widen_pairs(pairs[w]);
                }
                for r in 0..R {
                    let q = queries.add(2 * word * stride + r);
                    let (even, odd) = (splat_word::<S>(q), splat_word::<S>(q.add(stride)));
                    for w in 0..W {
                        acc[r][w] = S::fma(wide[w][1], odd, S::fma(wide[w][0], even, acc[r][w]));
                    }
                }
            }
        }
        acc
    }
    #[inline(always)]
    unsafe fn values_of_keys<S: Simd>(
        shape: &KvShape,
        words: &[[u32; LANES]; LANES],
        first: usize,
        to: *mut u8,
    ) {
        let (stride, first) = (shape.value_stride(), 2 * first);
        let count = (stride - first).min(2 * LANES);
        for (pair, words) in words.chunks_exact(2).enumerate() {
            let mut joined = [0u32; 2 * LANES];
            for i in 0..LANES {
                let (a, b) = (words[0][i], words[1][i]);
                joined[2 * i] = a & 0xffff | b << 16;
                joined[2 * i + 1] = a >> 16 | b & 0xffff_0000;
            }
            let to = to.cast::<u32>().add(pair * stride + first);
            std::ptr::copy_nonoverlapping(joined.as_ptr(), to, count);
        }
    }
    /// Stores pairs of bf16 if the kernel set has a bf16 dot product instruction.
    #[inline(always)]
    unsafe fn store_weights<S: Simd>(row: *mut f32, key: usize, weights: S::F) {
        if S::PAIR_DOT {
            S::store_pairs(row.add(key / 2).cast(), weights);
        } else {
            S::store(row.add(key), weights);
        }
    }
    #[inline(always)]
    unsafe fn add<S: SimdInt, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: ValueStep,
        weights: *const f32,
        key: usize,
    ) {
        let mut pairs = [S::splat(0.0); N];
        for n in 0..N {
            pairs[n] = S::load(values.from.add(n * LANES * 4).cast());
            // The second position may hold a stale NaN of the block's previous owner, which a
            // weight of zero would not cancel.
            if values.alone {
                pairs[n] = S::even_alone(pairs[n]);
            }
        }
        if S::PAIR_DOT {
            for r in 0..R {
                let two = weights.add(r * TILE + key / 2).cast::<u32>().read();
                for n in 0..N {
                    acc[r][n] = S::pair_dot(acc[r][n], pairs[n], two);
                }
            }
        } else {
            let (mut even, mut odd) = ([S::splat(0.0); N], [S::splat(0.0); N]);
            for n in 0..N {
                [even[n], odd[n]] = S::widen_pairs(pairs[n]);
            }
            add_weighted::<S, R, N>(acc, &even, weights.add(key));
            add_weighted::<S, R, N>(acc, &odd, weights.add(key + 1));
        }
    }
}

/// Words of a group of 32 elements of a quantized query: its scale, the correction for
/// [`KEY_OFFSET`], and eight words of codes.
const GROUP_WORDS: usize = 2 + GROUP / 4;

impl KvFormat for KvInInt8 {
    const VALUE_BYTES: usize = 1;
    const VALUE_POSITIONS: usize = 1;

    fn query_words<S: Simd>(shape: &KvShape) -> usize {
        shape.key_groups() * GROUP_WORDS
    }
    #[inline(always)]
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize) {
        for (group, values) in q.chunks(GROUP).enumerate() {
            let words = words.add(group * GROUP_WORDS * stride);
            let (scale, codes) = Int8Group::quantize(values);
            words.write(scale.to_f32().to_bits());
            let sum: i32 = codes.0.iter().map(|&code| i32::from(code)).sum();
            words.add(stride).write((-KEY_OFFSET * sum) as u32);
            for (word, four) in codes.words(0).enumerate() {
                words.add((2 + word) * stride).write(four);
            }
        }
    }
    #[inline(always)]
    unsafe fn values_of_keys<S: Simd>(
        shape: &KvShape,
        words: &[[u32; LANES]; LANES],
        first: usize,
        to: *mut u8,
    ) {
        let (stride, first) = (shape.value_stride(), 4 * first);
        let count = (stride - first).min(4 * LANES);
        for (position, words) in words.iter().enumerate() {
            // Removes `KEY_OFFSET` from the four codes of a word.
            let codes = words.map(|word| (word ^ 0x8080_8080).to_le_bytes());
            let to = to.add(position * stride + first);
            std::ptr::copy_nonoverlapping(codes.as_ptr().cast(), to, count);
        }
    }
    /// Sums within a group are exact in integers; groups are accumulated in order.
    #[inline(always)]
    unsafe fn dots<S: SimdInt, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[KvLane16],
        next: &[KvLane16],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R] {
        let words = shape.key_words();
        let mut total = [[S::splat(0.0); W]; R];
        for group in 0..shape.key_groups() {
            let query = queries.add(group * GROUP_WORDS * stride);
            let mut acc = [[S::splat_i(0); W]; R];
            for r in 0..R {
                acc[r] = [S::splat_i(*query.add(stride + r) as i32); W];
            }
            let first = group * GROUP / 4;
            for word in first..words.min(first + GROUP / 4) {
                let mut codes = [S::splat_i(0); W];
                for w in 0..W {
                    codes[w] = S::load_i(key_word::<S>(shape, &here[w], &next[w], word).cast());
                }
                for r in 0..R {
                    let q = S::splat_i(*query.add((2 + word - first) * stride + r) as i32);
                    for w in 0..W {
                        acc[r][w] = S::dot(acc[r][w], codes[w], q);
                    }
                }
            }
            let mut scales = [S::splat(0.0); W];
            for w in 0..W {
                scales[w] = S::load_bf16(here[w].key_scales.add(group * shape.block_tokens));
            }
            for r in 0..R {
                let q = splat_word::<S>(query.add(r));
                for w in 0..W {
                    total[r][w] = S::fma(S::to_f32(acc[r][w]), S::mul(scales[w], q), total[r][w]);
                }
            }
        }
        total
    }
    #[inline(always)]
    unsafe fn add<S: SimdInt, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: ValueStep,
        weights: *const f32,
        key: usize,
    ) {
        let mut v = [S::splat(0.0); N];
        for n in 0..N {
            let scale =
                bf16::from_bits(*values.scales.add((values.first + n) * LANES / GROUP)).to_f32();
            v[n] = S::mul(S::load_i8(values.from.add(n * LANES).cast()), S::splat(scale));
        }
        add_weighted::<S, R, N>(acc, &v, weights.add(key));
    }
}

/// acc[r] += v * weights[r].
#[inline(always)]
unsafe fn add_weighted<S: Simd, const R: usize, const N: usize>(
    acc: &mut [[S::F; N]; R],
    v: &[S::F; N],
    weights: *const f32,
) {
    for r in 0..R {
        let weight = S::splat(*weights.add(r * TILE));
        for n in 0..N {
            acc[r][n] = S::fma(v[n], weight, acc[r][n]);
        }
    }
}

/// Address of word `word` of the 16 keys of `here`. Prefetches the same word of the keys of `next`.
#[inline(always)]
unsafe fn key_word<S: Simd>(
    shape: &KvShape,
    here: &KvLane16,
    next: &KvLane16,
    word: usize,
) -> *const f32 {
    let at = word * shape.block_tokens * 4;
    S::prefetch_far(next.keys.wrapping_add(at));
    here.keys.add(at).cast()
}

#[inline(always)]
unsafe fn splat_word<S: Simd>(word: *const u32) -> S::F {
    S::splat(f32::from_bits(*word))
}
