// Matrix product of bf16 weights with bf16 activations on tensor cores, for few tokens: a split-k
// GEMM in which each warp sums one segment of k for the same 16 (or 32) weight rows. Weights are
// loaded from global memory directly to registers, each byte once.
#include "linear.cuh"
#include "k_segments.cuh"

static_assert(SEGMENTS == WARPS, "one warp per segment");

// Loads 8 elements of a row, starting at k, one by one, with zeros from `cols` on: for rows at any
// even address.
DEVICE Words4 load_8_anywhere(const u8* row, i32 k, i32 cols) {
    const u16* from = reinterpret_cast<const u16*>(row) + k;
    Words4 words = ZEROS;
    UNROLL for (i32 i = 0; i < 8; i++) {
        if (k + i < cols) words.word[i / 2] |= u32(from[i]) << (16 * (i % 2));
    }
    return words;
}

// The same in one load, for rows that start at multiples of 16 bytes and `cols` a multiple of 8.
DEVICE Words4 load_8_aligned(const u8* row, i32 k, i32 cols) { return k < cols ? load_streamed(row + i64(k) * 2) : ZEROS; }

// This lane's weights of one span for `tiles` times 16 rows: [tile][row half][step].
template <i32 tiles> struct SpanWeights {
    Words4 value[tiles][2][SPAN_STEPS];
};

template <i32 tiles, bool aligned>
DEVICE void load_span(SpanWeights<tiles>& span, const u8* const (&rows)[tiles][2], i32 k, i32 cols) {
    UNROLL for (i32 tile = 0; tile < tiles; tile++) {
        UNROLL for (i32 half = 0; half < 2; half++) {
            UNROLL for (i32 step = 0; step < SPAN_STEPS; step++) {
                const i32 at = k + step * MMA_K;
                span.value[tile][half][step] =
                    aligned ? load_8_aligned(rows[tile][half], at, cols) : load_8_anywhere(rows[tile][half], at, cols);
            }
        }
    }
}

// A thread block computes 16 * tiles rows by 8 * eights tokens of the output. With `ahead`, which
// takes more registers, the next span is loaded while the current one is multiplied.
template <i32 tiles, i32 eights, bool aligned, bool ahead> DEVICE void linear_mma(const LinearArgs& args) {
    const ProductArgs& product = product_of(args, blockIdx.x);
    const i64 first_row = (i64(blockIdx.x) - product.first_block) * (16 * tiles);
    const i32 first_token = i32(blockIdx.y) * (8 * eights);
    const i32 group = i32(lane_id() / 4), in_group = i32(lane_id() % 4), cols = args.cols;

    const u8* rows[tiles][2];
    UNROLL for (i32 tile = 0; tile < tiles; tile++) {
        UNROLL for (i32 half = 0; half < 2; half++) {
            // Rows past the end repeat the last one; their sums are not stored.
            const i64 row = min_of(first_row + 16 * tile + 8 * half + group, product.rows - 1);
            rows[tile][half] = product.weight + row * args.row_bytes;
        }
    }
    const u16* x[eights];
    UNROLL for (i32 n = 0; n < eights; n++) {
        const i32 token = first_token + 8 * n + group;
        x[n] = token < args.tokens ? reinterpret_cast<const u16*>(args.x) + token * args.x_stride : nullptr;
    }

    Accumulator sums[tiles][eights];
    UNROLL for (i32 tile = 0; tile < tiles; tile++) UNROLL for (i32 n = 0; n < eights; n++) sums[tile][n] = ZERO_ACCUMULATOR;

    i32 k = i32(warp_id()) * SPAN + 8 * in_group;
    const i32 first_of_lane = 8 * in_group;
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
                    mma_32(sums[tile][n], weights.value[tile][0][step], weights.value[tile][1][step], b);
                }
            }
        }
        if (ahead) weights = next;
    }

    // Adds the sums of the segments in order, eight tokens at a time.
    SHARED(f32, of_segment, [SEGMENTS][8][16 * tiles]);
    UNROLL for (i32 n = 0; n < eights; n++) {
        UNROLL for (i32 tile = 0; tile < tiles; tile++) {
            UNROLL for (i32 i = 0; i < 4; i++) {
                of_segment[warp_id()][2 * in_group + i % 2][16 * tile + 8 * (i / 2) + group] = sums[tile][n].value[i];
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
// For weight rows at any even address.
KERNEL(linear_mma_anywhere, LinearArgs, THREADS, 2) { linear_mma<1, 2, false, false>(args); }
