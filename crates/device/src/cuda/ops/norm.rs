//! Normalization of rows.

use super::{GpuEpilogue, THREADS, blocks, on};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{EpilogueArgs, NormArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

/// NormRows up to this long, such as heads, are a warp's; longer ones a block's.
const SHORT: usize = 512;

/// The kernels of each norm, for short and for long rows.
const RMS: [Kernel; 2] = [Kernel::RmsNormShort, Kernel::RmsNormLong];
const LAYER: [Kernel; 2] = [Kernel::LayerNormShort, Kernel::LayerNormLong];

/// What is normalized, and how. `y` is added before; 0: nothing is.
struct NormRows<'a> {
    x: u64,
    y: u64,
    weight: &'a Buffer<f32>,
    bias: Option<&'a Buffer<f32>>,
    eps: f32,
}

impl Gpu {
    /// out[t, :] = x[t, :] / sqrt(mean(x[t, :]^2) + eps) * weight, rows as long as `weight`. With
    /// rows of one head this is the per-head q/k norm.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn rms_norm(
        &self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        expect("rms_norm: out", x.len(), out.len())?;
        on(self, x)?;
        let rows = NormRows { x: x.address(), y: 0, weight, bias: None, eps };
        GpuEpilogue::fill(epilogue, self, out, |epilogue| self.norm(RMS, rows, out, epilogue))
    }

    /// x = x + y; out = [`Self::rms_norm`] of it.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn add_rms_norm(
        &self,
        x: &mut Buffer<f32>,
        y: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        expect("add_rms_norm: y", x.len(), y.len())?;
        expect("add_rms_norm: out", x.len(), out.len())?;
        on(self, x)?;
        on(self, y)?;
        let rows = NormRows { x: x.address(), y: y.address(), weight, bias: None, eps };
        GpuEpilogue::fill(epilogue, self, out, |epilogue| self.norm(RMS, rows, out, epilogue))
    }

    /// [`Self::rms_norm`] in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn rms_norm_inplace(
        &self,
        x: &mut Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
    ) -> Result<(), DeviceError> {
        let rows = NormRows { x: x.address(), y: 0, weight, bias: None, eps };
        self.norm(RMS, rows, x, EpilogueArgs::default())
    }

    /// out[t, :] = (x[t, :] - mean) / sqrt(variance + eps) * weight + bias.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn layer_norm(
        &self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        bias: Option<&Buffer<f32>>,
        eps: f32,
        out: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        expect("layer_norm: out", x.len(), out.len())?;
        expect("layer_norm: bias", weight.len(), bias.map_or(weight.len(), Buffer::len))?;
        on(self, x)?;
        bias.map_or(Ok(()), |bias| on(self, bias))?;
        let rows = NormRows { x: x.address(), y: 0, weight, bias, eps };
        GpuEpilogue::fill(epilogue, self, out, |epilogue| self.norm(LAYER, rows, out, epilogue))
    }

    /// x and y are as long as `out`, and x may be it.
    fn norm(
        &self,
        [short, long]: [Kernel; 2],
        NormRows { x, y, weight, bias, eps }: NormRows,
        out: &Buffer<f32>,
        epilogue: EpilogueArgs,
    ) -> Result<(), DeviceError> {
        let cols = weight.len().max(1);
        let rows = out.len() / cols;
        expect("norm: x is whole rows", rows * cols, out.len())?;
        on(self, weight)?;
        on(self, out)?;
        let args = NormArgs {
            x,
            y,
            weight: weight.address(),
            bias: bias.map_or(0, Buffer::address),
            out: out.address(),
            epilogue,
            rows: rows as i64,
            cols: cols as i64,
            eps,
            unused: 0,
        };
        let (kernel, rows_a_block) =
            if cols <= SHORT { (short, THREADS as usize / 32) } else { (long, 1) };
        // SAFETY: x, y, out and what is epilogue are [rows, cols], weight and bias [cols], on this GPU,
        // as was checked; the callers have borrowed exclusively what is written.
        Ok(unsafe { self.launch(kernel, blocks(rows.div_ceil(rows_a_block), 1, 1)?, &args) }?)
    }
}
