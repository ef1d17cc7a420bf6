// Rotary position embedding (RoFormer, Su et al. 2021) of queries and keys, in place.
#include "platform.cuh"

struct RopeArgs {
    f32* x[2];             // queries and keys, [tokens, heads, head_dim] each
    const u32* positions;  // [tokens]
    const f32* cos;        // [positions, half]
    const f32* sin;
    i64 tokens;
    i32 heads[2];
    i32 head_dim;
    i32 half;         // pairs per head, at the start of the head
    i32 interleaved;  // pairs are adjacent elements, otherwise elements `half` apart
    u32 unused;
};

// Each thread rotates one pair (a, b) at a time: (a cos - b sin, b cos + a sin).
KERNEL(rope, RopeArgs, THREADS, 1) {
    const i32 heads = args.heads[0] + args.heads[1];
    const i64 pairs = args.tokens * heads * args.half;
    for (i64 index = grid_thread(); index < pairs; index += grid_threads()) {
        const i64 of_all = index / args.half, token = of_all / heads;
        const i32 i = i32(index % args.half), head = i32(of_all % heads);
        const i64 at = i64(args.positions[token]) * args.half + i;
        const f32 c = args.cos[at], s = args.sin[at];
        f32* const x = head < args.heads[0] ? args.x[0] + (token * args.heads[0] + head) * args.head_dim
                                            : args.x[1] + (token * args.heads[1] + head - args.heads[0]) * args.head_dim;
        f32& first = x[args.interleaved ? 2 * i : i];
        f32& second = x[args.interleaved ? 2 * i + 1 : i + args.half];
        const f32 a = first, b = second;
        first = fmaf(0.0f - b, s, a * c);
        second = fmaf(a, s, b * c);
    }
}
