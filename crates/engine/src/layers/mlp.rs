//! The feed-forward part of a block.

use checkpoint::Activation;
use device::DeviceError;

use super::{Buffers, Linear, Pass};
use crate::compute::{Compute, Feed};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// `down(act(gate(x)) * up(x))`, or `down(act(up(x)))` without a gate.
pub(crate) struct Mlp<C: Compute> {
    gate: Option<Linear<C>>,
    up: Linear<C>,
    down: Linear<C>,
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

impl<C: Compute> Mlp<C> {
    /// `gate_proj`, `up_proj` and `down_proj`.
    pub fn gated(tensors: &Under<C>, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: Some(Linear::new(tensors, "gate_proj", wide, hidden, bias)?),
            up: Linear::new(tensors, "up_proj", wide, hidden, bias)?,
            down: Linear::new(tensors, "down_proj", hidden, wide, bias)?,
            activation,
        })
    }

    /// `gate_up_proj`, gate rows first, and `down_proj`.
    pub fn fused(tensors: &Under<C>, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: Some(Linear::part(tensors, "gate_up_proj", 2 * wide, hidden, 0..wide)?),
            up: Linear::part(tensors, "gate_up_proj", 2 * wide, hidden, wide..2 * wide)?,
            down: Linear::new(tensors, "down_proj", hidden, wide, bias)?,
            activation,
        })
    }

    /// `fc1` and `fc2`, no gate.
    pub fn plain(tensors: &Under<C>, shape: MlpShape) -> Result<Self, LoadError> {
        let MlpShape { hidden, wide, bias, activation } = shape;
        Ok(Mlp {
            gate: None,
            up: Linear::new(tensors, "fc1", wide, hidden, bias)?,
            down: Linear::new(tensors, "fc2", hidden, wide, bias)?,
            activation,
        })
    }

    /// What [`Self::run`] reads, `[rows, hidden]`, to be fed by the operation that makes it.
    pub fn feed<'a>(&self, pass: &Pass<C>, inputs: &'a mut C::Inputs) -> Feed<'a, C> {
        match &self.gate {
            None => pass.arithmetic.feed(inputs, pass.count, [&self.up]),
            Some(gate) => pass.arithmetic.feed(inputs, pass.count, [gate, &self.up]),
        }
    }

    /// `buffers.mixed = mlp(buffers.inputs)`, `[rows, hidden]`.
    pub fn run(&self, pass: &Pass<C>, buffers: &mut Buffers<C>) -> Result<(), DeviceError> {
        let (compute, numbers) = (pass.compute(), pass.count * self.up.out());
        let Buffers { inputs, gate, up, mixed, .. } = buffers;
        match &self.gate {
            None => pass.arithmetic.multiply_fed(inputs, [(&self.up, &mut *up)])?,
            Some(linear) => pass
                .arithmetic
                .multiply_fed(inputs, [(linear, &mut *gate), (&self.up, &mut *up)])?,
        }
        let feed = pass.arithmetic.feed(inputs, pass.count, [&self.down]);
        match &self.gate {
            None => compute.activate(self.activation, up, numbers, feed)?,
            Some(_) => compute.activate_and_multiply(self.activation, gate, up, numbers, feed)?,
        }
        pass.arithmetic.multiply_fed(inputs, [(&self.down, mixed)])
    }
}
