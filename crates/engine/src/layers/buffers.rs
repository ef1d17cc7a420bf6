//! The activations of a pass, allocated once and used by every block in turn.

use checkpoint::ModelConfig;
use device::DeviceError;

use crate::compute::Compute;

/// One buffer for each activation, `[rows_max, width]`.
pub(crate) struct Buffers<C: Compute> {
    /// The residual stream, `[rows, hidden]`.
    pub x: C::Buffer,
    /// What a norm made of it, `[rows, hidden]`.
    pub normed: C::Buffer,
    /// What a part of a block gives back, `[rows, hidden]`.
    pub mixed: C::Buffer,
    /// Queries, `[rows, heads, head_dim]`.
    pub q: C::Buffer,
    /// Keys, `[rows, kv_heads, head_dim]`.
    pub k: C::Buffer,
    /// Values, `[rows, kv_heads, head_dim]`.
    pub v: C::Buffer,
    /// What attention gathered, `[rows, heads, head_dim]`.
    pub attended: C::Buffer,
    /// The MLP's gate, `[rows, intermediate]`.
    pub gate: C::Buffer,
    /// The MLP's other half, `[rows, intermediate]`.
    pub up: C::Buffer,
    /// Activations in the forms that products read.
    pub inputs: C::Inputs,
}

/// How wide the buffers are, in numbers a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    pub hidden: usize,
    pub q: usize,
    pub kv: usize,
    pub intermediate: usize,
}

impl Widths {
    /// The widths of a model.
    pub fn of(config: &ModelConfig) -> Self {
        Widths {
            hidden: config.hidden_size,
            q: config.heads * config.head_dim,
            kv: config.kv_heads * config.head_dim,
            intermediate: config.intermediate_size,
        }
    }
}

impl<C: Compute> Buffers<C> {
    /// Buffers for passes of at most `rows` rows, with inputs in these forms.
    pub fn new(
        compute: &C,
        widths: Widths,
        rows: usize,
        forms: C::Forms,
    ) -> Result<Self, DeviceError> {
        let zeros = |width: usize| compute.buffer(rows * width);
        let Widths { hidden, q, kv, intermediate } = widths;
        Ok(Buffers {
            x: zeros(hidden)?,
            normed: zeros(hidden)?,
            mixed: zeros(hidden)?,
            q: zeros(q)?,
            k: zeros(kv)?,
            v: zeros(kv)?,
            attended: zeros(q)?,
            gate: zeros(intermediate)?,
            up: zeros(intermediate)?,
            inputs: compute.inputs(rows, hidden.max(q).max(intermediate), forms)?,
        })
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        let Buffers { x, normed, mixed, q, k, v, attended, gate, up, inputs } = self;
        let buffers = [x, normed, mixed, q, k, v, attended, gate, up];
        buffers.into_iter().map(C::buffer_bytes).sum::<u64>() + C::inputs_bytes(inputs)
    }
}
