//! Integer vectors: the codes of quantized weights and their exact dot products.

use super::Simd;

/// Integer vector of sixteen i32 lanes, or of 64 bytes: four codes per lane, sixteen per quarter.
/// All results are exact, hence equal in every kernel set.
pub(in crate::cpu) trait SimdInt: Simd {
    type I: Copy;

    unsafe fn splat_i(value: i32) -> Self::I;
    unsafe fn load_i(from: *const u8) -> Self::I;
    unsafe fn store_i(to: *mut u8, value: Self::I);
    /// Loads quarter q from the 16 bytes at `from + q * stride`.
    unsafe fn load_quarters(from: *const u8, stride: usize) -> Self::I;
    /// Loads the 32 bytes at `from + row * stride` of each of 16 rows; vector w has word w of all
    /// rows, with the row as lane.
    unsafe fn load_columns(from: *const u8, stride: usize) -> [Self::I; 8];
    /// Loads the 16 bytes at `from` into every quarter.
    unsafe fn splat_quarter(from: *const i8) -> Self::I;
    /// Word k of quarter q of vector w becomes word w of quarter q of vector k.
    unsafe fn transpose_quarters(vectors: [Self::I; 4]) -> [Self::I; 4];
    /// Word w of quarter q is the sum of the words of quarter q of vector w.
    unsafe fn sum_quarters(vectors: [Self::I; 4]) -> Self::I;
    /// Adds to each lane of `acc` the four products of its unsigned bytes of `codes` with its
    /// signed bytes of `x`, without saturation.
    unsafe fn dot(acc: Self::I, codes: Self::I, x: Self::I) -> Self::I;
    /// a + b, wrapping.
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn to_f32(a: Self::I) -> Self::F;
    /// Loads sixteen i8 and converts them to f32.
    unsafe fn load_i8(from: *const i8) -> Self::F;
    /// Stores the nearest i8 (ties to even) of values in -127..=127; returns their sum.
    unsafe fn store_i8(to: *mut i8, value: Self::F) -> i32;

    /// Loads lane l from the unaligned word at `from + l * stride`. Sixteen loads take less than
    /// half the time of a gather instruction (measured on a virtual Cascade Lake).
    unsafe fn load_words(from: *const u8, stride: usize) -> Self::I;
    unsafe fn and(a: Self::I, mask: u32) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn xor(a: Self::I, mask: u32) -> Self::I;
    unsafe fn shift_left(a: Self::I, bits: u32) -> Self::I;
    /// Shifts each lane right and fills with zeros.
    unsafe fn shift_right(a: Self::I, bits: u32) -> Self::I;
    /// Shifts each lane right and fills with the sign bit.
    unsafe fn shift_right_signed(a: Self::I, bits: u32) -> Self::I;
    /// Converts the f16 in the low half of each lane to f32.
    unsafe fn low_f16(a: Self::I) -> Self::F;
    /// Each byte becomes the entry of `table` that it is the index of; all bytes are below 16.
    unsafe fn lookup(table: &[u8; 16], indices: Self::I) -> Self::I;
    /// In each quarter, the bytes a0, b0, a1, b1, ...: first those of the lower eight bytes of the
    /// quarters of `a` and `b`, then those of the upper eight.
    unsafe fn interleave(a: Self::I, b: Self::I) -> [Self::I; 2];
    /// Byte i is `value` if bit i of `bits` is set, else 0.
    unsafe fn where_bits(bits: u64, value: u8) -> Self::I;
}

/// Reads the unaligned 32-bit word that starts `at` bytes after `from`.
#[inline(always)]
pub(super) unsafe fn word(from: *const u8, at: usize) -> i32 {
    from.add(at).cast::<i32>().read_unaligned()
}
