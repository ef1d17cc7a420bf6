//! Tests of matrix multiplications, dequantization and quantization.

use proptest::prelude::*;

use super::*;
use crate::backend::{Precision, Product};
use crate::cpu::{ActivationDtypes, HostBuffer, PackedActivations, reference};

pub(super) fn multiply(
    cpu: &Cpu,
    precision: Precision,
    weight: &Matrix,
    bias: Option<&Vec<f32>>,
    x: &[f32],
    tokens: usize,
) -> Vec<f32> {
    let mut inputs = PackedActivations::new();
    inputs
        .pack(cpu, x, tokens, weight.cols, ActivationDtypes::new(precision).and(weight.dtype))
        .unwrap();
    let mut out = HostBuffer::new(tokens * weight.rows);
    out.fill(f32::NAN);
    cpu.linear(&inputs, &mut [Product { weight, bias, out: &mut out }]).unwrap();
    out.to_vec()
}

/// Reference value and tolerance of each output element.
fn expected(
    precision: Precision,
    weight: &Matrix,
    bias: Option<&Vec<f32>>,
    x: &[f32],
) -> Vec<(f64, f64)> {
    let round = |x: &[f32]| match (precision, weight.dtype) {
        (Precision::Native | Precision::Int8, Dtype::BF16) => {
            x.iter().map(|&x| reference::round_bf16(x)).collect()
        }
        (Precision::F32, _) | (_, Dtype::F16 | Dtype::F32) => {
            x.iter().map(|&x| f64::from(x)).collect()
        }
        (Precision::Native, _) => reference::round_blocks(x, 32512.0),
        (Precision::Int8, _) => reference::round_blocks(x, 127.0),
    };
    let rows: Vec<Vec<f64>> = x.chunks_exact(weight.cols).map(round).collect();
    let w = decoded(weight);
    let abs = |m: &[Vec<f64>]| {
        m.iter().map(|r| r.iter().map(|x| x.abs()).collect()).collect::<Vec<Vec<f64>>>()
    };
    let (y, size) = (reference::linear(&rows, &w), reference::linear(&abs(&rows), &abs(&w)));
    let bias = |r: usize| bias.map_or(0.0, |b| f64::from(b[r]));
    let pair = |(y, size): (Vec<f64>, Vec<f64>)| {
        y.into_iter()
            .zip(size)
            .enumerate()
            .map(|(r, (y, s))| (y + bias(r), 4e-6 * (s + bias(r).abs()) + 1e-6))
            .collect::<Vec<_>>()
    };
    y.into_iter().zip(size).flat_map(pair).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_agree_with_the_reference(
        seed: u64, rows in 1usize..70, blocks in 1usize..6, ragged in 0usize..40, tokens in 1usize..15, with_bias: bool,
    ) {
        for dtype in dtypes() {
            let cols = blocks * dtype.block_elements().max(16) + if dtype.block_elements() == 1 { ragged } else { 0 };
            let mut random = OperandRng::new(seed);
            let weight = matrix(&mut random, dtype, rows, cols);
            let x = random.normals(tokens * cols);
            let bias = random.normals(rows);
            let bias = with_bias.then_some(&bias);
            for precision in [Precision::F32, Precision::Native, Precision::Int8] {
                let expected = expected(precision, &weight, bias, &x);
                let mut of_sets: Vec<(KernelSet, Vec<f32>)> = Vec::new();
                for cpu in cpus() {
                    let y = multiply(cpu, precision, &weight, bias, &x, tokens);
                    for (i, (y, (e, tolerance))) in y.iter().zip(&expected).enumerate() {
                        prop_assert!(
                            (f64::from(*y) - e).abs() <= *tolerance,
                            "{dtype:?} {precision:?} {} element {i}: {y}, expected {e} +- {tolerance}", cpu.kernel_set()
                        );
                    }
                    of_sets.push((cpu.kernel_set(), y));
                }
                // Results are bit-identical across kernel sets and threads, except for the bf16 dot
                // product instruction.
                let bf16 = precision != Precision::F32 && dtype == Dtype::BF16;
                for pair in of_sets.windows(2).filter(|p| !bf16 || p[0].0 == p[1].0) {
                    same_bits(&pair[0].1, &pair[1].1, &format!("{dtype:?} {precision:?} {} {}", pair[0].0, pair[1].0));
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_batch() {
    for dtype in dtypes() {
        for (rows, cols) in [(37, 256), (96, 768), (130, 2304)] {
            let mut random = OperandRng::new(rows as u64);
            let weight = matrix(&mut random, dtype, rows, cols);
            let x = random.normals(100 * cols);
            for cpu in cpus() {
                for precision in [Precision::F32, Precision::Native, Precision::Int8] {
                    let all = multiply(cpu, precision, &weight, None, &x, 100);
                    for (first, tokens) in [
                        (0, 1),
                        (41, 1),
                        (99, 1),
                        (3, 2),
                        (50, 5),
                        (7, 6),
                        (90, 7),
                        (9, 9),
                        (2, 24),
                        (60, 25),
                        (20, 32),
                        (1, 99),
                    ] {
                        let some = multiply(
                            cpu,
                            precision,
                            &weight,
                            None,
                            &x[first * cols..(first + tokens) * cols],
                            tokens,
                        );
                        let what = format!(
                            "{dtype:?} {precision:?} {} {rows}x{cols} {tokens} tokens",
                            cpu.kernel_set()
                        );
                        same_bits(&some, &all[first * rows..(first + tokens) * rows], &what);
                    }
                }
            }
        }
    }
}

/// Tests rows that are long enough to be packed in several parts, more rows than are packed at a
/// time, and enough tokens for several L3 blocks of activations.
#[test]
fn bits_of_long_rows_do_not_depend_on_the_batch() {
    let (rows, cols, tokens) = (35, 6413, 345);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut random = OperandRng::new(23);
        let weight = matrix(&mut random, dtype, rows, cols);
        let x = random.normals(tokens * cols);
        for cpu in cpus().iter().filter(|cpu| cpu.kernel_set() != KernelSet::Scalar) {
            for precision in [Precision::F32, Precision::Native] {
                let all = multiply(cpu, precision, &weight, None, &x, tokens);
                for (first, count) in [(0, 1), (7, 4), (30, 9), (1, 44), (340, 5)] {
                    let some = multiply(
                        cpu,
                        precision,
                        &weight,
                        None,
                        &x[first * cols..][..count * cols],
                        count,
                    );
                    let what =
                        format!("{dtype:?} {precision:?} {} {count} tokens", cpu.kernel_set());
                    same_bits(&some, &all[first * rows..][..count * rows], &what);
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_index_of_the_row() {
    for dtype in dtypes() {
        let mut random = OperandRng::new(11);
        let weight = matrix(&mut random, dtype, 75, 512);
        let x = random.normals(9 * 512);
        for cpu in cpus() {
            let all = multiply(cpu, Precision::Native, &weight, None, &x, 9);
            for (first, count) in [(0, 1), (5, 3), (17, 16), (30, 45), (74, 1)] {
                let some = multiply(
                    cpu,
                    Precision::Native,
                    &weight.rows_from(first, count).unwrap(),
                    None,
                    &x,
                    9,
                );
                for token in 0..9 {
                    let expected = &all[token * 75 + first..token * 75 + first + count];
                    same_bits(
                        &some[token * count..(token + 1) * count],
                        expected,
                        &format!("{dtype:?} rows {first}+{count}"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_product_of_no_tokens_is_empty() {
    for dtype in dtypes() {
        let weight = matrix(&mut OperandRng::new(2), dtype, 40, 256);
        for cpu in cpus() {
            assert_eq!(
                multiply(cpu, Precision::Native, &weight, None, &[], 0),
                [0.0f32; 0],
                "{dtype:?}"
            );
        }
    }
}

#[test]
fn products_computed_together_are_bit_identical_to_each_alone() {
    for cpu in cpus() {
        let mut random = OperandRng::new(5);
        let weights = [(Dtype::BF16, 64), (Dtype::Q4_1, 33), (Dtype::F32, 1), (Dtype::Q6K, 100)];
        let weights = weights.map(|(dtype, rows)| matrix(&mut random, dtype, rows, 256));
        let x = random.normals(3 * 256);
        let mut inputs = PackedActivations::new();
        let dtypes =
            ActivationDtypes::for_weights(Precision::Native, weights.iter().map(|w| w.dtype));
        inputs.pack(cpu, &x, 3, 256, dtypes).unwrap();
        let mut outs = weights.each_ref().map(|_| HostBuffer::default());
        let products =
            weights.iter().zip(&mut outs).map(|(weight, out)| Product { weight, bias: None, out });
        cpu.linear(&inputs, &mut products.collect::<Vec<_>>()).unwrap();
        for (weight, out) in weights.iter().zip(&outs) {
            same_bits(out, &multiply(cpu, Precision::Native, weight, None, &x, 3), "alone");
        }
    }
}

#[test]
fn a_nan_reaches_its_own_row_only() {
    for dtype in dtypes() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut random = OperandRng::new(8);
            let weight = matrix(&mut random, dtype, 20, 256);
            for tokens in [3, 40] {
                let mut x = random.normals(tokens * 256);
                x[256 + 77] = bad;
                for cpu in cpus() {
                    let y = multiply(cpu, Precision::Native, &weight, None, &x, tokens);
                    assert!(y[..20].iter().chain(&y[40..]).all(|y| y.is_finite()), "{dtype:?}");
                    assert!(
                        y[20..40].iter().all(|y| !y.is_finite()),
                        "{dtype:?} {}",
                        cpu.kernel_set()
                    );
                }
            }
        }
    }
}

#[test]
fn mismatched_operands_are_errors() {
    let cpu = &cpus()[0];
    let mut random = OperandRng::new(1);
    let weight = matrix(&mut random, Dtype::BF16, 4, 64);
    let mut inputs = PackedActivations::new();
    let x = random.normals(128);
    assert!(inputs.pack(cpu, &x, 3, 64, ActivationDtypes::new(Precision::F32)).is_err());
    inputs.pack(cpu, &x, 2, 64, ActivationDtypes::new(Precision::Native).and(Dtype::F32)).unwrap();
    let mut out = HostBuffer::default();
    let missing =
        cpu.linear(&inputs, &mut [Product { weight: &weight, bias: None, out: &mut out }]);
    assert!(matches!(missing, Err(DeviceError::ActivationDtypeMissing { .. })));
    inputs.pack(cpu, &x, 2, 64, ActivationDtypes::new(Precision::Native).and(Dtype::BF16)).unwrap();
    let bias = vec![0.0; 3];
    let short =
        cpu.linear(&inputs, &mut [Product { weight: &weight, bias: Some(&bias), out: &mut out }]);
    assert!(matches!(short, Err(DeviceError::Shape { .. })));
    let other = matrix(&mut random, Dtype::BF16, 4, 32);
    assert!(
        cpu.linear(&inputs, &mut [Product { weight: &other, bias: None, out: &mut out }]).is_err()
    );
    assert!(Matrix::new(Dtype::BF16, 4, 64, weight.data.slice(0..100).unwrap()).is_err());
    assert!(Matrix::new(Dtype::Q4K, 1, 128, weight.data.slice(0..72).unwrap()).is_err());
    assert!(Matrix::new(Dtype::I32, 1, 16, weight.data.slice(0..64).unwrap()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dequantized_rows_agree_with_the_reference_decoder(seed: u64, rows in 1usize..9, blocks in 1usize..4) {
        for dtype in dtypes() {
            let table = matrix(&mut OperandRng::new(seed), dtype, rows, blocks * dtype.block_elements().max(8));
            let ids: Vec<u32> = (0..rows as u32).rev().collect();
            let plain: Vec<f64> = decoded(&table).into_iter().rev().flatten().collect();
            for cpu in cpus() {
                let mut out = vec![0f32; rows * table.cols];
                cpu.embed(&table, &ids, &mut out).unwrap();
                for (a, b) in out.iter().zip(&plain) {
                    prop_assert!((f64::from(*a) - b).abs() <= 1e-6 * b.abs() + 1e-6, "{dtype:?}: {a} {b}");
                }
                prop_assert!(cpu.embed(&table, &[rows as u32], &mut out[..table.cols]).is_err());
            }
        }
    }

    #[test]
    fn q8_0_quantization_rounds_to_nearest(seed: u64, blocks in 1usize..300) {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let source = matrix(&mut OperandRng::new(seed), dtype, 1, blocks * 32);
            let exact = decoded(&source).remove(0);
            let mut first: Option<Vec<u8>> = None;
            for cpu in cpus() {
                let mut out = vec![0u8; blocks * 34];
                cpu.quantize_int8(dtype, &source.data, &mut out).unwrap();
                let back = reference::decode_row(Dtype::Q8_0, &out, blocks * 32).unwrap();
                for (block, (a, b)) in exact.chunks(32).zip(back.chunks(32)).enumerate() {
                    let max_abs = a.iter().fold(0f64, |m, x| m.max(x.abs()));
                    // Half a quantization step, plus the rounding of the scale to f16.
                    let tolerance = max_abs / 127.0 * 0.57;
                    let bad = a.iter().zip(b).find(|(a, b)| (*a - *b).abs() > tolerance);
                    prop_assert!(bad.is_none(), "{dtype:?} block {block}: {bad:?} tolerance {tolerance}");
                }
                prop_assert!(first.get_or_insert_with(|| out.clone()) == &out, "{dtype:?} {}", cpu.kernel_set());
            }
        }
    }
}
