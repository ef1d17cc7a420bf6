// Numbers from one stored form to another: activations for products, weights while they are loaded.
#include "formats.cuh"
#include "sums.cuh"

struct PrepareArgs {
    const f32* x;   // [tokens, cols]
    u16* rounded;   // [tokens, stride], bf16, or null
    f32* exact;     // [tokens, stride], or null
    i64 tokens;
    i64 cols;
    i64 stride;  // a multiple of 8; numbers from `cols` on become zeros
};

// A thread for each 8 numbers.
KERNEL(prepare, PrepareArgs, THREADS, 1) {
    const i64 eights = args.stride / 8;
    for (i64 index = grid_thread(); index < args.tokens * eights; index += grid_threads()) {
        const i64 token = index / eights, k = index % eights * 8;
        f32 x[8];
        UNROLL for (i32 i = 0; i < 8; i++) x[i] = k + i < args.cols ? args.x[token * args.cols + k + i] : 0.0f;
        if (args.rounded != nullptr) {
            const Words4 words{{bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7])}};
            store16(args.rounded + token * args.stride + k, words);
        }
        if (args.exact != nullptr) {
            f32* const to = args.exact + token * args.stride + k;
            UNROLL for (i32 i = 0; i < 8; i++) to[i] = x[i];
        }
    }
}

struct ConvertArgs {
    const void* from;
    void* to;
    i64 count;
    i32 from_stored;
    i32 to_stored;
};

// f32, f16 and bf16 to one another, rounded to the nearest.
KERNEL(convert, ConvertArgs, THREADS, 1) {
    for (i64 i = grid_thread(); i < args.count; i += grid_threads()) {
        store_number(args.to, i, args.to_stored, load_number(args.from, i, args.from_stored));
    }
}

// Blocks of 32 numbers (`count` of them all) to Q8_0, as crates/device/src/cpu/quant/q8.rs rounds them: the same bytes. A warp a block.
KERNEL(quantize_q8_0, ConvertArgs, THREADS, 1) {
    constexpr i32 BYTES = InQ8_0::BYTES;
    const i64 warps = grid_threads() / WARP;
    for (i64 block = grid_thread() / WARP; block < args.count / WARP; block += warps) {
        const f32 x = load_number(args.from, block * WARP + lane_id(), args.from_stored);
        const f32 size = warp_max(fabsf(x));
        const f32 odd = warp_sum(x * 0.0f);  // 0, or NaN if there is a NaN or an infinity
        const u16 scale = odd == odd ? f32_to_f16(size / 127.0f) : u16(0x7e00);
        const f32 exact = 1.0f / f16_to_f32(scale);
        const f32 inverse = exact - exact == 0.0f ? exact : 0.0f;
        const f32 scaled = x * inverse;
        const f32 above = -127.0f > scaled ? -127.0f : scaled;
        u8* const to = static_cast<u8*>(args.to) + block * BYTES;
        to[2 + lane_id()] = u8(to_whole(127.0f < above ? 127.0f : above));
        if (lane_id() < 2) to[lane_id()] = u8(scale >> (8 * lane_id()));
    }
}
