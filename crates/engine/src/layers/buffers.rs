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
    pub experts: ExpertBuffers<B>,
}

/// Activations of a mixture of experts; empty in a model without one. Each chosen expert of a row
/// is a slot.
pub(crate) struct ExpertBuffers<B: Backend> {
    /// The router's logits, `[rows, experts]`.
    pub logits: B::Buffer,
    /// The gate of the shared experts, `[rows, 1]`.
    pub shared_gate: B::Buffer,
    pub routes: B::ExpertRoutes,
    /// The gate projection, `[slots, intermediate]`.
    pub gate: B::Buffer,
    /// The up projection, `[slots, intermediate]`, or gate and up in turns, `[slots, 2 *
    /// intermediate]`.
    pub up: B::Buffer,
    /// Outputs of the experts, `[slots, hidden]`.
    pub out: B::Buffer,
}

/// Widths of the buffers, in elements per row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferWidths {
    hidden: usize,
    q: usize,
    kv: usize,
    intermediate: usize,
    experts: ExpertWidths,
}

/// Widths of [`ExpertBuffers`], in elements per row.
#[derive(Clone, Copy, Debug, Default)]
struct ExpertWidths {
    logits: usize,
    shared_gate: usize,
    /// For all experts of a row together, as those below.
    gate: usize,
    up: usize,
    out: usize,
}

impl ExpertWidths {
    fn of(config: &ModelConfig) -> Self {
        let Some(moe) = &config.moe else { return ExpertWidths::default() };
        ExpertWidths {
            logits: moe.experts,
            shared_gate: usize::from(moe.shared_gate),
            gate: moe.experts_per_token * moe.intermediate_size,
            up: moe.experts_per_token * moe.up_width(),
            out: moe.experts_per_token * config.hidden_size,
        }
    }
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
            intermediate: of_layers(config.mlp_width()),
            experts: match device {
                DeviceId::Cpu if placement.has_layers(device) => ExpertWidths::of(config),
                _ => ExpertWidths::default(),
            },
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
        let BufferWidths { hidden, q, kv, intermediate, experts } = widths;
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
            experts: ExpertBuffers {
                logits: zeros(experts.logits)?,
                shared_gate: zeros(experts.shared_gate)?,
                routes: B::ExpertRoutes::default(),
                gate: zeros(experts.gate)?,
                up: zeros(experts.up)?,
                out: zeros(experts.out)?,
            },
        })
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        let ActivationBuffers { x, norm_out, branch_out, q, k, v, attn_out, .. } = self;
        let ActivationBuffers { gate, up, packed, experts, .. } = self;
        let buffers = [x, norm_out, branch_out, q, k, v, attn_out, gate, up];
        let of_experts = [&experts.logits, &experts.shared_gate, &experts.out];
        let of_experts = of_experts.into_iter().chain([&experts.gate, &experts.up]);
        let bytes: u64 = buffers.into_iter().chain(of_experts).map(B::buffer_bytes).sum();
        bytes + B::packed_bytes(packed)
    }
}
