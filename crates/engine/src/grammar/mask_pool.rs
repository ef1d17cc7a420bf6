//! Masks computed beside the forward pass.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{GrammarError, GrammarMatcher, TokenMask};

/// Jobs that one helper may have before it: more than the replies of one pass.
const JOBS_MAX: usize = 1024;
/// How often an idle helper looks whether it is still wanted, should the end of its channel go
/// unnoticed.
const IDLE: Duration = Duration::from_secs(60);
/// A path that has taken this long is left: the guide's own mask is waited for.
const PATH_LIMIT: Duration = Duration::from_millis(50);

/// A way that a reply may go from where its guide is.
#[derive(Debug)]
pub struct DraftPath {
    /// A fork of the reply's guide, which goes ahead.
    pub guide: Box<GrammarMatcher>,
    /// Tokens after each of which a mask is wanted.
    pub parts: Vec<Vec<u32>>,
}

/// Masks, and the guide that they came from.
#[derive(Debug)]
pub struct MaskResult {
    /// Whose it is: what [`MaskPool::start`] was given.
    pub owner: u64,
    /// The guide.
    pub guide: Box<GrammarMatcher>,
    /// Its mask, and those along its path as far as the grammar goes: nothing that befalls the
    /// path is an error.
    pub masks: Result<Vec<TokenMask>, GrammarError>,
}

struct Job {
    owner: u64,
    guide: Box<GrammarMatcher>,
    path: Option<DraftPath>,
}

/// Threads that compute masks. They end when the pool is dropped.
#[derive(Debug)]
pub struct MaskPool {
    helpers: Vec<SyncSender<Job>>,
    next: usize,
    results: Receiver<MaskResult>,
    /// Results of a pool without threads.
    ready: VecDeque<MaskResult>,
}

impl MaskPool {
    /// A pool of `threads`; with none, masks are computed where they are asked for.
    ///
    /// # Errors
    /// [`GrammarError::Thread`] if the system gives no thread.
    pub fn new(threads: usize) -> Result<Self, GrammarError> {
        let (sender, results) = sync_channel(JOBS_MAX * threads.max(1));
        let mut helpers = Vec::with_capacity(threads);
        for index in 0..threads {
            let (jobs_sender, jobs) = sync_channel(JOBS_MAX);
            let results = sender.clone();
            std::thread::Builder::new()
                .name(format!("mask {index}"))
                .spawn(move || help(&jobs, &results))
                .map_err(|cause| GrammarError::Thread {
                    what: format!("could not start: {cause}"),
                })?;
            helpers.push(jobs_sender);
        }
        Ok(MaskPool { helpers, next: 0, results, ready: VecDeque::new() })
    }

    /// Starts on the next mask of a guide, and on those along a path. Helpers take turns.
    ///
    /// # Errors
    /// [`GrammarError::Thread`] if the helper is gone or has too much to do; the guide is lost.
    pub fn start(
        &mut self,
        owner: u64,
        guide: Box<GrammarMatcher>,
        path: Option<DraftPath>,
    ) -> Result<(), GrammarError> {
        let job = Job { owner, guide, path };
        if self.helpers.is_empty() {
            self.ready.push_back(job.run());
            return Ok(());
        }
        self.next = (self.next + 1) % self.helpers.len();
        let sent = self.helpers[self.next].try_send(job);
        sent.map_err(|cause| GrammarError::Thread { what: format!("takes no more work: {cause}") })
    }

    /// The next job that is done; `None` if none is within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<MaskResult> {
        self.ready.pop_front().or_else(|| self.results.recv_timeout(limit).ok())
    }
}

impl Job {
    fn run(self) -> MaskResult {
        let Job { owner, mut guide, path } = self;
        let masks = guide.mask().map(|mask| {
            std::iter::once(mask).chain(path.into_iter().flat_map(DraftPath::masks)).collect()
        });
        MaskResult { owner, guide, masks }
    }
}

impl DraftPath {
    /// The mask after each part, up to the first that cannot be had.
    fn masks(self) -> impl Iterator<Item = TokenMask> {
        let DraftPath { mut guide, parts } = self;
        let until = Instant::now() + PATH_LIMIT;
        parts.into_iter().take_while(move |_| Instant::now() < until).map_while(move |part| {
            part.into_iter().try_for_each(|token| guide.advance(token)).ok()?;
            guide.mask().ok()
        })
    }
}

fn help(jobs: &Receiver<Job>, results: &SyncSender<MaskResult>) {
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
