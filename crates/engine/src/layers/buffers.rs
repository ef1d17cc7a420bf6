//! The activations of a pass, allocated once and used by every block in turn.

use checkpoint::ModelConfig;
use device::cpu::Inputs;

/// One buffer for each activation, `[rows_max, width]`.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The residual stream, `[rows, hidden]`.
    pub x: Vec<f32>,
    /// What a norm made of it, `[rows, hidden]`.
    pub normed: Vec<f32>,
    /// What a part of a block gives back, `[rows, hidden]`.
    pub mixed: Vec<f32>,
    /// Queries, `[rows, heads, head_dim]`.
    pub q: Vec<f32>,
    /// Keys, `[rows, kv_heads, head_dim]`.
    pub k: Vec<f32>,
    /// Values, `[rows, kv_heads, head_dim]`.
    pub v: Vec<f32>,
    /// What attention gathered, `[rows, heads, head_dim]`.
    pub attended: Vec<f32>,
    /// The MLP's gate, `[rows, intermediate]`.
    pub gate: Vec<f32>,
    /// The MLP's other half, `[rows, intermediate]`.
    pub up: Vec<f32>,
    /// Activations in the forms that products read.
    pub inputs: Inputs,
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

impl Buffers {
    /// Numbers in all buffers but the inputs.
    pub fn numbers(&self) -> usize {
        let Buffers { x, normed, mixed, q, k, v, attended, gate, up, .. } = self;
        [x, normed, mixed, q, k, v, attended, gate, up].iter().map(|buffer| buffer.len()).sum()
    }

    /// Buffers for passes of at most `rows` rows.
    pub fn new(widths: Widths, rows: usize) -> Self {
        let zeros = |width: usize| vec![0.0; rows * width];
        let Widths { hidden, q, kv, intermediate } = widths;
        Buffers {
            x: zeros(hidden),
            normed: zeros(hidden),
            mixed: zeros(hidden),
            q: zeros(q),
            k: zeros(kv),
            v: zeros(kv),
            attended: zeros(q),
            gate: zeros(intermediate),
            up: zeros(intermediate),
            inputs: Inputs::default(),
        }
    }
}
