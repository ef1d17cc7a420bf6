//! What depends on the precision of the cache.
#![allow(unsafe_op_in_unsafe_fn)]

use half::bf16;

use super::super::simd::{Ints, LANES, Simd};
use super::TILE;
use super::cache::{Codes, GROUP, KEY_OFFSET, KvShape, Sixteen};

/// Keys and values of one dtype.
pub(super) trait Stored {
    const VALUE_BYTES: usize;
    /// Positions whose values lie side by side, number by number: a step of adding up.
    const POSITIONS: usize;
    /// 32-bit words that a query is kept in.
    fn query_words<S: Simd>(shape: &KvShape) -> usize;
    /// Writes the words of a query to `words[0]`, `words[stride]` and so on.
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize);
    /// The dot products of R queries, word w of query r at `queries[w * stride + r]`, with W times
    /// 16 keys. What `next` holds is asked for.
    unsafe fn dots<S: Ints, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[Sixteen],
        next: &[Sixteen],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R];
    /// Stores the weights of the keys of sixteen positions, the first of which is `key`, for
    /// [`Self::add`]; `row` is where the row's begin.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(row: *mut f32, key: usize, weights: S::F) {
        S::store(row.add(key), weights);
    }
    /// Adds N vectors of the values of a step's positions, from vector `first`, to R rows, times
    /// the weights of `key` and, unless it stands alone, of those beside it: a row's weights
    /// begin [`TILE`] after another's.
    unsafe fn add<S: Ints, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: Values,
        weights: *const f32,
        key: usize,
    );
}

/// The values of a step's positions.
#[derive(Clone, Copy)]
pub(super) struct Values {
    /// The first vector that is wanted.
    pub from: *const u8,
    /// Which vector that is.
    pub first: usize,
    /// The value's scales.
    pub scales: *const u16,
    /// Of two positions side by side, the second is not one of those that are added.
    pub alone: bool,
}

pub(super) struct InF32;
pub(super) struct InBf16;
pub(super) struct InInt8;

impl Stored for InF32 {
    const VALUE_BYTES: usize = 4;
    const POSITIONS: usize = 1;

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
    unsafe fn dots<S: Ints, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[Sixteen],
        next: &[Sixteen],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R] {
        let mut acc = [[S::splat(0.0); W]; R];
        for word in 0..shape.key_words() {
            let mut keys = [S::splat(0.0); W];
            for w in 0..W {
                keys[w] = S::load(word_of::<S>(shape, &here[w], &next[w], word));
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
    unsafe fn add<S: Ints, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: Values,
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

impl Stored for InBf16 {
    const VALUE_BYTES: usize = 2;
    const POSITIONS: usize = 2;

    /// Pairs as they are where an instruction multiplies them, else each number as f32.
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
    unsafe fn dots<S: Ints, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[Sixteen],
        next: &[Sixteen],
        queries: *const u32,
        stride: usize,
    ) -> [[S::F; W]; R] {
        let mut acc = [[S::splat(0.0); W]; R];
        for word in 0..shape.key_words() {
            let mut pairs = [S::splat(0.0); W];
            for w in 0..W {
                pairs[w] = S::load(word_of::<S>(shape, &here[w], &next[w], word));
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
    /// Pairs, rounded as the values are, where an instruction multiplies them.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(row: *mut f32, key: usize, weights: S::F) {
        if S::PAIR_DOT {
            S::store_pairs(row.add(key / 2).cast(), weights);
        } else {
            S::store(row.add(key), weights);
        }
    }
    #[inline(always)]
    unsafe fn add<S: Ints, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: Values,
        weights: *const f32,
        key: usize,
    ) {
        let mut pairs = [S::splat(0.0); N];
        for n in 0..N {
            pairs[n] = S::load(values.from.add(n * LANES * 4).cast());
            // What was left behind its end by others is no number to multiply a weight of zero
            // with: it may be none.
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

/// A query for int8 keys: for each group its scale, what undoes the keys' offset, and eight words
/// of codes.
const GROUP_WORDS: usize = 2 + GROUP / 4;

impl Stored for InInt8 {
    const VALUE_BYTES: usize = 1;
    const POSITIONS: usize = 1;

    fn query_words<S: Simd>(shape: &KvShape) -> usize {
        shape.key_groups() * GROUP_WORDS
    }
    #[inline(always)]
    unsafe fn query<S: Simd>(q: &[f32], words: *mut u32, stride: usize) {
        for (group, numbers) in q.chunks(GROUP).enumerate() {
            let words = words.add(group * GROUP_WORDS * stride);
            let (scale, codes) = Codes::of(numbers);
            words.write(scale.to_f32().to_bits());
            let sum: i32 = codes.0.iter().map(|&code| i32::from(code)).sum();
            words.add(stride).write((-KEY_OFFSET * sum) as u32);
            for (word, four) in codes.words(0).enumerate() {
                words.add((2 + word) * stride).write(four);
            }
        }
    }
    /// Whole numbers are added up exactly within a group; groups are added in order.
    #[inline(always)]
    unsafe fn dots<S: Ints, const R: usize, const W: usize>(
        shape: &KvShape,
        here: &[Sixteen],
        next: &[Sixteen],
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
                    codes[w] = S::load_i(word_of::<S>(shape, &here[w], &next[w], word).cast());
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
    unsafe fn add<S: Ints, const R: usize, const N: usize>(
        acc: &mut [[S::F; N]; R],
        values: Values,
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

/// acc += v times each row's weight.
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

/// Where word `word` of the keys of `here` is; that of `next` is asked for.
#[inline(always)]
unsafe fn word_of<S: Simd>(
    shape: &KvShape,
    here: &Sixteen,
    next: &Sixteen,
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
