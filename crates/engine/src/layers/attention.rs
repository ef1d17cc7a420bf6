//! Attention over the paged cache, with grouped queries, rotary positions and, where the family has
//! them, q/k norms and a window.

use checkpoint::{ModelConfig, NormKind, QkNorm};
use device::DeviceError;

use super::{Buffers, Linear, Norm, Pass};
use crate::compute::{Compute, Feed, Heads};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// The attention of one block.
pub(crate) struct Attention<C: Compute> {
    q: Linear<C>,
    k: Linear<C>,
    v: Linear<C>,
    out: Linear<C>,
    q_norm: Option<Norm<C>>,
    k_norm: Option<Norm<C>>,
    heads: usize,
    head_dim: usize,
    /// A token sees itself and so many less one before it.
    window: Option<usize>,
}

impl<C: Compute> Attention<C> {
    /// `q_proj`, `k_proj`, `v_proj` and the output projection called `out`.
    pub fn separate(
        tensors: &Under<C>,
        config: &ModelConfig,
        layer: usize,
        out: &str,
    ) -> Result<Self, LoadError> {
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let q = Linear::new(tensors, "q_proj", wide, hidden, bias)?;
        let k = Linear::new(tensors, "k_proj", narrow, hidden, bias)?;
        let v = Linear::new(tensors, "v_proj", narrow, hidden, bias)?;
        Self::with(tensors, config, layer, out, [q, k, v])
    }

    /// `qkv_proj`, rows of q, then k, then v.
    pub fn fused(
        tensors: &Under<C>,
        config: &ModelConfig,
        layer: usize,
        out: &str,
    ) -> Result<Self, LoadError> {
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let part =
            |rows| Linear::part(tensors, "qkv_proj", wide + 2 * narrow, config.hidden_size, rows);
        let (q, k) = (part(0..wide)?, part(wide..wide + narrow)?);
        let v = part(wide + narrow..wide + 2 * narrow)?;
        Self::with(tensors, config, layer, out, [q, k, v])
    }

    fn with(
        tensors: &Under<C>,
        config: &ModelConfig,
        layer: usize,
        out: &str,
        qkv: [Linear<C>; 3],
    ) -> Result<Self, LoadError> {
        let ModelConfig { heads, kv_heads, head_dim, hidden_size, .. } = *config;
        let [q, k, v] = qkv;
        let norm = |name, features| Norm::new(tensors, name, features, rms(config.norm)).map(Some);
        let (q_norm, k_norm) = match config.qk_norm {
            QkNorm::None => (None, None),
            QkNorm::PerHead => (norm("q_norm", head_dim)?, norm("k_norm", head_dim)?),
            QkNorm::Full => {
                (norm("q_norm", heads * head_dim)?, norm("k_norm", kv_heads * head_dim)?)
            }
        };
        let out =
            Linear::new(tensors, out, hidden_size, heads * head_dim, config.attention_out_bias)?;
        let slides = config.sliding_layers.get(layer).copied().unwrap_or(false);
        let window = if slides { config.sliding_window } else { None };
        Ok(Attention { q, k, v, out, q_norm, k_norm, heads, head_dim, window })
    }

    /// What [`Self::run`] reads, `[rows, hidden]`, to be fed by the operation that makes it.
    pub fn feed<'a>(&self, pass: &Pass<C>, inputs: &'a mut C::Inputs) -> Feed<'a, C> {
        pass.arithmetic.feed(inputs, pass.count, [&self.q, &self.k, &self.v])
    }

    /// `buffers.mixed = attention(buffers.inputs)`, `[rows, hidden]`; writes this layer's keys and
    /// values of the rows.
    pub fn run(&self, pass: &mut Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        self.project(pass, buffers)?;
        self.turn(pass, buffers)?;
        let Buffers { inputs, q, k, v, attended, mixed, .. } = buffers;
        pass.remember(k, v)?;
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let feed = pass.arithmetic.feed(inputs, pass.count, [&self.out]);
        pass.attend(&Heads { count: self.heads, scale, window: self.window }, q, attended, feed)?;
        pass.arithmetic.multiply_fed(inputs, [(&self.out, mixed)])
    }

    fn project(&self, pass: &Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        let Buffers { inputs, q, k, v, .. } = buffers;
        pass.arithmetic.multiply_fed(inputs, [(&self.q, q), (&self.k, k), (&self.v, v)])
    }

    /// Norms of queries and keys, then their rotation.
    fn turn(&self, pass: &Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        let (compute, head_dim) = (pass.compute(), self.head_dim);
        let (wide, narrow) = (self.q.out(), self.k.out());
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            q_norm.run_in_place(compute, &mut buffers.q, pass.count * wide)?;
            k_norm.run_in_place(compute, &mut buffers.k, pass.count * narrow)?;
        }
        compute.rope(
            [(&mut buffers.q, wide), (&mut buffers.k, narrow)],
            head_dim,
            &pass.rows,
            pass.rope,
        )
    }
}

/// q/k norms are root-mean-square norms in every family that has them.
fn rms(norm: NormKind) -> NormKind {
    let (NormKind::Rms { eps } | NormKind::Layer { eps }) = norm;
    NormKind::Rms { eps }
}
