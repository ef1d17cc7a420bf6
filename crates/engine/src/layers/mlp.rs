//! The feed-forward network of a layer.

use checkpoint::{Activation, Dtype, Family, ModelConfig};
use device::DeviceError;
use device::backend::{Backend, Epilogue};

use super::{ActivationBuffers, LayerContext, Linear};
use crate::weights::{TensorView, WeightError};

/// `down(act(gate(x)) * up(x))` (SwiGLU, GeGLU), or `down(act(up(x)))` without a gate.
pub(crate) struct Mlp<B: Backend> {
    gate_proj: Option<Linear<B>>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
    activation: Activation,
}

/// The shape of an MLP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlpShape {
    hidden: usize,
    intermediate: usize,
    bias: bool,
    activation: Activation,
}

impl MlpShape {
    pub fn of(config: &ModelConfig) -> Self {
        MlpShape {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            // Phi's configuration file has no key for the biases that fc1 and fc2 always have.
            bias: config.mlp_bias || config.family == Family::Phi,
            activation: config.activation,
        }
    }
}

impl MlpShape {
    /// The same MLP with another width.
    pub fn with_width(self, intermediate: usize) -> Self {
        MlpShape { intermediate, ..self }
    }
}

impl<B: Backend> Mlp<B> {
    /// Builds an MLP from `gate_proj`, `up_proj` and `down_proj`.
    pub fn gated(tensors: &TensorView<B>, shape: MlpShape) -> Result<Self, WeightError> {
        let MlpShape { hidden, intermediate, bias, activation } = shape;
        Ok(Mlp {
            gate_proj: Some(Linear::new(&tensors.pp("gate_proj"), intermediate, hidden, bias)?),
            up_proj: Linear::new(&tensors.pp("up_proj"), intermediate, hidden, bias)?,
            down_proj: Linear::new(&tensors.pp("down_proj"), hidden, intermediate, bias)?,
            activation,
        })
    }

    /// Builds an MLP from `down_proj` and the fused matrix `gate_up_proj`, which has the rows of
    /// the gate first.
    pub fn fused(tensors: &TensorView<B>, shape: MlpShape) -> Result<Self, WeightError> {
        let MlpShape { hidden, intermediate, bias, activation } = shape;
        let gate_up_proj = tensors.pp("gate_up_proj");
        let rows = |rows| Linear::from_fused(&gate_up_proj, [2 * intermediate, hidden], rows);
        Ok(Mlp {
            gate_proj: Some(rows(0..intermediate)?),
            up_proj: rows(intermediate..2 * intermediate)?,
            down_proj: Linear::new(&tensors.pp("down_proj"), hidden, intermediate, bias)?,
            activation,
        })
    }

    /// Builds an MLP without a gate from `fc1` (up) and `fc2` (down).
    pub fn ungated(tensors: &TensorView<B>, shape: MlpShape) -> Result<Self, WeightError> {
        let MlpShape { hidden, intermediate, bias, activation } = shape;
        Ok(Mlp {
            gate_proj: None,
            up_proj: Linear::new(&tensors.pp("fc1"), intermediate, hidden, bias)?,
            down_proj: Linear::new(&tensors.pp("fc2"), hidden, intermediate, bias)?,
            activation,
        })
    }

    /// The epilogue for the operation that computes the input of [`Self::forward`]: packs the
    /// input, `[rows, hidden]`, for the gate and up projections.
    pub fn epilogue<'a>(
        &self,
        ctx: &LayerContext<B>,
        packed: &'a mut B::PackedActivations,
    ) -> Epilogue<'a, B> {
        match &self.gate_proj {
            None => ctx.matmul.epilogue(packed, ctx.rows, [&self.up_proj]),
            Some(gate_proj) => ctx.matmul.epilogue(packed, ctx.rows, [gate_proj, &self.up_proj]),
        }
    }

    /// The dtypes of the weights that are multiplied with the input.
    pub fn input_dtypes(&self) -> impl Iterator<Item = Dtype> {
        self.gate_proj.iter().chain([&self.up_proj]).map(Linear::dtype)
    }

    /// `branch_out = mlp(packed)`, `[rows, hidden]`.
    pub fn forward(
        &self,
        ctx: &LayerContext<B>,
        buffers: &mut ActivationBuffers<B>,
    ) -> Result<(), DeviceError> {
        let (matmul, backend) = (&ctx.matmul, ctx.backend());
        let ActivationBuffers { packed, gate, up, branch_out, .. } = buffers;
        match &self.gate_proj {
            None => {
                matmul.forward(packed, [(&self.up_proj, &mut *up)])?;
                let epilogue = matmul.epilogue(packed, ctx.rows, [&self.down_proj]);
                backend.activate(self.activation, up, epilogue)?;
            }
            Some(gate_proj) => {
                matmul.forward(packed, [(gate_proj, &mut *gate), (&self.up_proj, &mut *up)])?;
                let epilogue = matmul.epilogue(packed, ctx.rows, [&self.down_proj]);
                backend.activate_and_multiply(self.activation, gate, up, epilogue)?;
            }
        }
        matmul.forward(packed, [(&self.down_proj, branch_out)])
    }
}
