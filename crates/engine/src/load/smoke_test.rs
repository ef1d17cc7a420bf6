//! The smoke test: a first inference of a few tokens, which must end in time with finite logits.

use std::time::Instant;

use watch::{Stage, Watch};

use super::LoadError;
use super::report::SmokeTest;
use crate::batch::{Batch, SequenceSpan};
use crate::kv::{BLOCK_TOKENS, BlockId, KvPool};
use crate::models::{ForwardScratch, Model};

const PROMPT_TOKENS: usize = 4;
/// Maximum tokens decoded after the prompt.
const DECODE_TOKENS: usize = 8;
/// Tokens of a typical step of an experiment, for the projected step time.
const STEP_TOKENS: f64 = 200.0;
/// A projected step time of more than this many seconds is reported in a note.
const SLOW_STEP_S: f64 = 120.0;

/// Decodes a few tokens within `limit_s` seconds. The limit is checked between passes; a pass that
/// hangs is aborted by the supervisor.
pub(crate) fn smoke_test(
    model: &Model,
    kv: &mut KvPool,
    scratch: &mut ForwardScratch,
    watch: &Watch,
    limit_s: f64,
) -> Result<SmokeTest, LoadError> {
    let positions = model.context().min(kv.free_blocks() * BLOCK_TOKENS);
    let prompt_tokens = PROMPT_TOKENS.min(positions);
    let decode_tokens = DECODE_TOKENS.min(positions - prompt_tokens);
    let table = kv.alloc_many((prompt_tokens + decode_tokens).div_ceil(BLOCK_TOKENS))?;
    let started = Instant::now();
    let mut test = SmokeTestRun { model, kv, scratch, watch, limit_s, table: &table, started };
    let outcome = test.run(prompt_tokens, decode_tokens);
    for block in table {
        kv.release(block);
    }
    outcome
}

/// A smoke test in progress.
struct SmokeTestRun<'a> {
    model: &'a Model,
    kv: &'a mut KvPool,
    scratch: &'a mut ForwardScratch,
    watch: &'a Watch,
    limit_s: f64,
    table: &'a [BlockId],
    started: Instant,
}

impl SmokeTestRun<'_> {
    fn run(&mut self, prompt_tokens: usize, decode_tokens: usize) -> Result<SmokeTest, LoadError> {
        let progress = self.watch.thread("smoke test");
        let vocab = self.model.config().vocab_size as u32;
        // The token ids are arbitrary; the first one is the begin-of-sequence token if the model
        // has one.
        let first = self.model.config().bos.filter(|&id| id < vocab).unwrap_or(0);
        let prompt: Vec<u32> = (0..prompt_tokens as u32).map(|i| (first + i) % vocab).collect();
        progress.at(Stage::SmokeTest, "prompt", 0);
        let mut next = self.pass(&prompt, 0)?;
        progress.item_done();
        let decode_started = Instant::now();
        let mut tokens = 0;
        while tokens < decode_tokens && self.in_time(prompt_tokens + tokens)? {
            progress.at(Stage::SmokeTest, "token", tokens as u64);
            next = self.pass(&[next], prompt_tokens + tokens)?;
            progress.item_done();
            tokens += 1;
        }
        let (seconds, decode_s) =
            (self.started.elapsed().as_secs_f64(), decode_started.elapsed().as_secs_f64());
        let tok_s =
            if tokens > 0 { tokens as f64 / decode_s } else { prompt_tokens as f64 / seconds };
        let step_s = STEP_TOKENS / tok_s;
        if step_s > SLOW_STEP_S {
            self.watch
                .note(format!("smoke test: {tok_s:.3} tok/s; a step of {STEP_TOKENS} tokens would take {step_s:.0} s"));
        }
        Ok(SmokeTest { tokens, prompt_tokens, seconds, tok_s, ok: true })
    }

    /// Whether to decode another token; an error once the limit is exceeded.
    fn in_time(&self, tokens: usize) -> Result<bool, LoadError> {
        let seconds = self.started.elapsed().as_secs_f64();
        if seconds > self.limit_s {
            let step_s = seconds / tokens as f64 * STEP_TOKENS;
            return Err(LoadError::TooSlow { tokens, seconds, limit_s: self.limit_s, step_s });
        }
        // Half of the limit suffices to measure the speed: a slow machine need not decode all
        // tokens.
        Ok(tokens <= PROMPT_TOKENS || seconds < self.limit_s / 2.0)
    }

    /// Computes one pass and returns the most likely next token.
    fn pass(&mut self, tokens: &[u32], first_position: usize) -> Result<u32, LoadError> {
        if self.watch.canceled() {
            return Err(LoadError::Canceled);
        }
        let span = SequenceSpan { rows: 0..tokens.len(), first_position, block_table: self.table };
        let batch = Batch { tokens, sequences: &[span], logits_for: &[tokens.len() - 1] };
        let logits = self.model.forward(&batch, self.kv, self.scratch)?;
        let row = logits.row(0);
        let position = first_position + tokens.len() - 1;
        if let Some(&found) = row.iter().find(|value| !value.is_finite()) {
            return Err(LoadError::NotFinite { position, found, weight: None });
        }
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Ok(best.map_or(0, |(id, _)| id as u32))
    }
}
