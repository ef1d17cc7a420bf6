//! The devices of one model (the CPU and GPUs), and the device that computes each module.

mod device_set;
mod on_device;
mod placement;

pub(crate) use device_set::{DeviceSet, GpuSlot, gpu_deadline};
pub(crate) use on_device::OnDevice;
pub(crate) use placement::{DeviceId, ModulePlacement};
