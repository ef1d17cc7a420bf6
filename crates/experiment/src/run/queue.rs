//! The queue of one model's runs: threads take runs from it and report the outcomes.

use super::attempt::{RunContext, RunOutcome, execute_run};
use super::claimed_elsewhere::{ClaimCheck, RunsClaimedElsewhere};
use super::events::RunEvent;
use super::options::RunOptions;
use super::summary::ExperimentSummary;
use crate::config::{Config, PlannedRun};
use crate::error::ExperimentError;
use base::unpoisoned;
use results::{ClosingRow, Owner};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Number of consecutive failed attempts, over all runs, after which the command gives up.
const FAILURES_IN_A_ROW_MAX: usize = 24;
/// Pause of a thread that found no run to carry out.
const IDLE: Duration = Duration::from_millis(200);

/// The queue and outcomes of one model's runs, shared by the threads that carry them out.
pub(super) struct RunQueue<'a> {
    context: &'a RunContext<'a>,
    /// Names of the factors, for the closing table.
    factors: Vec<String>,
    /// Number of further attempts at a failed run.
    retries: u64,
    runs_max: Option<usize>,
    here: Owner,
    state: Mutex<QueueState>,
}

struct QueueState {
    waiting: VecDeque<QueuedRun>,
    claimed: RunsClaimedElsewhere,
    summary: ExperimentSummary,
    in_flight: usize,
    failures_in_a_row: usize,
    /// Reason for the last failure of each run that waits for a retry, by run id.
    retry_reasons: BTreeMap<String, String>,
    error: Option<ExperimentError>,
}

struct QueuedRun {
    run: PlannedRun,
    /// Number of the run's failed attempts within this command.
    tries: u64,
}

/// The next action of a thread.
enum NextRun {
    Run(Box<QueuedRun>),
    Wait,
    Stop,
}

impl<'a> RunQueue<'a> {
    pub fn new(
        context: &'a RunContext<'a>,
        config: &Config,
        runs: Vec<PlannedRun>,
        options: &RunOptions,
        summary: &ExperimentSummary,
    ) -> Self {
        let state = QueueState {
            waiting: runs.into_iter().map(|run| QueuedRun { run, tries: 0 }).collect(),
            claimed: RunsClaimedElsewhere::new(options.claim_patience),
            summary: summary.clone(),
            in_flight: 0,
            failures_in_a_row: 0,
            retry_reasons: BTreeMap::new(),
            error: None,
        };
        RunQueue {
            context,
            factors: config.factors(),
            retries: config.execution().retries,
            runs_max: options.runs_max,
            here: Owner::here(),
            state: Mutex::new(state),
        }
    }

    /// Carries out runs until no run remains or the command must stop. This is the body of each
    /// thread.
    pub fn work(&self) {
        loop {
            match self.next() {
                NextRun::Run(queued) => {
                    let outcome = execute_run(self.context, &queued.run);
                    self.report(*queued, outcome);
                }
                NextRun::Wait => std::thread::sleep(IDLE),
                NextRun::Stop => return,
            }
        }
    }

    fn next(&self) -> NextRun {
        let mut state = self.lock();
        let summary = &state.summary;
        let enough = self.runs_max.is_some_and(|max| summary.done_now + state.in_flight >= max);
        if (self.context.canceled)()
            || state.error.is_some()
            || enough
            || state.failures_in_a_row >= FAILURES_IN_A_ROW_MAX
            || self.context.meter.reached().is_some()
        {
            return NextRun::Stop;
        }
        let next = match state.waiting.pop_front() {
            Some(queued) => NextRun::Run(Box::new(queued)),
            None => self.take_over(&mut state),
        };
        state.in_flight += usize::from(matches!(next, NextRun::Run(_)));
        next
    }

    /// Looks for a run whose claim by another process was released or has expired.
    fn take_over(&self, state: &mut QueueState) -> NextRun {
        match state.claimed.check(self.context.store, &self.here) {
            Ok(ClaimCheck::Free(run, tries)) => {
                NextRun::Run(Box::new(QueuedRun { run: *run, tries }))
            }
            Ok(ClaimCheck::Committed) => {
                state.summary.done_before += 1;
                NextRun::Wait
            }
            Ok(ClaimCheck::Wait) => {
                // The event keeps the watchdog from reporting this wait as a stall. It is not sent
                // while runs of this process are in flight, since their stalls must be reported.
                if state.in_flight == 0 {
                    self.context.sink.event(&RunEvent::Waiting);
                }
                NextRun::Wait
            }
            Ok(ClaimCheck::GiveUp) => NextRun::Stop,
            Err(error) => {
                state.error.get_or_insert(error.into());
                NextRun::Stop
            }
        }
    }

    fn report(&self, queued: QueuedRun, outcome: Result<RunOutcome, ExperimentError>) {
        let run_id = queued.run.run_id.clone();
        let mut state = self.lock();
        state.in_flight -= 1;
        let event = match outcome {
            Ok(RunOutcome::Done(record)) => {
                state.failures_in_a_row = 0;
                state.summary.done_now += 1;
                state.summary.closing.push(ClosingRow::of(&record, &self.factors));
                RunEvent::RunFinished { record }
            }
            Ok(RunOutcome::AlreadyDone) => {
                state.summary.done_before += 1;
                RunEvent::Note {
                    text: format!("run {run_id} was committed by another process meanwhile"),
                }
            }
            Ok(RunOutcome::ClaimedElsewhere(owner)) => {
                let event = RunEvent::RunClaimedElsewhere { run_id, owner: owner.to_string() };
                state.claimed.add(queued.run, queued.tries, owner);
                event
            }
            Ok(RunOutcome::Failed(reason)) => {
                let again = self.retry(&mut state, queued, &reason);
                RunEvent::RunFailed { run_id, reason, again }
            }
            Ok(RunOutcome::LimitReached(reason)) => {
                self.context.meter.add_failure();
                state.summary.failed.push((run_id.clone(), reason.clone()));
                RunEvent::RunFailed { run_id, reason, again: false }
            }
            Ok(RunOutcome::Interrupted) => return,
            Err(error) => {
                let text = format!("run {run_id} stopped: {error}");
                state.error.get_or_insert(error);
                RunEvent::Note { text }
            }
        };
        drop(state);
        self.context.sink.event(&event);
    }

    /// Puts a failed run back into the queue, unless its retries are used up. Returns whether it is
    /// in the queue again.
    fn retry(&self, state: &mut QueueState, queued: QueuedRun, reason: &str) -> bool {
        state.failures_in_a_row += 1;
        self.context.meter.add_failure();
        let QueuedRun { run, tries } = queued;
        let again = tries < self.retries && state.failures_in_a_row < FAILURES_IN_A_ROW_MAX;
        if again {
            state.retry_reasons.insert(run.run_id.clone(), reason.to_string());
            state.waiting.push_back(QueuedRun { run, tries: tries + 1 });
        } else {
            state.summary.failed.push((run.run_id, reason.to_string()));
        }
        again
    }

    /// Records an error that stops all threads.
    pub fn stop(&self, error: ExperimentError) {
        self.lock().error.get_or_insert(error);
    }

    /// Ends the queue after its threads have ended, and stores the results in `summary`.
    ///
    /// # Errors
    /// The first error of a thread.
    pub fn finish(self, summary: &mut ExperimentSummary) -> Result<(), ExperimentError> {
        let state = unpoisoned(self.state.into_inner());
        let QueueState { waiting, claimed, mut retry_reasons, error, summary: mut counts, .. } =
            state;
        // Runs that are still waiting for a retry count as failed.
        for QueuedRun { run, .. } in waiting.into_iter().filter(|queued| queued.tries > 0) {
            let reason = retry_reasons.remove(&run.run_id).unwrap_or_default();
            counts.failed.push((run.run_id, reason));
        }
        let claimed = claimed.into_runs();
        counts
            .claimed_elsewhere
            .extend(claimed.map(|claimed| (claimed.run.run_id, claimed.owner.to_string())));
        counts.closing.sort_by(|a, b| (&a.cell, &a.run).cmp(&(&b.cell, &b.run)));
        *summary = counts;
        match error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        unpoisoned(self.state.lock())
    }
}
