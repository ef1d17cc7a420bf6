// Dtype conversion: packs activations for the linear kernels, converts weights at load time.
#include "formats.cuh"
#include "reduce.cuh"

struct PackArgs {
    const f32* x;   // [tokens, cols]
    u16* out_bf16;  // [tokens, stride], or null
    f32* out_f32;   // [tokens, stride], or null
    i64 tokens;
    i64 cols;
    i64 stride;  // a multiple of 8; elements from `cols` on are zeroed
};

// Packs activations. Each thread packs 8 elements at a time.
KERNEL(pack_activations, PackArgs, THREADS, 1) {
    const i64 eights = args.stride / 8;
    for (i64 index = grid_thread(); index < args.tokens * eights; index += grid_threads()) {
        const i64 token = index / eights, k = index % eights * 8;
        f32 x[8];
        UNROLL for (i32 i = 0; i < 8; i++) x[i] = k + i < args.cols ? args.x[token * args.cols + k + i] : 0.0f;
        if (args.out_bf16 != nullptr) {
            const Words4 words{{bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7])}};
            store16(args.out_bf16 + token * args.stride + k, words);
        }
        if (args.out_f32 != nullptr) {
            f32* const to = args.out_f32 + token * args.stride + k;
            UNROLL for (i32 i = 0; i < 8; i++) to[i] = x[i];
        }
    }
}

struct ConvertArgs {
    const void* from;
    void* to;
    i64 count;
    i32 from_type;
    i32 to_type;
};

// Converts between f32, f16 and bf16, rounding to nearest even.
KERNEL(convert, ConvertArgs, THREADS, 1) {
    for (i64 i = grid_thread(); i < args.count; i += grid_threads()) {
        store_element(args.to, i, args.to_type, load_element(args.from, i, args.from_type));
    }
}

// Quantizes `count` elements to Q8_0 blocks of 32, to the same bytes as
// crates/device/src/cpu/quant/q8.rs. Each warp quantizes one block at a time.
KERNEL(quantize_q8_0, ConvertArgs, THREADS, 1) {
    constexpr i32 BYTES = Q8_0Format::BYTES;
    const i64 warps = grid_threads() / WARP;
    for (i64 block = grid_thread() / WARP; block < args.count / WARP; block += warps) {
        const f32 x = load_element(args.from, block * WARP + lane_id(), args.from_type);
        const f32 largest = warp_max(fabsf(x));
        const f32 nonfinite = warp_sum(x * 0.0f);  // 0, or NaN if any element is not finite
        const u16 scale = nonfinite == nonfinite ? f32_to_f16(largest / 127.0f) : u16(0x7e00);
        const f32 exact = 1.0f / f16_to_f32(scale);
        const f32 inverse = exact - exact == 0.0f ? exact : 0.0f;
        const f32 scaled = x * inverse;
        const f32 above = -127.0f > scaled ? -127.0f : scaled;
        u8* const to = static_cast<u8*>(args.to) + block * BYTES;
        to[2 + lane_id()] = u8(round_to_int(127.0f < above ? 127.0f : above));
        if (lane_id() < 2) to[lane_id()] = u8(scale >> (8 * lane_id()));
    }
}
