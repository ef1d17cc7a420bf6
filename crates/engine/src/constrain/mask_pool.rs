//! Masks computed beside the forward pass.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::{ConstrainError, Guide, Mask};

/// Jobs that one helper may have before it: more than the replies of one pass.
const JOBS_MAX: usize = 1024;
/// How often an idle helper looks whether it is still wanted, should the end of its channel go unnoticed.
const IDLE: Duration = Duration::from_secs(60);

/// A mask, and the guide that it came from.
#[derive(Debug)]
pub struct Done {
    /// Whose it is: what [`MaskPool::start`] was given.
    pub owner: u64,
    /// The guide.
    pub guide: Box<Guide>,
    /// Its mask.
    pub mask: Result<Mask, ConstrainError>,
}

struct Job {
    owner: u64,
    guide: Box<Guide>,
}

/// Threads that compute masks. They end when the pool is dropped.
#[derive(Debug)]
pub struct MaskPool {
    helpers: Vec<SyncSender<Job>>,
    next: usize,
    results: Receiver<Done>,
    /// Results of a pool without threads.
    ready: VecDeque<Done>,
}

impl MaskPool {
    /// A pool of `threads`; with none, masks are computed where they are asked for.
    ///
    /// # Errors
    /// [`ConstrainError::Thread`] if the system gives no thread.
    pub fn new(threads: usize) -> Result<Self, ConstrainError> {
        let (sender, results) = sync_channel(JOBS_MAX * threads.max(1));
        let mut helpers = Vec::with_capacity(threads);
        for index in 0..threads {
            let (jobs_sender, jobs) = sync_channel(JOBS_MAX);
            let results = sender.clone();
            std::thread::Builder::new()
                .name(format!("mask {index}"))
                .spawn(move || help(&jobs, &results))
                .map_err(|cause| ConstrainError::Thread { what: format!("could not start: {cause}") })?;
            helpers.push(jobs_sender);
        }
        Ok(MaskPool { helpers, next: 0, results, ready: VecDeque::new() })
    }

    /// Starts on the next mask of a guide. Helpers take turns.
    ///
    /// # Errors
    /// [`ConstrainError::Thread`] if the helper is gone or has too much to do; the guide is lost.
    pub fn start(&mut self, owner: u64, guide: Box<Guide>) -> Result<(), ConstrainError> {
        let job = Job { owner, guide };
        if self.helpers.is_empty() {
            self.ready.push_back(job.run());
            return Ok(());
        }
        self.next = (self.next + 1) % self.helpers.len();
        let sent = self.helpers[self.next].try_send(job);
        sent.map_err(|cause| ConstrainError::Thread { what: format!("takes no more work: {cause}") })
    }

    /// The next mask that is done; `None` if none is within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<Done> {
        self.ready.pop_front().or_else(|| self.results.recv_timeout(limit).ok())
    }
}

impl Job {
    fn run(self) -> Done {
        let Job { owner, mut guide } = self;
        let mask = guide.mask();
        Done { owner, guide, mask }
    }
}

fn help(jobs: &Receiver<Job>, results: &SyncSender<Done>) {
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
