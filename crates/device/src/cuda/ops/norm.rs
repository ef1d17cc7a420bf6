//! RMSNorm and LayerNorm.

use super::activations::with_epilogue;
use super::{THREADS, check_gpu, grid};
use crate::DeviceError;
use crate::backend::{Epilogue, NormWeights};
use crate::cpu::expect;
use crate::cuda::args::{EpilogueArgs, NormArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// Largest number of elements of a row that one warp normalizes, such as a head; a longer row takes
/// one thread block.
const SHORT_ROW: usize = 512;

/// The kernels of a norm: for short rows and for long rows.
const RMS_NORM: [Kernel; 2] = [Kernel::RmsNormShort, Kernel::RmsNormLong];
const LAYER_NORM: [Kernel; 2] = [Kernel::LayerNormShort, Kernel::LayerNormLong];

/// Operands of a norm kernel.
struct NormOperands<'a> {
    /// Device address of the input.
    x: u64,
    /// Device address of an operand that is added to `x` before the norm; 0: none.
    y: u64,
    norm: NormWeights<'a, Gpu>,
}

/// `out[t, :] = x[t, :] / sqrt(mean(x[t, :]^2) + eps) * weight`, in rows as long as `weight`. If a
/// row is one head, this is the per-head q/k norm.
///
/// # Errors
/// [`DeviceError::Shape`], or the driver's error; the same for all norms.
pub(in crate::cuda) fn rms_norm(
    gpu: &Gpu,
    x: &Buffer<f32>,
    norm: NormWeights<'_, Gpu>,
    out: &mut Buffer<f32>,
    epilogue: Option<Epilogue<'_, Gpu>>,
) -> Result<(), DeviceError> {
    check_gpu(gpu, x)?;
    out.resize(x.len())?;
    let operands = NormOperands { x: x.address(), y: 0, norm };
    with_epilogue(gpu, epilogue, out, |epilogue| launch(gpu, RMS_NORM, operands, out, epilogue))
}

/// `x += y; out =` [`rms_norm`] of x.
pub(in crate::cuda) fn add_rms_norm(
    gpu: &Gpu,
    x: &mut Buffer<f32>,
    y: &Buffer<f32>,
    norm: NormWeights<'_, Gpu>,
    out: &mut Buffer<f32>,
    epilogue: Option<Epilogue<'_, Gpu>>,
) -> Result<(), DeviceError> {
    expect("add_rms_norm: y", x.len(), y.len())?;
    check_gpu(gpu, x)?;
    check_gpu(gpu, y)?;
    out.resize(x.len())?;
    let operands = NormOperands { x: x.address(), y: y.address(), norm };
    with_epilogue(gpu, epilogue, out, |epilogue| launch(gpu, RMS_NORM, operands, out, epilogue))
}

/// [`rms_norm`] in place.
pub(in crate::cuda) fn rms_norm_inplace(
    gpu: &Gpu,
    x: &mut Buffer<f32>,
    norm: NormWeights<'_, Gpu>,
) -> Result<(), DeviceError> {
    let operands = NormOperands { x: x.address(), y: 0, norm };
    launch(gpu, RMS_NORM, operands, x, EpilogueArgs::default())
}

/// `out[t, :] = (x[t, :] - mean) / sqrt(variance + eps) * weight + bias`.
pub(in crate::cuda) fn layer_norm(
    gpu: &Gpu,
    x: &Buffer<f32>,
    norm: NormWeights<'_, Gpu>,
    out: &mut Buffer<f32>,
    epilogue: Option<Epilogue<'_, Gpu>>,
) -> Result<(), DeviceError> {
    let bias_len = norm.bias.map_or(norm.weight.len(), |bias| bias.len());
    expect("layer_norm: bias", norm.weight.len(), bias_len)?;
    check_gpu(gpu, x)?;
    norm.bias.map_or(Ok(()), |bias| check_gpu(gpu, bias))?;
    out.resize(x.len())?;
    let operands = NormOperands { x: x.address(), y: 0, norm };
    with_epilogue(gpu, epilogue, out, |epilogue| launch(gpu, LAYER_NORM, operands, out, epilogue))
}

/// Launches the kernel for the row length. `x` and `y` must have the length of `out`; `x` may be
/// `out`.
fn launch(
    gpu: &Gpu,
    [short, long]: [Kernel; 2],
    NormOperands { x, y, norm }: NormOperands<'_>,
    out: &Buffer<f32>,
    epilogue: EpilogueArgs,
) -> Result<(), DeviceError> {
    let cols = norm.weight.len().max(1);
    let rows = out.len() / cols;
    expect("norm: x is whole rows", rows * cols, out.len())?;
    check_gpu(gpu, norm.weight)?;
    check_gpu(gpu, out)?;
    let args = NormArgs {
        x,
        y,
        weight: norm.weight.address(),
        bias: norm.bias.map_or(0, |bias| bias.address()),
        out: out.address(),
        epilogue,
        rows: rows as i64,
        cols: cols as i64,
        eps: norm.eps,
        unused: 0,
    };
    let (kernel, rows_per_block) =
        if cols <= SHORT_ROW { (short, THREADS as usize / 32) } else { (long, 1) };
    // SAFETY: x, y, out and the epilogue are [rows, cols], weight and bias [cols], on this GPU, as
    // checked; the callers borrow exclusively the buffers that the kernel writes.
    Ok(unsafe { gpu.launch(kernel, grid(rows.div_ceil(rows_per_block), 1, 1)?, &args) }?)
}
