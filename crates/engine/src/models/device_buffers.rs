//! Activation buffers of every device, and copies of hidden states between devices.

use checkpoint::ModelConfig;
use device::DeviceError;
use device::backend::{Backend, Precision};
use device::cpu::Cpu;
use device::cuda::{BatchShape, Buffer, Gpu, GpuPassInput};

use crate::devices::{DeviceId, DeviceSet, GpuSlot, ModulePlacement, gpu_deadline};
use crate::layers::{ActivationBuffers, BufferWidths, SharedExpertsKind};

/// Activation buffers of all devices of a model.
pub(crate) struct DeviceBuffers {
    pub host: ActivationBuffers<Cpu>,
    /// Indexed as [`DeviceSet::gpus`].
    pub gpus: Vec<GpuBuffers>,
}

/// Buffers on one GPU.
pub(crate) struct GpuBuffers {
    pub activations: ActivationBuffers<Gpu>,
    /// `[logits_rows_max, vocab]` on the GPU of the `lm_head`, empty on others.
    pub logits: Buffer<f32>,
    pub input: GpuPassInput,
}

/// The activations that are copied between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HiddenStates {
    /// The residual stream, `[rows, hidden]`.
    Residual,
    /// The rows of the residual stream whose logits are requested, `[output_rows, hidden]`.
    OutputRows,
    /// Rows after a norm: of a layer's experts, `[rows, hidden]`, or the output rows after the
    /// final norm, `[output_rows, hidden]`.
    Normed,
    /// The output of a residual branch, `[rows, hidden]`.
    BranchOut,
    /// The scores of the routed experts, `[rows, experts]`.
    RouterLogits,
    /// The gate of the shared experts, `[rows, 1]`.
    SharedGate,
}

impl HiddenStates {
    /// What the routed experts of a layer are computed from.
    pub fn inputs_of_experts(shared: SharedExpertsKind) -> &'static [HiddenStates] {
        const ALL: [HiddenStates; 4] = [
            HiddenStates::Normed,
            HiddenStates::RouterLogits,
            HiddenStates::BranchOut,
            HiddenStates::SharedGate,
        ];
        match shared {
            SharedExpertsKind::None => &ALL[..2],
            SharedExpertsKind::Plain => &ALL[..3],
            SharedExpertsKind::Gated => &ALL,
        }
    }
}

/// Sizes of the buffers.
pub(crate) struct DeviceBufferSizes {
    /// The dimensions of the largest pass.
    pub pass: BatchShape,
    /// Number of elements of the logits of the largest pass.
    pub logits_len: usize,
    pub precision: Precision,
}

impl GpuBuffers {
    fn new(
        slot: &GpuSlot,
        device: DeviceId,
        placement: &ModulePlacement,
        config: &ModelConfig,
        sizes: &DeviceBufferSizes,
    ) -> Result<Self, DeviceError> {
        let widths = BufferWidths::on(device, placement, config);
        let logits_len = if placement.lm_head == device { sizes.logits_len } else { 0 };
        let dtypes = Gpu::activation_dtypes(sizes.precision, placement.dtypes_on(device));
        Ok(GpuBuffers {
            activations: ActivationBuffers::new(&slot.gpu, widths, sizes.pass.tokens, dtypes)?,
            logits: slot.gpu.buffer(logits_len)?,
            input: GpuPassInput::new(&slot.gpu, sizes.pass)?,
        })
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> u64 {
        let GpuBuffers { activations, logits, input } = self;
        activations.bytes() + Gpu::buffer_bytes(logits) + input.bytes()
    }
}

impl<B: Backend> ActivationBuffers<B> {
    fn hidden_states(&mut self, which: HiddenStates) -> &mut B::Buffer {
        match which {
            HiddenStates::Residual => &mut self.x,
            HiddenStates::OutputRows | HiddenStates::BranchOut => &mut self.branch_out,
            HiddenStates::Normed => &mut self.norm_out,
            HiddenStates::RouterLogits => &mut self.experts.logits,
            HiddenStates::SharedGate => &mut self.experts.shared_gate,
        }
    }
}

impl DeviceBuffers {
    /// Allocates buffers on each device for the modules that it computes.
    pub fn new(
        devices: &DeviceSet,
        placement: &ModulePlacement,
        config: &ModelConfig,
        sizes: &DeviceBufferSizes,
    ) -> Result<Self, DeviceError> {
        let widths = BufferWidths::on(DeviceId::Cpu, placement, config);
        let dtypes = Cpu::activation_dtypes(sizes.precision, []);
        let gpu_buffers =
            |(index, slot)| GpuBuffers::new(slot, DeviceId::Gpu(index), placement, config, sizes);
        Ok(DeviceBuffers {
            host: ActivationBuffers::new(&devices.cpu, widths, sizes.pass.tokens, dtypes)?,
            gpus: devices.gpus.iter().enumerate().map(gpu_buffers).collect::<Result<_, _>>()?,
        })
    }

    /// Copies hidden states from one device to another; does nothing if both are the same.
    pub fn transfer(
        &mut self,
        devices: &DeviceSet,
        which: HiddenStates,
        from: DeviceId,
        to: DeviceId,
    ) -> Result<(), DeviceError> {
        match (from, to) {
            (DeviceId::Cpu, DeviceId::Gpu(to)) => {
                let source = self.host.hidden_states(which);
                let target = self.gpus[to].activations.hidden_states(which);
                let _progress = devices.gpus[to].waiting("hidden states from the host");
                target.resize(source.len())?;
                target.upload(0, source, gpu_deadline())?;
            }
            (DeviceId::Gpu(from), DeviceId::Cpu) => {
                let source = self.gpus[from].activations.hidden_states(which);
                let target = self.host.hidden_states(which);
                let _progress = devices.gpus[from].waiting("hidden states to the host");
                target.resize(source.len());
                source.download(0..source.len(), target, gpu_deadline())?;
            }
            (DeviceId::Gpu(a), DeviceId::Gpu(b)) if a != b => {
                self.transfer_between_gpus(devices, which, a, b)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn transfer_between_gpus(
        &mut self,
        devices: &DeviceSet,
        which: HiddenStates,
        from: usize,
        to: usize,
    ) -> Result<(), DeviceError> {
        let (Some(link), Ok([source, target])) =
            (devices.link(from, to), self.gpus.get_disjoint_mut([from, to]))
        else {
            return Err(DeviceError::Index {
                what: "gpu of a model",
                index: from.max(to),
                len: devices.gpus.len(),
            });
        };
        let source = source.activations.hidden_states(which);
        let target = target.activations.hidden_states(which);
        let _progress = devices.gpus[to]
            .waiting(&format!("hidden states from GPU {}", devices.gpus[from].gpu_index));
        target.resize(source.len())?;
        Ok(link.copy(source, 0..source.len(), target, 0, gpu_deadline())?)
    }
}
