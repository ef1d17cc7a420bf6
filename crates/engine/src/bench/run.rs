//! The measurements of a benchmark: prefill and decoding, and the machine's roofline between the
//! passes.

use std::time::Instant;

use watch::Watch;

use super::cost::{BenchCost, PassCost};
use super::roofline::{MeasuredDevices, Roofline};
use super::{BenchError, BenchOptions, SpeedFigure, median};
use crate::batch::{Batch, SequenceSpan};
use crate::kv::{BLOCK_TOKENS, BlockId};
use crate::load::Loaded;
use crate::weights::{ExpertCacheReport, ExpertCacheStats};

/// A benchmark in progress.
pub(super) struct BenchRun<'a> {
    pub loaded: &'a mut Loaded,
    pub cost: BenchCost,
    pub devices: MeasuredDevices,
    /// All rooflines measured so far.
    pub rooflines: Vec<Roofline>,
    pub options: &'a BenchOptions,
    pub watch: &'a Watch,
}

/// Seconds of steps, the mean number of routed experts that a step reads, and the use of the cache
/// of experts on disk.
type DecodeOutcome = (Vec<f64>, f64, Option<ExpertCacheReport>);

/// Number of decode steps between two measurements of the roofline.
const STEPS_BETWEEN: usize = 4;

impl BenchRun<'_> {
    /// Measures the prefill of the prompt.
    pub fn prefill(&mut self) -> Result<SpeedFigure, BenchError> {
        let (tokens, first) = (self.options.prompt_tokens, self.rooflines.len());
        let (mut seconds, mut experts_read) = (Vec::new(), 0);
        let mut expert_cache = None;
        for round in 0..=self.options.rounds {
            self.measure_machine()?;
            if round <= 1 {
                expert_cache = self.loaded.model.expert_cache();
            }
            let table = self.alloc_blocks(1, tokens)?;
            let started = Instant::now();
            let outcome = self.compute_prompt(&table);
            self.release(table);
            experts_read = outcome?;
            // The first round is a warm-up for caches and pages.
            if round > 0 {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
        // The prompt is computed in chunks, each of which reads all weights.
        let passes = tokens.div_ceil(self.loaded.scratch.rows_max());
        let bytes =
            passes as f64 * self.cost.weights_bytes + experts_read as f64 * self.cost.expert_bytes;
        let cost = PassCost { bytes, ops: self.cost.prefill_ops(tokens) };
        let name = format!("prefill {tokens}");
        let figure = figure(name, tokens as f64, &seconds, cost, &self.rooflines[first..]);
        Ok(SpeedFigure { expert_cache: self.expert_cache_since(expert_cache), ..figure })
    }

    /// Measures decoding of `sequences` sequences together.
    pub fn decode(&mut self, sequences: usize) -> Result<SpeedFigure, BenchError> {
        let (prompt, new) = (self.options.prompt_tokens, self.options.new_tokens);
        let first = self.rooflines.len();
        let blocks_each = (prompt + new).div_ceil(BLOCK_TOKENS);
        let blocks = self.alloc_blocks(sequences, prompt + new)?;
        let tables: Vec<Vec<BlockId>> =
            blocks.chunks(blocks_each).map(<[BlockId]>::to_vec).collect();
        let outcome = self.decode_with(&tables);
        self.release(blocks);
        let (seconds, experts_read, expert_cache) = outcome?;
        let name =
            if sequences == 1 { "decode".to_owned() } else { format!("decode x{sequences}") };
        let positions = prompt + new / 2;
        let kv_bytes =
            (positions / BLOCK_TOKENS) as f64 * self.loaded.kv.layout().block_bytes() as f64;
        let bytes = self.cost.read_bytes(experts_read) + sequences as f64 * kv_bytes;
        let cost = PassCost { bytes, ops: self.cost.step_ops(sequences, positions) };
        let figure = figure(name, sequences as f64, &seconds, cost, &self.rooflines[first..]);
        Ok(SpeedFigure { expert_cache, ..figure })
    }

    /// Decodes one sequence per block table; returns the seconds of every step except the first,
    /// the mean number of routed experts that a step reads, and the use of their cache.
    fn decode_with(&mut self, tables: &[Vec<BlockId>]) -> Result<DecodeOutcome, BenchError> {
        let prompt = self.options.prompt_tokens;
        self.compute_prompt(&tables[0])?;
        for table in &tables[1..] {
            for (&from, &to) in tables[0].iter().zip(table).take(prompt.div_ceil(BLOCK_TOKENS)) {
                self.loaded.kv.copy_block(from, to)?;
            }
        }
        let (mut seconds, mut experts_read) = (Vec::new(), 0);
        let mut next: Vec<u32> = (0..tables.len() as u32).collect();
        let mut expert_cache = None;
        for step in 0..self.options.new_tokens {
            if step % STEPS_BETWEEN == 0 {
                self.measure_machine()?;
            }
            let started = Instant::now();
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
            next = self.forward(&next, &spans, &rows)?;
            if step == 0 {
                expert_cache = self.loaded.model.expert_cache();
            } else {
                seconds.push(started.elapsed().as_secs_f64());
                experts_read += self.loaded.scratch.experts_read();
            }
        }
        let mean = experts_read as f64 / seconds.len().max(1) as f64;
        Ok((seconds, mean, self.expert_cache_since(expert_cache)))
    }

    fn expert_cache_since(&self, earlier: Option<ExpertCacheStats>) -> Option<ExpertCacheReport> {
        self.loaded.model.expert_cache()?.since(&earlier?).report()
    }

    fn measure_machine(&mut self) -> Result<(), BenchError> {
        self.watch.beat();
        let roofline = self.devices.roofline()?;
        self.rooflines.push(roofline);
        Ok(())
    }

    /// Returns the number of routed experts that the passes read.
    fn compute_prompt(&mut self, table: &[BlockId]) -> Result<usize, BenchError> {
        let vocab = self.loaded.model.config().vocab_size as u32;
        let tokens: Vec<u32> =
            (0..self.options.prompt_tokens as u32).map(|i| i.wrapping_mul(7919) % vocab).collect();
        let rows_max = self.loaded.scratch.rows_max();
        let mut experts_read = 0;
        for (chunk, tokens) in tokens.chunks(rows_max).enumerate() {
            let span = SequenceSpan {
                rows: 0..tokens.len(),
                first_position: chunk * rows_max,
                block_table: table,
            };
            let last = (chunk + 1) * rows_max >= self.options.prompt_tokens;
            let rows = if last { vec![tokens.len() - 1] } else { Vec::new() };
            self.forward(tokens, &[span], &rows)?;
            experts_read += self.loaded.scratch.experts_read();
        }
        Ok(experts_read)
    }

    /// Computes one pass and returns the likeliest next token for each of `rows`.
    fn forward(
        &mut self,
        tokens: &[u32],
        spans: &[SequenceSpan],
        rows: &[usize],
    ) -> Result<Vec<u32>, BenchError> {
        if self.watch.canceled() {
            return Err(BenchError::Canceled);
        }
        self.watch.beat();
        let mut likeliest = Vec::new();
        let Loaded { model, kv, scratch, .. } = &mut *self.loaded;
        let batch = Batch { tokens, sequences: spans, logits_for: rows };
        let logits = model.forward(&batch, kv, scratch)?;
        for index in 0..logits.rows() {
            let row = logits.row(index);
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            likeliest.push(best.map_or(0, |id| id as u32));
        }
        Ok(likeliest)
    }

    fn alloc_blocks(
        &mut self,
        sequences: usize,
        tokens: usize,
    ) -> Result<Vec<BlockId>, BenchError> {
        let requested = sequences * tokens.div_ceil(BLOCK_TOKENS);
        let free = self.loaded.kv.free_blocks();
        if requested > free || sequences > self.loaded.scratch.logits_rows_max() {
            return Err(BenchError::Blocks { sequences, tokens, requested, free });
        }
        Ok(self.loaded.kv.alloc_many(requested)?)
    }

    fn release(&mut self, blocks: Vec<BlockId>) {
        for block in blocks {
            self.loaded.kv.release(block);
        }
    }
}

/// Compares the durations in seconds of repeated passes, each with `tokens` tokens and the same
/// `cost`, with the rooflines measured between them.
fn figure(
    name: String,
    tokens: f64,
    seconds: &[f64],
    cost: PassCost,
    rooflines: &[Roofline],
) -> SpeedFigure {
    let roofline = Roofline::median(rooflines);
    let memory_s = cost.bytes / roofline.read_bytes_per_s;
    let arithmetic_s = cost.ops / roofline.dot_ops_per_s;
    let tok_s = tokens / median(seconds);
    let limit_tok_s = tokens / memory_s.max(arithmetic_s);
    SpeedFigure {
        name,
        tok_s,
        best_tok_s: tokens / seconds.iter().copied().fold(f64::INFINITY, f64::min),
        limit_tok_s,
        read_bytes_per_s: roofline.read_bytes_per_s,
        share: tok_s / limit_tok_s,
        bound_by: if memory_s > arithmetic_s { "memory" } else { "arithmetic" }.to_owned(),
        expert_cache: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_is_compared_with_the_median_of_the_rooflines() {
        let roofline = |read| Roofline { read_bytes_per_s: read, dot_ops_per_s: 1000.0 };
        let cost = PassCost { bytes: 10.0, ops: 1.0 };
        let of = |rooflines: &[Roofline]| {
            figure("decode".to_owned(), 1.0, &[0.5, 0.2, 0.4], cost, rooflines)
        };
        let slow = of(&[roofline(50.0), roofline(49.0), roofline(80.0)]);
        assert_eq!(
            (slow.tok_s, slow.best_tok_s, slow.limit_tok_s, slow.share),
            (2.5, 5.0, 5.0, 0.5)
        );
        assert_eq!((slow.bound_by.as_str(), slow.read_bytes_per_s), ("memory", 50.0));
        assert_eq!(of(&[roofline(100.0)]).share, 0.25);
        assert_eq!(of(&[roofline(1e9)]).bound_by, "arithmetic");
    }
}
