//! Grouped-query attention over the paged KV cache, with RoPE and, in some families, QK norms and a
//! sliding window.

use checkpoint::{ModelConfig, NormKind, QkNorm};
use device::DeviceError;
use device::backend::{AttentionOptions, Backend, Epilogue};

use super::{ActivationBuffers, LayerContext, Linear, Norm};
use crate::weights::{TensorView, WeightError};

/// The attention of one layer.
pub(crate) struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    o_proj: Linear<B>,
    q_norm: Option<Norm<B>>,
    k_norm: Option<Norm<B>>,
    /// A logit for each head that takes part in the softmax but has no value (gpt-oss), `[heads]`.
    sinks: Option<B::Vector>,
    heads: usize,
    head_dim: usize,
    /// Length of the sliding window in tokens: a token attends to itself and the `window - 1`
    /// tokens before it. `None`: to all earlier tokens.
    window: Option<usize>,
}

impl<B: Backend> Attention<B> {
    /// Builds attention from `q_proj`, `k_proj`, `v_proj` and the output projection, whose tensor
    /// is named by the argument `o_proj`.
    pub fn separate(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
        o_proj: &str,
    ) -> Result<Self, WeightError> {
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let (q_width, kv_width) =
            (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let q = Linear::new(&tensors.pp("q_proj"), q_width, hidden, bias)?;
        let k = Linear::new(&tensors.pp("k_proj"), kv_width, hidden, bias)?;
        let v = Linear::new(&tensors.pp("v_proj"), kv_width, hidden, bias)?;
        Self::new(tensors, config, layer, o_proj, [q, k, v])
    }

    /// Builds attention from `o_proj` and the fused matrix `qkv_proj`, which has the rows of q,
    /// then k, then v.
    pub fn fused(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
    ) -> Result<Self, WeightError> {
        let (q_width, kv_width) =
            (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let (k_start, v_start) = (q_width, q_width + kv_width);
        let end = v_start + kv_width;
        let qkv_proj = tensors.pp("qkv_proj");
        let rows = |rows| Linear::from_fused(&qkv_proj, [end, config.hidden_size], rows);
        let qkv = [rows(0..k_start)?, rows(k_start..v_start)?, rows(v_start..end)?];
        Self::new(tensors, config, layer, "o_proj", qkv)
    }

    fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        layer: usize,
        o_proj: &str,
        [q_proj, k_proj, v_proj]: [Linear<B>; 3],
    ) -> Result<Self, WeightError> {
        let ModelConfig { heads, kv_heads, head_dim, hidden_size, .. } = *config;
        // QK norms are RMSNorms in every family that has them.
        let (NormKind::Rms { eps } | NormKind::Layer { eps }) = config.norm;
        let norm = |name: &str, features| {
            Norm::new(&tensors.pp(name), features, NormKind::Rms { eps }).map(Some)
        };
        let (q_norm, k_norm) = match config.qk_norm {
            QkNorm::None => (None, None),
            QkNorm::PerHead => (norm("q_norm", head_dim)?, norm("k_norm", head_dim)?),
            QkNorm::Full => {
                (norm("q_norm", heads * head_dim)?, norm("k_norm", kv_heads * head_dim)?)
            }
        };
        let bias = config.attention_out_bias;
        let o_proj = Linear::new(&tensors.pp(o_proj), hidden_size, heads * head_dim, bias)?;
        let sinks =
            if config.attention_sinks { Some(tensors.vector("sinks", heads)?) } else { None };
        let slides = config.sliding_layers.get(layer).copied().unwrap_or(false);
        let window = if slides { config.sliding_window } else { None };
        Ok(Attention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm,
            k_norm,
            sinks,
            heads,
            head_dim,
            window,
        })
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`]: packs the
    /// input, `[rows, hidden]`, for the q, k and v projections.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        ctx.matmul.epilogue(packed, ctx.rows, [&self.q_proj, &self.k_proj, &self.v_proj])
    }

    /// `branch_out = attention(packed)`, `[rows, hidden]`. Writes the keys and values of the rows
    /// to the KV cache.
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        let ActivationBuffers { packed, q, k, v, attn_out, branch_out, .. } = buffers;
        let projections =
            [(&self.q_proj, &mut *q), (&self.k_proj, &mut *k), (&self.v_proj, &mut *v)];
        ctx.matmul.forward(packed, projections)?;
        self.norm_and_rope(ctx, q, k)?;
        let backend = ctx.backend();
        backend.write_kv(ctx.kv, &ctx.input, k, v)?;
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let options = AttentionOptions {
            heads: self.heads,
            scale,
            window: self.window,
            sinks: self.sinks.as_ref(),
        };
        let epilogue = ctx.matmul.epilogue(packed, ctx.rows, [&self.o_proj]);
        backend.attention(ctx.kv, &mut ctx.input, &options, q, attn_out, epilogue)?;
        ctx.matmul.forward(packed, [(&self.o_proj, branch_out)])
    }

    fn norm_and_rope(
        &self,
        ctx: &LayerContext<B>,
        q: &mut B::Buffer,
        k: &mut B::Buffer,
    ) -> Result<(), DeviceError> {
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            q_norm.forward_inplace(ctx.backend(), q)?;
            k_norm.forward_inplace(ctx.backend(), k)?;
        }
        ctx.backend().rope(q, k, self.head_dim, &ctx.input, ctx.rope)
    }
}
