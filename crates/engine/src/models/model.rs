//! A loaded model, and its forward pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::ModelConfig;
use device::DeviceError;
use device::cpu::{Cpu, Precision};
use device::cuda::Gpu;
use device::pool::Pool;
use placement::LOGITS_ROWS;

use super::forward::Way;
use super::scratch::Capacity;
use super::{Block, Embedding, ForwardError, Scratch};
use crate::batch::{Batch, BatchLimits, Logits};
use crate::compute::{Compute, Placed, Route, Sites};
use crate::kv::{KvLayout, KvPool};
use crate::layers::{Linear, Norm, Rope};
use crate::load::stream::Streamer;

/// A loaded, immutable model. It exists only with all its weights in the tiers that its plan names.
pub struct Model {
    parts: Parts,
    limits: BatchLimits,
    kv_layout: KvLayout,
    kernel_set: String,
}

/// What a load makes and a model is made of.
pub(crate) struct Parts {
    pub config: ModelConfig,
    pub sites: Sites,
    pub route: Route,
    pub capacity: Capacity,
    pub kv_layout: KvLayout,
    /// The CPU's table.
    pub rope: Rope,
    pub embedding: Placed<Embedding, <Gpu as Compute>::Matrix>,
    pub layers: Vec<Placed<HostBlock, Box<Block<Gpu>>>>,
    pub norm: Placed<Norm<Cpu>, Norm<Gpu>>,
    pub head: Placed<HostHead, Linear<Gpu>>,
    /// Bytes of matrices by the name of their dtype.
    pub dtypes: BTreeMap<&'static str, u64>,
}

/// The product that makes logits, where the CPU computes it.
pub(crate) enum HostHead {
    Resident(Linear<Cpu>),
    Streamed(Arc<Streamer>),
}

/// A block that the CPU computes: in memory, or brought from the disk for every pass.
pub(crate) enum HostBlock {
    Resident(Box<Block<Cpu>>),
    Streamed(Arc<Streamer>),
}

impl Model {
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = BatchLimits {
            vocab: parts.config.vocab_size,
            positions: parts.capacity.positions,
            rows: placement::CHUNK_TOKENS,
            logits_rows: LOGITS_ROWS,
        };
        Model {
            kv_layout: parts.kv_layout,
            kernel_set: parts.sites.kernel_set(&parts.route),
            limits,
            parts,
        }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.parts.config
    }

    /// Positions that a sequence may have: the context that was loaded for.
    pub fn context(&self) -> usize {
        self.parts.capacity.positions
    }

    /// The kernels that compute, as in provenance: `avx512bf16`, or with GPUs
    /// `cuda-sm90+avx512bf16`.
    pub fn kernel_set(&self) -> &str {
        &self.kernel_set
    }

    /// The devices that it is on.
    pub(crate) fn sites(&self) -> &Sites {
        &self.parts.sites
    }

    /// The threads that compute.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.parts.sites.cpu.pool()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.parts.sites.cpu.pool().threads()
    }

    /// Bytes of the matrices by the name of the dtype they are computed in.
    pub fn dtypes(&self) -> &BTreeMap<&'static str, u64> {
        &self.parts.dtypes
    }

    /// `f32` where activations stay exact (the oracle mode), `native` where they are rounded at the
    /// input of a product, `int8` where they are rounded to 8 bits for quantized weights.
    pub fn precision(&self) -> &'static str {
        match self.parts.capacity.precision {
            Precision::F32 => "f32",
            Precision::Native => "native",
            Precision::Int8 => "int8",
        }
    }

    /// What it keeps for each token.
    pub fn kv_layout(&self) -> &KvLayout {
        &self.kv_layout
    }

    /// Bytes of tables that all passes read, in host memory: the cosines and sines of all
    /// positions.
    pub fn tables_bytes(&self) -> u64 {
        self.parts.rope.bytes()
    }

    /// Buffers for passes of as many rows as the plan counts. One is enough for any number of
    /// sequences.
    ///
    /// # Errors
    /// Those of the devices' memory.
    pub fn scratch(&self) -> Result<Scratch, DeviceError> {
        let Parts { sites, route, config, capacity, .. } = &self.parts;
        Scratch::new(sites, route, config, *capacity)
    }

    /// Computes `batch`: writes keys and values of its rows to `kv`, and gives the logits of the
    /// rows asked for.
    ///
    /// A row's logits are the same bits whatever else is in the batch, however its sequence was cut
    /// into passes, and on any number of threads. They may be NaN where weights are:
    /// [`Logits::is_finite`].
    ///
    /// # Errors
    /// A batch that breaks a rule is refused before anything is computed.
    pub fn forward<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut Scratch,
    ) -> Result<Logits<'s>, ForwardError> {
        self.check(batch, kv, scratch)?;
        let (rows, vocab) = (batch.logits_for.len(), self.limits.vocab);
        let Scratch { work, logits, positions, .. } = scratch;
        let mut way = Way::start(&self.parts, batch, work, positions)?;
        way.blocks(kv)?;
        if rows > 0 {
            way.normalize()?;
            way.head(logits)?;
        }
        Ok(Logits::new(&mut logits[..rows * vocab], vocab))
    }

    /// Computes `batch` like [`Model::forward`], but gives the hidden states after the final norm
    /// of the rows in `logits_for`, `[rows, hidden]`: the embedding of a text is made of these.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn hidden<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [f32], ForwardError> {
        self.check(batch, kv, scratch)?;
        let Scratch { work, positions, .. } = scratch;
        let mut way = Way::start(&self.parts, batch, work, positions)?;
        way.blocks(kv)?;
        way.normalize()?;
        way.bring_home()?;
        Ok(&work.host.normed[..batch.logits_for.len() * self.parts.config.hidden_size])
    }

    fn check(&self, batch: &Batch, kv: &KvPool, scratch: &Scratch) -> Result<(), ForwardError> {
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
        let Parts { config, capacity: Capacity { positions, .. }, .. } = &self.parts;
        write!(
            f,
            "Model({}, {} layers, {positions} positions, {})",
            config.class_name,
            config.layers,
            self.kernel_set()
        )
    }
}
