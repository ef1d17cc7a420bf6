//! The feed-forward part of a block.

use checkpoint::Activation;
use device::DeviceError;

use super::{Arithmetic, Buffers, Linear};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without a gate.
#[derive(Debug)]
pub(crate) struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

/// The sizes of an MLP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlpShape {
    pub hidden: usize,
    pub wide: usize,
    pub bias: bool,
    pub activation: Activation,
}

impl Mlp {
    /// `gate_proj`, `up_proj` and `down_proj`.
    pub fn gated(tensors: &Under, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: Some(Linear::new(tensors, "gate_proj", wide, hidden, bias)?),
            up: Linear::new(tensors, "up_proj", wide, hidden, bias)?,
            down: Linear::new(tensors, "down_proj", hidden, wide, bias)?,
            activation,
        })
    }

    /// `gate_up_proj`, gate rows first, and `down_proj`.
    pub fn fused(tensors: &Under, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: Some(Linear::part(tensors, "gate_up_proj", 2 * wide, hidden, 0..wide)?),
            up: Linear::part(tensors, "gate_up_proj", 2 * wide, hidden, wide..2 * wide)?,
            down: Linear::new(tensors, "down_proj", hidden, wide, bias)?,
            activation,
        })
    }

    /// `fc1` and `fc2`, no gate.
    pub fn plain(tensors: &Under, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: None,
            up: Linear::new(tensors, "fc1", wide, hidden, bias)?,
            down: Linear::new(tensors, "fc2", hidden, wide, bias)?,
            activation,
        })
    }

    /// `buffers.mixed = mlp(buffers.normed)`, both `[rows, hidden]`.
    pub fn run(&self, step: &Arithmetic, rows: usize, buffers: &mut Buffers) -> Result<(), DeviceError> {
        let (hidden, wide) = (self.up.input(), self.up.out());
        let Buffers { inputs, normed, gate, up, mixed, .. } = buffers;
        let (x, up) = (&normed[..rows * hidden], &mut up[..rows * wide]);
        let activated = match &self.gate {
            None => {
                self.up.run(step, inputs, x, up)?;
                self.activate(step, up)?;
                &*up
            }
            Some(linear) => {
                let gate = &mut gate[..rows * wide];
                inputs.prepare(step.cpu, x, rows, hidden, step.forms(&[linear, &self.up]))?;
                step.cpu.linear(inputs, &mut [linear.product(gate), self.up.product(up)])?;
                self.activate_and_multiply(step, gate, up)?;
                &*gate
            }
        };
        self.down.run(step, inputs, activated, &mut mixed[..rows * hidden])
    }

    fn activate(&self, step: &Arithmetic, x: &mut [f32]) -> Result<(), DeviceError> {
        match self.activation {
            Activation::Silu => step.cpu.silu(x),
            Activation::Gelu => step.cpu.gelu(x),
            Activation::GeluTanh => step.cpu.gelu_tanh(x),
        }
    }

    fn activate_and_multiply(&self, step: &Arithmetic, gate: &mut [f32], up: &[f32]) -> Result<(), DeviceError> {
        match self.activation {
            Activation::Silu => step.cpu.silu_mul(gate, up),
            Activation::Gelu => step.cpu.gelu_mul(gate, up),
            Activation::GeluTanh => step.cpu.gelu_tanh_mul(gate, up),
        }
    }
}
