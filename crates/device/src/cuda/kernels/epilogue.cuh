// Fused epilogue: writes a result also in the dtypes that the next matrix product reads, so that no
// separate pass has to load and convert it.
#pragma once
#include "element_types.cuh"

// The outputs of pack_activations (convert.cu), for rows without padding; null: no output in this
// dtype.
struct EpilogueArgs {
    u16* out_bf16;
    f32* out_f32;
};

// Stores x as element `at` of `out` and of each epilogue output.
DEVICE void store_with_epilogue(f32* out, const EpilogueArgs& epilogue, i64 at, f32 x) {
    out[at] = x;
    if (epilogue.out_bf16 != nullptr) epilogue.out_bf16[at] = f32_to_bf16(x);
    if (epilogue.out_f32 != nullptr) epilogue.out_f32[at] = x;
}
