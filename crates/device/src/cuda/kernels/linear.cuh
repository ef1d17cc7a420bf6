// Arguments of the linear kernels: several weights with the same activations in one launch.
#pragma once
#include "platform.cuh"

constexpr i32 PRODUCTS_MAX = 4;

// out = x weight^T + bias
struct ProductArgs {
    const u8* weight;  // [rows, cols], row-major
    const f32* bias;   // [rows], or null
    f32* out;          // [tokens, rows]
    i64 rows;
    i64 first_block;  // first thread block of the product in the grid; ascending
};

struct LinearArgs {
    ProductArgs products[PRODUCTS_MAX];
    const u8* x;    // [tokens, x_stride], bf16 or f32 by kernel, zeros from `cols` on
    i64 x_stride;   // in elements; a multiple of 8
    i64 row_bytes;  // bytes of a weight row
    i32 count;      // number of products
    i32 tokens;
    i32 cols;
    i32 aligned;  // all weight rows start at multiples of 16 bytes
};

// The product to whose output thread block `block` of the grid belongs.
DEVICE const ProductArgs& product_of(const LinearArgs& args, i64 block) {
    i32 index = 0;
    UNROLL for (i32 i = 1; i < PRODUCTS_MAX; i++) {
        if (i < args.count && block >= args.products[i].first_block) index = i;
    }
    return args.products[index];
}
