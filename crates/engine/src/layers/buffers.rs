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
    /// `[rows, kv_heads, head_dim]`; with latent attention `[rows, latent_dim + rope_dim]`.
    pub k: B::Buffer,
    /// `[rows, kv_heads, head_dim]`; empty with latent attention.
    pub v: B::Buffer,
    /// Output of attention before the output projection, `[rows, heads, head_dim]`; with latent
    /// attention weighted latents, `[rows, heads, latent_dim]`.
    pub attn_out: B::Buffer,
    /// The MLP's gate projection, `[rows, intermediate]`.
    pub gate: B::Buffer,
    /// The MLP's up projection, `[rows, intermediate]`.
    pub up: B::Buffer,
    /// Buffers of latent attention.
    pub latent: LatentBuffers<B>,
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

/// Buffers of latent attention, empty in other models.
pub(crate) struct LatentBuffers<B: Backend> {
    /// Queries before `q_b_proj`, `[rows, q_lora_rank]`.
    pub q_low_rank: B::Buffer,
    /// The same after their norm.
    pub q_norm_out: B::Buffer,
    /// Queries in the space of the latents, `[rows, heads, latent_dim + rope_dim]`.
    pub absorbed_q: B::Buffer,
    /// Output of attention, projected to values, `[rows, heads, value_dim]`.
    pub values: B::Buffer,
}

/// Widths of the buffers, in elements per row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BufferWidths {
    hidden: usize,
    q: usize,
    k: usize,
    v: usize,
    attn_out: usize,
    intermediate: usize,
    experts: ExpertWidths,
    latent: LatentWidths,
    /// The widest input of a matrix multiplication.
    inputs: usize,
}

/// Widths of [`LatentBuffers`].
#[derive(Clone, Copy, Debug, Default)]
struct LatentWidths {
    q_low_rank: usize,
    absorbed_q: usize,
    values: usize,
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

    /// The widths on a device that computes the routers, but no routed experts.
    fn of_router(self) -> Self {
        ExpertWidths { logits: self.logits, shared_gate: self.shared_gate, ..Self::default() }
    }
}

impl BufferWidths {
    /// The widths that `device` needs; 0 for activations of modules that it does not compute.
    pub fn on(device: DeviceId, placement: &ModulePlacement, config: &ModelConfig) -> Self {
        let hidden =
            if placement.in_order().any(|on| on == device) || placement.computes_experts(device) {
                config.hidden_size
            } else {
                0
            };
        let of_layers =
            if placement.has_layers(device) { Self::of_layers(config) } else { Self::default() };
        let experts = ExpertWidths::of(config);
        let experts = if placement.computes_experts(device) {
            experts
        } else if placement.has_layers(device) {
            experts.of_router()
        } else {
            ExpertWidths::default()
        };
        BufferWidths { hidden, experts, inputs: of_layers.inputs.max(hidden), ..of_layers }
    }

    /// The widths for transformer layers.
    fn of_layers(config: &ModelConfig) -> Self {
        let (heads, kv) = (config.heads, config.kv_heads * config.head_dim);
        let (q, intermediate) = (heads * config.head_dim, config.mlp_width());
        let Some(mla) = config.mla else {
            let inputs = q.max(intermediate);
            return BufferWidths {
                q,
                k: kv,
                v: kv,
                attn_out: q,
                intermediate,
                inputs,
                ..Self::default()
            };
        };
        let key_dim = mla.kv_lora_rank + mla.qk_rope_head_dim;
        let latent = LatentWidths {
            q_low_rank: mla.q_lora_rank.unwrap_or(0),
            absorbed_q: heads * key_dim,
            values: heads * mla.v_head_dim,
        };
        BufferWidths {
            q,
            k: key_dim,
            attn_out: heads * mla.kv_lora_rank,
            intermediate,
            inputs: latent.values.max(latent.q_low_rank).max(intermediate),
            latent,
            ..Self::default()
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
        let BufferWidths { hidden, q, k, v, attn_out, .. } = widths;
        let BufferWidths { intermediate, experts, latent, inputs, .. } = widths;
        Ok(ActivationBuffers {
            x: zeros(hidden)?,
            norm_out: zeros(hidden)?,
            branch_out: zeros(hidden)?,
            q: zeros(q)?,
            k: zeros(k)?,
            v: zeros(v)?,
            attn_out: zeros(attn_out)?,
            gate: zeros(intermediate)?,
            up: zeros(intermediate)?,
            latent: LatentBuffers {
                q_low_rank: zeros(latent.q_low_rank)?,
                q_norm_out: zeros(latent.q_low_rank)?,
                absorbed_q: zeros(latent.absorbed_q)?,
                values: zeros(latent.values)?,
            },
            packed: backend.packed_activations(rows, inputs, dtypes)?,
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
        let ActivationBuffers { gate, up, latent, packed, experts, .. } = self;
        let buffers = [x, norm_out, branch_out, q, k, v, attn_out, gate, up];
        let of_experts = [&experts.logits, &experts.shared_gate, &experts.out];
        let of_experts = of_experts.into_iter().chain([&experts.gate, &experts.up]);
        let LatentBuffers { q_low_rank, q_norm_out, absorbed_q, values } = latent;
        let of_latents = [q_low_rank, q_norm_out, absorbed_q, values];
        let buffers = buffers.into_iter().chain(of_experts).chain(of_latents);
        buffers.map(B::buffer_bytes).sum::<u64>() + B::packed_bytes(packed)
    }
}
