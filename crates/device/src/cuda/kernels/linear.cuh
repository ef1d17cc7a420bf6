// What all products share: several weights with the same inputs in one launch.
#pragma once
#include "language.cuh"

constexpr i32 MOST_PRODUCTS = 4;

// One product: out = x weight^T + bias.
struct Product {
    const u8* weight;  // [rows, cols], row-major
    const f32* bias;   // [rows], or null
    f32* out;          // [tokens, rows]
    i64 rows;
    i64 first_block;  // of the grid's; ascending
};

struct LinearArgs {
    Product products[MOST_PRODUCTS];
    const u8* x;      // [tokens, x_stride], bf16 or f32 as the kernel wants it, zeros from `cols` on
    i64 x_stride;     // numbers; a multiple of 8
    i64 row_bytes;    // of a weight's row
    i32 count;        // of products
    i32 tokens;
    i32 cols;
    i32 aligned;      // whether all rows of weights start at multiples of 16 bytes
};

// The product that block `block` of the grid works for.
DEVICE const Product& product_of(const LinearArgs& args, i64 block) {
    i32 index = 0;
    UNROLL for (i32 i = 1; i < MOST_PRODUCTS; i++) {
        if (i < args.count && block >= args.products[i].first_block) index = i;
    }
    return args.products[index];
}
