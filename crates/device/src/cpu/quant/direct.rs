//! W4A16/W8A16-style block dot product with VNNI (`vpdpbusd`), for a few tokens.
//!
//! Decoding uses every weight for few multiplications. Packing the weights into panels, which pays
//! for many tokens, would cost more than the multiplications. Here the partial sums of 16 rows are
//! transposed instead. Integer sums are exact, so the results are bit-identical to those of
//! [`super::tile`].
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::dispatch::kernel;
use super::super::simd::{LANES, LINE, Simd, SimdInt};
use super::formats::{BlockFormat, with_format};
use super::panel::RowGroup;
use super::{BLOCK, CodeView};

/// Maximum tokens for which this kernel is faster than packing into panels.
pub(super) const DIRECT_TOKENS_MAX: usize = 3;

/// Multiplication of 16 weight rows, of which the first `rows` exist, with at most
/// [`DIRECT_TOKENS_MAX`] tokens.
pub(super) struct DirectJob<'a> {
    pub group: RowGroup,
    pub rows: usize,
    pub x: CodeView<'a>,
    /// Bias of the rows, `[rows]`, or null.
    pub bias: *const f32,
    /// [tokens, out_stride], from the column of the first row.
    pub out: *mut f32,
    pub out_stride: usize,
    /// Address of the 16 rows to prefetch, which need not be readable.
    pub next: *const u8,
}

impl DirectJob<'_> {
    /// Prefetches one of `parts` equal parts of the next rows that belong to stored block `stored`:
    /// together as many bytes as one stored block of 16 rows, in memory order, which gives the
    /// highest bandwidth.
    #[inline(always)]
    unsafe fn prefetch<S: Simd, F: BlockFormat>(&self, stored: usize, part: usize, parts: usize) {
        let bytes = LANES * F::BYTES / parts;
        let from = stored * LANES * F::BYTES + part * bytes;
        for line in (from..from + bytes).step_by(LINE) {
            S::prefetch_far(self.next.wrapping_add(line));
        }
    }
}

kernel! {
    /// Computes the outputs of the group.
    ///
    /// # Safety
    /// The conditions of [`super::panel::fill`] hold for `job.group`; `bias` (if any) is readable
    /// for `rows` rows, `out` writable for `rows` rows of each token of `x`, which has 1 to
    /// [`DIRECT_TOKENS_MAX`] tokens.
    pub(super) unsafe fn multiply_direct(job: &DirectJob) = multiply_direct_body
}

#[inline(always)]
unsafe fn multiply_direct_body<S: SimdInt>(job: &DirectJob) {
    with_format!(job.group.dtype, F => {
        match (job.x.wide, job.x.tokens) {
            (false, 1) => of_format::<S, F, 1, 1>(job),
            (false, 2) => of_format::<S, F, 1, 2>(job),
            (false, _) => of_format::<S, F, 1, DIRECT_TOKENS_MAX>(job),
            (true, 1) => of_format::<S, F, 2, 1>(job),
            (true, 2) => of_format::<S, F, 2, 2>(job),
            (true, _) => of_format::<S, F, 2, DIRECT_TOKENS_MAX>(job),
        }
    }, _ => ())
}

/// Dot products of four rows' codes with one token's codes of BYTES bytes: over half `half` of the
/// quantization block, or over both halves if they share a scale. `at` points to the upper bytes of
/// the token's codes, `lowest` to the lower bytes; they are equal if BYTES is 1.
#[inline(always)]
unsafe fn half_dot<S: SimdInt, F: BlockFormat, const BYTES: usize>(
    codes: &[S::I; 2],
    at: *const i8,
    lowest: *const i8,
    half: usize,
) -> S::I {
    let (first, end) = if F::SCALES == 2 { (half, half + 1) } else { (0, 2) };
    let mut sum = S::splat_i(0);
    if BYTES == 2 {
        for part in first..end {
            sum = S::dot(sum, codes[part], S::splat_quarter(at.add(part * LANES)));
        }
        sum = S::shift_left(sum, 8);
    }
    for part in first..end {
        sum = S::dot(sum, codes[part], S::splat_quarter(lowest.add(part * LANES)));
    }
    sum
}

/// Multiplies the 16 rows with T tokens whose codes have BYTES bytes.
#[inline(always)]
unsafe fn of_format<S: SimdInt, F: BlockFormat, const BYTES: usize, const T: usize>(
    job: &DirectJob,
) {
    // With few registers the transposed words would not stay in them.
    let acc = if S::WIDE {
        if F::NIBBLES.is_some() {
            by_words::<S, F, BYTES, T>(job)
        } else {
            by_quarters::<S, F, BYTES, T>(job)
        }
    } else {
        by_quarters::<S, F, BYTES, T>(job)
    };
    for t in 0..T {
        let mut y = acc[t];
        if !job.bias.is_null() {
            y = S::add(y, S::load_part(job.bias, job.rows));
        }
        S::store_part(job.out.add(t * job.out_stride), y, job.rows);
    }
}

/// Scales, [sub][scale][row], and minima, [sub][row], of one stored block of 16 rows.
struct Factors {
    scales: [f32; 16 * LANES],
    minima: [f32; 8 * LANES],
}

impl Factors {
    fn new() -> Factors {
        Factors { scales: [0.0; 16 * LANES], minima: [0.0; 8 * LANES] }
    }

    #[inline(always)]
    unsafe fn read<S: SimdInt, F: BlockFormat>(&mut self, group: &RowGroup, stored: usize) {
        let (from, stride) = group.scales_of::<F>(stored);
        F::scales::<S>(from, stride, self.scales.as_mut_ptr(), self.minima.as_mut_ptr());
    }

    /// Adds quantization block `sub` of stored block `stored` for one token. `sums`: the rows' dot
    /// products of codes, one vector for each scale.
    #[inline(always)]
    unsafe fn add<S: SimdInt, F: BlockFormat>(
        &self,
        mut acc: S::F,
        [stored, sub, token]: [usize; 3],
        x: &CodeView,
        sums: &[S::I; 2],
    ) -> S::F {
        let at = token * x.blocks + stored * F::SUBS + sub;
        let dx = S::splat(*x.scales.get_unchecked(at));
        for half in 0..F::SCALES {
            let codes = if F::SCALES == 2 {
                *x.half_sums.get_unchecked(2 * at + half)
            } else {
                *x.sums.get_unchecked(at)
            };
            let zero = S::splat_i(F::ZERO.wrapping_neg().wrapping_mul(codes));
            let dot = S::add_i(sums[half], zero);
            let scale = S::load(self.scales.as_ptr().add((sub * F::SCALES + half) * LANES));
            acc = S::fma(S::to_f32(dot), S::mul(scale, dx), acc);
        }
        if F::MIN {
            let minimum = S::load(self.minima.as_ptr().add(sub * LANES));
            acc = S::fma(minimum, S::splat(*x.scaled_sums.get_unchecked(at)), acc);
        }
        acc
    }
}

/// The products of formats with stored blocks of 256 weights: 32 bytes of each of 16 rows are
/// transposed, so that the lanes of a vector are rows and nothing is added across lanes.
#[inline(always)]
unsafe fn by_words<S: SimdInt, F: BlockFormat, const BYTES: usize, const T: usize>(
    job: &DirectJob,
) -> [S::F; T] {
    let (group, x) = (&job.group, &job.x);
    let mut factors = Factors::new();
    let mut acc = [S::splat(0.0); T];
    for stored in 0..group.blocks / F::SUBS {
        let from = group.first.add(stored * F::BYTES);
        factors.read::<S, F>(group, stored);
        for half in 0..2 {
            let upper = F::upper::<S>(from, group.row_bytes, half);
            // Of the half's four quantization blocks, [token][block][scale].
            let mut sums = [[[S::splat_i(0); 2]; 4]; T];
            let at = [stored, half];
            eight_words::<S, F, BYTES, T, 0>(job, at, &upper, &mut sums);
            eight_words::<S, F, BYTES, T, 1>(job, at, &upper, &mut sums);
            for sub in 0..4 {
                for t in 0..T {
                    let at = [stored, 4 * half + sub, t];
                    acc[t] = factors.add::<S, F>(acc[t], at, x, &sums[t][sub]);
                }
            }
        }
    }
    acc
}

/// Writes the dot products of the codes in words 8 E to 8 E + 7 of half `half` of stored block
/// `stored` to the places of their two quantization blocks in `sums`.
#[inline(always)]
unsafe fn eight_words<
    S: SimdInt,
    F: BlockFormat,
    const BYTES: usize,
    const T: usize,
    const E: usize,
>(
    job: &DirectJob,
    [stored, half]: [usize; 2],
    upper: &[S::I; 8],
    sums: &mut [[[S::I; 2]; 4]; T],
) {
    let (group, x) = (&job.group, &job.x);
    // A quarter at a time: more prefetches at once than the core tracks would stall it.
    job.prefetch::<S, F>(stored, 2 * half + E, 4);
    let nibbles = F::NIBBLES.unwrap_or(0) + 64 * half + 32 * E;
    let words = S::load_columns(group.first.add(stored * F::BYTES + nibbles), group.row_bytes);
    // Codes of the token, and distances to those of a block, of a token and of the other byte.
    let at = x.codes.as_ptr().add((stored * F::SUBS + 4 * half) * BLOCK);
    let strides = [x.code_stride, group.blocks * BLOCK];
    // [token][low and high nibbles][scale][byte]
    let mut dots = [[[[S::splat_i(0); BYTES]; 2]; 2]; T];
    // Written out, so that the accumulators stay in registers.
    word::<S, F, BYTES, T, E, 0>(words[0], upper[0], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 1>(words[1], upper[1], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 2>(words[2], upper[2], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 3>(words[3], upper[3], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 4>(words[4], upper[4], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 5>(words[5], upper[5], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 6>(words[6], upper[6], half, at, strides, &mut dots);
    word::<S, F, BYTES, T, E, 7>(words[7], upper[7], half, at, strides, &mut dots);
    for t in 0..T {
        for n in 0..2 {
            for scale in 0..F::SCALES {
                sums[t][F::SUBS_OF_EIGHT[E][n]][scale] = whole::<S, BYTES>(dots[t][n][scale]);
            }
        }
    }
}

/// Adds the products of word W of eight.
#[inline(always)]
unsafe fn word<
    S: SimdInt,
    F: BlockFormat,
    const BYTES: usize,
    const T: usize,
    const E: usize,
    const W: usize,
>(
    word: S::I,
    upper: S::I,
    half: usize,
    at: *const i8,
    [token_stride, byte_stride]: [usize; 2],
    dots: &mut [[[[S::I; BYTES]; 2]; 2]; T],
) {
    let subs = F::SUBS_OF_EIGHT[E];
    let codes = F::word_codes::<S>(word, upper, [4 * half + subs[0], 4 * half + subs[1]]);
    let scale = (F::SCALES - 1) * (W / 4);
    for t in 0..T {
        for n in 0..2 {
            for byte in 0..BYTES {
                let at = at.add(t * token_stride + byte * byte_stride + subs[n] * BLOCK + 4 * W);
                let four = S::splat_i(at.cast::<i32>().read_unaligned());
                dots[t][n][scale][byte] = S::dot(dots[t][n][scale][byte], codes[n], four);
            }
        }
    }
}

/// The sum of a dot product's parts: with the only byte, or with upper and lower bytes.
#[inline(always)]
unsafe fn whole<S: SimdInt, const BYTES: usize>(bytes: [S::I; BYTES]) -> S::I {
    if BYTES == 2 { S::add_i(S::shift_left(bytes[0], 8), bytes[1]) } else { bytes[0] }
}

/// The products of other formats, with vectors that hold 16 codes of each of four rows.
#[inline(always)]
unsafe fn by_quarters<S: SimdInt, F: BlockFormat, const BYTES: usize, const T: usize>(
    job: &DirectJob,
) -> [S::F; T] {
    let (group, x) = (&job.group, &job.x);
    let stride = group.row_bytes;
    let mut factors = Factors::new();
    let mut acc = [S::splat(0.0); T];
    for stored in 0..group.blocks / F::SUBS {
        let from = group.first.add(stored * F::BYTES);
        job.prefetch::<S, F>(stored, 0, 1);
        factors.read::<S, F>(group, stored);
        for sub in 0..F::SUBS {
            let block = stored * F::SUBS + sub;
            // Partial sums, [token][half of the block][group of four rows]. Halves with one scale
            // accumulate into the same sums.
            let mut sums = [[[S::splat_i(0); 4]; 2]; T];
            // The quarters of a vector hold rows q, 4 + q, 8 + q and 12 + q, so that the sums are
            // in row order.
            for q in 0..4 {
                let codes = F::codes::<S>(from.add(q * stride), 4 * stride, sub);
                for t in 0..T {
                    let at = x.codes.as_ptr().add(t * x.code_stride + block * BLOCK);
                    let lowest = at.add((BYTES - 1) * group.blocks * BLOCK);
                    for half in 0..F::SCALES {
                        sums[t][half][q] = half_dot::<S, F, BYTES>(&codes, at, lowest, half);
                    }
                }
            }
            for t in 0..T {
                let [first, last] = sums[t];
                let sums = [S::sum_quarters(first), S::sum_quarters(last)];
                acc[t] = factors.add::<S, F>(acc[t], [stored, sub, t], x, &sums);
            }
        }
    }
    acc
}
