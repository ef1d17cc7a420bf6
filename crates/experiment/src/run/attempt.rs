//! One attempt at a run, from its claim to its commit.

use super::episode::{Episode, StepInput};
use super::events::{EventSink, RunEvent, StepFigures};
use super::limits::UsageMeter;
use super::record::{RunAccumulator, context_length};
use super::retrace::{compare_rows, retrace};
use crate::agent::conversation::PromptBudget;
use crate::config::{AgentModelConfig, PlannedRun};
use crate::error::ExperimentError;
use crate::measures::SummarySimilarity;
use crate::provider::{ModelThinking, Provider, ProviderError, ProviderInfo, Reply, ReplyRequest};
use results::{
    AttemptWriter, ClaimOutcome, Committed, Owner, RunAttempt, RunRecord, SimilarityRow, StepRow,
    Store, Timing,
};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Data that all runs of one model share.
pub(super) struct RunContext<'a> {
    pub store: &'a Store,
    pub sink: &'a dyn EventSink,
    pub canceled: &'a (dyn Fn() -> bool + Sync),
    /// `None` for scripted operators.
    pub provider: Option<&'a dyn Provider>,
    pub info: &'a ProviderInfo,
    pub reply_deadline_s: f64,
    /// The kernel set of the opened model if it differs from the one recorded in the experiment's
    /// folder. Rows are then marked with it.
    pub mixed_kernels: Option<String>,
    pub meter: &'a UsageMeter,
    /// Whether the logs of committed runs are compressed if they are large.
    pub compress_logs: bool,
}

/// Result of an attempt.
#[derive(Debug)]
pub(super) enum RunOutcome {
    Done(Box<RunRecord>),
    /// The run was committed before this attempt, or by another process during it.
    AlreadyDone,
    /// Another process has claimed the run.
    ClaimedElsewhere(Owner),
    /// The infrastructure failed. Rows are kept; a retry may succeed.
    Failed(String),
    /// The run reached one of its usage limits. Rows are kept; a retry within this command cannot
    /// succeed.
    LimitReached(String),
    /// The command was canceled. Rows are kept.
    Interrupted,
}

/// Carries out one run, resuming from the rows of an earlier attempt if there are any.
///
/// # Errors
/// Results cannot be read or written, or the earlier rows differ from those recomputed from the
/// seed and the recorded replies.
pub(super) fn execute_run(
    context: &RunContext<'_>,
    run: &PlannedRun,
) -> Result<RunOutcome, ExperimentError> {
    let folder = context.store.run(&run.run_id);
    if folder.is_committed() {
        return Ok(RunOutcome::AlreadyDone);
    }
    let claim = match context.store.claim(&run.run_id)? {
        ClaimOutcome::Acquired(claim) => claim,
        ClaimOutcome::HeldBy(owner) => return Ok(RunOutcome::ClaimedElsewhere(owner)),
    };
    // Another process may have committed the run between the first check and the claim.
    if folder.is_committed() {
        return Ok(RunOutcome::AlreadyDone);
    }
    let earlier = folder.longest_attempt()?;
    let mut active = ActiveRun::begin(context, run, folder.begin(claim)?, earlier)?;
    let stopped = active.take_steps();
    if let Some(provider) = context.provider {
        provider.close(&run.run_id);
    }
    match stopped? {
        StopReason::Ended => active.commit(),
        StopReason::Canceled => Ok(RunOutcome::Interrupted),
        StopReason::Failed(reason) => {
            active.writer.fail(&reason)?;
            Ok(RunOutcome::Failed(reason))
        }
        StopReason::LimitReached(reason) => {
            active.writer.fail(&reason)?;
            Ok(RunOutcome::LimitReached(reason))
        }
    }
}

/// Why a run takes no further step.
enum StopReason {
    /// The world ended, by its own rules or at the horizon.
    Ended,
    Canceled,
    Failed(String),
    LimitReached(String),
}

/// A run in progress, with its claim and its open log.
struct ActiveRun<'a> {
    context: &'a RunContext<'a>,
    run: &'a PlannedRun,
    episode: Episode,
    writer: AttemptWriter,
    accumulator: RunAccumulator,
    similarity: SummarySimilarity,
    timing: Timing,
    begun: Instant,
}

/// Measurements of a step that depend on the machine, so that its row does not contain them.
#[derive(Default)]
struct StepTiming {
    reply_seconds: f64,
    cached_prompt_tokens: u64,
}

impl<'a> ActiveRun<'a> {
    /// Starts an attempt. Rows of an earlier attempt are recomputed, compared with the recorded
    /// ones, and written to the new log.
    fn begin(
        context: &'a RunContext<'a>,
        run: &'a PlannedRun,
        writer: AttemptWriter,
        earlier: Option<RunAttempt>,
    ) -> Result<Self, ExperimentError> {
        let begun = Instant::now();
        let mut active = ActiveRun {
            context,
            run,
            episode: Episode::new(run)?,
            writer,
            accumulator: RunAccumulator::default(),
            similarity: SummarySimilarity::default(),
            timing: Timing {
                host: Owner::here().host,
                rung: context.info.rung.clone(),
                ..Timing::default()
            },
            begun,
        };
        if let Some(earlier) = earlier {
            context.sink.event(&RunEvent::Note { text: resume_note(run, &earlier) });
            active.replay(&earlier)?;
        }
        active.episode.set_mixed_kernels(context.mixed_kernels.clone());
        context.sink.event(&RunEvent::RunStarted {
            run_id: run.run_id.clone(),
            attempt: active.writer.attempt(),
            replayed: active.timing.steps_replayed,
            steps_max: run.cell.steps_max(),
        });
        Ok(active)
    }

    fn replay(&mut self, earlier: &RunAttempt) -> Result<(), ExperimentError> {
        for (at, recorded) in earlier.rows.iter().enumerate() {
            self.episode.set_mixed_kernels(recorded.mixed_kernels.clone());
            let row = retrace(&mut self.episode, recorded);
            compare_rows(&earlier.path, at + 1, &row, recorded)?;
            self.writer.append(&row)?;
            self.accumulator.add(&row);
            if let Some(summary) = self.episode.recorded_summary(&row) {
                self.similarity.recall(summary);
            }
        }
        self.timing.steps_replayed = earlier.rows.len() as u64;
        Ok(())
    }

    fn take_steps(&mut self) -> Result<StopReason, ExperimentError> {
        while self.episode.ending().is_none() {
            if (self.context.canceled)() || self.context.meter.reached().is_some() {
                return Ok(StopReason::Canceled);
            }
            let tokens = self.accumulator.tokens();
            if let Some(limit) = self.context.meter.run_reached(tokens, self.begun) {
                return Ok(StopReason::LimitReached(limit));
            }
            let (input, timing) = match self.next_input() {
                Ok(next) => next,
                Err(ProviderError::Canceled) => return Ok(StopReason::Canceled),
                Err(error) => return Ok(StopReason::Failed(error.to_string())),
            };
            let row = self.episode.take(input);
            self.writer.append(&row)?;
            self.accumulator.add(&row);
            self.context.meter.add_tokens(row.prompt_tokens + row.reply_tokens);
            self.context.sink.event(&RunEvent::StepDone(self.step_figures(&row, &timing)));
        }
        Ok(StopReason::Ended)
    }

    /// The next reply, of the scripted operator or of the model.
    fn next_input(&mut self) -> Result<(StepInput, StepTiming), ProviderError> {
        if let Some(input) = self.episode.scripted_input() {
            return Ok((input, StepTiming::default()));
        }
        let Some(provider) = self.context.provider else {
            return Err(ProviderError::Unavailable(
                "internal error: a model's run was started without the model".into(),
            ));
        };
        let (reply, left_out) = match &self.run.cell.config().model {
            Some(model) => self.reply_of_model(provider, model)?,
            None => self.reply_of_person(provider)?,
        };
        self.timing.reply_seconds += reply.seconds;
        self.timing.reply_tokens += reply.reply_tokens;
        self.timing.cached_prompt_tokens += reply.cached_prompt_tokens;
        let timing = StepTiming {
            reply_seconds: reply.seconds,
            cached_prompt_tokens: reply.cached_prompt_tokens,
        };
        let similarity = self.similarity_of(provider, &reply)?;
        Ok((StepInput::of_reply(reply, left_out, similarity), timing))
    }

    /// The model's reply, and the number of exchanges that its prompt left out.
    fn reply_of_model(
        &self,
        provider: &dyn Provider,
        model: &AgentModelConfig,
    ) -> Result<(Reply, u64), ProviderError> {
        let context = context_length(model, self.context.info);
        // `model.max_tokens_per_call` may be meant for models of the grid with a longer context, so
        // it is limited to half of this model's context.
        let max_tokens = model.max_tokens_per_call.min(context / 2).max(1);
        let tools = self.episode.tools.as_ref();
        let thinking = model.thinking;
        let budget = PromptBudget { provider, tools, thinking, context, reply: max_tokens };
        let left_out = self.episode.fit(&budget)?;
        let reply = provider.reply(&ReplyRequest {
            session: &self.run.run_id,
            messages: &self.episode.prompt(left_out),
            tools,
            schema: self.episode.schema.as_ref(),
            thinking,
            temperature: model.temperature,
            top_p: model.top_p,
            seed: self.episode.sampling_seed(),
            max_tokens,
            deadline_s: self.context.reply_deadline_s,
            canceled: self.context.canceled,
        })?;
        Ok((reply, left_out))
    }

    /// A person's reply, which nothing but the schema limits.
    fn reply_of_person(&self, person: &dyn Provider) -> Result<(Reply, u64), ProviderError> {
        let left_out = self.episode.left_out_by_policy();
        let reply = person.reply(&ReplyRequest {
            session: &self.run.run_id,
            messages: &self.episode.prompt(left_out),
            tools: None,
            schema: self.episode.schema.as_ref(),
            thinking: ModelThinking::Off,
            temperature: 0.0,
            top_p: 1.0,
            seed: self.episode.sampling_seed(),
            max_tokens: u64::MAX,
            deadline_s: f64::INFINITY,
            canceled: self.context.canceled,
        })?;
        Ok((reply, left_out))
    }

    fn similarity_of(
        &mut self,
        provider: &dyn Provider,
        reply: &Reply,
    ) -> Result<Option<SimilarityRow>, ProviderError> {
        let seed = self.episode.sampling_seed();
        if let Some(row) = provider.recorded_row(&self.run.run_id, seed) {
            return Ok(row.similarity.clone());
        }
        let Some(summary) = self.episode.summary(&reply.text, reply.finish) else {
            return Ok(None);
        };
        let design = self.run.cell.config().design;
        let identity = &self.context.info.identity;
        self.similarity.with_reference(&summary, provider, identity, design)
    }

    fn step_figures(&self, row: &StepRow, timing: &StepTiming) -> StepFigures {
        let (sum, known) = match row.design {
            None => (row.pe.values().flatten().sum::<f64>(), row.pe.values().flatten().count()),
            Some(_) => (row.pe_pairs.iter().map(|pair| pair.error).sum(), row.pe_pairs.len()),
        };
        StepFigures {
            run_id: self.run.run_id.clone(),
            step: row.step,
            steps_max: self.run.cell.steps_max(),
            prompt_tokens: row.prompt_tokens,
            cached_prompt_tokens: timing.cached_prompt_tokens,
            reply_tokens: row.reply_tokens,
            reply_seconds: timing.reply_seconds,
            pe: (known > 0).then(|| sum / known as f64),
            parse_failure: row.parse_failure.as_ref().map(|failure| failure.kind.clone()),
            crashes: row.crashes.iter().map(|crash| crash.kind.clone()).collect(),
        }
    }

    fn commit(mut self) -> Result<RunOutcome, ExperimentError> {
        self.timing.seconds = self.begun.elapsed().as_secs_f64();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.timing.committed_unix_s = now.map_or(0, |since| since.as_secs());
        let record =
            self.accumulator.record(self.run, &self.episode, self.context.info, self.timing);
        let (committed, record) = self.writer.commit(record)?;
        if self.context.compress_logs
            && let Err(error) = self.context.store.run(&self.run.run_id).pack()
        {
            // A failure to compress is only reported: the run is committed, and its uncompressed
            // log is complete.
            let text = format!("the log of run {} is not compressed: {error}", self.run.run_id);
            self.context.sink.event(&RunEvent::Note { text });
        }
        match committed {
            Committed::Ours => Ok(RunOutcome::Done(Box::new(record))),
            Committed::Another => Ok(RunOutcome::AlreadyDone),
        }
    }
}

fn resume_note(run: &PlannedRun, earlier: &RunAttempt) -> String {
    let note = earlier.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    format!("run {} goes on after step {}{note}", run.run_id, earlier.rows.len())
}
