//! Elementwise operations, and gathering of rows.

use checkpoint::Activation;

use super::activations::with_epilogue;
use super::{IndexList, check_gpu, grid_over};
use crate::DeviceError;
use crate::backend::Epilogue;
use crate::cpu::expect;
use crate::cuda::args::{ElementwiseArgs, GatherArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// `x = activation(x)`.
pub(in crate::cuda) fn activate(
    gpu: &Gpu,
    activation: Activation,
    x: &mut Buffer<f32>,
    epilogue: Epilogue<'_, Gpu>,
) -> Result<(), DeviceError> {
    let kernel = match activation {
        Activation::Silu => Kernel::Silu,
        Activation::Gelu => Kernel::Gelu,
        Activation::GeluTanh => Kernel::GeluTanh,
    };
    elementwise(gpu, kernel, x, None, Some(epilogue))
}

/// `gate = activation(gate) * up`.
pub(in crate::cuda) fn activate_and_multiply(
    gpu: &Gpu,
    activation: Activation,
    gate: &mut Buffer<f32>,
    up: &Buffer<f32>,
    epilogue: Epilogue<'_, Gpu>,
) -> Result<(), DeviceError> {
    let kernel = match activation {
        Activation::Silu => Kernel::SiluMul,
        Activation::Gelu => Kernel::GeluMul,
        Activation::GeluTanh => Kernel::GeluTanhMul,
    };
    elementwise(gpu, kernel, gate, Some(up), Some(epilogue))
}

/// `x += y`.
pub(in crate::cuda) fn add(
    gpu: &Gpu,
    x: &mut Buffer<f32>,
    y: &Buffer<f32>,
) -> Result<(), DeviceError> {
    elementwise(gpu, Kernel::Add, x, Some(y), None)
}

fn elementwise(
    gpu: &Gpu,
    kernel: Kernel,
    x: &mut Buffer<f32>,
    y: Option<&Buffer<f32>>,
    epilogue: Option<Epilogue<'_, Gpu>>,
) -> Result<(), DeviceError> {
    let count = x.len();
    expect("elementwise: both operands", count, y.map_or(count, Buffer::len))?;
    check_gpu(gpu, x)?;
    y.map_or(Ok(()), |y| check_gpu(gpu, y))?;
    let y = y.map_or(0, Buffer::address);
    with_epilogue(gpu, epilogue, x, |epilogue| {
        let args = ElementwiseArgs { x: x.address(), y, epilogue, count: count as i64 };
        // SAFETY: the operands and the epilogue have `count` elements on this GPU; x is borrowed
        // exclusively.
        Ok(unsafe { gpu.launch(kernel, grid_over(count), &args) }?)
    })
}

/// `out[i, :] = x[rows[i], :]`; `x` is `[.., cols]`, `out` becomes `[rows.len(), cols]`.
///
/// # Errors
/// [`DeviceError::Shape`], [`DeviceError::Index`], or the driver's error.
pub(in crate::cuda) fn gather_rows(
    gpu: &Gpu,
    x: &Buffer<f32>,
    cols: usize,
    rows: &IndexList,
    out: &mut Buffer<f32>,
) -> Result<(), DeviceError> {
    let x_rows = x.len() / cols.max(1);
    expect("gather_rows: x is whole rows", x_rows * cols, x.len())?;
    let indices = rows.below("row", x_rows)?;
    check_gpu(gpu, x)?;
    check_gpu(gpu, indices)?;
    check_gpu(gpu, out)?;
    out.resize(rows.len() * cols)?;
    let args = GatherArgs {
        x: x.address(),
        rows: indices.address(),
        out: out.address(),
        count: rows.len() as i64,
        cols: cols as i64,
    };
    // SAFETY: the sizes and the largest row index were checked above.
    Ok(unsafe { gpu.launch(Kernel::GatherRows, grid_over(out.len()), &args) }?)
}
