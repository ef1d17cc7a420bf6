//! One run, from its claim to its commit.

use crate::agent::conversation::PromptBudget;
use crate::config::PlannedRun;
use crate::error::ExperimentError;
use crate::measures::SummarySimilarity;
use crate::provider::{Provider, ProviderError, ProviderInfo, Reply, ReplyRequest};
use crate::run::episode::{Episode, StepInput};
use crate::run::events::{EventSink, RunEvent, StepFigures};
use crate::run::limits::UsageMeter;
use crate::run::record::RunAccumulator;
use crate::run::retrace::{difference, retrace};
use results::{
    AttemptWriter, ClaimOutcome, Committed, Owner, RunAttempt, RunRecord, SimilarityRow, StepRow,
    Store, Timing,
};
use std::time::Instant;

/// What all runs of a model share.
pub(crate) struct RunContext<'a> {
    pub store: &'a Store,
    pub sink: &'a dyn EventSink,
    pub canceled: &'a (dyn Fn() -> bool + Sync),
    /// `None` where scripted operators act.
    pub provider: Option<&'a dyn Provider>,
    pub info: &'a ProviderInfo,
    pub reply_deadline_s: f64,
    pub mixed_kernels: Option<String>,
    pub meter: &'a UsageMeter,
    /// Whether long logs are compressed when their run is done.
    pub compress_logs: bool,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) enum RunOutcome {
    /// Committed, by us or by another attempt that was first.
    Done(Box<RunRecord>),
    /// It was done before.
    AlreadyDone,
    /// Another process works on it.
    ClaimedElsewhere(Owner),
    /// Infrastructure failed; the rows are kept.
    Failed(String),
    /// A limit for one run was reached; the rows are kept, and trying again within the command is
    /// in vain.
    LimitReached(String),
    /// Somebody asked to stop; the rows are kept.
    Interrupted,
}

/// Does one run, going on from what an earlier attempt left.
pub(crate) fn execute_run(
    stage: &RunContext<'_>,
    run: &PlannedRun,
) -> Result<RunOutcome, ExperimentError> {
    let folder = stage.store.run(&run.run_id);
    if folder.is_committed() {
        return Ok(RunOutcome::AlreadyDone);
    }
    let claim = match stage.store.claim(&run.run_id)? {
        ClaimOutcome::Acquired(claim) => claim,
        ClaimOutcome::HeldBy(who) => return Ok(RunOutcome::ClaimedElsewhere(who)),
    };
    // It may have been done between the look and the claim.
    if folder.is_committed() {
        return Ok(RunOutcome::AlreadyDone);
    }
    let earlier = folder.longest_attempt()?;
    let mut live = ActiveRun::begin(stage, run, folder.begin(claim)?, earlier)?;
    let outcome = live.run_out();
    if let Some(provider) = stage.provider {
        provider.close(&run.run_id);
    }
    match outcome? {
        StopReason::Ended => live.commit(),
        StopReason::Canceled => Ok(RunOutcome::Interrupted),
        StopReason::Failed(reason) => {
            live.writer.fail(&reason)?;
            Ok(RunOutcome::Failed(reason))
        }
        StopReason::LimitReached(reason) => {
            live.writer.fail(&reason)?;
            Ok(RunOutcome::LimitReached(reason))
        }
    }
}

enum StopReason {
    Ended,
    Canceled,
    Failed(String),
    LimitReached(String),
}

/// A run in progress.
struct ActiveRun<'a> {
    stage: &'a RunContext<'a>,
    run: &'a PlannedRun,
    episode: Episode,
    writer: AttemptWriter,
    sums: RunAccumulator,
    likeness: SummarySimilarity,
    timing: Timing,
    begun: Instant,
}

impl<'a> ActiveRun<'a> {
    /// Writes the rows of an earlier attempt again, each derived anew and compared.
    fn begin(
        stage: &'a RunContext<'a>,
        run: &'a PlannedRun,
        mut writer: AttemptWriter,
        earlier: Option<RunAttempt>,
    ) -> Result<Self, ExperimentError> {
        let begun = Instant::now();
        let mut episode = Episode::new(&run.run_id, &run.cell, run.seed)?;
        let (mut sums, mut likeness) = (RunAccumulator::default(), SummarySimilarity::default());
        let mut timing =
            Timing { host: Owner::here().host, rung: stage.info.rung.clone(), ..Timing::default() };
        if let Some(earlier) = earlier {
            stage.sink.event(&RunEvent::Note { text: resume_note(run, &earlier) });
            for (at, recorded) in earlier.rows.iter().enumerate() {
                episode.mark_from_here(recorded.mixed_kernels.clone());
                let row = retrace(&mut episode, recorded);
                difference(&earlier.path, at + 1, &row, recorded)?;
                writer.append(&row)?;
                sums.add(&row);
                episode.summary_of(&row).into_iter().for_each(|summary| likeness.recall(summary));
            }
            timing.steps_replayed = earlier.rows.len() as u64;
        }
        episode.mark_from_here(stage.mixed_kernels.clone());
        stage.sink.event(&RunEvent::RunStarted {
            run_id: run.run_id.clone(),
            attempt: writer.attempt(),
            replayed: timing.steps_replayed,
            steps_max: run.cell.steps_max(),
        });
        Ok(ActiveRun { stage, run, episode, writer, sums, likeness, timing, begun })
    }

    fn run_out(&mut self) -> Result<StopReason, ExperimentError> {
        while self.episode.ending().is_none() {
            if (self.stage.canceled)() || self.stage.meter.reached().is_some() {
                return Ok(StopReason::Canceled);
            }
            if let Some(limit) = self.stage.meter.run_reached(self.sums.tokens(), self.begun) {
                return Ok(StopReason::LimitReached(limit));
            }
            let mut figures = self.figures();
            let answer = match self.answer(&mut figures) {
                Ok(answer) => answer,
                Err(ProviderError::Canceled) => return Ok(StopReason::Canceled),
                Err(error) => return Ok(StopReason::Failed(error.to_string())),
            };
            let row = self.episode.take(answer);
            self.writer.append(&row)?;
            self.sums.add(&row);
            self.stage.meter.spend(row.prompt_tokens + row.reply_tokens);
            self.tell(&row, figures);
        }
        Ok(StopReason::Ended)
    }

    fn answer(&mut self, figures: &mut StepFigures) -> Result<StepInput, ProviderError> {
        if let Some(answer) = self.episode.scripted_answer() {
            return Ok(answer);
        }
        let Some(provider) = self.stage.provider else {
            return Err(ProviderError::Unavailable(
                "a defect of ours: a run of a model was begun without it".into(),
            ));
        };
        let cell = &self.run.cell;
        let max_tokens = cell.whole("model.max_tokens_per_call").unwrap_or(1);
        let asked = cell.whole("model.context_length").unwrap_or(u64::MAX);
        let context = self.stage.info.context_length.map_or(asked, |limit| limit.min(asked));
        // A limit of tokens larger than the model's context is meant for other models of the grid.
        let max_tokens = max_tokens.min(context / 2).max(1);
        let tools = self.episode.tools.as_ref();
        let left_out =
            self.episode.fit(&PromptBudget { provider, tools, context, reply: max_tokens })?;
        let reply = provider.reply(&ReplyRequest {
            session: &self.run.run_id,
            messages: &self.episode.prompt(left_out),
            tools,
            schema: self.episode.schema.as_ref(),
            temperature: cell.number("model.temperature").unwrap_or(0.0),
            top_p: cell.number("model.top_p").unwrap_or(1.0),
            seed: self.episode.sampling_seed(),
            max_tokens,
            deadline_s: self.stage.reply_deadline_s,
            canceled: self.stage.canceled,
        })?;
        self.timing.reply_seconds += reply.seconds;
        self.timing.reply_tokens += reply.reply_tokens;
        self.timing.cached_prompt_tokens += reply.cached_prompt_tokens;
        (figures.reply_seconds, figures.cached_prompt_tokens) =
            (reply.seconds, reply.cached_prompt_tokens);
        let similarity = self.similarity(provider, &reply)?;
        Ok(StepInput { similarity, ..StepInput::new(&reply, left_out) })
    }

    fn similarity(
        &mut self,
        provider: &dyn Provider,
        reply: &Reply,
    ) -> Result<Option<SimilarityRow>, ProviderError> {
        if let Some(row) = provider.recorded(&self.run.run_id, self.episode.sampling_seed()) {
            return Ok(row.similarity.clone());
        }
        let Some(summary) = self.episode.summary(&reply.text, reply.finish) else {
            return Ok(None);
        };
        let cosine = self.likeness.of(&summary, provider)?;
        Ok(cosine
            .map(|cosine| SimilarityRow { embedder: self.stage.info.identity.clone(), cosine }))
    }

    fn figures(&self) -> StepFigures {
        StepFigures {
            run_id: self.run.run_id.clone(),
            step: self.episode.step() + 1,
            steps_max: self.run.cell.steps_max(),
            prompt_tokens: 0,
            cached_prompt_tokens: 0,
            reply_tokens: 0,
            reply_seconds: 0.0,
            pe: None,
            parse_failure: None,
            crashes: Vec::new(),
        }
    }

    fn tell(&self, row: &StepRow, mut figures: StepFigures) {
        let known: Vec<f64> = row.pe.values().flatten().copied().collect();
        figures.pe = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        (figures.prompt_tokens, figures.reply_tokens) = (row.prompt_tokens, row.reply_tokens);
        figures.parse_failure = row.parse_failure.as_ref().map(|failure| failure.kind.clone());
        figures.crashes = row.crashes.iter().map(|crash| crash.kind.clone()).collect();
        self.stage.sink.event(&RunEvent::StepDone(figures));
    }

    fn commit(mut self) -> Result<RunOutcome, ExperimentError> {
        self.timing.seconds = self.begun.elapsed().as_secs_f64();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        self.timing.committed_unix_s = now.map_or(0, |since| since.as_secs());
        let record = self.sums.record(self.run, &self.episode, self.stage.info, self.timing);
        let (committed, record) = self.writer.commit(record)?;
        if self.stage.compress_logs
            && let Err(error) = self.stage.store.run(&self.run.run_id).pack()
        {
            // The run is done, and its log is whole as it is.
            let text = format!("the log of run {} is not compressed: {error}", self.run.run_id);
            self.stage.sink.event(&RunEvent::Note { text });
        }
        match committed {
            Committed::Ours => Ok(RunOutcome::Done(Box::new(record))),
            Committed::Another => Ok(RunOutcome::AlreadyDone),
        }
    }
}

fn resume_note(run: &PlannedRun, earlier: &RunAttempt) -> String {
    let left_out = earlier.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    format!("run {} goes on after step {}{left_out}", run.run_id, earlier.rows.len())
}
