// Matrix product of bf16 weights with bf16 activations on tensor cores, for many tokens: a
// multi-stage GEMM (as in CUTLASS) with 128 x 128 tiles in shared memory, filled by cp.async. The
// order of additions is that of linear_mma.cu, so the results are bit-identical.
#include "linear.cuh"
#include "k_segments.cuh"

// Iterates over the steps of k (32 elements each) in the order of summation: by segment, span,
// step.
struct KIterator {
    i32 segment, span, step, cols;

    DEVICE_MEMBER explicit KIterator(i32 cols) : segment(0), span(0), step(0), cols(cols) {}
    DEVICE_MEMBER i32 k() const { return span * SPAN + step * MMA_K; }
    DEVICE_MEMBER bool ended() const { return k() >= cols; }
    DEVICE_MEMBER void advance() {
        step++;
        if (step < SPAN_STEPS && k() < cols) return;
        step = 0;
        span += SEGMENTS;
        if (span * SPAN < cols || segment + 1 == SEGMENTS) return;
        segment++;
        span = segment;
    }
};

constexpr i32 TILE_ROWS = 128, TILE_TOKENS = 128, STAGES = 3;

// Weights and activations of one step, 64 bytes per row.
struct TileStage {
    u8 weights[TILE_ROWS][2 * MMA_K];
    u8 x[TILE_TOKENS][2 * MMA_K];
};

// Addresses from which this thread copies: in each step, two pieces of 16 bytes of the weights and
// two of the activations.
struct TileSource {
    const u8* weights[2];
    const u8* x[2];
    bool has_x[2];
};

DEVICE void copy_step(TileStage& stage, const TileSource& from, const KIterator& walk, i64 x_stride) {
    const i32 piece = i32(threadIdx.x) % 4, k = walk.k() + 8 * piece;
    UNROLL for (i32 i = 0; i < 2; i++) {
        const i32 row = i32(threadIdx.x) / 4 + i * (i32(THREADS) / 4);
        const bool weights_there = k < walk.cols, x_there = from.has_x[i] && k < x_stride;
        copy16_async(&stage.weights[row][16 * piece], from.weights[i] + (weights_there ? 2 * i64(k) : 0), weights_there);
        copy16_async(&stage.x[row][16 * piece], from.x[i] + (x_there ? 2 * i64(k) : 0), x_there);
    }
}

// The warps are arranged 4 (rows) by 2 (tokens); each computes 32 rows by 64 tokens.
KERNEL(linear_tiles, LinearArgs, THREADS, 1) {
    constexpr i32 TILES = 2, EIGHTS = 8;
    const ProductArgs& product = product_of(args, blockIdx.y);
    const i64 first_row = (i64(blockIdx.y) - product.first_block) * TILE_ROWS;
    const i32 first_token = i32(blockIdx.x) * TILE_TOKENS;
    const i32 warp_row = i32(warp_id() % 4) * 32, warp_token = i32(warp_id() / 4) * 64;
    const i32 group = i32(lane_id() / 4), in_group = i32(lane_id() % 4);
    SHARED(TileStage, stages, [STAGES]);

    TileSource from;
    UNROLL for (i32 i = 0; i < 2; i++) {
        const i32 at = i32(threadIdx.x) / 4 + i * (i32(THREADS) / 4);
        from.weights[i] = product.weight + min_of(first_row + at, product.rows - 1) * args.row_bytes;
        from.has_x[i] = first_token + at < args.tokens;
        from.x[i] = args.x + (from.has_x[i] ? (first_token + at) * args.x_stride * 2 : 0);
    }

    Accumulator sums[TILES][EIGHTS], total[TILES][EIGHTS];
    UNROLL for (i32 tile = 0; tile < TILES; tile++) {
        UNROLL for (i32 n = 0; n < EIGHTS; n++) sums[tile][n] = total[tile][n] = ZERO_ACCUMULATOR;
    }
    KIterator ahead(args.cols), now(args.cols);
    i32 filling = 0, reading = 0;
    UNROLL for (i32 i = 0; i < STAGES - 1; i++) {
        if (!ahead.ended()) {
            copy_step(stages[filling], from, ahead, args.x_stride);
            ahead.advance();
        }
        copies_commit();
        filling++;
    }
    while (!now.ended()) {
        copies_wait<STAGES - 2>();
        __syncthreads();  // the step has arrived, and the stage filled next is free
        if (!ahead.ended()) {
            copy_step(stages[filling], from, ahead, args.x_stride);
            ahead.advance();
        }
        copies_commit();
        filling = filling + 1 == STAGES ? 0 : filling + 1;

        const TileStage& stage = stages[reading];
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        Words4 weights[TILES][2];
        UNROLL for (i32 tile = 0; tile < TILES; tile++) {
            UNROLL for (i32 half = 0; half < 2; half++) {
                weights[tile][half] = load16(&stage.weights[warp_row + 16 * tile + 8 * half + group][16 * in_group]);
            }
        }
        UNROLL for (i32 n = 0; n < EIGHTS; n++) {
            const Words4 b = load16(&stage.x[warp_token + 8 * n + group][16 * in_group]);
            UNROLL for (i32 tile = 0; tile < TILES; tile++) mma_32(sums[tile][n], weights[tile][0], weights[tile][1], b);
        }
        const i32 segment = now.segment;
        now.advance();
        if (now.ended() || now.segment != segment) {
            UNROLL for (i32 tile = 0; tile < TILES; tile++) {
                UNROLL for (i32 n = 0; n < EIGHTS; n++) {
                    UNROLL for (i32 i = 0; i < 4; i++) total[tile][n].value[i] += sums[tile][n].value[i];
                    sums[tile][n] = ZERO_ACCUMULATOR;
                }
            }
        }
    }

    UNROLL for (i32 tile = 0; tile < TILES; tile++) {
        UNROLL for (i32 n = 0; n < EIGHTS; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i64 row = first_row + warp_row + 16 * tile + 8 * (i / 2) + group;
                const i32 token = first_token + warp_token + 8 * n + 2 * in_group + i % 2;
                if (row < product.rows && token < args.tokens) {
                    f32 value = total[tile][n].value[i];
                    if (product.bias != nullptr) value += product.bias[row];
                    product.out[token * product.rows + row] = value;
                }
            }
        }
    }
}
