//! One pass: rows in, logits out, tokens chosen.

use std::time::{Duration, Instant};

use super::forward::Forward;
use super::ngram_proposer::Draft;
use super::plan::ScheduledSequence;
use super::sampler::{Job, Sampler};
use super::scheduler::Scheduler;
use super::sequence::{Sequence, Task};
use super::{FatalError, FinishReason, RequestError};
use crate::batch::{Batch, Logits, SequenceSpan};
use crate::grammar::{GrammarError, TokenMask};
use crate::models::ForwardError;
use crate::sampling::SampledToken;

/// The longest that the masks of a step may take after its pass.
const MASK_LIMIT: Duration = Duration::from_secs(10);

/// A sequence that gets tokens in this step.
pub(super) struct SampleTarget {
    pub seq_id: u64,
    pub draft: Draft,
    /// Of the reply's end and of the draft's parts, as many as there are; `None` without a form.
    masks: Option<Result<Vec<TokenMask>, GrammarError>>,
    /// What was chosen there, up to the first wrong guess.
    choices: Vec<Result<SampledToken, RequestError>>,
}

impl SampleTarget {
    pub fn new(seq_id: u64) -> Self {
        SampleTarget { seq_id, draft: Draft::default(), masks: None, choices: Vec::new() }
    }
}

impl<F: Forward> Scheduler<F> {
    /// Computes the shares and chooses a token for each sequence that is computed to its end.
    pub fn compute(&mut self, shares: &[ScheduledSequence]) {
        let mut picks = self.picks(shares);
        self.start_masks(&mut picks);
        let since = Instant::now();
        let outcome = self.forward_and_choose(shares, &mut picks);
        self.stats.steps += 1;
        if let Err(cause) = outcome {
            self.stats.forward_s += since.elapsed().as_secs_f64();
            self.death = FatalError::of(&cause);
            return self.fail(shares, &cause.into());
        }
        let (prefill, reply) = (self.stats.prefill_tokens, self.stats.reply_tokens);
        self.advance(shares);
        self.accept(picks);
        self.rates.add(
            Instant::now(),
            self.stats.prefill_tokens - prefill,
            self.stats.reply_tokens - reply,
        );
    }

    /// Sends the guides of those that will sample to the mask threads.
    fn start_masks(&mut self, picks: &mut [SampleTarget]) {
        for pick in picks {
            let Some(index) = self.running_index(pick.seq_id) else { continue };
            let Task::Reply(reply) = &mut self.running[index].work else { continue };
            if let Some(guide) = reply.guide.take() {
                reply.cancellation = guide.cancellation();
                pick.masks =
                    self.masks.start(pick.seq_id, guide, pick.draft.path.take()).err().map(Err);
            }
        }
    }

    fn forward_and_choose(
        &mut self,
        shares: &[ScheduledSequence],
        picks: &mut [SampleTarget],
    ) -> Result<(), ForwardError> {
        let mut tokens = Vec::with_capacity(self.step_tokens);
        let (mut spans, mut logits_for) =
            (Vec::with_capacity(shares.len()), Vec::with_capacity(picks.len()));
        let mut choosing = picks.iter().peekable();
        for share in shares {
            let Ok(index) =
                self.running.binary_search_by_key(&share.seq_id, |sequence| sequence.seq_id)
            else {
                continue;
            };
            let sequence = &self.running[index];
            let start = tokens.len();
            tokens.extend_from_slice(&sequence.tokens[sequence.computed..][..share.rows]);
            if let Some(pick) = choosing.next_if(|pick| pick.seq_id == share.seq_id) {
                logits_for.push(tokens.len() - 1);
                for part in &pick.draft.parts {
                    tokens.extend(part);
                    logits_for.push(tokens.len() - 1);
                }
            }
            let (rows, first_position) = (start..tokens.len(), sequence.computed);
            spans.push(SequenceSpan { rows, first_position, block_table: &sequence.table.blocks });
        }
        let batch = Batch { tokens: &tokens, sequences: &spans, logits_for: &logits_for };
        let since = Instant::now();
        let mut logits = self.model.forward(&batch, &mut self.memory.pool)?;
        self.stats.forward_s += since.elapsed().as_secs_f64();
        drop(spans);
        let since = Instant::now();
        collect(&mut self.masks, &mut self.running, picks);
        self.stats.mask_wait_s += since.elapsed().as_secs_f64();
        let since = Instant::now();
        pick_all(&self.running, &mut logits, picks, &self.sampler)?;
        self.stats.sample_s += since.elapsed().as_secs_f64();
        Ok(())
    }

    /// The pass failed: all that were in it, fail. What was computed before stays valid.
    fn fail(&mut self, shares: &[ScheduledSequence], cause: &RequestError) {
        for share in shares {
            if let Some(index) = self.running_index(share.seq_id) {
                self.end(index, FinishReason::Error(cause.clone()));
            }
        }
    }

    /// The shares are computed: full blocks can be found by others from now on.
    fn advance(&mut self, shares: &[ScheduledSequence]) {
        let (mut prefill, step) = (0, self.stats.steps);
        for share in shares {
            let Some(index) = self.running_index(share.seq_id) else { continue };
            let sequence = &mut self.running[index];
            if !sequence.decoding {
                prefill += share.rows as u64;
            }
            (sequence.computed, sequence.last_step) = (sequence.computed + share.rows, step);
            self.memory.commit(&mut sequence.table, &sequence.tokens, sequence.computed);
        }
        self.stats.prefill_tokens += prefill;
    }

    /// Gives the chosen tokens to their replies, and ends those that are done.
    fn accept(&mut self, picks: Vec<SampleTarget>) {
        for SampleTarget { seq_id, draft, choices, .. } in picks {
            let Some(index) = self.running_index(seq_id) else { continue };
            let sequence = &mut self.running[index];
            let Task::Reply(reply) = &mut sequence.work else { continue };
            sequence.decoding = true;
            let (tokens, forced) = (sequence.tokens.len(), reply.forced_tokens);
            let reason = reply.accept_all(choices, &draft.parts, &mut sequence.tokens);
            let came = &sequence.tokens[tokens..];
            self.stats.reply_tokens += came.len() as u64;
            self.stats.forced_tokens += (reply.forced_tokens - forced) as u64;
            let right = draft.right(came);
            reply.drafts.tokens += draft.rows();
            reply.drafts.accepted += right;
            self.stats.draft_tokens += draft.rows() as u64;
            self.stats.accepted_draft_tokens += right as u64;
            match reason {
                Some(reason) => self.end(index, reason),
                None => {
                    // The last token's logits are still wanted.
                    sequence.computed = (sequence.computed + right).min(sequence.tokens.len() - 1);
                    self.memory.commit(&mut sequence.table, &sequence.tokens, sequence.computed);
                    self.memory.trim(&mut sequence.table, sequence.tokens.len());
                    sequence.deliver();
                }
            }
        }
    }
}

/// Waits for the masks that are under way and gives the guides back to their replies.
fn collect(
    masks: &mut crate::grammar::MaskPool,
    running: &mut [Sequence],
    picks: &mut [SampleTarget],
) {
    let until = Instant::now() + MASK_LIMIT;
    let away = |running: &[Sequence], pick: &SampleTarget| {
        let index = running.binary_search_by_key(&pick.seq_id, |sequence| sequence.seq_id).ok()?;
        let reply = running[index].reply()?;
        (reply.constrained && reply.guide.is_none() && pick.masks.is_none()).then_some(index)
    };
    while picks.iter().any(|pick| away(running, pick).is_some()) {
        let Some(done) = masks.next(until.saturating_duration_since(Instant::now())) else { break };
        // A guide whose reply is gone comes back to nobody.
        let Some(pick) = picks.iter_mut().find(|pick| pick.seq_id == done.owner) else { continue };
        let Some(index) = away(running, pick) else { continue };
        if let Task::Reply(reply) = &mut running[index].work {
            (reply.guide, pick.masks) = (Some(done.guide), Some(done.masks));
        }
    }
    for pick in picks {
        if let Some(index) = away(running, pick) {
            if let Some(cancellation) =
                running[index].reply().and_then(|reply| reply.cancellation.as_ref())
            {
                cancellation.cancel();
            }
            pick.masks = Some(Err(GrammarError::Slow { limit_s: MASK_LIMIT.as_secs() }));
        }
    }
}

/// Chooses for each pick from its rows, many at a time.
fn pick_all(
    running: &[Sequence],
    logits: &mut Logits,
    picks: &mut [SampleTarget],
    sampler: &Sampler,
) -> Result<(), ForwardError> {
    let mut rows = logits.rows_mut();
    let (mut chosen, mut jobs) = (Vec::with_capacity(picks.len()), Vec::with_capacity(picks.len()));
    for (place, pick) in picks.iter().enumerate() {
        let rows: Vec<&mut [f32]> = rows.by_ref().take(1 + pick.draft.parts.len()).collect();
        let Ok(index) = running.binary_search_by_key(&pick.seq_id, |sequence| sequence.seq_id)
        else {
            continue;
        };
        let sequence = &running[index];
        let Some(reply) = sequence.reply() else { continue };
        let masks = match &pick.masks {
            Some(Err(_)) => continue,
            Some(Ok(masks)) => Some(masks.as_slice()),
            None => None,
        };
        chosen.push(place);
        jobs.push(Job {
            rows,
            reply,
            position: sequence.tokens.len(),
            masks,
            parts: &pick.draft.parts,
        });
    }
    let choices = sampler.sample(jobs)?;
    for (place, choices) in chosen.into_iter().zip(choices) {
        picks[place].choices =
            choices.into_iter().map(|choice| choice.map_err(RequestError::from)).collect();
    }
    for pick in picks {
        if let Some(Err(cause)) = &pick.masks {
            pick.choices = vec![Err(cause.clone().into())];
        }
    }
    Ok(())
}
