//! Operations on every element, and rows by their numbers.

use super::{GpuEpilogue, GpuIndices, on, over};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{ElementwiseArgs, GatherArgs};
use crate::cuda::{Buffer, Gpu, Kernel};

impl Gpu {
    /// gate = silu(gate) * up, elementwise. Both have the same length.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn silu_mul(
        &self,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("silu_mul: up", Kernel::SiluMul, gate, Some(up), epilogue)
    }

    /// gate = gelu(gate) * up (erf), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn gelu_mul(
        &self,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_mul: up", Kernel::GeluMul, gate, Some(up), epilogue)
    }

    /// gate = gelu(gate) * up (tanh), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn gelu_tanh_mul(
        &self,
        gate: &mut Buffer<f32>,
        up: &Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_tanh_mul: up", Kernel::GeluTanhMul, gate, Some(up), epilogue)
    }

    /// x = x + y, elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or the driver's error.
    pub fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), DeviceError> {
        self.elementwise("add: y", Kernel::Add, x, Some(y), None)
    }

    /// x = x / (1 + e^-x).
    ///
    /// # Errors
    /// The driver's error.
    pub fn silu(
        &self,
        x: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("silu", Kernel::Silu, x, None, epilogue)
    }

    /// x = x Phi(x), by the error function.
    ///
    /// # Errors
    /// The driver's error.
    pub fn gelu(
        &self,
        x: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu", Kernel::Gelu, x, None, epilogue)
    }

    /// The tanh approximation of gelu.
    ///
    /// # Errors
    /// The driver's error.
    pub fn gelu_tanh(
        &self,
        x: &mut Buffer<f32>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_tanh", Kernel::GeluTanh, x, None, epilogue)
    }

    /// `out[i, :] = x[rows[i], :]`, rows of `cols` numbers.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::Index`], or the driver's error.
    pub fn gather_rows(
        &self,
        x: &Buffer<f32>,
        cols: usize,
        rows: &GpuIndices,
        out: &mut Buffer<f32>,
    ) -> Result<(), DeviceError> {
        let there = x.len() / cols.max(1);
        expect("gather_rows: x is whole rows", there * cols, x.len())?;
        expect("gather_rows: out is [rows, cols]", rows.len() * cols, out.len())?;
        let numbers = rows.below("row", there)?;
        on(self, x)?;
        on(self, numbers)?;
        on(self, out)?;
        let args = GatherArgs {
            x: x.address(),
            rows: numbers.address(),
            out: out.address(),
            count: rows.len() as i64,
            cols: cols as i64,
        };
        // SAFETY: sizes and the largest row number were checked.
        Ok(unsafe { self.launch(Kernel::GatherRows, over(out.len()), &args) }?)
    }

    fn elementwise(
        &self,
        what: &'static str,
        kernel: Kernel,
        x: &mut Buffer<f32>,
        y: Option<&Buffer<f32>>,
        epilogue: Option<GpuEpilogue>,
    ) -> Result<(), DeviceError> {
        expect(what, x.len(), y.map_or(x.len(), Buffer::len))?;
        on(self, x)?;
        y.map_or(Ok(()), |y| on(self, y))?;
        let (y, count) = (y.map_or(0, Buffer::address), x.len());
        GpuEpilogue::fill(epilogue, self, x, |epilogue| {
            let args = ElementwiseArgs { x: x.address(), y, epilogue, count: count as i64 };
            // SAFETY: operands and what is epilogue have `count` numbers, on this GPU; x is borrowed
            // exclusively.
            Ok(unsafe { self.launch(kernel, over(count), &args) }?)
        })
    }
}
