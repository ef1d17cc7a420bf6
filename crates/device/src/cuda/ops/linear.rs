//! Matrix products of packed activations with weights.

use std::sync::Arc;

use checkpoint::Dtype;

use super::{GpuPackedActivations, check_gpu, grid, to_i32};
use crate::DeviceError;
use crate::backend::Product;
use crate::cpu::expect;
use crate::cuda::args::{LinearArgs, PRODUCTS_MAX, ProductArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// Launch parameters of a matrix product. Products with equal parameters share a launch.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LinearLaunch {
    tiling: Tiling,
    row_bytes: usize,
    aligned: bool,
    /// Device address of the activations.
    x: u64,
}

/// A kernel, and the output rows and tokens that one thread block computes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tiling {
    kernel: Kernel,
    rows: usize,
    tokens: usize,
    /// Whether grid x runs over tokens, so that adjacent thread blocks read the same weights;
    /// otherwise it runs over rows.
    tokens_first: bool,
}

/// Queues several matrix products of the same activations; up to [`PRODUCTS_MAX`] products with
/// equal launch parameters share a launch.
///
/// # Errors
/// [`DeviceError::Shape`], [`DeviceError::DtypeUnsupported`],
/// [`DeviceError::ActivationDtypeMissing`] (before anything is queued), or the driver's error.
pub(in crate::cuda) fn linear(
    gpu: &Gpu,
    inputs: &GpuPackedActivations,
    products: &mut [Product<'_, Gpu>],
) -> Result<(), DeviceError> {
    let launches = products
        .iter()
        .map(|product| choose_launch(gpu, inputs, product))
        .collect::<Result<Vec<_>, _>>()?;
    for product in products.iter_mut() {
        product.out.resize(inputs.tokens() * product.weight.rows)?;
    }
    if inputs.tokens() == 0 {
        return Ok(());
    }
    let mut done = vec![false; products.len()];
    while let Some(first) = done.iter().position(|done| !done) {
        let group: Vec<usize> = (first..products.len())
            .filter(|&i| !done[i] && launches[i] == launches[first])
            .take(PRODUCTS_MAX)
            .collect();
        launch_group(gpu, inputs, launches[first], &group, products)?;
        group.iter().for_each(|&i| done[i] = true);
    }
    Ok(())
}

/// Checks the operands of a product and chooses its kernel.
fn choose_launch(
    gpu: &Gpu,
    inputs: &GpuPackedActivations,
    product: &Product<'_, Gpu>,
) -> Result<LinearLaunch, DeviceError> {
    let weight = product.weight;
    let bias = product.bias.map(Arc::as_ref);
    weight.check()?;
    expect("linear: the weight's columns", inputs.cols(), weight.cols)?;
    expect("linear: bias is [rows]", weight.rows, bias.map_or(weight.rows, Buffer::len))?;
    gpu.same("a weight", weight.data.gpu())?;
    check_gpu(gpu, product.out)?;
    bias.map_or(Ok(()), |bias| check_gpu(gpu, bias))?;
    let (aligned, tokens) = (weight.is_aligned(), inputs.tokens());
    let tiling = if inputs.dtypes().rounds_for(weight.dtype) {
        mma_tiling(tokens, aligned)
    } else {
        f32_tiling(weight.dtype, tokens, aligned)?
    };
    let x = inputs.address(gpu, weight.dtype)?;
    Ok(LinearLaunch { tiling, row_bytes: weight.row_bytes(), aligned, x })
}

/// Launches the products whose indices are in `group`, which all have the launch parameters
/// `launch`.
fn launch_group(
    gpu: &Gpu,
    inputs: &GpuPackedActivations,
    launch: LinearLaunch,
    group: &[usize],
    products: &mut [Product<'_, Gpu>],
) -> Result<(), DeviceError> {
    let Tiling { kernel, rows, tokens, tokens_first } = launch.tiling;
    let mut args = LinearArgs {
        products: [ProductArgs::default(); PRODUCTS_MAX],
        x: launch.x,
        x_stride: inputs.stride() as i64,
        row_bytes: launch.row_bytes as i64,
        count: group.len() as i32,
        tokens: to_i32("linear: tokens", inputs.tokens())?,
        cols: to_i32("linear: columns", inputs.cols())?,
        aligned: i32::from(launch.aligned),
    };
    let mut row_blocks = 0;
    for (to, &index) in args.products.iter_mut().zip(group) {
        let Product { weight, bias, out } = &mut products[index];
        *to = ProductArgs {
            weight: weight.data.address(),
            bias: bias.map_or(0, |bias| bias.address()),
            out: out.address(),
            rows: weight.rows as i64,
            first_block: row_blocks as i64,
        };
        row_blocks += weight.rows.div_ceil(rows);
    }
    let token_blocks = inputs.tokens().div_ceil(tokens);
    let grid = if tokens_first {
        grid(token_blocks, row_blocks, 1)
    } else {
        grid(row_blocks, token_blocks, 1)
    }?;
    // SAFETY: `choose_launch` has checked the size of every operand against the shapes in the
    // arguments, and that all are on this GPU; `linear` has resized the outputs.
    Ok(unsafe { gpu.launch(kernel, grid, &args) }?)
}

/// Tiling for bf16 weights and bf16 activations, on tensor cores.
fn mma_tiling(tokens: usize, aligned: bool) -> Tiling {
    let (kernel, rows, tokens, tokens_first) = match tokens {
        _ if !aligned => (Kernel::LinearMmaAnywhere, 16, 16, false),
        0..=8 => (Kernel::LinearMma8, 16, 8, false),
        9..=16 => (Kernel::LinearMma16, 16, 16, false),
        17..=32 => (Kernel::LinearMma32, 16, 32, false),
        33..=64 => (Kernel::LinearMma64, 32, 64, false),
        _ => (Kernel::LinearTiles, 128, 128, true),
    };
    Tiling { kernel, rows, tokens, tokens_first }
}

/// Tiling for f32 activations and weights of any dtype, on CUDA cores.
fn f32_tiling(dtype: Dtype, tokens: usize, aligned: bool) -> Result<Tiling, DeviceError> {
    use Kernel::*;
    let (one_token, eight_tokens) = match dtype {
        Dtype::F32 => (LinearF32Tokens1, LinearF32Tokens8),
        Dtype::F16 => (LinearF16Tokens1, LinearF16Tokens8),
        Dtype::BF16 => (LinearBf16Tokens1, LinearBf16Tokens8),
        Dtype::Q8_0 => (LinearQ8_0Tokens1, LinearQ8_0Tokens8),
        Dtype::Q4_0 => (LinearQ4_0Tokens1, LinearQ4_0Tokens8),
        Dtype::Q4_1 => (LinearQ4_1Tokens1, LinearQ4_1Tokens8),
        Dtype::Q5_0 => (LinearQ5_0Tokens1, LinearQ5_0Tokens8),
        Dtype::Q5_1 => (LinearQ5_1Tokens1, LinearQ5_1Tokens8),
        Dtype::Q4K => (LinearQ4KTokens1, LinearQ4KTokens8),
        Dtype::Q5K => (LinearQ5KTokens1, LinearQ5KTokens8),
        Dtype::Q6K => (LinearQ6KTokens1, LinearQ6KTokens8),
        dtype => return Err(DeviceError::DtypeUnsupported { dtype: dtype.name() }),
    };
    let unquantized = dtype.block_elements() == 1;
    Ok(if tokens == 1 || (unquantized && !aligned) {
        Tiling { kernel: one_token, rows: 16, tokens: 1, tokens_first: false }
    } else {
        Tiling { kernel: eight_tokens, rows: 32, tokens: 8, tokens_first: false }
    })
}
