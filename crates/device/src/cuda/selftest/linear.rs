use checkpoint::Dtype;

use super::operands::{DTYPES, OperandRng, TestMatrix, downloaded, unwritten, uploaded};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::Precision;
use crate::cpu::plain;
use crate::cuda::{Buffer, Gpu, GpuActivationDtypes, GpuPackedActivations, GpuProduct};

/// Rows, blocks of columns, and columns beside them where rows need not be whole blocks.
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 0), (17, 5, 8), (70, 9, 20), (33, 36, 0)];

/// Around every size at which another kernel takes over.
const TOKENS: [usize; 9] = [1, 2, 8, 9, 17, 33, 64, 65, 130];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for dtype in DTYPES {
        let name = dtype.name().to_lowercase();
        for precision in precisions(dtype) {
            let form = if *precision == Precision::F32 { "exact" } else { "native" };
            checks.push(Check::new(format!("linear {name} {form}"), move |gpu, _| {
                agrees(gpu, dtype, *precision)
            }));
            checks.push(Check::new(format!("linear {name} {form}, batches"), move |gpu, _| {
                is_batch_invariant(gpu, dtype, *precision)
            }));
        }
    }
    checks.push(Check::new("linear, products of several dtypes at once", |gpu, _| {
        several_at_once(gpu)
    }));
    checks
}

/// The precisions that differ for weights of this dtype.
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
    bias: Option<&Buffer<f32>>,
    x: &[f32],
) -> Result<Vec<f32>, DeviceError> {
    let (cols, rows) = (weight.gpu.cols, weight.gpu.rows);
    let tokens = x.len() / cols;
    let x = uploaded(gpu, x)?;
    let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
    inputs.prepare(
        gpu,
        &x,
        tokens,
        cols,
        GpuActivationDtypes::for_weights(precision, [weight.gpu.dtype]),
    )?;
    let mut out = unwritten(gpu, tokens * rows)?;
    gpu.linear(&inputs, &mut [GpuProduct { weight: &weight.gpu, bias, out: &mut out }])?;
    downloaded(&out)
}

/// What the product should be, and what rounding may do, element by element.
fn expected(
    precision: Precision,
    weight: &TestMatrix,
    bias: Option<&[f32]>,
    x: &[f32],
) -> Vec<(f64, f64)> {
    let rounds = precision != Precision::F32 && weight.gpu.dtype == Dtype::BF16;
    let round = |x: &f32| if rounds { plain::round_bf16(*x) } else { f64::from(*x) };
    let x: Vec<Vec<f64>> =
        x.chunks_exact(weight.gpu.cols).map(|x| x.iter().map(round).collect()).collect();
    let w = weight.decoded();
    let sizes = |rows: &[Vec<f64>]| {
        rows.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect::<Vec<_>>()
    };
    let (y, size) = (plain::linear(&x, &w), plain::linear(&sizes(&x), &sizes(&w)));
    let of_row = |row: usize| bias.map_or(0.0, |bias| f64::from(bias[row]));
    let token = |(y, size): (Vec<f64>, Vec<f64>)| {
        let numbers = y.into_iter().zip(size).enumerate();
        numbers
            .map(|(row, (y, size))| (y + of_row(row), 1e-5 * (size + of_row(row).abs()) + 1e-6))
            .collect::<Vec<_>>()
    };
    y.into_iter().zip(size).flat_map(token).collect()
}

fn compare(report: &mut CheckReport, found: &[f32], expected: &[(f64, f64)]) {
    for (found, (expected, tolerance)) in found.iter().zip(expected) {
        report.number(f64::from(*found), *expected, *tolerance);
    }
}

/// Against the plain product, for all shapes, with and without a bias.
fn agrees(gpu: &Gpu, dtype: Dtype, precision: Precision) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(dtype as u64));
    for (index, (rows, blocks, ragged)) in SHAPES.into_iter().enumerate() {
        let weight =
            TestMatrix::random(gpu, &mut random, dtype, rows, cols_of(dtype, blocks, ragged))?;
        let bias = random.normals(rows);
        let bias_on_gpu = uploaded(gpu, &bias)?;
        for tokens in [1, [3, 12, 70, 20][index]] {
            let x = random.normals(tokens * weight.gpu.cols);
            let with_bias = tokens > 1;
            let found = multiply(gpu, precision, &weight, with_bias.then_some(&bias_on_gpu), &x)?;
            compare(
                &mut report,
                &found,
                &expected(precision, &weight, with_bias.then_some(&bias), &x),
            );
        }
    }
    Ok(report)
}

/// A token's bits alone, and in batches of every size.
fn is_batch_invariant(
    gpu: &Gpu,
    dtype: Dtype,
    precision: Precision,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(99));
    for (rows, blocks) in [(35, 5), (20, 37)] {
        let weight = TestMatrix::random(gpu, &mut random, dtype, rows, cols_of(dtype, blocks, 8))?;
        let cols = weight.gpu.cols;
        let most = TOKENS[TOKENS.len() - 1];
        let x = random.normals(most * cols);
        let all = multiply(gpu, precision, &weight, None, &x)?;
        for tokens in TOKENS {
            // The last ones, so that a token stands in another place than before.
            let first = most - tokens;
            let found = multiply(gpu, precision, &weight, None, &x[first * cols..])?;
            report.same_bits(&found, &all[first * rows..]);
        }
    }
    Ok(report)
}

/// Products of one input in one call, in any mixture of dtypes, are those of calls of their own.
fn several_at_once(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random, cols) = (CheckReport::new(), OperandRng(7), 512);
    let dtypes =
        [Dtype::BF16, Dtype::Q8_0, Dtype::BF16, Dtype::F16, Dtype::BF16, Dtype::BF16, Dtype::BF16];
    let rows = [40, 8, 16, 33, 1, 300, 5];
    let weights = dtypes
        .iter()
        .zip(rows)
        .map(|(dtype, rows)| TestMatrix::random(gpu, &mut random, *dtype, rows, cols));
    let weights = weights.collect::<Result<Vec<_>, _>>()?;
    for tokens in [1, 100] {
        let x = random.normals(tokens * cols);
        let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
        let forms = GpuActivationDtypes::for_weights(Precision::Native, dtypes);
        inputs.prepare(gpu, &uploaded(gpu, &x)?, tokens, cols, forms)?;
        let mut outs =
            rows.iter().map(|rows| unwritten(gpu, tokens * rows)).collect::<Result<Vec<_>, _>>()?;
        let product = |(weight, out)| GpuProduct { weight, bias: None, out };
        let mut products: Vec<_> =
            weights.iter().map(|w| &w.gpu).zip(&mut outs).map(product).collect();
        gpu.linear(&inputs, &mut products)?;
        for (weight, out) in weights.iter().zip(&outs) {
            report
                .same_bits(&downloaded(out)?, &multiply(gpu, Precision::Native, weight, None, &x)?);
        }
    }
    Ok(report)
}
