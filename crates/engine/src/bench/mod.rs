//! How fast a loaded model is, beside what the machine could do at most.
use error_kind::{ErrorKind, HasKind};
mod limits;
mod steps;
mod work;

use std::time::Instant;

use checkpoint::Inventory;
use device::DeviceError;
use serde::{Deserialize, Serialize};
use watch::Watch;

use crate::batch::{Batch, SequenceSpan};
use crate::kv::{BLOCK_TOKENS, BlockId, KvError};
use crate::load::Loaded;
use crate::models::ForwardError;
use limits::{Limits, Machine};
pub use steps::{StepPoint, StepsOptions, StepsReport, bench_steps};
use work::Work;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens decoded after each.
    pub new_tokens: usize,
    /// Sequences decoded together, one measurement each.
    pub batches: Vec<usize>,
    /// Times that each is measured; the median is told.
    pub rounds: usize,
    /// Threads to measure the machine's limits with: those that the model computes with.
    pub threads: Option<usize>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Bytes a second that all threads read from memory, the median of all measurements; with
    /// GPUs, that each byte of weights is read with where it is, on the whole.
    pub read_bytes_per_s: f64,
    /// Multiply-adds a second in registers, times 2, of the kind that the weights need, the median
    /// likewise; of GPUs, what large products reach on them.
    pub dot_ops_per_s: f64,
    /// That kind.
    pub dot: String,
    /// Bytes of weights that every pass reads.
    pub weights_read_bytes: f64,
    /// The measurements, in order: prefill, then decoding by batch.
    pub figures: Vec<Figure>,
    /// From a prompt to its first token, in seconds.
    pub ttft_s: f64,
    /// From token to token, one sequence, in seconds.
    pub tpot_s: f64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `prefill 512`, `decode`, `decode x8`.
    pub name: String,
    /// Tokens a second, of all sequences together: the median.
    pub tok_s: f64,
    /// The best.
    pub best_tok_s: f64,
    /// What the bandwidth and the dot product that were measured meanwhile would allow.
    pub limit_tok_s: f64,
    /// That bandwidth, in bytes a second (0 in documents of before it was measured meanwhile).
    #[serde(default)]
    pub read_bytes_per_s: f64,
    /// `tok_s` of it.
    pub share: f64,
    /// Whether the limit is the `memory` or the `arithmetic`.
    pub bound_by: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The load was planned for less.
    #[error(
        "{wanted} KV blocks are needed for {sequences} sequences of {tokens} tokens, {free} were planned; raise --context or --concurrency, or measure smaller batches"
    )]
    Blocks {
        /// Sequences at a time.
        sequences: usize,
        /// Tokens of each.
        tokens: usize,
        /// Blocks needed.
        wanted: usize,
        /// Blocks there are.
        free: usize,
    },
    /// A pass failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The KV pool refused.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The machine's limits could not be measured.
    #[error("the machine's limits could not be measured: {0}")]
    Device(#[from] DeviceError),
    /// A run that is longer than the context.
    #[error(
        "{steps} steps have {tokens} tokens, but the context holds {room}; measure fewer or shorter steps, or raise --context"
    )]
    Context {
        /// Steps of the run.
        steps: usize,
        /// Their tokens.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// A step of a run failed.
    #[error("step {step}: {cause}")]
    Step {
        /// Which, from 0.
        step: usize,
        /// Why.
        cause: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Canceled,
}

impl HasKind for BenchError {
    fn kind(&self) -> ErrorKind {
        match self {
            BenchError::Blocks { .. } | BenchError::Context { .. } => ErrorKind::Usage,
            BenchError::Step { .. } => ErrorKind::Bug,
            BenchError::Forward(error) => error.kind(),
            BenchError::Kv(error) => error.kind(),
            BenchError::Device(_) => ErrorKind::OutOfMemory,
            BenchError::Canceled => ErrorKind::Interrupted,
        }
    }
}

/// Measures the machine, then the model on it.
///
/// # Errors
/// See [`BenchError`].
pub fn bench(
    loaded: &mut Loaded,
    inventory: &Inventory,
    options: &BenchOptions,
    watch: &Watch,
) -> Result<BenchReport, BenchError> {
    let work = Work::of(loaded.model.config(), inventory, &loaded.report.dtype);
    let machine = Machine::of(loaded, options.threads, &work, watch)?;
    let mut run = Run { loaded, work, machine, seen: Vec::new(), options, watch };
    let prefill = run.prefill()?;
    let mut figures = vec![prefill.clone()];
    for &sequences in &options.batches {
        figures.push(run.decode(sequences)?);
    }
    let limits = Limits::median(&run.seen);
    let tpot_s = figures.iter().find(|f| f.name == "decode").map_or(0.0, |f| 1.0 / f.tok_s);
    Ok(BenchReport {
        read_bytes_per_s: limits.read_bytes_per_s,
        dot_ops_per_s: limits.dot_ops_per_s,
        dot: format!("{:?}", run.work.dot).to_lowercase(),
        weights_read_bytes: run.work.weights_bytes,
        ttft_s: options.prompt_tokens as f64 / prefill.tok_s,
        tpot_s,
        figures,
    })
}

struct Run<'a> {
    loaded: &'a mut Loaded,
    work: Work,
    machine: Machine,
    /// All that was measured of it.
    seen: Vec<Limits>,
    options: &'a BenchOptions,
    watch: &'a Watch,
}

/// Steps of decoding between two measurements of the machine.
const STEPS_BETWEEN: usize = 4;

impl Run<'_> {
    fn prefill(&mut self) -> Result<Figure, BenchError> {
        let (tokens, first) = (self.options.prompt_tokens, self.seen.len());
        let mut seconds = Vec::new();
        for round in 0..=self.options.rounds {
            self.measure_machine()?;
            let table = self.blocks(1, tokens)?;
            let began = Instant::now();
            let done = self.prompt(&table);
            self.release(table);
            done?;
            // The first round warms caches and pages.
            if round > 0 {
                seconds.push(began.elapsed().as_secs_f64());
            }
        }
        // A prompt goes in chunks, and each reads the weights.
        let passes = tokens.div_ceil(self.loaded.scratch.rows_max());
        let bytes = passes as f64 * self.work.weights_bytes;
        let ops = self.work.prefill_ops(tokens);
        Ok(figure(
            format!("prefill {tokens}"),
            tokens as f64,
            &seconds,
            (bytes, ops),
            &self.seen[first..],
        ))
    }

    fn measure_machine(&mut self) -> Result<(), BenchError> {
        self.watch.beat();
        let limits = self.machine.limits()?;
        self.seen.push(limits);
        Ok(())
    }

    fn decode(&mut self, sequences: usize) -> Result<Figure, BenchError> {
        let (prompt, new, first) =
            (self.options.prompt_tokens, self.options.new_tokens, self.seen.len());
        let each = (prompt + new).div_ceil(BLOCK_TOKENS);
        let blocks = self.blocks(sequences, prompt + new)?;
        let tables: Vec<Vec<BlockId>> = blocks.chunks(each).map(<[BlockId]>::to_vec).collect();
        let outcome = self.decode_in(&tables);
        self.release(blocks);
        let seconds = outcome?;
        let name =
            if sequences == 1 { "decode".to_owned() } else { format!("decode x{sequences}") };
        let positions = prompt + new / 2;
        let kv_bytes =
            (positions / BLOCK_TOKENS) as f64 * self.loaded.kv.layout().block_bytes() as f64;
        let bytes = self.work.weights_bytes + sequences as f64 * kv_bytes;
        let ops = self.work.step_ops(sequences, positions);
        Ok(figure(name, sequences as f64, &seconds, (bytes, ops), &self.seen[first..]))
    }

    /// Seconds of each step.
    fn decode_in(&mut self, tables: &[Vec<BlockId>]) -> Result<Vec<f64>, BenchError> {
        let prompt = self.options.prompt_tokens;
        self.prompt(&tables[0])?;
        for table in &tables[1..] {
            for (&from, &to) in tables[0].iter().zip(table).take(prompt.div_ceil(BLOCK_TOKENS)) {
                self.loaded.kv.copy_block(from, to)?;
            }
        }
        let mut seconds = Vec::new();
        let mut next: Vec<u32> = (0..tables.len() as u32).collect();
        for step in 0..self.options.new_tokens {
            if step % STEPS_BETWEEN == 0 {
                self.measure_machine()?;
            }
            let began = Instant::now();
            let spans: Vec<SequenceSpan> = tables
                .iter()
                .enumerate()
                .map(|(i, table)| SequenceSpan {
                    rows: i..i + 1,
                    first_position: prompt + step,
                    block_table: table,
                })
                .collect();
            let rows: Vec<usize> = (0..tables.len()).collect();
            next = self.pass(&next, &spans, &rows)?;
            if step > 0 {
                seconds.push(began.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }

    fn prompt(&mut self, table: &[BlockId]) -> Result<(), BenchError> {
        let vocab = self.loaded.model.config().vocab_size as u32;
        let ids: Vec<u32> =
            (0..self.options.prompt_tokens as u32).map(|i| i.wrapping_mul(7919) % vocab).collect();
        let most = self.loaded.scratch.rows_max();
        for (chunk, ids) in ids.chunks(most).enumerate() {
            let span = SequenceSpan {
                rows: 0..ids.len(),
                first_position: chunk * most,
                block_table: table,
            };
            let last = (chunk + 1) * most >= self.options.prompt_tokens;
            let rows = if last { vec![ids.len() - 1] } else { Vec::new() };
            self.pass(ids, &[span], &rows)?;
        }
        Ok(())
    }

    /// One pass; the likeliest ids of the rows asked for.
    fn pass(
        &mut self,
        tokens: &[u32],
        spans: &[SequenceSpan],
        rows: &[usize],
    ) -> Result<Vec<u32>, BenchError> {
        if self.watch.canceled() {
            return Err(BenchError::Canceled);
        }
        self.watch.beat();
        let mut ids = Vec::new();
        let Loaded { model, kv, scratch, .. } = &mut *self.loaded;
        let batch = Batch { tokens, sequences: spans, logits_for: rows };
        let logits = model.forward(&batch, kv, scratch)?;
        for index in 0..logits.rows() {
            let row = logits.row(index);
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            ids.push(best.map_or(0, |id| id as u32));
        }
        Ok(ids)
    }

    fn blocks(&mut self, sequences: usize, tokens: usize) -> Result<Vec<BlockId>, BenchError> {
        let (wanted, free) =
            (sequences * tokens.div_ceil(BLOCK_TOKENS), self.loaded.kv.free_blocks());
        if wanted > free || sequences > self.loaded.scratch.logits_rows_max() {
            return Err(BenchError::Blocks { sequences, tokens, wanted, free });
        }
        Ok(self.loaded.kv.alloc_many(wanted)?)
    }

    fn release(&mut self, blocks: Vec<BlockId>) {
        for block in blocks {
            self.loaded.kv.release(block);
        }
    }
}

/// From the seconds of each turn, of which one gives so many tokens and takes (bytes, operations),
/// and what the machine could do meanwhile.
fn figure(
    name: String,
    tokens: f64,
    seconds: &[f64],
    (bytes, ops): (f64, f64),
    seen: &[Limits],
) -> Figure {
    let limits = Limits::median(seen);
    let (memory_s, arithmetic_s) = (bytes / limits.read_bytes_per_s, ops / limits.dot_ops_per_s);
    let tok_s = tokens / median(seconds);
    let limit_tok_s = tokens / memory_s.max(arithmetic_s);
    Figure {
        name,
        tok_s,
        best_tok_s: tokens / seconds.iter().copied().fold(f64::INFINITY, f64::min),
        limit_tok_s,
        read_bytes_per_s: limits.read_bytes_per_s,
        share: tok_s / limit_tok_s,
        bound_by: if memory_s > arithmetic_s { "memory" } else { "arithmetic" }.to_owned(),
    }
}

/// The middle one of at least one.
fn median(of: &[f64]) -> f64 {
    let mut of = of.to_vec();
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_beside_what_was_measured_meanwhile() {
        let limits = |read| Limits { read_bytes_per_s: read, dot_ops_per_s: 1000.0 };
        let of =
            |seen: &[Limits]| figure("decode".to_owned(), 1.0, &[0.5, 0.2, 0.4], (10.0, 1.0), seen);
        let slow = of(&[limits(50.0), limits(49.0), limits(80.0)]);
        assert_eq!(
            (slow.tok_s, slow.best_tok_s, slow.limit_tok_s, slow.share),
            (2.5, 5.0, 5.0, 0.5)
        );
        assert_eq!((slow.bound_by.as_str(), slow.read_bytes_per_s), ("memory", 50.0));
        assert_eq!(of(&[limits(100.0)]).share, 0.25);
        assert_eq!(of(&[limits(1e9)]).bound_by, "arithmetic");
    }
}
