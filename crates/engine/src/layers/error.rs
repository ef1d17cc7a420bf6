//! [`LayerError`]: errors of a layer's forward pass.

use device::DeviceError;

use crate::weights::ExpertError;

/// A layer that could not be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Routed experts of the disk tier did not arrive.
    #[error(transparent)]
    Experts(#[from] ExpertError),
}
