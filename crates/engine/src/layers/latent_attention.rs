//! Multi-head latent attention (DeepSeek-V2): the KV cache holds one latent and one rotated key for
//! all heads. Queries are projected into the space of the latents and the results out of it, in
//! prefill as in decoding, so that the bits of a token do not depend on its pass.

use checkpoint::{Mla, ModelConfig, NormKind};
use device::DeviceError;
use device::backend::{AttentionOptions, Backend, Epilogue, KvUpProjection, LatentShape};

use super::buffers::LatentBuffers;
use super::{ActivationBuffers, LayerContext, Linear, Norm};
use crate::weights::{TensorView, WeightError};

/// The norms of the latents have this epsilon in every model.
const LATENT_EPS: f32 = 1e-6;

/// The attention of one layer.
pub(crate) struct LatentAttention<B: Backend> {
    queries: QueryProjection<B>,
    kv_a_proj: Linear<B>,
    kv_a_norm: Norm<B>,
    kv_b: KvUpMatrices<B>,
    o_proj: Linear<B>,
    shape: LatentShape,
    /// Factor of the scores.
    scale: f32,
}

/// The projection of the hidden states to queries.
enum QueryProjection<B: Backend> {
    /// `q_proj`, `[heads * query_dim, hidden]`.
    Full(Linear<B>),
    /// `q_b_proj(norm(q_a_proj(x)))`, of the rank of `q_a_proj`'s output.
    LowRank { q_a_proj: Linear<B>, norm: Norm<B>, q_b_proj: Linear<B> },
}

/// The matrices of [`KvUpProjection`].
enum KvUpMatrices<B: Backend> {
    Joint(B::Matrix),
    Split { keys: B::Matrix, values: B::Matrix },
}

impl<B: Backend> LatentAttention<B> {
    /// Builds the attention of a model with latent attention.
    pub fn new(
        tensors: &TensorView<B>,
        config: &ModelConfig,
        mla: &Mla,
    ) -> Result<Self, WeightError> {
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let shape = LatentShape {
            heads: config.heads,
            nope_dim: mla.qk_nope_head_dim,
            rope_dim: mla.qk_rope_head_dim,
            value_dim: mla.v_head_dim,
            latent_dim: mla.kv_lora_rank,
        };
        let q_width = shape.heads * shape.query_dim();
        let norm = |name: &str, features| {
            Norm::new(&tensors.pp(name), features, NormKind::Rms { eps: LATENT_EPS })
        };
        let queries = match mla.q_lora_rank {
            None => {
                QueryProjection::Full(Linear::new(&tensors.pp("q_proj"), q_width, hidden, false)?)
            }
            Some(rank) => QueryProjection::LowRank {
                q_a_proj: Linear::new(&tensors.pp("q_a_proj"), rank, hidden, bias)?,
                norm: norm("q_a_layernorm", rank)?,
                q_b_proj: Linear::new(&tensors.pp("q_b_proj"), q_width, rank, false)?,
            },
        };
        let kv_a = tensors.pp("kv_a_proj_with_mqa");
        let o_width = shape.heads * shape.value_dim;
        Ok(LatentAttention {
            queries,
            kv_a_proj: Linear::new(&kv_a, shape.key_dim(), hidden, bias)?,
            kv_a_norm: norm("kv_a_layernorm", shape.latent_dim)?,
            kv_b: KvUpMatrices::new(tensors, &shape, mla.split_kv_b)?,
            o_proj: Linear::new(&tensors.pp("o_proj"), hidden, o_width, config.attention_out_bias)?,
            shape,
            scale: config.softmax_scale() as f32,
        })
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`]: packs the
    /// input, `[rows, hidden]`, for the projections that read it.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        let (QueryProjection::Full(first) | QueryProjection::LowRank { q_a_proj: first, .. }) =
            &self.queries;
        ctx.matmul.epilogue(packed, ctx.rows, [first, &self.kv_a_proj])
    }

    /// `branch_out = attention(packed)`, `[rows, hidden]`. Writes the latents and keys of the rows
    /// to the KV cache.
    pub fn forward(
        &self,
        ctx: &mut LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        self.project(ctx, buffers)?;
        let ActivationBuffers { packed, q, k, v, attn_out, branch_out, latent, .. } = buffers;
        let LatentBuffers { absorbed_q, values, .. } = latent;
        let (backend, up, shape) = (ctx.backend(), self.kv_b.projection(), &self.shape);
        let norm = self.kv_a_norm.weights();
        backend.latent_keys(shape, k, norm, &ctx.input, ctx.rope)?;
        backend.absorb_queries(shape, &up, q, &ctx.input, ctx.rope, absorbed_q)?;
        // `v` is empty: the values are the latents.
        backend.write_kv(ctx.kv, &ctx.input, k, v)?;
        let options =
            AttentionOptions { heads: shape.heads, scale: self.scale, window: None, sinks: None };
        let unpacked = Epilogue {
            packed: &mut *packed,
            rows: ctx.rows,
            cols: shape.heads * shape.latent_dim,
            dtypes: B::activation_dtypes(ctx.matmul.precision, []),
        };
        backend.attention(ctx.kv, &mut ctx.input, &options, absorbed_q, attn_out, unpacked)?;
        let epilogue = ctx.matmul.epilogue(packed, ctx.rows, [&self.o_proj]);
        backend.expand_values(shape, &up, attn_out, values, epilogue)?;
        ctx.matmul.forward(packed, [(&self.o_proj, branch_out)])
    }

    /// Computes queries, `[rows, heads, query_dim]`, and latents with keys, `[rows, key_dim]`.
    fn project(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        let ActivationBuffers { packed, q, k, latent, .. } = buffers;
        let LatentBuffers { q_low_rank, q_norm_out, .. } = latent;
        match &self.queries {
            QueryProjection::Full(q_proj) => {
                ctx.matmul.forward(packed, [(q_proj, q), (&self.kv_a_proj, k)])
            }
            QueryProjection::LowRank { q_a_proj, norm, q_b_proj } => {
                ctx.matmul.forward(packed, [(q_a_proj, &mut *q_low_rank), (&self.kv_a_proj, k)])?;
                let epilogue = ctx.matmul.epilogue(packed, ctx.rows, [q_b_proj]);
                norm.forward(ctx.backend(), q_low_rank, q_norm_out, Some(epilogue))?;
                ctx.matmul.forward(packed, [(q_b_proj, q)])
            }
        }
    }
}

impl<B: Backend> KvUpMatrices<B> {
    fn new(tensors: &TensorView<B>, shape: &LatentShape, split: bool) -> Result<Self, WeightError> {
        let LatentShape { heads, nope_dim, value_dim, latent_dim, .. } = *shape;
        let matrix = |name: &str, rows, cols| tensors.pp(name).matrix("weight", rows, cols);
        if split {
            return Ok(KvUpMatrices::Split {
                keys: matrix("k_b_proj", heads * latent_dim, nope_dim)?,
                values: matrix("v_b_proj", heads * value_dim, latent_dim)?,
            });
        }
        let rows = heads * (nope_dim + value_dim);
        Ok(KvUpMatrices::Joint(matrix("kv_b_proj", rows, latent_dim)?))
    }

    fn projection(&self) -> KvUpProjection<'_, B> {
        match self {
            KvUpMatrices::Joint(joint) => KvUpProjection::Joint(joint),
            KvUpMatrices::Split { keys, values } => KvUpProjection::Split { keys, values },
        }
    }
}
