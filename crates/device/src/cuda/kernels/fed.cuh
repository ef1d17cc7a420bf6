// Numbers that products read next, written where they are made: no kernel has to fetch them again to round them.
#pragma once
#include "numbers.cuh"

// The forms of `prepare`, in convert.cu, whose rows are not padded: what is null is not wanted.
struct Fed {
    u16* rounded;  // bf16
    f32* exact;
};

// Number `at` of `out`, and of each form.
DEVICE void keep(f32* out, const Fed& fed, i64 at, f32 x) {
    out[at] = x;
    if (fed.rounded != nullptr) fed.rounded[at] = f32_to_bf16(x);
    if (fed.exact != nullptr) fed.exact[at] = x;
}
