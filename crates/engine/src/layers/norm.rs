//! Normalization of hidden states, queries and keys.

use checkpoint::NormKind;
use device::DeviceError;

use crate::compute::{Compute, Feed};
use crate::load::LoadError;
use crate::load::tensors::Under;

/// A norm over the last dimension.
pub(crate) struct Norm<C: Compute> {
    kind: NormKind,
    weight: C::Vector,
    /// Layer norms have one.
    bias: Option<C::Vector>,
}

impl<C: Compute> Norm<C> {
    /// The norm `name` of `width` features.
    pub fn new(
        tensors: &Under<C>,
        name: &str,
        width: usize,
        kind: NormKind,
    ) -> Result<Self, LoadError> {
        let part = tensors.under(&format!("{name}."));
        let weight = part.vector("weight", width)?;
        let bias = match kind {
            NormKind::Layer { .. } => Some(part.vector("bias", width)?),
            NormKind::Rms { .. } => None,
        };
        Ok(Norm { kind, weight, bias })
    }

    /// `out = norm(x)`, both `[rows, width]` and `numbers` in all.
    pub fn run(
        &self,
        compute: &C,
        x: &C::Buffer,
        numbers: usize,
        out: &mut C::Buffer,
        feed: Option<Feed<C>>,
    ) -> Result<(), DeviceError> {
        match self.kind {
            NormKind::Rms { eps } => compute.rms_norm(x, numbers, &self.weight, eps, out, feed),
            NormKind::Layer { eps } => {
                compute.layer_norm(x, numbers, (&self.weight, self.bias.as_ref()), eps, out, feed)
            }
        }
    }

    /// `x += y`, then [`Self::run`].
    pub fn run_on_sum(
        &self,
        compute: &C,
        x: &mut C::Buffer,
        y: &C::Buffer,
        numbers: usize,
        out: &mut C::Buffer,
        feed: Feed<C>,
    ) -> Result<(), DeviceError> {
        if let NormKind::Rms { eps } = self.kind {
            return compute.add_rms_norm((x, y), numbers, &self.weight, eps, out, Some(feed));
        }
        compute.add(x, y, numbers)?;
        self.run(compute, x, numbers, out, Some(feed))
    }

    /// `x = norm(x)` for root-mean-square norms, rows of `width`: with the width of a head, each
    /// head by itself.
    pub fn run_in_place(
        &self,
        compute: &C,
        x: &mut C::Buffer,
        numbers: usize,
    ) -> Result<(), DeviceError> {
        let (NormKind::Rms { eps } | NormKind::Layer { eps }) = self.kind;
        compute.rms_norm_inplace(x, numbers, &self.weight, eps)
    }
}
