//! The devices of one model (the CPU and GPUs), and the device that computes each module.

mod device_set;
mod module_placement;
mod on_device;

pub(crate) use device_set::{DeviceSet, GpuSlot, gpu_deadline};
pub(crate) use module_placement::{DeviceId, ModulePlacement};
pub(crate) use on_device::OnDevice;
