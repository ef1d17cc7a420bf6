//! The exponential function with bit-identical results on every machine. Results of the C library
//! may change from one version to the next.

/// e^x in f32 for x <= 0, with an error of at most 2 units in the last place; 0 for x < -87.
///
/// The range is reduced by x = n ln 2 + r with |r| <= ln 2 / 2, where ln 2 is the sum of two
/// constants (Cody and Waite 1980); e^r is computed by its Taylor series up to r^7. The function
/// consists of additions and multiplications, which the compiler must not reorder, so vectorization
/// does not change the result.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding and then subtracting 1.5 * 2^23 rounds an f32 to an integer.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.max(-87.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    // The low bits of `rounded` are the integer n.
    let power =
        f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { sum * power }
}

/// ln(sum(e^x)) over the values of a row whose maximum is `max`. The sum is computed in f64 as
/// eight partial sums, in an order that depends on the row's length only.
pub(super) fn log_sum_exp(row: &[f32], max: f32) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = row.chunks_exact(8);
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f64::from(exp(x - max));
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(exp(x - max));
        }
    }
    f64::from(max) + lanes.iter().sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_c_librarys() {
        for i in 0..100_000 {
            let x = -(i as f32) * 8.6e-4;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.5e-7, "{x}: {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn log_sum_exp_matches_the_plain_sum() {
        let row: Vec<f32> = (0..1003).map(|i| (i * 37 % 101) as f32 * 0.1 - 3.0).collect();
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let expected = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((log_sum_exp(&row, max) - expected).abs() < 1e-6);
    }
}
