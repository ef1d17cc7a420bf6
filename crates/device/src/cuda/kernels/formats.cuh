// Weight formats (f32, f16, bf16 and GGUF quantization blocks), each decoded 8 adjacent elements at
// a time to f32.
//
// Layouts and rounding are those of crates/device/src/cpu/quant/formats.rs: (code - zero) * scale,
// then + minimum, each step rounded. Quantized bytes are read in pairs: blocks have even sizes, and
// tensors start at even addresses.
#pragma once
#include "memory.cuh"
#include "element_types.cuh"

// 8 adjacent elements of a row, decoded to f32.
struct F32x8 {
    f32 value[8];
};

constexpr F32x8 ZERO_F32X8{{0, 0, 0, 0, 0, 0, 0, 0}};

DEVICE u32 pair_at(const u8* at) { return *reinterpret_cast<const u16*>(at); }
DEVICE f32 f16_at(const u8* at) { return f16_to_f32(u16(pair_at(at))); }
DEVICE f32 low_bf16(u32 word) { return __uint_as_float(word << 16); }
DEVICE f32 high_bf16(u32 word) { return __uint_as_float(word & 0xffff0000u); }

// Unquantized formats: elements k .. k + 7 of `row`, zero from `cols` on. If `aligned`, `row` must
// be 16-byte aligned, and k and cols must be multiples of 8.
template <bool aligned> DEVICE F32x8 load_f32_x8(const u8* row, i64 k, i64 cols) {
    const f32* from = reinterpret_cast<const f32*>(row) + k;
    F32x8 x = ZERO_F32X8;
    if (aligned) {
        const Words4 low = load_streamed(from), high = load_streamed(from + 4);
        UNROLL for (i32 i = 0; i < 4; i++) {
            x.value[i] = __uint_as_float(low.word[i]);
            x.value[4 + i] = __uint_as_float(high.word[i]);
        }
    } else {
        UNROLL for (i32 i = 0; i < 8; i++) if (k + i < cols) x.value[i] = from[i];
    }
    return x;
}

template <bool aligned> DEVICE Words4 load_16bit_x8(const u8* row, i64 k, i64 cols) {
    const u16* from = reinterpret_cast<const u16*>(row) + k;
    if (aligned) return load_streamed(from);
    Words4 words = ZEROS;
    UNROLL for (i32 i = 0; i < 8; i++) if (k + i < cols) words.word[i / 2] |= u32(from[i]) << (16 * (i % 2));
    return words;
}

struct F32Format {
    template <bool aligned> DEVICE_MEMBER static F32x8 decode8(const u8* row, i64 k, i64 cols) { return load_f32_x8<aligned>(row, k, cols); }
};

struct F16Format {
    template <bool aligned> DEVICE_MEMBER static F32x8 decode8(const u8* row, i64 k, i64 cols) {
        const Words4 words = load_16bit_x8<aligned>(row, k, cols);
        F32x8 x;
        UNROLL for (i32 i = 0; i < 8; i++) x.value[i] = f16_to_f32(u16(words.word[i / 2] >> (16 * (i % 2))));
        return x;
    }
};

struct Bf16Format {
    template <bool aligned> DEVICE_MEMBER static F32x8 decode8(const u8* row, i64 k, i64 cols) {
        const Words4 words = load_16bit_x8<aligned>(row, k, cols);
        F32x8 x;
        UNROLL for (i32 i = 0; i < 8; i++) x.value[i] = i % 2 ? high_bf16(words.word[i / 2]) : low_bf16(words.word[i / 2]);
        return x;
    }
};

// Number of elements of a unit, which a warp decodes at once, 8 per lane: one block of a k-quant,
// or eight blocks of 32 elements.
constexpr i32 UNIT = 256;

// (code - zero) * scale for 8 codes.
template <class Code> DEVICE F32x8 dequantize(f32 scale, i32 zero, Code code) {
    F32x8 x;
    UNROLL for (i32 i = 0; i < 8; i++) x.value[i] = f32(code(i) - zero) * scale;
    return x;
}

DEVICE F32x8 add_minimum(F32x8 x, f32 minimum) {
    UNROLL for (i32 i = 0; i < 8; i++) x.value[i] += minimum;
    return x;
}

// 8 bytes at any even address, loaded as four pairs.
struct Bytes8 {
    u32 pair[4];
    DEVICE_MEMBER explicit Bytes8(const u8* at) { UNROLL for (i32 i = 0; i < 4; i++) pair[i] = pair_at(at + 2 * i); }
    DEVICE_MEMBER i32 at(i32 i) const { return i32(pair[i / 2] >> (8 * (i % 2)) & 0xff); }
};

// Quantized formats have `decode8(unit, lane)`, which decodes elements 8 * lane .. 8 * lane + 7 of
// the unit at address `unit`. The comment at each format lists the fields of a block in order.

// Stored block: f16 scale, i8 codes[32].
struct Q8_0Format {
    static constexpr i32 ELEMENTS = 32, BYTES = 34;
    DEVICE_MEMBER static F32x8 decode8(const u8* unit, u32 lane) {
        const u8* block = unit + lane / 4 * BYTES;
        const Bytes8 codes(block + 2 + lane % 4 * 8);
        return dequantize(f16_at(block), 0, [&](i32 i) { return i32(i8(codes.at(i))); });
    }
};

// This lane's 8 nibbles of the 16 bytes at `nibbles`: the low nibbles are elements 0 to 15 of a
// block, the high nibbles are elements 16 to 31.
struct Nibbles8 {
    Bytes8 bytes;
    i32 shift;
    DEVICE_MEMBER Nibbles8(const u8* nibbles, u32 lane) : bytes(nibbles + lane % 2 * 8), shift(i32(lane % 4 / 2) * 4) {}
    DEVICE_MEMBER i32 at(i32 i) const { return bytes.at(i) >> shift & 15; }
};

// Stored block: f16 scale, nibbles[16].
struct Q4_0Format {
    static constexpr i32 ELEMENTS = 32, BYTES = 18;
    DEVICE_MEMBER static F32x8 decode8(const u8* unit, u32 lane) {
        const u8* block = unit + lane / 4 * BYTES;
        const Nibbles8 codes(block + 2, lane);
        return dequantize(f16_at(block), 8, [&](i32 i) { return codes.at(i); });
    }
};

// Stored block: f16 scale, f16 minimum, nibbles[16].
struct Q4_1Format {
    static constexpr i32 ELEMENTS = 32, BYTES = 20;
    DEVICE_MEMBER static F32x8 decode8(const u8* unit, u32 lane) {
        const u8* block = unit + lane / 4 * BYTES;
        const Nibbles8 codes(block + 4, lane);
        return add_minimum(dequantize(f16_at(block), 0, [&](i32 i) { return codes.at(i); }), f16_at(block + 2));
    }
};

// Fifth bits of this lane's 8 codes, from the four bytes with one bit per code of a block.
DEVICE u32 fifth_bits(const u8* at, u32 lane) { return pair_at(at + lane % 4 / 2 * 2) >> (8 * (lane % 2)); }

// Stored block: f16 scale, fifth bits[4], nibbles[16].
struct Q5_0Format {
    static constexpr i32 ELEMENTS = 32, BYTES = 22;
    DEVICE_MEMBER static F32x8 decode8(const u8* unit, u32 lane) {
        const u8* block = unit + lane / 4 * BYTES;
        const Nibbles8 codes(block + 6, lane);
        const u32 fifth = fifth_bits(block + 2, lane);
        return dequantize(f16_at(block), 16, [&](i32 i) { return codes.at(i) | i32(fifth >> i & 1) << 4; });
    }
};

// Stored block: f16 scale, f16 minimum, fifth bits[4], nibbles[16].
struct Q5_1Format {
    static constexpr i32 ELEMENTS = 32, BYTES = 24;
    DEVICE_MEMBER static F32x8 decode8(const u8* unit, u32 lane) {
        const u8* block = unit + lane / 4 * BYTES;
        const Nibbles8 codes(block + 8, lane);
        const u32 fifth = fifth_bits(block + 4, lane);
        return add_minimum(dequantize(f16_at(block), 0, [&](i32 i) { return codes.at(i) | i32(fifth >> i & 1) << 4; }), f16_at(block + 2));
    }
};

// Scale and minimum of the `sub`-th 32 elements of a k-quant block, from its header: f16 d, f16
// dmin, and 8 six-bit scales and minima in 12 bytes.
struct SixBits {
    f32 scale, minimum;
    DEVICE_MEMBER SixBits(const u8* block, u32 sub) {
        const u8* b = block + 4;
        u32 s, m;
        if (sub < 4) {
            s = b[sub] & 63u;
            m = b[sub + 4] & 63u;
        } else {
            s = (b[sub + 4] & 15u) | (u32(b[sub - 4]) >> 6) << 4;
            m = u32(b[sub + 4]) >> 4 | (u32(b[sub]) >> 6) << 4;
        }
        scale = f16_at(block) * f32(s);
        minimum = (0.0f - f16_at(block + 2)) * f32(m);
    }
};

// Stored block: header (see SixBits), nibbles[128]: in each 32 bytes the low nibbles are 32
// elements and the high nibbles are the next 32 elements.
struct Q4KFormat {
    static constexpr i32 ELEMENTS = 256, BYTES = 144;
    DEVICE_MEMBER static F32x8 decode8(const u8* block, u32 lane) {
        const u32 sub = lane / 4;
        const SixBits of(block, sub);
        const Bytes8 bytes(block + 16 + sub / 2 * 32 + lane % 4 * 8);
        return add_minimum(dequantize(of.scale, 0, [&](i32 i) { return bytes.at(i) >> (sub % 2 * 4) & 15; }), of.minimum);
    }
};

// Stored block: as Q4_K, with fifth bits[32] before the nibbles: bit s of byte i belongs to element
// i of the s-th 32 elements of the block.
struct Q5KFormat {
    static constexpr i32 ELEMENTS = 256, BYTES = 176;
    DEVICE_MEMBER static F32x8 decode8(const u8* block, u32 lane) {
        const u32 sub = lane / 4;
        const SixBits of(block, sub);
        const Bytes8 fifth(block + 16 + lane % 4 * 8), bytes(block + 48 + sub / 2 * 32 + lane % 4 * 8);
        const auto code = [&](i32 i) { return (bytes.at(i) >> (sub % 2 * 4) & 15) | (fifth.at(i) >> sub & 1) << 4; };
        return add_minimum(dequantize(of.scale, 0, code), of.minimum);
    }
};

// Stored block: lower four bits[128], upper two bits[64], i8 scales[16], f16 d. Each half of the
// block has four groups of 32 elements: 64 bytes of lower bits (low nibbles: the first two groups,
// high nibbles: the other two) and 32 bytes of upper bits (two bits for each of the four groups).
struct Q6KFormat {
    static constexpr i32 ELEMENTS = 256, BYTES = 210;
    DEVICE_MEMBER static F32x8 decode8(const u8* block, u32 lane) {
        const u32 half = lane / 16, quarter = lane / 4 % 4, offset = lane % 4 * 8;
        const f32 scale = f16_at(block + 208) * f32(i8(block[192 + lane / 2]));
        const Bytes8 low(block + 64 * half + 32 * (quarter % 2) + offset), upper(block + 128 + 32 * half + offset);
        const auto code = [&](i32 i) { return (low.at(i) >> (quarter / 2 * 4) & 15) | (upper.at(i) >> (2 * quarter) & 3) << 4; };
        return dequantize(scale, 32, code);
    }
};

template <class Format> DEVICE constexpr i32 unit_bytes() { return UNIT / Format::ELEMENTS * Format::BYTES; }
