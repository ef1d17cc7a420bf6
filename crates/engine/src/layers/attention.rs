//! Attention over the paged cache, with grouped queries, rotary positions and, where the family has them, q/k norms and a window.

use checkpoint::{ModelConfig, Norm as NormKind, QkNorm};
use device::DeviceError;

use super::{Arithmetic, Buffers, Linear, Norm, Pass};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// The attention of one block.
#[derive(Debug)]
pub(crate) struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    shape: Shape,
    /// A token sees itself and so many less one before it.
    window: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    /// `q_proj`, `k_proj`, `v_proj` and the output projection called `out`.
    pub fn separate(tensors: &Under, config: &ModelConfig, layer: usize, out: &str) -> Result<Self, LoadError> {
        let (hidden, bias) = (config.hidden_size, config.attention_bias);
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let q = Linear::new(tensors, "q_proj", wide, hidden, bias)?;
        let k = Linear::new(tensors, "k_proj", narrow, hidden, bias)?;
        let v = Linear::new(tensors, "v_proj", narrow, hidden, bias)?;
        Self::with(tensors, config, layer, out, [q, k, v])
    }

    /// `qkv_proj`, rows of q, then k, then v.
    pub fn fused(tensors: &Under, config: &ModelConfig, layer: usize, out: &str) -> Result<Self, LoadError> {
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let part = |rows| Linear::part(tensors, "qkv_proj", wide + 2 * narrow, config.hidden_size, rows);
        let (q, k) = (part(0..wide)?, part(wide..wide + narrow)?);
        let v = part(wide + narrow..wide + 2 * narrow)?;
        Self::with(tensors, config, layer, out, [q, k, v])
    }

    fn with(
        tensors: &Under,
        config: &ModelConfig,
        layer: usize,
        out: &str,
        qkv: [Linear; 3],
    ) -> Result<Self, LoadError> {
        let ModelConfig { heads, kv_heads, head_dim, hidden_size, .. } = *config;
        let [q, k, v] = qkv;
        let norm = |name, features| Norm::new(tensors, name, features, rms(config.norm)).map(Some);
        let (q_norm, k_norm) = match config.qk_norm {
            QkNorm::None => (None, None),
            QkNorm::PerHead => (norm("q_norm", head_dim)?, norm("k_norm", head_dim)?),
            QkNorm::Full => (norm("q_norm", heads * head_dim)?, norm("k_norm", kv_heads * head_dim)?),
        };
        let out = Linear::new(tensors, out, hidden_size, heads * head_dim, config.attention_out_bias)?;
        let slides = config.sliding_layers.get(layer).copied().unwrap_or(false);
        let window = if slides { config.sliding_window } else { None };
        Ok(Attention { q, k, v, out, q_norm, k_norm, shape: Shape { heads, kv_heads, head_dim }, window })
    }

    /// `buffers.mixed = attention(buffers.normed)`, both `[rows, hidden]`; writes this layer's keys and values of the rows.
    pub fn run(&self, pass: &mut Pass, buffers: &mut Buffers) -> Result<(), DeviceError> {
        let rows = pass.rows();
        self.project(&pass.arithmetic, rows, buffers)?;
        self.turn(pass, rows, buffers)?;
        let Shape { heads, kv_heads, head_dim } = self.shape;
        let Buffers { q, k, v, attended, .. } = buffers;
        let (wide, narrow) = (rows * heads * head_dim, rows * kv_heads * head_dim);
        pass.remember(&k[..narrow], &v[..narrow])?;
        pass.attend(&q[..wide], heads, self.window, &mut attended[..wide])?;
        let Buffers { inputs, attended, mixed, .. } = buffers;
        let out = &mut mixed[..rows * self.out.out()];
        self.out.run(&pass.arithmetic, inputs, &attended[..wide], out)
    }

    fn project(&self, step: &Arithmetic, rows: usize, buffers: &mut Buffers) -> Result<(), DeviceError> {
        let hidden = self.q.input();
        let Buffers { inputs, normed, q, k, v, .. } = buffers;
        inputs.prepare(step.cpu, &normed[..rows * hidden], rows, hidden, step.forms(&[&self.q, &self.k, &self.v]))?;
        let q = self.q.product(&mut q[..rows * self.q.out()]);
        let k = self.k.product(&mut k[..rows * self.k.out()]);
        let v = self.v.product(&mut v[..rows * self.v.out()]);
        step.cpu.linear(inputs, &mut [q, k, v])
    }

    /// Norms of queries and keys, then their rotation.
    fn turn(&self, pass: &Pass, rows: usize, buffers: &mut Buffers) -> Result<(), DeviceError> {
        let (cpu, head_dim) = (pass.arithmetic.cpu, self.shape.head_dim);
        let q = &mut buffers.q[..rows * self.q.out()];
        let k = &mut buffers.k[..rows * self.k.out()];
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            q_norm.run_in_place(cpu, q)?;
            k_norm.run_in_place(cpu, k)?;
        }
        cpu.rope(q, head_dim, pass.positions, &pass.rope)?;
        cpu.rope(k, head_dim, pass.positions, &pass.rope)
    }
}

/// q/k norms are root-mean-square norms in every family that has them.
fn rms(norm: NormKind) -> NormKind {
    let (NormKind::Rms { eps } | NormKind::Layer { eps }) = norm;
    NormKind::Rms { eps }
}
