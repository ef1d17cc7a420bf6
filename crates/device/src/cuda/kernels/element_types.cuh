// f16 and bf16 as 16-bit integers. PTX instructions convert them, so the headers of the CUDA
// toolkit are not needed.
#pragma once
#include "platform.cuh"

// Element types, numbered as `ElementType` in crates/device/src/cuda/args.rs.
enum : i32 { ELEMENT_F32 = 0, ELEMENT_F16 = 1, ELEMENT_BF16 = 2, ELEMENT_INT8 = 3 };

DEVICE f32 bf16_to_f32(u32 low_half) { return __uint_as_float(low_half << 16); }

#ifdef __CUDACC__

// Nearest bf16, ties to even; a NaN stays a NaN.
DEVICE u16 f32_to_bf16(f32 x) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Two bf16 in a word, the first in the low half.
DEVICE u32 bf16_pair(f32 first, f32 second) {
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}

DEVICE f32 f16_to_f32(u16 bits) {
    f32 x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

// Nearest f16, ties to even.
DEVICE u16 f32_to_f16(f32 x) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Nearest integer, ties to even, for x within the range of i32; NaN gives 0.
DEVICE i32 round_to_int(f32 x) { return __float2int_rn(x); }

#else

DEVICE u16 f32_to_bf16(f32 x) {
    const u32 bits = __float_as_uint(x);
    return x != x ? 0x7fff : u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
DEVICE u32 bf16_pair(f32 first, f32 second) { return u32(f32_to_bf16(first)) | u32(f32_to_bf16(second)) << 16; }
DEVICE f32 f16_to_f32(u16 bits) { return emulator::f16_to_f32(bits); }
DEVICE u16 f32_to_f16(f32 x) { return emulator::f32_to_f16(x); }
DEVICE i32 round_to_int(f32 x) { return x == x ? i32(rintf(x)) : 0; }

#endif

// Loads element `at` of `from` as f32.
DEVICE f32 load_element(const void* from, i64 at, i32 element_type) {
    if (element_type == ELEMENT_F32) return static_cast<const f32*>(from)[at];
    const u16 bits = static_cast<const u16*>(from)[at];
    return element_type == ELEMENT_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

DEVICE void store_element(void* to, i64 at, i32 element_type, f32 x) {
    if (element_type == ELEMENT_F32) {
        static_cast<f32*>(to)[at] = x;
    } else {
        static_cast<u16*>(to)[at] = element_type == ELEMENT_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    }
}
