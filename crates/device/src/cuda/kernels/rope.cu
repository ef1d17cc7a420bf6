// Rotary position embedding.
#include "language.cuh"

struct RopeArgs {
    f32* x;                // [tokens, heads, head_dim], in place
    const u32* positions;  // [tokens]
    const f32* cos;        // [positions, half]
    const f32* sin;
    i64 tokens;
    i32 heads;
    i32 head_dim;
    i32 half;         // half of the numbers that rotate, which are a head's first ones
    i32 interleaved;  // whether neighbours pair up, and not numbers `half` apart
};

// A thread for each pair: (a cos - b sin, b cos + a sin).
KERNEL(rope, RopeArgs, THREADS, 1) {
    const i64 pairs = args.tokens * args.heads * args.half;
    for (i64 index = grid_thread(); index < pairs; index += grid_threads()) {
        const i64 head = index / args.half, token = head / args.heads;
        const i32 i = i32(index % args.half);
        const i64 at = i64(args.positions[token]) * args.half + i;
        const f32 c = args.cos[at], s = args.sin[at];
        f32* const x = args.x + head * args.head_dim;
        f32& first = x[args.interleaved ? 2 * i : i];
        f32& second = x[args.interleaved ? 2 * i + 1 : i + args.half];
        const f32 a = first, b = second;
        first = fmaf(0.0f - b, s, a * c);
        second = fmaf(a, s, b * c);
    }
}
