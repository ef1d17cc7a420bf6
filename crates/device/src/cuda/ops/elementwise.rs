//! Operations on every element, and rows by their numbers.

use super::{CardFeed, CardIndices, on, over};
use crate::DeviceError;
use crate::cpu::expect;
use crate::cuda::args::{ElementwiseArgs, GatherArgs};
use crate::cuda::{Card, CardBuffer, Kernel};

impl Card {
    /// gate = silu(gate) * up, elementwise. Both have the same length.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn silu_mul(
        &self,
        gate: &mut CardBuffer<f32>,
        up: &CardBuffer<f32>,
        feed: Option<CardFeed>,
    ) -> Result<(), DeviceError> {
        self.elementwise("silu_mul: up", Kernel::SiluMul, gate, Some(up), feed)
    }

    /// gate = gelu(gate) * up (erf), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn gelu_mul(
        &self,
        gate: &mut CardBuffer<f32>,
        up: &CardBuffer<f32>,
        feed: Option<CardFeed>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_mul: up", Kernel::GeluMul, gate, Some(up), feed)
    }

    /// gate = gelu(gate) * up (tanh), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn gelu_tanh_mul(
        &self,
        gate: &mut CardBuffer<f32>,
        up: &CardBuffer<f32>,
        feed: Option<CardFeed>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_tanh_mul: up", Kernel::GeluTanhMul, gate, Some(up), feed)
    }

    /// x = x + y, elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or what the driver says.
    pub fn add(&self, x: &mut CardBuffer<f32>, y: &CardBuffer<f32>) -> Result<(), DeviceError> {
        self.elementwise("add: y", Kernel::Add, x, Some(y), None)
    }

    /// x = x / (1 + e^-x).
    ///
    /// # Errors
    /// What the driver says.
    pub fn silu(&self, x: &mut CardBuffer<f32>, feed: Option<CardFeed>) -> Result<(), DeviceError> {
        self.elementwise("silu", Kernel::Silu, x, None, feed)
    }

    /// x = x Phi(x), by the error function.
    ///
    /// # Errors
    /// What the driver says.
    pub fn gelu(&self, x: &mut CardBuffer<f32>, feed: Option<CardFeed>) -> Result<(), DeviceError> {
        self.elementwise("gelu", Kernel::Gelu, x, None, feed)
    }

    /// The tanh approximation of gelu.
    ///
    /// # Errors
    /// What the driver says.
    pub fn gelu_tanh(
        &self,
        x: &mut CardBuffer<f32>,
        feed: Option<CardFeed>,
    ) -> Result<(), DeviceError> {
        self.elementwise("gelu_tanh", Kernel::GeluTanh, x, None, feed)
    }

    /// `out[i, :] = x[rows[i], :]`, rows of `cols` numbers.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::Index`], or what the driver says.
    pub fn gather_rows(
        &self,
        x: &CardBuffer<f32>,
        cols: usize,
        rows: &CardIndices,
        out: &mut CardBuffer<f32>,
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
        x: &mut CardBuffer<f32>,
        y: Option<&CardBuffer<f32>>,
        feed: Option<CardFeed>,
    ) -> Result<(), DeviceError> {
        expect(what, x.len(), y.map_or(x.len(), CardBuffer::len))?;
        on(self, x)?;
        y.map_or(Ok(()), |y| on(self, y))?;
        let (y, count) = (y.map_or(0, CardBuffer::address), x.len());
        CardFeed::fill(feed, self, x, |fed| {
            let args = ElementwiseArgs { x: x.address(), y, fed, count: count as i64 };
            // SAFETY: operands and what is fed have `count` numbers, on this card; x is borrowed exclusively.
            Ok(unsafe { self.launch(kernel, over(count), &args) }?)
        })
    }
}
