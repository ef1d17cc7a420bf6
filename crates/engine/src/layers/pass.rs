//! What the parts of one block share in one pass.

use device::DeviceError;

use super::Arithmetic;
use crate::compute::{Compute, Feed, Heads};

/// One forward pass on its way through a block.
pub(crate) struct Pass<'a, C: Compute> {
    pub arithmetic: Arithmetic<'a, C>,
    pub rope: &'a C::Rope,
    pub rows: C::Rows<'a>,
    /// How many rows there are.
    pub count: usize,
    /// Keys and values of this block.
    pub kv: &'a mut C::Kv,
    /// Features of the residual stream.
    pub hidden: usize,
}

impl<C: Compute> Pass<'_, C> {
    /// The device.
    pub fn compute(&self) -> &C {
        self.arithmetic.compute
    }

    /// Numbers of the residual stream, `[rows, hidden]`.
    pub fn numbers(&self) -> usize {
        self.count * self.hidden
    }

    /// Stores the rows' keys and values, both `[rows, kv_heads, head_dim]`, for this block.
    pub fn remember(&mut self, k: &C::Buffer, v: &C::Buffer) -> Result<(), DeviceError> {
        self.arithmetic.compute.write_kv(self.kv, &self.rows, k, v)
    }

    /// What each row's queries, `[rows, heads, head_dim]`, gather from its sequence.
    pub fn attend(
        &mut self,
        heads: &Heads,
        q: &C::Buffer,
        out: &mut C::Buffer,
        feed: Feed<C>,
    ) -> Result<(), DeviceError> {
        self.arithmetic.compute.attention(self.kv, &mut self.rows, heads, q, out, feed)
    }
}
