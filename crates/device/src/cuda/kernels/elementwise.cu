// Elementwise operations (SwiGLU and GeGLU activations, residual additions) and row gathering.
#include "epilogue.cuh"
#include "math.cuh"

struct ElementwiseArgs {
    f32* x;        // [count], in place
    const f32* y;  // [count], or null for unary operations
    EpilogueArgs epilogue;
    i64 count;
};

#define ELEMENTWISE(name, value)                                                                              \
    KERNEL(name, ElementwiseArgs, THREADS, 1) {                                                               \
        for (i64 i = grid_thread(); i < args.count; i += grid_threads()) store_with_epilogue(args.x, args.epilogue, i, value);    \
    }

ELEMENTWISE(silu_all, silu(args.x[i]))
ELEMENTWISE(gelu_all, gelu(args.x[i]))
ELEMENTWISE(gelu_tanh_all, gelu_tanh(args.x[i]))
ELEMENTWISE(silu_mul, silu(args.x[i]) * args.y[i])
ELEMENTWISE(gelu_mul, gelu(args.x[i]) * args.y[i])
ELEMENTWISE(gelu_tanh_mul, gelu_tanh(args.x[i]) * args.y[i])
ELEMENTWISE(add, args.x[i] + args.y[i])

struct GatherArgs {
    const f32* x;     // [.., cols]
    const u32* rows;  // [count]
    f32* out;         // [count, cols]
    i64 count;
    i64 cols;
};

// out[i, :] = x[rows[i], :]
KERNEL(gather_rows, GatherArgs, THREADS, 1) {
    for (i64 i = grid_thread(); i < args.count * args.cols; i += grid_threads()) {
        args.out[i] = args.x[args.rows[i / args.cols] * args.cols + i % args.cols];
    }
}
