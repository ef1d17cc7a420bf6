//! Elementary functions of vectors.

use super::Simd;

/// e^x with an error of at most 2 ulp: 0 below -87.3 (where results would be denormal), e^88.3
/// above 88.3. NaN stays NaN.
///
/// Cody-Waite range reduction x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor series of e^r of
/// degree 7.
#[inline(always)]
pub(in crate::cpu) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    const LOW: f32 = -87.3;
    const HIGH: f32 = 88.3;
    // This order of operands propagates NaN.
    let bounded = S::min(S::splat(HIGH), S::max(S::splat(LOW), x));
    let n = S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with so few bits that its product with n is exact.
    let r = S::fma(n, S::splat(-0.693_359_4), bounded);
    let r = S::fma(n, S::splat(2.121_944_4e-4), r);
    let mut p = S::splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = S::fma(p, r, S::splat(c));
    }
    S::select_less(x, S::splat(LOW), S::splat(0.0), S::scale(p, n))
}

/// SiLU: x / (1 + e^-x).
#[inline(always)]
pub(in crate::cpu) unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    let e = exp::<S>(S::sub(S::splat(0.0), x));
    S::div(x, S::add(S::splat(1.0), e))
}

/// Exact GELU: x Phi(x).
///
/// erfc(z) = t exp(-z^2 + P(t)), t = 1 / (1 + z/2): Chebyshev fit with a relative error below
/// 1.2e-7 for z >= 0 (Numerical Recipes, section "Incomplete gamma function, error function").
#[inline(always)]
pub(in crate::cpu) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    const P: [f32; 10] = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let z = S::mul(S::abs(x), S::splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = S::div(S::splat(1.0), S::fma(z, S::splat(0.5), S::splat(1.0)));
    let mut p = S::splat(P[0]);
    for &c in &P[1..] {
        p = S::fma(p, t, S::splat(c));
    }
    let upper = S::mul(S::splat(0.5), S::mul(t, exp::<S>(S::sub(p, S::mul(z, z))))); // Phi(-|x|)
    let phi = S::select_less(x, S::splat(0.0), upper, S::sub(S::splat(1.0), upper));
    S::mul(x, phi)
}

/// The tanh approximation of gelu: x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3).
#[inline(always)]
pub(in crate::cpu) unsafe fn gelu_tanh<S: Simd>(x: S::F) -> S::F {
    const TWICE: f32 = -2.0 * 0.797_884_6;
    let cube = S::mul(S::mul(x, x), x);
    let u = S::fma(S::splat(0.044_715), cube, x);
    let e = exp::<S>(S::mul(S::splat(TWICE), u));
    S::div(x, S::add(S::splat(1.0), e))
}
