// bf16 weights times activations rounded to bf16, by the tensor cores.
//
// k is cut into spans of 128; span s belongs to segment s % 8. A segment's spans are summed in their order by one chain of matrix
// multiplications, and the eight segments' sums are added in their order. Both kernels below do just that: so the bits of a row depend
// neither on the number of tokens nor on the kernel.
//
// linear_mma_*, for few tokens: a warp for each segment, all on the same 16 (or 32) rows of weights. Weights go from memory straight to
// the tensor cores, each byte once.
//
// linear_tiles, for many: 128 rows by 128 tokens a block, weights and activations by asynchronous copies through shared memory.
#include "linear.cuh"
#include "mma.cuh"

constexpr i32 SEGMENTS = 8;
constexpr i32 SPAN = 128;
constexpr i32 SPAN_STEPS = SPAN / MMA_K;
static_assert(SEGMENTS == WARPS, "a warp for each segment");

// 8 numbers of a row, from k on, zeros from `cols` on; element by element, for rows at any even address.
DEVICE Words4 load_8_anywhere(const u8* row, i32 k, i32 cols) {
    const u16* from = reinterpret_cast<const u16*>(row) + k;
    Words4 words = ZEROS;
    UNROLL for (i32 i = 0; i < 8; i++) {
        if (k + i < cols) words.word[i / 2] |= u32(from[i]) << (16 * (i % 2));
    }
    return words;
}

// The same, at once: rows start at multiples of 16 bytes and `cols` is a multiple of 8.
DEVICE Words4 load_8_aligned(const u8* row, i32 k, i32 cols) { return k < cols ? load_streamed(row + i64(k) * 2) : ZEROS; }

// This lane's weights of one span, for `tiles` times 16 rows: [tile][row half][step].
template <i32 tiles> struct SpanWeights {
    Words4 of[tiles][2][SPAN_STEPS];
};

template <i32 tiles, bool aligned>
DEVICE void load_span(SpanWeights<tiles>& span, const u8* const (&rows)[tiles][2], i32 k, i32 cols) {
    UNROLL for (i32 tile = 0; tile < tiles; tile++) {
        UNROLL for (i32 half = 0; half < 2; half++) {
            UNROLL for (i32 step = 0; step < SPAN_STEPS; step++) {
                const i32 at = k + step * MMA_K;
                span.of[tile][half][step] =
                    aligned ? load_8_aligned(rows[tile][half], at, cols) : load_8_anywhere(rows[tile][half], at, cols);
            }
        }
    }
}

// A block: 16 * tiles rows, 8 * eights tokens. Where registers allow it (`ahead`) the next span is on its way while one is multiplied.
template <i32 tiles, i32 eights, bool aligned, bool ahead> DEVICE void linear_mma(const LinearArgs& args) {
    const Product& product = product_of(args, blockIdx.x);
    const i64 first_row = (i64(blockIdx.x) - product.first_block) * (16 * tiles);
    const i32 first_token = i32(blockIdx.y) * (8 * eights);
    const i32 group = i32(lane_id() / 4), place = i32(lane_id() % 4), cols = args.cols;

    const u8* rows[tiles][2];
    UNROLL for (i32 tile = 0; tile < tiles; tile++) {
        UNROLL for (i32 half = 0; half < 2; half++) {
            // Rows past the end repeat the last one; nobody reads their sums.
            const i64 row = least(first_row + 16 * tile + 8 * half + group, product.rows - 1);
            rows[tile][half] = product.weight + row * args.row_bytes;
        }
    }
    const u16* x[eights];
    UNROLL for (i32 n = 0; n < eights; n++) {
        const i32 token = first_token + 8 * n + group;
        x[n] = token < args.tokens ? reinterpret_cast<const u16*>(args.x) + token * args.x_stride : nullptr;
    }

    Sums sums[tiles][eights];
    UNROLL for (i32 tile = 0; tile < tiles; tile++) UNROLL for (i32 n = 0; n < eights; n++) sums[tile][n] = NO_SUMS;

    i32 k = i32(warp_id()) * SPAN + 8 * place;
    const i32 first_of_lane = 8 * place;
    SpanWeights<tiles> weights;
    if (ahead) load_span<tiles, aligned>(weights, rows, k, cols);
    for (; k - first_of_lane < cols; k += SEGMENTS * SPAN) {
        if (!ahead) load_span<tiles, aligned>(weights, rows, k, cols);
        SpanWeights<tiles> next;
        if (ahead) load_span<tiles, aligned>(next, rows, k + SEGMENTS * SPAN, cols);
        UNROLL for (i32 step = 0; step < SPAN_STEPS; step++) {
            const i32 at = k + step * MMA_K;
            if (at - first_of_lane >= cols) break;
            UNROLL for (i32 n = 0; n < eights; n++) {
                const Words4 b = x[n] != nullptr && at < args.x_stride ? load16(x[n] + at) : ZEROS;
                UNROLL for (i32 tile = 0; tile < tiles; tile++) {
                    mma_32(sums[tile][n], weights.of[tile][0][step], weights.of[tile][1][step], b);
                }
            }
        }
        if (ahead) weights = next;
    }

    // The segments' sums, eight tokens at a time.
    SHARED(f32, of_segment, [SEGMENTS][8][16 * tiles]);
    UNROLL for (i32 n = 0; n < eights; n++) {
        UNROLL for (i32 tile = 0; tile < tiles; tile++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                of_segment[warp_id()][2 * place + i % 2][16 * tile + 8 * (i / 2) + group] = sums[tile][n].of[i];
            }
        }
        __syncthreads();
        for (i32 i = i32(threadIdx.x); i < 8 * 16 * tiles; i += i32(THREADS)) {
            const i32 row = i % (16 * tiles), column = i / (16 * tiles), token = first_token + 8 * n + column;
            f32 total = 0.0f;
            UNROLL for (i32 segment = 0; segment < SEGMENTS; segment++) total += of_segment[segment][column][row];
            if (first_row + row < product.rows && token < args.tokens) {
                if (product.bias != nullptr) total += product.bias[first_row + row];
                product.out[token * product.rows + first_row + row] = total;
            }
        }
        __syncthreads();
    }
}

KERNEL(linear_mma_8, LinearArgs, THREADS, 2) { linear_mma<1, 1, true, true>(args); }
KERNEL(linear_mma_16, LinearArgs, THREADS, 2) { linear_mma<1, 2, true, true>(args); }
KERNEL(linear_mma_32, LinearArgs, THREADS, 2) { linear_mma<1, 4, true, true>(args); }
KERNEL(linear_mma_64, LinearArgs, THREADS, 1) { linear_mma<2, 8, true, false>(args); }
// Rows of weights at any even address.
KERNEL(linear_mma_anywhere, LinearArgs, THREADS, 2) { linear_mma<1, 2, false, false>(args); }

// The steps of k in the order of all sums: by segment, span, step.
struct Walk {
    i32 segment, span, step, cols;

    DEVICE_MEMBER explicit Walk(i32 cols) : segment(0), span(0), step(0), cols(cols) {}
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

// Stages of a step's weights and activations, each row's 64 bytes together.
struct TileStage {
    u8 weights[TILE_ROWS][2 * MMA_K];
    u8 x[TILE_TOKENS][2 * MMA_K];
};

// Where this thread copies from: two pieces of 16 bytes of the weights and two of the activations, each step.
struct TileSource {
    const u8* weights[2];
    const u8* x[2];
    bool has_x[2];
};

DEVICE void copy_step(TileStage& stage, const TileSource& from, const Walk& walk, i64 x_stride) {
    const i32 piece = i32(threadIdx.x) % 4, k = walk.k() + 8 * piece;
    UNROLL for (i32 i = 0; i < 2; i++) {
        const i32 row = i32(threadIdx.x) / 4 + i * (i32(THREADS) / 4);
        const bool weights_there = k < walk.cols, x_there = from.has_x[i] && k < x_stride;
        copy16_async(&stage.weights[row][16 * piece], from.weights[i] + (weights_there ? 2 * i64(k) : 0), weights_there);
        copy16_async(&stage.x[row][16 * piece], from.x[i] + (x_there ? 2 * i64(k) : 0), x_there);
    }
}

// Warps stand 4 (rows) by 2 (tokens); each has 32 rows by 64 tokens.
KERNEL(linear_tiles, LinearArgs, THREADS, 1) {
    constexpr i32 TILES = 2, EIGHTS = 8;
    const Product& product = product_of(args, blockIdx.y);
    const i64 first_row = (i64(blockIdx.y) - product.first_block) * TILE_ROWS;
    const i32 first_token = i32(blockIdx.x) * TILE_TOKENS;
    const i32 warp_row = i32(warp_id() % 4) * 32, warp_token = i32(warp_id() / 4) * 64;
    const i32 group = i32(lane_id() / 4), place = i32(lane_id() % 4);
    SHARED(TileStage, stages, [STAGES]);

    TileSource from;
    UNROLL for (i32 i = 0; i < 2; i++) {
        const i32 at = i32(threadIdx.x) / 4 + i * (i32(THREADS) / 4);
        from.weights[i] = product.weight + least(first_row + at, product.rows - 1) * args.row_bytes;
        from.has_x[i] = first_token + at < args.tokens;
        from.x[i] = args.x + (from.has_x[i] ? (first_token + at) * args.x_stride * 2 : 0);
    }

    Sums sums[TILES][EIGHTS], total[TILES][EIGHTS];
    UNROLL for (i32 tile = 0; tile < TILES; tile++) {
        UNROLL for (i32 n = 0; n < EIGHTS; n++) sums[tile][n] = total[tile][n] = NO_SUMS;
    }
    Walk ahead(args.cols), now(args.cols);
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
        __syncthreads();  // the step is there for all, and all are done with the stage that is filled next
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
                weights[tile][half] = load16(&stage.weights[warp_row + 16 * tile + 8 * half + group][16 * place]);
            }
        }
        UNROLL for (i32 n = 0; n < EIGHTS; n++) {
            const Words4 b = load16(&stage.x[warp_token + 8 * n + group][16 * place]);
            UNROLL for (i32 tile = 0; tile < TILES; tile++) mma_32(sums[tile][n], weights[tile][0], weights[tile][1], b);
        }
        const i32 segment = now.segment;
        now.advance();
        if (now.ended() || now.segment != segment) {
            UNROLL for (i32 tile = 0; tile < TILES; tile++) {
                UNROLL for (i32 n = 0; n < EIGHTS; n++) {
                    UNROLL for (i32 i = 0; i < 4; i++) total[tile][n].of[i] += sums[tile][n].of[i];
                    sums[tile][n] = NO_SUMS;
                }
            }
        }
    }

    UNROLL for (i32 tile = 0; tile < TILES; tile++) {
        UNROLL for (i32 n = 0; n < EIGHTS; n++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                const i64 row = first_row + warp_row + 16 * tile + 8 * (i / 2) + group;
                const i32 token = first_token + warp_token + 8 * n + 2 * place + i % 2;
                if (row < product.rows && token < args.tokens) {
                    f32 value = total[tile][n].of[i];
                    if (product.bias != nullptr) value += product.bias[row];
                    product.out[token * product.rows + row] = value;
                }
            }
        }
    }
}
