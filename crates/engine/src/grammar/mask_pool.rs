//! Threads that compute token masks in parallel with the forward pass, as vLLM's structured output
//! manager does with its executor.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{GrammarError, GrammarMatcher, TokenMask};

/// Capacity of a thread's job queue: more than the number of sequences in one step.
const QUEUED_JOBS_MAX: usize = 1024;
/// Interval at which an idle thread wakes up to check whether its job channel is closed.
const IDLE: Duration = Duration::from_secs(60);
/// No mask along a draft is started after this time: a step needs only the mask before the draft,
/// and can verify a part of the draft.
const DRAFT_PATH_LIMIT: Duration = Duration::from_millis(50);

/// A draft for which masks are to be computed.
#[derive(Debug)]
pub struct DraftPath {
    /// A copy of the sequence's matcher.
    pub matcher: Box<GrammarMatcher>,
    /// The draft's segments; one mask is computed after each segment.
    pub segments: Vec<Vec<u32>>,
}

/// The result of a finished job, which also returns the matcher.
#[derive(Debug)]
pub struct MaskResult {
    /// The sequence's id, as passed to [`MaskPool::start`].
    pub seq_id: u64,
    /// The matcher, in the state in which it was passed.
    pub matcher: Box<GrammarMatcher>,
    /// The mask in the matcher's state, then one mask after each of the draft's segments, up to the
    /// first segment that the grammar does not allow or that exceeds the time limit. An error is
    /// that of the first mask.
    pub masks: Result<Vec<TokenMask>, GrammarError>,
}

struct MaskJob {
    seq_id: u64,
    matcher: Box<GrammarMatcher>,
    draft: Option<DraftPath>,
}

/// A pool of mask threads. The threads end when the pool is dropped.
#[derive(Debug)]
pub struct MaskPool {
    threads: Vec<SyncSender<MaskJob>>,
    /// Index of the thread that received the last job.
    last: usize,
    results: Receiver<MaskResult>,
    /// Finished results, in a pool without threads.
    ready: VecDeque<MaskResult>,
}

impl MaskPool {
    /// A pool of `threads` threads; with 0, [`MaskPool::start`] computes the masks on the caller's
    /// thread.
    ///
    /// # Errors
    /// [`GrammarError::Thread`] if a thread cannot start.
    pub fn new(threads: usize) -> Result<Self, GrammarError> {
        let (sender, results) = sync_channel(QUEUED_JOBS_MAX * threads.max(1));
        let mut senders = Vec::with_capacity(threads);
        for index in 0..threads {
            let (jobs_sender, jobs) = sync_channel(QUEUED_JOBS_MAX);
            let results = sender.clone();
            std::thread::Builder::new()
                .name(format!("mask {index}"))
                .spawn(move || run_jobs(&jobs, &results))
                .map_err(|cause| GrammarError::Thread {
                    what: format!("could not start: {cause}"),
                })?;
            senders.push(jobs_sender);
        }
        Ok(MaskPool { threads: senders, last: 0, results, ready: VecDeque::new() })
    }

    /// Starts to compute the mask in a matcher's state, and the masks along a draft. Jobs are
    /// assigned to the threads in turn.
    ///
    /// # Errors
    /// [`GrammarError::Thread`] if the thread has ended or its queue is full; the matcher is lost.
    pub fn start(
        &mut self,
        seq_id: u64,
        matcher: Box<GrammarMatcher>,
        draft: Option<DraftPath>,
    ) -> Result<(), GrammarError> {
        let job = MaskJob { seq_id, matcher, draft };
        if self.threads.is_empty() {
            self.ready.push_back(job.run());
            return Ok(());
        }
        self.last = (self.last + 1) % self.threads.len();
        self.threads[self.last]
            .try_send(job)
            .map_err(|cause| GrammarError::Thread { what: format!("takes no more work: {cause}") })
    }

    /// The result of the next finished job; `None` if no job finishes within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<MaskResult> {
        self.ready.pop_front().or_else(|| self.results.recv_timeout(limit).ok())
    }
}

impl MaskJob {
    fn run(self) -> MaskResult {
        let MaskJob { seq_id, mut matcher, draft } = self;
        let masks = matcher.compute_mask().map(|mask| {
            let behind = draft.into_iter().flat_map(DraftPath::masks);
            std::iter::once(mask).chain(behind).collect()
        });
        MaskResult { seq_id, matcher, masks }
    }
}

impl DraftPath {
    /// The masks after each segment, up to the first segment that the grammar does not allow.
    fn masks(self) -> impl Iterator<Item = TokenMask> {
        let DraftPath { mut matcher, segments } = self;
        let until = Instant::now() + DRAFT_PATH_LIMIT;
        let in_time = move |_: &Vec<u32>| Instant::now() < until;
        segments.into_iter().take_while(in_time).map_while(move |segment| {
            segment.into_iter().try_for_each(|token| matcher.accept(token)).ok()?;
            matcher.compute_mask().ok()
        })
    }
}

fn run_jobs(jobs: &Receiver<MaskJob>, results: &SyncSender<MaskResult>) {
    loop {
        match jobs.recv_timeout(IDLE) {
            Ok(job) => {
                if results.send(job.run()).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
