//! [`ForwardPass`]: embed -> layers -> final_norm -> lm_head. The residual stream is copied between
//! devices wherever two consecutive modules have different devices.

use device::DeviceError;
use device::backend::{AttentionSequence, Backend, PassInput};
use device::cpu::{Cpu, HostBuffer};

use super::ForwardError;
use super::device_buffers::{DeviceBuffers, GpuBuffers, HiddenStates};
use super::model::{HostLayer, HostLmHead, ModelParts};
use crate::batch::{Batch, SequenceSpan};
use crate::devices::{DeviceId, OnDevice, gpu_deadline};
use crate::kv::{KvPool, LayerKv};
use crate::layers::{ActivationBuffers, LayerContext, Matmul, RoutedExperts};

/// The state of one forward pass.
pub(super) struct ForwardPass<'a> {
    parts: &'a ModelParts,
    buffers: &'a mut DeviceBuffers,
    rows: BatchRows<'a>,
    /// The device that has the current hidden states.
    device: DeviceId,
    /// GPUs with queued work that no later step of the host waits for. The host's final wait covers
    /// only the last GPU. Without a wait for each of these, an earlier GPU that failed or hangs
    /// would go unnoticed, or the last GPU would be blamed for it.
    unsynchronized: Vec<usize>,
    /// Number of routed experts whose weights were read, over all layers.
    experts_read: usize,
}

/// The rows of a batch, in host memory.
struct BatchRows<'a> {
    batch: &'a Batch<'a>,
    positions: &'a [u32],
    sequences: Vec<AttentionSequence<'a>>,
}

impl<'a> BatchRows<'a> {
    fn new(batch: &'a Batch, positions: &'a mut Vec<u32>) -> Self {
        positions.clear();
        for span in batch.sequences {
            positions.extend(
                (span.first_position..=span.last_position()).map(|position| position as u32),
            );
        }
        let sequence = |span: &'a SequenceSpan| AttentionSequence {
            // The table may have more blocks than the span's positions need.
            blocks: &span.block_table[..span.blocks()],
            rows: span.rows.clone(),
            first_position: span.first_position,
        };
        BatchRows { batch, positions, sequences: batch.sequences.iter().map(sequence).collect() }
    }

    fn input(&self) -> PassInput<'_> {
        let BatchRows { batch, positions, sequences } = self;
        PassInput { tokens: batch.tokens, positions, sequences, output_rows: batch.logits_for }
    }

    fn len(&self) -> usize {
        self.positions.len()
    }
}

impl<'a> ForwardPass<'a> {
    /// Uploads the batch's input to every GPU. `positions` is scratch space.
    pub fn new(
        parts: &'a ModelParts,
        batch: &'a Batch,
        buffers: &'a mut DeviceBuffers,
        positions: &'a mut Vec<u32>,
    ) -> Result<Self, ForwardError> {
        let rows = BatchRows::new(batch, positions);
        for gpu in &mut buffers.gpus {
            gpu.input.upload(&rows.input(), gpu_deadline())?;
        }
        let device = parts.embedding.device();
        let unsynchronized = Vec::new();
        Ok(ForwardPass { parts, buffers, rows, device, unsynchronized, experts_read: 0 })
    }

    /// `x = embedding[tokens]`, `[rows, hidden]`.
    pub fn embed(&mut self) -> Result<(), ForwardError> {
        let devices = &self.parts.devices;
        match &self.parts.embedding {
            OnDevice::Cpu(embedding) => {
                embedding.forward(&devices.cpu, &self.rows.input(), &mut self.buffers.host.x)
            }
            OnDevice::Gpu(gpu, table) => {
                let GpuBuffers { activations, input, .. } = &mut self.buffers.gpus[*gpu];
                Ok(Backend::embed(&devices.gpus[*gpu].gpu, table, &input, &mut activations.x)?)
            }
        }
    }

    /// `x = layer(x)` for every transformer layer; writes the keys and values of the rows to `kv`.
    pub fn layers(&mut self, kv: &mut KvPool) -> Result<(), ForwardError> {
        kv.layers_mut().iter_mut().enumerate().try_for_each(|(layer, kv)| self.layer(layer, kv))
    }

    fn layer(&mut self, index: usize, kv: &mut LayerKv) -> Result<(), ForwardError> {
        let parts = self.parts;
        let (devices, layer, rows) = (&parts.devices, &parts.layers[index], self.rows.len());
        self.move_to(layer.device(), HiddenStates::Residual)?;
        match (layer, kv) {
            (OnDevice::Cpu(layer), OnDevice::Cpu(kv)) => {
                let matmul = parts.matmul(&devices.cpu);
                let (rope, input) = (parts.rope.table(), self.rows.input());
                let mut ctx = LayerContext { matmul, rope, input, rows, kv };
                let buffers = &mut self.buffers.host;
                match layer {
                    HostLayer::Resident(layer) => layer.forward(&mut ctx, buffers)?,
                    HostLayer::OnDisk(source) => {
                        source.layer(index)?.forward(&mut ctx, buffers)?;
                    }
                }
            }
            (OnDevice::Gpu(gpu, layer), OnDevice::Gpu(kv_gpu, kv)) if gpu == kv_gpu => {
                let slot = &devices.gpus[*gpu];
                let GpuBuffers { activations, input, .. } = &mut self.buffers.gpus[*gpu];
                let (matmul, rope) = (parts.matmul(&slot.gpu), &slot.rope);
                layer.forward(&mut LayerContext { matmul, rope, input, rows, kv }, activations)?;
            }
            _ => return Err(ForwardError::Cache { layer: index }),
        }
        match &parts.routed_experts[index] {
            Some(experts) => self.routed_experts(experts),
            None => Ok(()),
        }
    }

    /// `x += experts(norm_out)`: the CPU computes the routed experts of a layer, and the device of
    /// the layer adds their output to the residual stream.
    fn routed_experts(&mut self, experts: &RoutedExperts<Cpu>) -> Result<(), ForwardError> {
        let Self { parts, device, .. } = *self;
        let devices = &parts.devices;
        let rows = self.rows.len();
        if device != DeviceId::Cpu {
            self.synchronize_earlier_gpus()?;
            for states in HiddenStates::inputs_of_experts(experts.shared_experts()) {
                self.buffers.transfer(devices, *states, device, DeviceId::Cpu)?;
            }
        }
        let host = &mut self.buffers.host;
        experts.forward(&parts.matmul(&devices.cpu), rows, host)?;
        self.experts_read += host.experts.routes.distinct();
        self.buffers.transfer(devices, HiddenStates::BranchOut, DeviceId::Cpu, device)?;
        match device {
            DeviceId::Cpu => {
                let ActivationBuffers { x, branch_out, .. } = &mut self.buffers.host;
                Backend::add(&devices.cpu, x, branch_out)?;
            }
            DeviceId::Gpu(gpu) => {
                let ActivationBuffers { x, branch_out, .. } =
                    &mut self.buffers.gpus[gpu].activations;
                Backend::add(&devices.gpus[gpu].gpu, x, branch_out)?;
            }
        }
        Ok(())
    }

    /// Number of routed experts whose weights were read, over all layers.
    pub fn experts_read(&self) -> usize {
        self.experts_read
    }

    /// `norm_out = final_norm(x[output_rows])`, `[output_rows, hidden]`. Output rows are those
    /// whose logits are requested.
    pub fn final_norm(&mut self) -> Result<(), ForwardError> {
        let ModelParts { devices, final_norm, config, .. } = self.parts;
        let hidden = config.hidden_size;
        match self.device {
            DeviceId::Cpu => {
                let ActivationBuffers { x, branch_out, .. } = &mut self.buffers.host;
                devices.cpu.gather(x, hidden, &self.rows.input(), branch_out)?;
            }
            DeviceId::Gpu(gpu) => {
                let GpuBuffers { activations, input, .. } = &mut self.buffers.gpus[gpu];
                let ActivationBuffers { x, branch_out, .. } = activations;
                devices.gpus[gpu].gpu.gather(x, hidden, &input, branch_out)?;
            }
        }
        self.move_to(final_norm.device(), HiddenStates::OutputRows)?;
        match final_norm {
            OnDevice::Cpu(norm) => {
                let ActivationBuffers { branch_out, norm_out, .. } = &mut self.buffers.host;
                norm.forward(&devices.cpu, branch_out, norm_out, None)?;
            }
            OnDevice::Gpu(gpu, norm) => {
                let activations = &mut self.buffers.gpus[*gpu].activations;
                let ActivationBuffers { branch_out, norm_out, .. } = activations;
                norm.forward(&devices.gpus[*gpu].gpu, branch_out, norm_out, None)?;
            }
        }
        Ok(())
    }

    /// `logits = lm_head(norm_out)`, `[output_rows, vocab]`, in host memory.
    pub fn lm_head(&mut self, logits: &mut HostBuffer) -> Result<(), ForwardError> {
        let ModelParts { devices, lm_head, .. } = self.parts;
        let rows = self.rows.batch.logits_for.len();
        self.move_to(lm_head.device(), HiddenStates::Normed)?;
        self.synchronize_earlier_gpus()?;
        match lm_head {
            OnDevice::Cpu(lm_head) => {
                let matmul = self.parts.matmul(&devices.cpu);
                let ActivationBuffers { packed, norm_out, .. } = &mut self.buffers.host;
                let from_disk;
                let lm_head = match lm_head {
                    HostLmHead::Resident(lm_head) => lm_head,
                    HostLmHead::OnDisk(source) => {
                        from_disk = source.lm_head()?;
                        &from_disk
                    }
                };
                matmul.pack_and_forward(lm_head, packed, norm_out, rows, logits)?;
            }
            OnDevice::Gpu(gpu, lm_head) => {
                let slot = &devices.gpus[*gpu];
                let GpuBuffers { activations, logits: out, .. } = &mut self.buffers.gpus[*gpu];
                let ActivationBuffers { packed, norm_out, .. } = activations;
                let matmul = self.parts.matmul(&slot.gpu);
                matmul.pack_and_forward(lm_head, packed, norm_out, rows, out)?;
                let _progress = slot.waiting("logits");
                logits.resize(out.len());
                out.download(0..out.len(), logits, gpu_deadline()).map_err(DeviceError::from)?;
            }
        }
        Ok(())
    }

    /// Copies the output rows' hidden states after the final norm, `[output_rows, hidden]`, to the
    /// host's `norm_out`.
    pub fn norm_out_to_host(&mut self) -> Result<(), ForwardError> {
        Ok(self.move_to(DeviceId::Cpu, HiddenStates::Normed)?)
    }

    /// Copies the hidden states to `device`, which computes the next module.
    fn move_to(&mut self, device: DeviceId, states: HiddenStates) -> Result<(), DeviceError> {
        if device == DeviceId::Cpu {
            self.synchronize_earlier_gpus()?;
        }
        self.buffers.transfer(&self.parts.devices, states, self.device, device)?;
        if let (DeviceId::Gpu(from), DeviceId::Gpu(to)) = (self.device, device)
            && from != to
        {
            self.unsynchronized.push(from);
        }
        self.device = device;
        Ok(())
    }

    /// Waits for the GPUs that computed earlier layers, in the order of the pass.
    fn synchronize_earlier_gpus(&mut self) -> Result<(), DeviceError> {
        for gpu in self.unsynchronized.drain(..) {
            let slot = &self.parts.devices.gpus[gpu];
            let _progress = slot.waiting("its part of a pass");
            slot.gpu.synchronize(gpu_deadline())?;
        }
        Ok(())
    }
}

impl ModelParts {
    fn matmul<'a, B>(&self, backend: &'a B) -> Matmul<'a, B> {
        Matmul { backend, precision: self.capacity.precision }
    }
}
