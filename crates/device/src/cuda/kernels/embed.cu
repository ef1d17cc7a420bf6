// Rows of an embedding, whatever its dtype.
#include "formats.cuh"

struct EmbedArgs {
    const u8* table;  // [rows, cols]
    const u32* ids;   // [count]
    f32* out;         // [count, cols]
    i64 row_bytes;
    i64 cols;
    i64 count;
};

// Numbers k to k + 7 of a row, for the formats that are numbers.
template <class Format> struct Rows {
    DEVICE_MEMBER static Eight eight(const u8* row, i64 k, i64 cols) { return Format::template eight<false>(row, k, cols); }
};

// The same for quantized ones: `lane` is the place within the unit.
template <class Format> struct BlockRows {
    DEVICE_MEMBER static Eight eight(const u8* row, i64 k, i64) {
        return Format::eight(row + k / UNIT * unit_bytes<Format>(), u32(k % UNIT / 8));
    }
};

// A thread for each 8 numbers.
template <class Source> DEVICE void embed(const EmbedArgs& args) {
    const i64 eights = parts_of(args.cols, 8);
    for (i64 index = grid_thread(); index < args.count * eights; index += grid_threads()) {
        const i64 row = index / eights, k = index % eights * 8;
        const Eight x = Source::eight(args.table + args.ids[row] * args.row_bytes, k, args.cols);
        UNROLL for (i32 i = 0; i < 8; i++) if (k + i < args.cols) args.out[row * args.cols + k + i] = x.of[i];
    }
}

KERNEL(embed_f32, EmbedArgs, THREADS, 1) { embed<Rows<InF32>>(args); }
KERNEL(embed_f16, EmbedArgs, THREADS, 1) { embed<Rows<InF16>>(args); }
KERNEL(embed_bf16, EmbedArgs, THREADS, 1) { embed<Rows<InBf16>>(args); }
KERNEL(embed_q8_0, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ8_0>>(args); }
KERNEL(embed_q4_0, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ4_0>>(args); }
KERNEL(embed_q4_1, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ4_1>>(args); }
KERNEL(embed_q5_0, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ5_0>>(args); }
KERNEL(embed_q5_1, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ5_1>>(args); }
KERNEL(embed_q4_k, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ4K>>(args); }
KERNEL(embed_q5_k, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ5K>>(args); }
KERNEL(embed_q6_k, EmbedArgs, THREADS, 1) { embed<BlockRows<InQ6K>>(args); }
