//! [`LayerSource`]: source of layers on the disk tier, which are read again for every forward pass.

use device::cpu::Cpu;

use super::{ForwardError, TransformerLayer};
use crate::layers::Linear;

/// Supplies modules that are not resident, in the order of a forward pass.
pub(crate) trait LayerSource: Send + Sync {
    /// Waits for the weights of layer `layer`.
    fn layer(&self, layer: usize) -> Result<Box<TransformerLayer<Cpu>>, ForwardError>;

    /// Waits for the weights of the output projection.
    fn lm_head(&self) -> Result<Linear<Cpu>, ForwardError>;
}
