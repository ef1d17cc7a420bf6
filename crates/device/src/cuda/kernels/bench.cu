// Benchmark helpers: random elements generated on the GPU, and a streaming read at full bandwidth.
#include "memory.cuh"
#include "element_types.cuh"

struct FillArgs {
    void* to;
    i64 count;  // elements, or quantization blocks
    u64 seed;
    f32 deviation;
    i32 element_type;  // for unquantized formats
    i32 block_bytes;   // for quantized formats
    i32 scales_at;     // byte offset of the f16 scales in a block
    i32 scales;        // number of scales
    u32 unused;
};

// SplitMix64 (Steele et al. 2014), computed from seed and index without a state.
DEVICE u64 random_bits(u64 seed, u64 index) {
    u64 z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

// An approximately normal number with mean 0 and deviation 1, from the sum of four uniform 16-bit
// numbers.
DEVICE f32 random_normal(u64 seed, u64 index) {
    const u64 bits = random_bits(seed, index);
    f32 sum = -2.0f;
    UNROLL for (i32 i = 0; i < 4; i++) sum += f32(u32(bits >> (16 * i) & 0xffff)) * (1.0f / 65536.0f);
    return sum * 1.732f;
}

// Fills with approximately normal elements. Element i depends only on the seed and on i, not on the
// grid.
KERNEL(fill_normal, FillArgs, THREADS, 1) {
    for (i64 i = grid_thread(); i < args.count; i += grid_threads()) {
        store_element(args.to, i, args.element_type, random_normal(args.seed, u64(i)) * args.deviation);
    }
}

// Fills quantization blocks with random bytes, except for the scales, which are all `deviation`.
KERNEL(fill_blocks, FillArgs, THREADS, 1) {
    u8* const to = static_cast<u8*>(args.to);
    const u16 scale = f32_to_f16(args.deviation);
    for (i64 i = grid_thread(); i < args.count * args.block_bytes; i += grid_threads()) {
        const i32 at = i32(i % args.block_bytes) - args.scales_at;
        const bool in_scale = at >= 0 && at < 2 * args.scales;
        to[i] = in_scale ? u8(scale >> (8 * (at % 2))) : u8(random_bits(args.seed, u64(i)));
    }
}

struct ReadArgs {
    const u8* from;
    u32* sums;  // [blocks of the grid]
    i64 words;  // of 16 bytes
};

// Reads all bytes once; the sum prevents the compiler from removing the loads.
KERNEL(read_all, ReadArgs, THREADS, 1) {
    constexpr i64 AHEAD = 8;
    u32 sum = 0;
    for (i64 i = grid_thread(); i < args.words; i += AHEAD * grid_threads()) {
        Words4 words[AHEAD];
        UNROLL for (i64 j = 0; j < AHEAD; j++) {
            const i64 at = i + j * grid_threads();
            words[j] = at < args.words ? load_streamed(args.from + 16 * at) : ZEROS;
        }
        UNROLL for (i64 j = 0; j < AHEAD; j++) UNROLL for (i32 w = 0; w < 4; w++) sum += words[j].word[w];
    }
    UNROLL for (u32 far = WARP / 2; far > 0; far /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, far);
    SHARED(u32, of_warps, [WARPS]);
    if (lane_id() == 0) of_warps[warp_id()] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        UNROLL for (u32 w = 1; w < WARPS; w++) sum += of_warps[w];
        args.sums[blockIdx.x] = sum;
    }
}
