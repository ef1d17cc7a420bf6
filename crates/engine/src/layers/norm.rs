//! RMSNorm and LayerNorm.

use checkpoint::NormKind;
use device::DeviceError;
use device::backend::{Backend, Epilogue, NormWeights};

use crate::weights::{TensorView, WeightError};

/// A norm over the last dimension.
pub(crate) struct Norm<B: Backend> {
    kind: NormKind,
    weight: B::Vector,
    /// `None` for RMSNorm.
    bias: Option<B::Vector>,
}

impl<B: Backend> Norm<B> {
    /// Takes the tensor `weight` and, for LayerNorm, the tensor `bias`, both `[features]`.
    pub fn new(
        tensors: &TensorView<B>,
        features: usize,
        kind: NormKind,
    ) -> Result<Self, WeightError> {
        let weight = tensors.vector("weight", features)?;
        let bias = match kind {
            NormKind::Layer { .. } => Some(tensors.vector("bias", features)?),
            NormKind::Rms { .. } => None,
        };
        Ok(Norm { kind, weight, bias })
    }

    /// The norm's weights, for operations that contain the norm.
    pub fn weights(&self) -> NormWeights<'_, B> {
        let (NormKind::Rms { eps } | NormKind::Layer { eps }) = self.kind;
        NormWeights { weight: &self.weight, bias: self.bias.as_ref(), eps }
    }

    /// `out = norm(x)`, `[rows, features]`.
    pub fn forward(
        &self,
        backend: &B,
        x: &B::Buffer,
        out: &mut B::Buffer,
        epilogue: Option<Epilogue<B>>,
    ) -> Result<(), DeviceError> {
        match self.kind {
            NormKind::Rms { .. } => backend.rms_norm(x, self.weights(), out, epilogue),
            NormKind::Layer { .. } => backend.layer_norm(x, self.weights(), out, epilogue),
        }
    }

    /// `x += y; out = norm(x)`, `[rows, features]`.
    pub fn add_forward(
        &self,
        backend: &B,
        x: &mut B::Buffer,
        y: &B::Buffer,
        out: &mut B::Buffer,
        epilogue: Epilogue<B>,
    ) -> Result<(), DeviceError> {
        if let NormKind::Rms { .. } = self.kind {
            return backend.add_rms_norm(x, y, self.weights(), out, Some(epilogue));
        }
        backend.add(x, y)?;
        self.forward(backend, x, out, Some(epilogue))
    }

    /// `x = norm(x)` for an RMSNorm. If the norm has `head_dim` features, each head is normalized
    /// separately.
    pub fn forward_inplace(&self, backend: &B, x: &mut B::Buffer) -> Result<(), DeviceError> {
        backend.rms_norm_inplace(x, self.weights())
    }
}
