//! Tests of products with weights in block FP8.

use checkpoint::FP8_BLOCK;
use proptest::prelude::*;

use super::linear::multiply;
use super::*;
use crate::backend::Precision;
use crate::cpu::reference;

/// A matrix of random elements, and its values.
fn fp8_matrix(random: &mut OperandRng, rows: usize, cols: usize) -> (Matrix, Vec<Vec<f64>>) {
    let blocks = cols.div_ceil(FP8_BLOCK);
    let factors = random.normals(rows.div_ceil(FP8_BLOCK) * blocks);
    // The two codes of NaN become zero.
    let code = |bits: u64| if bits & 0x7f == 0x7f { 0 } else { bits as u8 };
    let codes: Vec<u8> = (0..rows * cols).map(|_| code(random.bits())).collect();
    let value = |row: usize, col: usize| {
        let code = codes[row * cols + col];
        let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7) / 8.0);
        let magnitude = match exponent {
            0 => mantissa * 2f64.powi(-6),
            _ => (1.0 + mantissa) * 2f64.powi(exponent - 7),
        };
        let sign = if code < 128 { 1.0 } else { -1.0 };
        sign * magnitude * f64::from(factors[row / FP8_BLOCK * blocks + col / FP8_BLOCK])
    };
    let values = (0..rows).map(|row| (0..cols).map(|col| value(row, col)).collect()).collect();
    (Matrix::block_fp8(rows, cols, unaligned(&codes), &factors).unwrap(), values)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Products agree with the reference for whole matrices and for parts of them, and the bits of
    /// a token do not depend on the other tokens.
    #[test]
    fn products_agree_with_the_reference(
        seed: u64, rows in 1usize..300, cols in 1usize..300, first in 0usize..200, tokens in 1usize..40,
    ) {
        let mut random = OperandRng::new(seed);
        let (matrix, values) = fp8_matrix(&mut random, rows, cols);
        let first = first.min(rows - 1);
        let part = matrix.rows_from(first, rows - first).unwrap();
        let x = random.normals(tokens * cols);
        for precision in [Precision::F32, Precision::Native, Precision::Int8] {
            for cpu in cpus() {
                let native = precision != Precision::F32;
                let pair_dot = native && cpu.kernel_set() == KernelSet::Avx512Bf16;
                let round = |x: f32| if native { reference::round_bf16(x) } else { f64::from(x) };
                let weight = |w: &f64| if pair_dot { reference::round_bf16(*w as f32) } else { *w };
                let y = multiply(cpu, precision, &part, None, &x, tokens);
                for (token, x) in x.chunks(cols).enumerate() {
                    for (row, w) in values[first..].iter().enumerate() {
                        let terms = w.iter().zip(x).map(|(w, x)| weight(w) * round(*x));
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        let found = f64::from(y[token * part.rows + row]);
                        prop_assert!((found - sum).abs() <= 4e-6 * size + 1e-6, "{found} {sum}");
                    }
                }
                let last = multiply(cpu, precision, &part, None, &x[(tokens - 1) * cols..], 1);
                same_bits(&last, &y[(tokens - 1) * part.rows..], "a token alone");
            }
        }
    }
}

#[test]
fn matrices_without_whole_scales_are_errors() {
    let data = || unaligned(&[0; 130 * 140]);
    assert!(Matrix::block_fp8(130, 140, data(), &[1.0; 4]).is_ok());
    assert!(Matrix::block_fp8(130, 140, data(), &[1.0; 3]).is_err());
    assert!(Matrix::block_fp8(130, 141, data(), &[1.0; 4]).is_err());
    assert!(Matrix::new(Dtype::F8E4M3, 130, 140, data()).is_err(), "no scales");
}
