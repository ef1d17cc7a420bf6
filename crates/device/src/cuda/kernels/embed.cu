// Embedding lookup: rows of a table of any weight dtype, decoded to f32.
#include "formats.cuh"

struct EmbedArgs {
    const u8* table;  // [rows, cols]
    const u32* ids;   // [count]
    f32* out;         // [count, cols]
    i64 row_bytes;
    i64 cols;
    i64 count;
};

// Decodes elements k .. k + 7 of a row of an unquantized format.
template <class Format> struct DenseRows {
    DEVICE_MEMBER static F32x8 decode8(const u8* row, i64 k, i64 cols) { return Format::template decode8<false>(row, k, cols); }
};

// Decodes elements k .. k + 7 of a row of a quantized format. Format::decode8 takes the address of
// a unit and the index of the eight elements within the unit.
template <class Format> struct QuantizedRows {
    DEVICE_MEMBER static F32x8 decode8(const u8* row, i64 k, i64) {
        return Format::decode8(row + k / UNIT * unit_bytes<Format>(), u32(k % UNIT / 8));
    }
};

// Each thread decodes 8 elements at a time.
template <class Source> DEVICE void embed(const EmbedArgs& args) {
    const i64 eights = div_ceil(args.cols, 8);
    for (i64 index = grid_thread(); index < args.count * eights; index += grid_threads()) {
        const i64 row = index / eights, k = index % eights * 8;
        const F32x8 x = Source::decode8(args.table + args.ids[row] * args.row_bytes, k, args.cols);
        UNROLL for (i32 i = 0; i < 8; i++) if (k + i < args.cols) args.out[row * args.cols + k + i] = x.value[i];
    }
}

KERNEL(embed_f32, EmbedArgs, THREADS, 1) { embed<DenseRows<F32Format>>(args); }
KERNEL(embed_f16, EmbedArgs, THREADS, 1) { embed<DenseRows<F16Format>>(args); }
KERNEL(embed_bf16, EmbedArgs, THREADS, 1) { embed<DenseRows<Bf16Format>>(args); }
KERNEL(embed_q8_0, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q8_0Format>>(args); }
KERNEL(embed_q4_0, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q4_0Format>>(args); }
KERNEL(embed_q4_1, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q4_1Format>>(args); }
KERNEL(embed_q5_0, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q5_0Format>>(args); }
KERNEL(embed_q5_1, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q5_1Format>>(args); }
KERNEL(embed_q4_k, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q4KFormat>>(args); }
KERNEL(embed_q5_k, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q5KFormat>>(args); }
KERNEL(embed_q6_k, EmbedArgs, THREADS, 1) { embed<QuantizedRows<Q6KFormat>>(args); }
