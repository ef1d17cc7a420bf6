//! Checks of matrix products: against reference arithmetic in f64, and for bit-identical results
//! across batch sizes.

use std::sync::Arc;

use checkpoint::Dtype;

use super::operands::{DTYPES, OperandRng, TestMatrix, download, unwritten, upload};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::{Precision, Product};
use crate::cpu::reference;
use crate::cuda::ops::linear::linear;
use crate::cuda::{Buffer, Gpu, GpuActivationDtypes, GpuPackedActivations};

/// Shapes of weights: rows, quantization blocks per row, and additional columns for unquantized
/// dtypes (whose blocks count as 32 columns).
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 0), (17, 5, 8), (70, 9, 20), (33, 36, 0)];

/// Token counts just below and above the thresholds at which another kernel is chosen.
const TOKENS: [usize; 9] = [1, 2, 8, 9, 17, 33, 64, 65, 130];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for dtype in DTYPES {
        let name = dtype.name().to_lowercase();
        for precision in precisions(dtype) {
            let suffix = if *precision == Precision::F32 { "exact" } else { "native" };
            checks.push(Check::new(format!("linear {name} {suffix}"), move |gpu, _| {
                agrees_with_plain(gpu, dtype, *precision)
            }));
            checks.push(Check::new(format!("linear {name} {suffix}, batches"), move |gpu, _| {
                is_batch_invariant(gpu, dtype, *precision)
            }));
        }
    }
    checks.push(Check::new("linear, products of several dtypes at once", |gpu, _| {
        several_products_at_once(gpu)
    }));
    checks
}

/// The precisions with different results for weights of this dtype.
fn precisions(dtype: Dtype) -> &'static [Precision] {
    if dtype == Dtype::BF16 { &[Precision::F32, Precision::Native] } else { &[Precision::F32] }
}

fn cols_of(dtype: Dtype, blocks: usize, ragged: usize) -> usize {
    let block = dtype.block_elements().max(32);
    blocks * block.min(64) * block.div_ceil(64)
        + if dtype.block_elements() == 1 { ragged } else { 0 }
}

fn multiply(
    gpu: &Gpu,
    precision: Precision,
    weight: &TestMatrix,
    bias: Option<&Arc<Buffer<f32>>>,
    x: &[f32],
) -> Result<Vec<f32>, DeviceError> {
    let (weight, tokens) = (&weight.gpu, x.len() / weight.gpu.cols);
    let dtypes = GpuActivationDtypes::for_weights(precision, [weight.dtype]);
    let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
    inputs.pack(gpu, &upload(gpu, x)?, tokens, weight.cols, dtypes)?;
    let mut out = unwritten(gpu, tokens * weight.rows)?;
    linear(gpu, &inputs, &mut [Product { weight, bias, out: &mut out }])?;
    download(&out)
}

/// The expected value of each output element, and its tolerance for rounding errors.
fn expected(
    precision: Precision,
    weight: &TestMatrix,
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<(f64, f64)> {
    let rounds = precision != Precision::F32 && weight.gpu.dtype == Dtype::BF16;
    let round = |x: &f32| if rounds { reference::round_bf16(*x) } else { f64::from(*x) };
    let x: Vec<Vec<f64>> =
        x.chunks_exact(weight.gpu.cols).map(|x| x.iter().map(round).collect()).collect();
    let w = weight.decoded();
    let magnitudes = |rows: &[Vec<f64>]| {
        rows.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect::<Vec<_>>()
    };
    let (y, size) =
        (reference::linear(&x, &w), reference::linear(&magnitudes(&x), &magnitudes(&w)));
    let of_row = |row: usize| bias.map_or(0.0, |bias| f64::from(bias[row]));
    let token = |(y, size): (Vec<f64>, Vec<f64>)| {
        let elements = y.into_iter().zip(size).enumerate();
        elements
            .map(|(row, (y, size))| (y + of_row(row), 1e-5 * (size + of_row(row).abs()) + 1e-6))
            .collect::<Vec<_>>()
    };
    y.into_iter().zip(size).flat_map(token).collect()
}

fn compare(report: &mut CheckReport, found: &[f32], expected: &[(f64, f64)]) {
    for (found, (expected, tolerance)) in found.iter().zip(expected) {
        report.value(f64::from(*found), *expected, *tolerance);
    }
}

/// Compares products with reference arithmetic in f64, for all shapes, with and without a bias.
fn agrees_with_plain(
    gpu: &Gpu,
    dtype: Dtype,
    precision: Precision,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(dtype as u64));
    for (index, (rows, blocks, ragged)) in SHAPES.into_iter().enumerate() {
        let cols = cols_of(dtype, blocks, ragged);
        let weight = TestMatrix::random(gpu, &mut rng, dtype, rows, cols)?;
        let bias = rng.normals(rows);
        let gpu_bias = Arc::new(upload(gpu, &bias)?);
        for tokens in [1, [3, 12, 70, 20][index]] {
            let x = rng.normals(tokens * weight.gpu.cols);
            let has_bias = tokens > 1;
            let found = multiply(gpu, precision, &weight, has_bias.then_some(&gpu_bias), &x)?;
            let expected = expected(precision, &weight, has_bias.then_some(&bias), &x);
            compare(&mut report, &found, &expected);
        }
    }
    Ok(report)
}

/// Checks that the result of a token is bit-identical in batches of every size.
fn is_batch_invariant(
    gpu: &Gpu,
    dtype: Dtype,
    precision: Precision,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(99));
    for (rows, blocks) in [(35, 5), (20, 37)] {
        let weight = TestMatrix::random(gpu, &mut rng, dtype, rows, cols_of(dtype, blocks, 8))?;
        let cols = weight.gpu.cols;
        let tokens_max = TOKENS[TOKENS.len() - 1];
        let x = rng.normals(tokens_max * cols);
        let all = multiply(gpu, precision, &weight, None, &x)?;
        for tokens in TOKENS {
            // The last tokens of the full batch, so that each token has a different index.
            let first = tokens_max - tokens;
            let found = multiply(gpu, precision, &weight, None, &x[first * cols..])?;
            report.same_bits(&found, &all[first * rows..]);
        }
    }
    Ok(report)
}

/// Checks that several products of one input in one call, with weights of mixed dtypes, equal those
/// of separate calls.
fn several_products_at_once(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng, cols) = (CheckReport::new(), OperandRng::new(7), 512);
    let dtypes =
        [Dtype::BF16, Dtype::Q8_0, Dtype::BF16, Dtype::F16, Dtype::BF16, Dtype::BF16, Dtype::BF16];
    let rows = [40, 8, 16, 33, 1, 300, 5];
    let weights = dtypes
        .iter()
        .zip(rows)
        .map(|(dtype, rows)| TestMatrix::random(gpu, &mut rng, *dtype, rows, cols));
    let weights = weights.collect::<Result<Vec<_>, _>>()?;
    for tokens in [1, 100] {
        let x = rng.normals(tokens * cols);
        let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
        let activations = GpuActivationDtypes::for_weights(Precision::Native, dtypes);
        inputs.pack(gpu, &upload(gpu, &x)?, tokens, cols, activations)?;
        let mut outs =
            rows.iter().map(|rows| unwritten(gpu, tokens * rows)).collect::<Result<Vec<_>, _>>()?;
        let product = |(weight, out)| Product { weight, bias: None, out };
        let mut products: Vec<_> =
            weights.iter().map(|w| &w.gpu).zip(&mut outs).map(product).collect();
        linear(gpu, &inputs, &mut products)?;
        for (weight, out) in weights.iter().zip(&outs) {
            let alone = multiply(gpu, Precision::Native, weight, None, &x)?;
            report.same_bits(&download(out)?, &alone);
        }
    }
    Ok(report)
}
