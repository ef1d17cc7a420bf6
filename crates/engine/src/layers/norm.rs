//! Normalisation of hidden states, queries and keys.

use checkpoint::Norm as Kind;
use device::DeviceError;
use device::cpu::Cpu;

use crate::load::LoadError;
use crate::load::tensors::Under;

/// A norm over the last dimension.
#[derive(Debug)]
pub(crate) struct Norm {
    kind: Kind,
    weight: Vec<f32>,
    /// Layer norms have one.
    bias: Option<Vec<f32>>,
}

impl Norm {
    /// The norm `name` of `width` features.
    pub fn new(tensors: &Under, name: &str, width: usize, kind: Kind) -> Result<Self, LoadError> {
        let part = tensors.under(&format!("{name}."));
        let weight = part.vector("weight", width)?;
        let bias = match kind {
            Kind::Layer { .. } => Some(part.vector("bias", width)?),
            Kind::Rms { .. } => None,
        };
        Ok(Norm { kind, weight, bias })
    }

    /// `out = norm(x)`, both `[rows, width]`.
    pub fn run(&self, cpu: &Cpu, x: &[f32], out: &mut [f32]) -> Result<(), DeviceError> {
        match self.kind {
            Kind::Rms { eps } => cpu.rms_norm(x, &self.weight, eps, out),
            Kind::Layer { eps } => cpu.layer_norm(x, &self.weight, self.bias.as_deref(), eps, out),
        }
    }

    /// `x = norm(x)` for root-mean-square norms, rows of `width`: with the width of a head, each head by itself.
    pub fn run_in_place(&self, cpu: &Cpu, x: &mut [f32]) -> Result<(), DeviceError> {
        let (Kind::Rms { eps } | Kind::Layer { eps }) = self.kind;
        cpu.rms_norm_inplace(x, &self.weight, eps)
    }
}
