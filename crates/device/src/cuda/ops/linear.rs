//! Products of activations with weight matrices.

use checkpoint::Dtype;

use super::{GpuMatrix, GpuPackedActivations, blocks, on, size};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{LinearArgs, PRODUCTS_MAX, ProductArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// One product: out = inputs weight^T + bias.
pub struct GpuProduct<'a> {
    /// [rows, cols]
    pub weight: &'a GpuMatrix,
    /// `[rows]`
    pub bias: Option<&'a Buffer<f32>>,
    /// [tokens, rows]
    pub out: &'a mut Buffer<f32>,
}

/// How a product is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LinearLaunch {
    kernel: Kernel,
    /// Rows of weights and tokens that a block has.
    rows: usize,
    tokens: usize,
    /// Whether the grid's x are tokens, so that blocks side by side share weights.
    tokens_first: bool,
    row_bytes: usize,
    aligned: bool,
    x: u64,
}

impl Gpu {
    /// Queues all products of the same inputs, those alike in one launch.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::DtypeUnsupported`], [`DeviceError::ActivationDtypeMissing`]
    /// (before anything is queued), or the driver's error.
    pub fn linear(
        &self,
        inputs: &GpuPackedActivations,
        products: &mut [GpuProduct<'_>],
    ) -> Result<(), DeviceError> {
        let launches = products
            .iter()
            .map(|product| self.choose_launch(inputs, product))
            .collect::<Result<Vec<_>, _>>()?;
        if inputs.tokens() == 0 {
            return Ok(());
        }
        let mut done = vec![false; products.len()];
        while let Some(first) = done.iter().position(|done| !done) {
            let alike: Vec<usize> = (first..products.len())
                .filter(|&i| !done[i] && launches[i] == launches[first])
                .take(PRODUCTS_MAX)
                .collect();
            self.launch_group(inputs, launches[first], &alike, products)?;
            alike.iter().for_each(|&i| done[i] = true);
        }
        Ok(())
    }

    /// How the product is computed, if everything fits.
    fn choose_launch(
        &self,
        inputs: &GpuPackedActivations,
        product: &GpuProduct,
    ) -> Result<LinearLaunch, DeviceError> {
        let weight = product.weight;
        weight.check()?;
        expect("linear: the weight's columns", inputs.cols(), weight.cols)?;
        expect("linear: out is [tokens, rows]", inputs.tokens() * weight.rows, product.out.len())?;
        expect("linear: bias", weight.rows, product.bias.map_or(weight.rows, Buffer::len))?;
        self.same("a weight", weight.data.gpu())?;
        on(self, product.out)?;
        product.bias.map_or(Ok(()), |bias| on(self, bias))?;
        let (aligned, tokens) = (weight.is_aligned(), inputs.tokens());
        let (kernel, rows, per_block, tokens_first) = if inputs.forms().rounds(weight.dtype) {
            by_tensor_cores(tokens, aligned)
        } else {
            let (kernel, rows, per_block) = plain(weight.dtype, tokens, aligned)?;
            (kernel, rows, per_block, false)
        };
        let x = inputs.address(self, weight.dtype)?;
        Ok(LinearLaunch {
            kernel,
            rows,
            tokens: per_block,
            tokens_first,
            row_bytes: weight.row_bytes(),
            aligned,
            x,
        })
    }

    /// One launch for products that have a plan in common.
    fn launch_group(
        &self,
        inputs: &GpuPackedActivations,
        plan: LinearLaunch,
        alike: &[usize],
        products: &mut [GpuProduct],
    ) -> Result<(), DeviceError> {
        let mut args = LinearArgs {
            products: [ProductArgs::default(); PRODUCTS_MAX],
            x: plan.x,
            x_stride: inputs.stride() as i64,
            row_bytes: plan.row_bytes as i64,
            count: alike.len() as i32,
            tokens: size("linear: tokens", inputs.tokens())?,
            cols: size("linear: columns", inputs.cols())?,
            aligned: i32::from(plan.aligned),
        };
        let mut rows_blocks = 0;
        for (to, &index) in args.products.iter_mut().zip(alike) {
            let GpuProduct { weight, bias, out } = &mut products[index];
            *to = ProductArgs {
                weight: weight.data.address(),
                bias: bias.map_or(0, Buffer::address),
                out: out.address(),
                rows: weight.rows as i64,
                first_block: rows_blocks as i64,
            };
            rows_blocks += weight.rows.div_ceil(plan.rows);
        }
        let token_blocks = inputs.tokens().div_ceil(plan.tokens);
        let grid = if plan.tokens_first {
            blocks(token_blocks, rows_blocks, 1)
        } else {
            blocks(rows_blocks, token_blocks, 1)
        }?;
        // SAFETY: `choose_launch` has checked every operand's size against the shape that the arguments
        // tell, and that all is on this GPU.
        Ok(unsafe { self.launch(plan.kernel, grid, &args) }?)
    }
}

/// bf16 weights and activations: the kernel, its rows and tokens a block, and whether tokens are
/// the grid's x.
fn by_tensor_cores(tokens: usize, aligned: bool) -> (Kernel, usize, usize, bool) {
    match tokens {
        _ if !aligned => (Kernel::LinearMmaAnywhere, 16, 16, false),
        0..=8 => (Kernel::LinearMma8, 16, 8, false),
        9..=16 => (Kernel::LinearMma16, 16, 16, false),
        17..=32 => (Kernel::LinearMma32, 16, 32, false),
        33..=64 => (Kernel::LinearMma64, 32, 64, false),
        _ => (Kernel::LinearTiles, 128, 128, true),
    }
}

/// f32 activations: the kernel, and its rows and tokens a block.
fn plain(
    dtype: Dtype,
    tokens: usize,
    aligned: bool,
) -> Result<(Kernel, usize, usize), DeviceError> {
    use Kernel::*;
    let (one, several) = match dtype {
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
    let numbers = dtype.block_elements() == 1;
    Ok(if tokens == 1 || (numbers && !aligned) { (one, 16, 1) } else { (several, 32, 8) })
}
