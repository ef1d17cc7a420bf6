//! The thread that reads routed experts, with the readers of a load.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use device::cpu::Cpu;
use device::memory::Arena;
use watch::Watch;

use super::super::LoadError;
use super::super::chunks::TensorRequest;
use super::super::read::{Readers, read};
use super::layout::ExpertLayout;
use crate::devices::OnDevice;
use crate::weights::{ExpertMatrix, ExpertPart, OpenShards};

/// Interval at which an idle thread checks whether the cache was dropped.
const IDLE: Duration = Duration::from_secs(60);

/// A part of an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnitId {
    /// Index in the list of layers.
    pub layer: usize,
    pub expert: usize,
    pub part: ExpertPart,
}

/// A part of an expert in memory.
pub(super) struct ExpertUnit {
    /// The weights, which lie in `arena`.
    pub matrices: Vec<ExpertMatrix<Cpu>>,
    /// Used by this part alone.
    pub arena: Arena,
}

/// Parts of experts to read at the same time, each into its own arena.
pub(super) type ReadJob = Vec<(UnitId, Arena)>;

/// A finished job, with what it has read or the first error.
pub(super) struct ReadResult {
    pub units: Vec<UnitId>,
    pub outcome: Result<Vec<ExpertUnit>, LoadError>,
}

/// The state of the thread.
pub(crate) struct ExpertReader {
    pub shards: Arc<OpenShards>,
    pub layers: Arc<Vec<ExpertLayout>>,
    pub cpu: Cpu,
    pub threads: usize,
    pub watch: Watch,
}

impl ExpertReader {
    /// Starts the thread, which ends when the sender of jobs is dropped. It is not joined: a thread
    /// that hangs in a read must not block the caller.
    pub(super) fn start(self) -> Result<(Sender<ReadJob>, Receiver<ReadResult>), LoadError> {
        let (jobs_sender, jobs) = channel();
        let (results_sender, results) = channel();
        let run = move || self.run(&jobs, &results_sender);
        match std::thread::Builder::new().name("experts".into()).spawn(run) {
            Ok(_) => Ok((jobs_sender, results)),
            Err(cause) => Err(LoadError::Thread { what: "experts on disk", cause }),
        }
    }

    fn run(&self, jobs: &Receiver<ReadJob>, results: &Sender<ReadResult>) {
        loop {
            match jobs.recv_timeout(IDLE) {
                Ok(job) => {
                    let units = job.iter().map(|(unit, _)| *unit).collect();
                    let outcome = self.read(job);
                    if results.send(ReadResult { units, outcome }).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn read(&self, job: ReadJob) -> Result<Vec<ExpertUnit>, LoadError> {
        let mut requests = Vec::new();
        for (UnitId { layer, expert, part }, arena) in &job {
            for (entry, dtype) in &self.layers[*layer].unit(*expert, *part).tensors {
                let arena = OnDevice::Cpu(arena);
                requests.push(TensorRequest { entry, dtype: *dtype, arena });
            }
        }
        let readers = Readers {
            cpu: &self.cpu,
            shards: &self.shards,
            watch: &self.watch,
            threads: self.threads,
            name: "experts",
            gpus: None,
        };
        let tensors = read(&readers, &requests)?.host;
        let unit = |(UnitId { layer, expert, part }, arena)| {
            let matrices = self.layers[layer].matrices(&tensors, expert, part)?;
            Ok(ExpertUnit { matrices, arena })
        };
        job.into_iter().map(unit).collect()
    }
}
