//! A loaded model, and its forward pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::ModelConfig;
use device::DeviceError;
use device::cpu::attention::Sequence;
use device::cpu::{Cpu, Precision};
use device::pool::Pool;

use super::{Block, Embedding, ForwardError, Scratch};
use crate::batch::{Batch, BatchLimits, Logits};
use crate::compute::{Compute, HostRows};
use crate::kv::{KvLayout, KvPool};
use crate::layers::{Arithmetic, Linear, Norm, Pass, Rope, Widths};
use crate::load::stream::Streamer;

/// Most rows whose logits one pass gives; the plan counts their bytes (`placement::Footprint`).
const LOGITS_ROWS: usize = 64;

/// A loaded, immutable model. It exists only with all its weights in the tiers that its plan names.
pub struct Model {
    parts: Parts,
    limits: BatchLimits,
    kv_layout: KvLayout,
}

/// What a load makes and a model is made of.
pub(crate) struct Parts {
    pub config: ModelConfig,
    pub cpu: Cpu,
    pub precision: Precision,
    pub kv_layout: KvLayout,
    pub rope: Rope,
    /// Positions that a sequence may have.
    pub positions: usize,
    pub embedding: Embedding,
    pub layers: Vec<Layer>,
    pub norm: Norm<Cpu>,
    pub head: Head,
    /// Bytes of matrices by the name of their dtype.
    pub dtypes: BTreeMap<&'static str, u64>,
}

/// The product that makes logits.
pub(crate) enum Head {
    Resident(Linear<Cpu>),
    Streamed(Arc<Streamer>),
}

/// A block: in memory, or brought from the disk for every pass.
pub(crate) enum Layer {
    Resident(Box<Block<Cpu>>),
    Streamed(Arc<Streamer>),
}

impl Model {
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = BatchLimits {
            vocab: parts.config.vocab_size,
            positions: parts.positions,
            rows: placement::CHUNK_TOKENS,
            logits_rows: LOGITS_ROWS,
        };
        Model { kv_layout: parts.kv_layout, limits, parts }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.parts.config
    }

    /// Positions that a sequence may have: the context that was loaded for.
    pub fn context(&self) -> usize {
        self.parts.positions
    }

    /// The kernels that compute, as in provenance.
    pub fn kernel_set(&self) -> &'static str {
        self.parts.cpu.kernel_set().name()
    }

    /// The threads that compute.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.parts.cpu.pool()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.parts.cpu.pool().threads()
    }

    /// Bytes of the matrices by the name of the dtype they are computed in.
    pub fn dtypes(&self) -> &BTreeMap<&'static str, u64> {
        &self.parts.dtypes
    }

    /// `f32` where activations stay exact (the oracle mode), `native` where they are rounded at the input of a product, `int8`
    /// where they are rounded to 8 bits for quantised weights.
    pub fn precision(&self) -> &'static str {
        match self.parts.precision {
            Precision::F32 => "f32",
            Precision::Native => "native",
            Precision::Int8 => "int8",
        }
    }

    /// What it keeps for each token.
    pub fn kv_layout(&self) -> &KvLayout {
        &self.kv_layout
    }

    /// Bytes of tables that all passes read: the cosines and sines of all positions.
    pub fn tables_bytes(&self) -> u64 {
        self.parts.rope.bytes()
    }

    /// Buffers for passes of as many rows as the plan counts. One is enough for any number of sequences.
    ///
    /// # Errors
    /// Those of the devices' memory.
    pub fn scratch(&self) -> Result<Scratch, DeviceError> {
        let rows = self.limits.rows.min(self.limits.positions.max(self.limits.logits_rows));
        let (widths, logits_rows) = (Widths::of(&self.parts.config), self.limits.logits_rows.min(rows));
        Scratch::new(&self.parts.cpu, widths, self.limits.vocab, rows, logits_rows)
    }

    /// Computes `batch`: writes keys and values of its rows to `kv`, and gives the logits of the rows asked for.
    ///
    /// A row's logits are the same bits whatever else is in the batch, however its sequence was cut into passes, and on any number of
    /// threads. They may be NaN where weights are: [`Logits::is_finite`].
    ///
    /// # Errors
    /// A batch that breaks a rule is refused before anything is computed.
    pub fn forward<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut Scratch,
    ) -> Result<Logits<'s>, ForwardError> {
        self.run_blocks(batch, kv, scratch)?;
        self.normalise(batch.logits_for, scratch)?;
        let (rows, vocab) = (batch.logits_for.len(), self.limits.vocab);
        let Scratch { buffers, logits, .. } = scratch;
        if rows > 0 {
            let brought;
            let head = match &self.parts.head {
                Head::Resident(head) => head,
                Head::Streamed(streamer) => {
                    brought = streamer.head()?;
                    &brought
                }
            };
            self.arithmetic().multiply(&mut buffers.inputs, &buffers.normed, rows, [(head, &mut *logits)])?;
        }
        Ok(Logits::new(&mut logits[..rows * vocab], vocab))
    }

    /// Computes `batch` like [`Model::forward`], but gives the hidden states after the final norm of the rows in `logits_for`,
    /// `[rows, hidden]`: the embedding of a text is made of these.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn hidden<'s>(
        &self,
        batch: &Batch,
        kv: &mut KvPool,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [f32], ForwardError> {
        self.run_blocks(batch, kv, scratch)?;
        self.normalise(batch.logits_for, scratch)?;
        Ok(&scratch.buffers.normed[..batch.logits_for.len() * self.parts.config.hidden_size])
    }

    fn arithmetic(&self) -> Arithmetic<'_, Cpu> {
        Arithmetic { compute: &self.parts.cpu, precision: self.parts.precision }
    }

    /// Token ids to the last block's hidden states, in `scratch.buffers.x`.
    fn run_blocks(&self, batch: &Batch, kv: &mut KvPool, scratch: &mut Scratch) -> Result<(), ForwardError> {
        if *kv.layout() != self.kv_layout {
            return Err(ForwardError::Pool { expected: self.kv_layout, found: *kv.layout() });
        }
        let limits = BatchLimits { rows: scratch.rows_max(), logits_rows: scratch.logits_rows_max(), ..self.limits };
        batch.check(&limits, kv.blocks(), |block| kv.references(block) > 0)?;
        let Scratch { buffers, positions, .. } = scratch;
        positions.clear();
        for sequence in batch.sequences {
            positions.extend((sequence.first_position..=sequence.last_position()).map(|position| position as u32));
        }
        let hidden = self.parts.config.hidden_size;
        self.parts.embedding.run(&self.parts.cpu, batch.tokens, &mut buffers.x)?;
        let sequences: Vec<Sequence> = batch
            .sequences
            .iter()
            .map(|span| Sequence {
                blocks: span.block_table,
                rows: span.rows.clone(),
                first_position: span.first_position,
            })
            .collect();
        let rows = HostRows { positions, sequences: &sequences };
        for (layer, (place, kv)) in self.parts.layers.iter().zip(kv.layers_mut()).enumerate() {
            let arithmetic = self.arithmetic();
            let mut pass = Pass { arithmetic, rope: &self.parts.rope, rows, count: batch.tokens.len(), kv, hidden };
            match place {
                Layer::Resident(block) => block.run(&mut pass, buffers)?,
                Layer::Streamed(streamer) => streamer.block(layer)?.run(&mut pass, buffers)?,
            }
        }
        Ok(())
    }

    /// Gathers `rows` of the hidden states and normalises them into `buffers.normed`, `[rows, hidden]`.
    fn normalise(&self, rows: &[usize], scratch: &mut Scratch) -> Result<(), ForwardError> {
        let hidden = self.parts.config.hidden_size;
        let (cpu, buffers) = (&self.parts.cpu, &mut scratch.buffers);
        cpu.gather(&buffers.x, hidden, rows, &mut buffers.mixed)?;
        Ok(self.parts.norm.run(cpu, &buffers.mixed, rows.len() * hidden, &mut buffers.normed)?)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Parts { config, positions, .. } = &self.parts;
        write!(
            f,
            "Model({}, {} layers, {positions} positions, {})",
            config.class_name,
            config.layers,
            self.kernel_set()
        )
    }
}
