// exp, SiLU and GELU by polynomial approximation, step by step as in
// crates/device/src/cpu/simd/math.rs, so that the bits agree with the CPU.
#pragma once
#include "platform.cuh"
#include "element_types.cuh"

// e^x within 2 ulp; 0 below -87.3, at most e^88.3 above; NaN stays NaN.
DEVICE f32 exponential(f32 x) {
    constexpr f32 LOW = -87.3f, HIGH = 88.3f;
    const f32 above = LOW > x ? LOW : x;  // this operand order lets a NaN through
    const f32 bounded = HIGH < above ? HIGH : above;
    const f32 n = rintf(bounded * 1.44269504088896340736f);
    f32 r = fmaf(n, -0.6933594f, bounded);
    r = fmaf(n, 2.1219444e-4f, r);
    f32 p = 1.0f / 5040.0f;
    p = fmaf(p, r, 1.0f / 720.0f);
    p = fmaf(p, r, 1.0f / 120.0f);
    p = fmaf(p, r, 1.0f / 24.0f);
    p = fmaf(p, r, 1.0f / 6.0f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    const f32 scaled = __uint_as_float(__float_as_uint(p) + (u32(round_to_int(n)) << 23));
    return x < LOW ? 0.0f : scaled;
}

// x / (1 + e^-x)
DEVICE f32 silu(f32 x) { return x / (1.0f + exponential(0.0f - x)); }

// GELU, x Phi(x), where Phi is the normal distribution function, computed with the Chebyshev fit of
// the error function in Numerical Recipes.
DEVICE f32 gelu(f32 x) {
    const f32 z = fabsf(x) * 0.70710678118654752440f;
    const f32 t = 1.0f / fmaf(z, 0.5f, 1.0f);
    f32 p = 0.17087277f;
    p = fmaf(p, t, -0.82215223f);
    p = fmaf(p, t, 1.48851587f);
    p = fmaf(p, t, -1.13520398f);
    p = fmaf(p, t, 0.27886807f);
    p = fmaf(p, t, -0.18628806f);
    p = fmaf(p, t, 0.09678418f);
    p = fmaf(p, t, 0.37409196f);
    p = fmaf(p, t, 1.00002368f);
    p = fmaf(p, t, -1.26551223f);
    const f32 upper = 0.5f * (t * exponential(p - z * z));  // Phi(-|x|)
    const f32 share = x < 0.0f ? upper : 1.0f - upper;
    return x * share;
}

// The tanh approximation of gelu: x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
DEVICE f32 gelu_tanh(f32 x) {
    const f32 u = fmaf(0.044715f, x * x * x, x);
    return x / (1.0f + exponential((-2.0f * 0.7978846f) * u));
}
