//! Normalisation of rows.

use super::{THREADS, blocks, on};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::NormArgs;
use crate::cuda::{Card, CardBuffer, Kernel};

/// Rows up to this long, such as heads, are a warp's; longer ones a block's.
const SHORT: usize = 512;

impl Card {
    /// out[t, :] = x[t, :] / sqrt(mean(x[t, :]^2) + eps) * weight, rows as long as `weight`. With rows of one head this is the
    /// per-head q/k norm.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn rms_norm(
        &self,
        x: &CardBuffer<f32>,
        weight: &CardBuffer<f32>,
        eps: f32,
        out: &mut CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        expect("rms_norm: out", x.len(), out.len())?;
        on(self, x)?;
        self.norm([Kernel::RmsNormShort, Kernel::RmsNormLong], x.address(), weight, None, eps, out)
    }

    /// [`Self::rms_norm`] in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn rms_norm_inplace(
        &self,
        x: &mut CardBuffer<f32>,
        weight: &CardBuffer<f32>,
        eps: f32,
    ) -> Result<(), DeviceError> {
        self.norm([Kernel::RmsNormShort, Kernel::RmsNormLong], x.address(), weight, None, eps, x)
    }

    /// out[t, :] = (x[t, :] - mean) / sqrt(variance + eps) * weight + bias.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn layer_norm(
        &self,
        x: &CardBuffer<f32>,
        weight: &CardBuffer<f32>,
        bias: Option<&CardBuffer<f32>>,
        eps: f32,
        out: &mut CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        expect("layer_norm: out", x.len(), out.len())?;
        expect("layer_norm: bias", weight.len(), bias.map_or(weight.len(), CardBuffer::len))?;
        on(self, x)?;
        bias.map_or(Ok(()), |bias| on(self, bias))?;
        self.norm([Kernel::LayerNormShort, Kernel::LayerNormLong], x.address(), weight, bias, eps, out)
    }

    /// `x` is as long as `out`, and may be it.
    fn norm(
        &self,
        [short, long]: [Kernel; 2],
        x: u64,
        weight: &CardBuffer<f32>,
        bias: Option<&CardBuffer<f32>>,
        eps: f32,
        out: &mut CardBuffer<f32>,
    ) -> Result<(), DeviceError> {
        let cols = weight.len().max(1);
        let rows = out.len() / cols;
        expect("norm: x is whole rows", rows * cols, out.len())?;
        on(self, weight)?;
        on(self, out)?;
        let args = NormArgs {
            x,
            weight: weight.address(),
            bias: bias.map_or(0, CardBuffer::address),
            out: out.address(),
            rows: rows as i64,
            cols: cols as i64,
            eps,
            unused: 0,
        };
        let (kernel, rows_a_block) = if cols <= SHORT { (short, THREADS as usize / 32) } else { (long, 1) };
        // SAFETY: x and out are [rows, cols], weight and bias [cols], on this card, as was checked.
        Ok(unsafe { self.launch(kernel, blocks(rows.div_ceil(rows_a_block), 1, 1)?, &args) }?)
    }
}
