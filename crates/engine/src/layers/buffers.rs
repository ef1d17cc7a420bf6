//! Activations of a forward pass on one device: allocated once, reused by every layer.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::backend::Backend;

use crate::devices::{DeviceId, ModulePlacement};

/// One buffer for each activation, `[rows_max, width]`.
pub(crate) struct ActivationBuffers<B: Backend> {
    /// The residual stream, `[rows, hidden]`.
    pub x: B::Buffer,
    /// The residual stream after a norm, `[rows, hidden]`.
    pub norm_out: B::Buffer,
    /// Output of a residual branch (attention or MLP), `[rows, hidden]`.
    pub branch_out: B::Buffer,
    /// `[rows, heads, head_dim]`
    pub q: B::Buffer,
    /// `[rows, kv_heads, head_dim]`
    pub k: B::Buffer,
    /// `[rows, kv_heads, head_dim]`
    pub v: B::Buffer,
    /// Output of attention before the output projection, `[rows, heads, head_dim]`.
    pub attn_out: B::Buffer,
    /// The MLP's gate projection, `[rows, intermediate]`.
    pub gate: B::Buffer,
    /// The MLP's up projection, `[rows, intermediate]`.
    pub up: B::Buffer,
    /// Input of the next matrix multiplications, in the dtypes that they read.
    pub packed: B::PackedActivations,
}

/// Widths of the buffers, in elements per row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferWidths {
    hidden: usize,
    q: usize,
    kv: usize,
    intermediate: usize,
}

impl BufferWidths {
    /// The widths that `device` needs; 0 for activations of modules that it does not compute.
    pub fn on(device: DeviceId, placement: &ModulePlacement, config: &ModelConfig) -> Self {
        let of_layers = |width: usize| if placement.has_layers(device) { width } else { 0 };
        let hidden =
            if placement.in_order().any(|on| on == device) { config.hidden_size } else { 0 };
        BufferWidths {
            hidden,
            q: of_layers(config.heads * config.head_dim),
            kv: of_layers(config.kv_heads * config.head_dim),
            intermediate: of_layers(config.intermediate_size),
        }
    }
}

impl<B: Backend> ActivationBuffers<B> {
    /// Allocates buffers for passes of at most `rows` rows, whose matrix multiplications read
    /// activations in `dtypes`.
    pub fn new(
        backend: &B,
        widths: BufferWidths,
        rows: usize,
        dtypes: B::ActivationDtypes,
    ) -> Result<Self, DeviceError> {
        let zeros = |width: usize| backend.buffer(rows * width);
        let BufferWidths { hidden, q, kv, intermediate } = widths;
        Ok(ActivationBuffers {
            x: zeros(hidden)?,
            norm_out: zeros(hidden)?,
            branch_out: zeros(hidden)?,
            q: zeros(q)?,
            k: zeros(kv)?,
            v: zeros(kv)?,
            attn_out: zeros(q)?,
            gate: zeros(intermediate)?,
            up: zeros(intermediate)?,
            packed: backend.packed_activations(rows, hidden.max(q).max(intermediate), dtypes)?,
        })
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        let ActivationBuffers { x, norm_out, branch_out, q, k, v, attn_out, gate, up, packed } =
            self;
        let buffers = [x, norm_out, branch_out, q, k, v, attn_out, gate, up];
        buffers.into_iter().map(B::buffer_bytes).sum::<u64>() + B::packed_bytes(packed)
    }
}
