//! [`OnDevice`]: a value in host memory or on one of the model's GPUs.

use super::DeviceId;

/// A value of type `H` in host memory, or of type `D` on the GPU with the given index in
/// [`super::DeviceSet::gpus`].
pub(crate) enum OnDevice<H, D> {
    Cpu(H),
    Gpu(usize, D),
}

impl<H, D> OnDevice<H, D> {
    pub fn device(&self) -> DeviceId {
        match self {
            OnDevice::Cpu(_) => DeviceId::Cpu,
            OnDevice::Gpu(gpu, _) => DeviceId::Gpu(*gpu),
        }
    }
}
