//! [`Model`]: a loaded model and its forward pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::ModelConfig;
use device::DeviceError;
use device::backend::{Backend, Precision};
use device::cpu::Cpu;
use device::cuda::Gpu;
use device::pool::Pool;
use placement::LOGITS_ROWS;

use super::forward::ForwardPass;
use super::scratch::ModelCapacity;
use super::{Embedding, ForwardError, ForwardScratch, LayerSource, TransformerLayer};
use crate::batch::{Batch, BatchLimits, Logits};
use crate::devices::{DeviceSet, ModulePlacement, OnDevice};
use crate::kv::{KvLayout, KvPool};
use crate::layers::{Linear, Norm, Rope, RoutedExperts};
use crate::weights::{ExpertCacheStats, SharedExpertStats, Tensors, WeightError};

/// A loaded, immutable model. Its weights are on the tiers that its placement plan names.
pub struct Model {
    parts: ModelParts,
    limits: BatchLimits,
    kv_layout: KvLayout,
    kernel_set: String,
}

/// The modules of a model and the devices that compute them.
pub(crate) struct ModelParts {
    pub config: ModelConfig,
    pub devices: DeviceSet,
    pub placement: ModulePlacement,
    pub capacity: ModelCapacity,
    pub kv_layout: KvLayout,
    /// The CPU's RoPE table; each GPU has its own copy.
    pub rope: Rope,
    pub embedding: OnDevice<Embedding, <Gpu as Backend>::Matrix>,
    pub layers: Vec<OnDevice<HostLayer, Box<TransformerLayer<Gpu>>>>,
    /// The routed experts of each layer that has some.
    pub routed_experts: Vec<Option<RoutedExperts<Cpu>>>,
    pub final_norm: OnDevice<Norm<Cpu>, Norm<Gpu>>,
    pub lm_head: OnDevice<HostLmHead, Linear<Gpu>>,
    /// Bytes of matrices by the name of their dtype.
    pub dtypes: BTreeMap<&'static str, u64>,
    /// The use of the cache of routed experts; `None` if none are on disk.
    pub expert_cache: Option<SharedExpertStats>,
}

/// The output projection, if the CPU computes it.
pub(crate) enum HostLmHead {
    Resident(Linear<Cpu>),
    OnDisk(Arc<dyn LayerSource>),
}

/// A layer that the CPU computes.
pub(crate) enum HostLayer {
    Resident(Box<TransformerLayer<Cpu>>),
    OnDisk(Arc<dyn LayerSource>),
}

/// Builds the output projection; a tied one uses the embedding's matrix.
pub(crate) fn lm_head<B: Backend>(
    tensors: &Tensors<B>,
    config: &ModelConfig,
) -> Result<Linear<B>, WeightError> {
    let name = if config.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
    let tensors = tensors.view().pp(name);
    Linear::new(&tensors, config.vocab_size, config.hidden_size, config.lm_head_bias)
}

impl Model {
    pub(crate) fn new(parts: ModelParts) -> Self {
        let limits = BatchLimits {
            vocab: parts.config.vocab_size,
            positions: parts.capacity.positions,
            rows: placement::CHUNK_TOKENS,
            logits_rows: LOGITS_ROWS,
        };
        Model {
            kv_layout: parts.kv_layout,
            kernel_set: parts.devices.kernel_set(&parts.placement),
            limits,
            parts,
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.parts.config
    }

    /// Maximum positions of a sequence: the planned context length.
    pub fn context(&self) -> usize {
        self.parts.capacity.positions
    }

    /// The kernels that compute the model, as recorded in provenance: `avx512bf16`, or with GPUs
    /// `cuda-sm90+avx512bf16`.
    pub fn kernel_set(&self) -> &str {
        &self.kernel_set
    }

    pub(crate) fn devices(&self) -> &DeviceSet {
        &self.parts.devices
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.parts.devices.cpu.pool()
    }

    /// Number of compute threads.
    pub fn threads(&self) -> usize {
        self.parts.devices.cpu.pool().threads()
    }

    /// Bytes of matrices by the name of their dtype in memory.
    pub fn dtypes(&self) -> &BTreeMap<&'static str, u64> {
        &self.parts.dtypes
    }

    /// The use of the cache of routed experts so far; `None` if none are on the disk tier.
    pub fn expert_cache(&self) -> Option<ExpertCacheStats> {
        self.parts.expert_cache.as_ref().map(SharedExpertStats::get)
    }

    /// The [`Precision`] by name: `f32`, `native` or `int8`.
    pub fn precision(&self) -> &'static str {
        match self.parts.capacity.precision {
            Precision::F32 => "f32",
            Precision::Native => "native",
            Precision::Int8 => "int8",
        }
    }

    /// The shape of the model's KV cache.
    pub fn kv_layout(&self) -> &KvLayout {
        &self.kv_layout
    }

    /// Bytes of the RoPE table in host memory.
    pub fn tables_bytes(&self) -> u64 {
        self.parts.rope.bytes()
    }

    /// Allocates buffers for passes of the maximum number of rows that the planner assumes. One set
    /// of buffers serves any number of sequences.
    ///
    /// # Errors
    /// [`DeviceError`] if memory on a device cannot be allocated.
    pub fn scratch(&self) -> Result<ForwardScratch, DeviceError> {
        let ModelParts { devices, placement, config, capacity, .. } = &self.parts;
        ForwardScratch::new(devices, placement, config, *capacity)
    }

    /// Computes `batch`: writes the keys and values of its rows to `kv` and returns the logits of
    /// [`Batch::logits_for`].
    ///
    /// The bits of a row's logits do not depend on the other sequences of the batch, on the
    /// division of its sequence into passes, or on the number of threads. If weights are NaN,
    /// logits may be NaN: see [`Logits::is_finite`].
    ///
    /// # Errors
    /// See [`ForwardError`]. An invalid batch is rejected before anything is computed.
    pub fn forward<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut ForwardScratch,
    ) -> Result<Logits<'s>, ForwardError> {
        self.check(batch, kv, scratch)?;
        let ForwardScratch { buffers, logits, positions, experts_read, .. } = scratch;
        let mut pass = ForwardPass::new(&self.parts, batch, buffers, positions)?;
        pass.embed()?;
        pass.layers(kv)?;
        *experts_read = pass.experts_read();
        if !batch.logits_for.is_empty() {
            pass.final_norm()?;
            pass.lm_head(logits)?;
        }
        let vocab = self.limits.vocab;
        Ok(Logits::new(&mut logits[..batch.logits_for.len() * vocab], vocab))
    }

    /// As [`Model::forward`], but returns the hidden states `[rows, hidden]` of the rows
    /// [`Batch::logits_for`] after the final norm. Text embeddings are computed from them.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn hidden<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut ForwardScratch,
    ) -> Result<&'s [f32], ForwardError> {
        self.check(batch, kv, scratch)?;
        let ForwardScratch { buffers, positions, .. } = scratch;
        let mut pass = ForwardPass::new(&self.parts, batch, buffers, positions)?;
        pass.embed()?;
        pass.layers(kv)?;
        pass.final_norm()?;
        pass.norm_out_to_host()?;
        Ok(&buffers.host.norm_out)
    }

    fn check(
        &self,
        batch: &Batch,
        kv: &KvPool,
        scratch: &ForwardScratch,
    ) -> Result<(), ForwardError> {
        if *kv.layout() != self.kv_layout {
            return Err(ForwardError::Pool { expected: self.kv_layout, found: *kv.layout() });
        }
        let limits = BatchLimits {
            rows: scratch.rows_max(),
            logits_rows: scratch.logits_rows_max(),
            ..self.limits
        };
        Ok(batch.check(&limits, kv.blocks(), |block| kv.references(block) > 0)?)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ModelParts { config, capacity: ModelCapacity { positions, .. }, .. } = &self.parts;
        write!(
            f,
            "Model({}, {} layers, {positions} positions, {})",
            config.class_name,
            config.layers,
            self.kernel_set()
        )
    }
}
