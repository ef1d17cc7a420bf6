//! One pass: the residual stream visits the modules in their order, and crosses to another device
//! where the next one is there.

use device::DeviceError;
use device::cpu::attention::AttentionSequence;

use super::ForwardError;
use super::model::{HostBlock, HostHead, Parts};
use super::work::{GpuBuffers, Stream, Work};
use crate::batch::{Batch, SequenceSpan};
use crate::compute::{Compute, HostRows, Placed, Site, gpu_deadline};
use crate::kv::{KvPool, LayerKv};
use crate::layers::{Arithmetic, Buffers, Pass};

/// A pass on its way.
pub(super) struct Way<'a> {
    parts: &'a Parts,
    work: &'a mut Work,
    rows: BatchRows<'a>,
    /// Where the residual stream is.
    at: Site,
    /// GPUs that it has left since it was last on the host. What is waited for on the host is the
    /// work of the last one alone: an earlier one that failed or hangs might never be seen, or
    /// be taken for the last.
    behind: Vec<usize>,
}

/// A batch's rows, in host memory.
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
            // A table may be longer: nobody reads what comes after the last position.
            blocks: &span.block_table[..span.blocks()],
            rows: span.rows.clone(),
            first_position: span.first_position,
        };
        BatchRows { batch, positions, sequences: batch.sequences.iter().map(sequence).collect() }
    }

    fn view(&self) -> HostRows<'_> {
        let BatchRows { batch, positions, sequences } = self;
        HostRows { tokens: batch.tokens, positions, sequences, wanted: batch.logits_for }
    }

    fn count(&self) -> usize {
        self.positions.len()
    }
}

impl<'a> Way<'a> {
    /// Tells every GPU what the rows of a batch are, and looks their tokens up.
    pub fn start(
        parts: &'a Parts,
        batch: &'a Batch,
        work: &'a mut Work,
        positions: &'a mut Vec<u32>,
    ) -> Result<Self, ForwardError> {
        let mut way = Way {
            parts,
            work,
            rows: BatchRows::new(batch, positions),
            at: parts.embedding.site(),
            behind: Vec::new(),
        };
        for work in &mut way.work.gpus {
            work.rows.set(&way.rows.view())?;
        }
        way.embed()?;
        Ok(way)
    }

    fn embed(&mut self) -> Result<(), ForwardError> {
        match &self.parts.embedding {
            Placed::Host(embedding) => {
                embedding.run(&self.parts.sites.cpu, &self.rows.view(), &mut self.work.host.x)
            }
            Placed::Gpu(gpu, table) => {
                let work = &mut self.work.gpus[*gpu];
                let gpu = &self.parts.sites.gpus[*gpu].gpu;
                Ok(Compute::embed(gpu, table, &&mut work.rows, &mut work.buffers.x)?)
            }
        }
    }

    /// Computes all blocks; writes keys and values of the rows to `kv`.
    pub fn blocks(&mut self, kv: &mut KvPool) -> Result<(), ForwardError> {
        kv.layers_mut().iter_mut().enumerate().try_for_each(|(layer, kv)| self.block(layer, kv))
    }

    fn block(&mut self, layer: usize, kv: &mut LayerKv) -> Result<(), ForwardError> {
        let Parts { sites, layers, .. } = self.parts;
        let count = self.rows.count();
        self.go(layers[layer].site(), Stream::Residual, count)?;
        match (&layers[layer], kv) {
            (Placed::Host(block), Placed::Host(kv)) => {
                let brought;
                let block = match block {
                    HostBlock::Resident(block) => block,
                    HostBlock::Streamed(streamer) => {
                        brought = streamer.block(layer)?;
                        &brought
                    }
                };
                let (cpu, rows) = (&sites.cpu, self.rows.view());
                block.run(
                    &mut self.parts.pass(cpu, &self.parts.rope, (rows, count), kv),
                    &mut self.work.host,
                )?;
            }
            (Placed::Gpu(gpu, block), Placed::Gpu(of, kv)) if gpu == of => {
                let (site, GpuBuffers { buffers, rows, .. }) =
                    (&sites.gpus[*gpu], &mut self.work.gpus[*gpu]);
                block
                    .run(&mut self.parts.pass(&site.gpu, &site.rope, (rows, count), kv), buffers)?;
            }
            _ => return Err(ForwardError::Cache { layer }),
        }
        Ok(())
    }

    /// The final norm of the rows that are wanted.
    pub fn normalize(&mut self) -> Result<(), ForwardError> {
        let Parts { sites, norm, config, .. } = self.parts;
        let (wanted, hidden) = (self.rows.batch.logits_for.len(), config.hidden_size);
        match self.at {
            Site::Host => {
                let buffers = &mut self.work.host;
                sites.cpu.gather(&buffers.x, hidden, &self.rows.view(), &mut buffers.mixed)?;
            }
            Site::Gpu(gpu) => {
                let GpuBuffers { buffers, rows, .. } = &mut self.work.gpus[gpu];
                sites.gpus[gpu].gpu.gather(&buffers.x, hidden, &rows, &mut buffers.mixed)?;
            }
        }
        self.go(norm.site(), Stream::Gathered, wanted)?;
        match norm {
            Placed::Host(norm) => {
                let buffers = &mut self.work.host;
                norm.run(&sites.cpu, &buffers.mixed, wanted * hidden, &mut buffers.normed, None)?;
            }
            Placed::Gpu(gpu, norm) => {
                let buffers = &mut self.work.gpus[*gpu].buffers;
                norm.run(
                    &sites.gpus[*gpu].gpu,
                    &buffers.mixed,
                    wanted * hidden,
                    &mut buffers.normed,
                    None,
                )?;
            }
        }
        Ok(())
    }

    /// The logits of the rows that are wanted, `[wanted, vocab]`.
    pub fn head(&mut self, logits: &mut Vec<f32>) -> Result<(), ForwardError> {
        let Parts { sites, head, config, .. } = self.parts;
        let wanted = self.rows.batch.logits_for.len();
        self.go(head.site(), Stream::Normed, wanted)?;
        self.await_behind()?;
        match head {
            Placed::Host(head) => {
                let brought;
                let head = match head {
                    HostHead::Resident(head) => head,
                    HostHead::Streamed(streamer) => {
                        brought = streamer.head()?;
                        &brought
                    }
                };
                let Buffers { inputs, normed, .. } = &mut self.work.host;
                self.parts.arithmetic(&sites.cpu).multiply(
                    inputs,
                    normed,
                    wanted,
                    [(head, logits)],
                )?;
            }
            Placed::Gpu(gpu, head) => {
                let GpuBuffers { buffers: Buffers { inputs, normed, .. }, logits: out, .. } =
                    &mut self.work.gpus[*gpu];
                let arithmetic = self.parts.arithmetic(&sites.gpus[*gpu].gpu);
                arithmetic.multiply(inputs, normed, wanted, [(head, &mut *out)])?;
                let numbers = wanted * config.vocab_size;
                let _waits = sites.gpus[*gpu].waiting("logits");
                out.download(0..numbers, &mut logits[..numbers], gpu_deadline())
                    .map_err(DeviceError::from)?;
            }
        }
        Ok(())
    }

    /// Brings the hidden states after the final norm of the rows that are wanted, `[wanted,
    /// hidden]`, to the host's buffer for them.
    pub fn bring_home(&mut self) -> Result<(), ForwardError> {
        Ok(self.go(Site::Host, Stream::Normed, self.rows.batch.logits_for.len())?)
    }

    /// Goes on at `site`, with `rows` rows of a stream.
    fn go(&mut self, site: Site, stream: Stream, rows: usize) -> Result<(), DeviceError> {
        if site == Site::Host {
            self.await_behind()?;
        }
        self.work.carry(
            &self.parts.sites,
            stream,
            (self.at, site),
            rows * self.parts.config.hidden_size,
        )?;
        if let (Site::Gpu(from), Site::Gpu(to)) = (self.at, site)
            && from != to
        {
            self.behind.push(from);
        }
        self.at = site;
        Ok(())
    }

    /// Waits for the GPUs that the stream has left, in its order.
    fn await_behind(&mut self) -> Result<(), DeviceError> {
        for gpu in self.behind.drain(..) {
            let site = &self.parts.sites.gpus[gpu];
            let _waits = site.waiting("its part of a pass");
            site.gpu.synchronize(gpu_deadline())?;
        }
        Ok(())
    }
}

impl Parts {
    fn arithmetic<'a, C>(&self, compute: &'a C) -> Arithmetic<'a, C> {
        Arithmetic { compute, precision: self.capacity.precision }
    }

    /// A pass on its way through a block.
    fn pass<'a, C: Compute>(
        &self,
        compute: &'a C,
        rope: &'a C::Rope,
        (rows, count): (C::Rows<'a>, usize),
        kv: &'a mut C::Kv,
    ) -> Pass<'a, C> {
        Pass {
            arithmetic: self.arithmetic(compute),
            rope,
            rows,
            count,
            kv,
            hidden: self.config.hidden_size,
        }
    }
}
