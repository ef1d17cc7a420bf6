//! [`ModulePlacement`]: the device of each module.

use std::collections::BTreeSet;

use checkpoint::Dtype;

/// The CPU or one of a model's GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DeviceId {
    Cpu,
    /// Index in [`super::DeviceSet::gpus`].
    Gpu(usize),
}

/// The device that computes each module of a model.
#[derive(Clone, Debug)]
pub(crate) struct ModulePlacement {
    pub embedding: DeviceId,
    /// The device of each transformer layer, without its routed experts.
    pub layers: Vec<DeviceId>,
    /// Whether any layer has routed experts, which the CPU computes.
    pub has_experts: bool,
    pub final_norm: DeviceId,
    pub lm_head: DeviceId,
    /// Dtypes of the matrices on each device.
    pub matrix_dtypes: BTreeSet<(DeviceId, Dtype)>,
}

impl ModulePlacement {
    /// The devices of all modules, in the order of a forward pass.
    pub fn in_order(&self) -> impl Iterator<Item = DeviceId> {
        let ends = [self.final_norm, self.lm_head];
        std::iter::once(self.embedding).chain(self.layers.iter().copied()).chain(ends)
    }

    /// Whether `device` computes a transformer layer.
    pub fn has_layers(&self, device: DeviceId) -> bool {
        self.layers.contains(&device)
    }

    /// Whether `device` computes routed experts.
    pub fn computes_experts(&self, device: DeviceId) -> bool {
        self.has_experts && device == DeviceId::Cpu
    }

    /// Dtypes of the matrices on `device`.
    pub fn dtypes_on(&self, device: DeviceId) -> impl Iterator<Item = Dtype> {
        self.matrix_dtypes.iter().filter(move |(on, _)| *on == device).map(|(_, dtype)| *dtype)
    }
}
