//! [`ExpertCache`]: the memory of routed experts on the disk tier.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use device::DeviceError;
use device::memory::Arena;

use super::super::LoadError;
use super::layout::ExpertLayout;
use super::reader::{ExpertReader, ExpertUnit, ReadJob, ReadResult, UnitId};
use super::residents::Residents;
use crate::weights::{ExpertError, SharedExpertStats};

/// The experts in memory, and those that are being read.
pub(super) struct ExpertCache {
    pub layers: Arc<Vec<ExpertLayout>>,
    pub residents: Residents,
    pub stats: SharedExpertStats,
    memory: CacheMemory,
    jobs: Sender<ReadJob>,
    results: Receiver<ReadResult>,
    /// Jobs without a result yet, in their order.
    in_flight: VecDeque<Vec<UnitId>>,
    /// Limit on the wait for a job.
    limit: Duration,
}

/// Arenas of experts, whose bytes together never exceed a limit.
struct CacheMemory {
    capacity_bytes: usize,
    /// Bytes of all arenas.
    used_bytes: usize,
    /// Arenas without an expert.
    free: Vec<Arena>,
}

impl ExpertCache {
    /// Starts the thread that reads. The cache takes at most `capacity_bytes`.
    pub fn start(
        reader: ExpertReader,
        capacity_bytes: usize,
        limit: Duration,
    ) -> Result<Self, LoadError> {
        let layers = reader.layers.clone();
        let stats = SharedExpertStats::default();
        stats.update(|stats| stats.capacity_bytes = capacity_bytes as u64);
        let (jobs, results) = reader.start()?;
        Ok(ExpertCache {
            residents: Residents::new(layers.iter().map(ExpertLayout::experts)),
            layers,
            stats,
            memory: CacheMemory { capacity_bytes, used_bytes: 0, free: Vec::new() },
            jobs,
            results,
            in_flight: VecDeque::new(),
            limit,
        })
    }

    /// Memory for a unit, which it takes from units that are not pinned if it must; `None` if all
    /// memory is in use.
    pub fn allocate(&mut self, id: UnitId) -> Result<Option<Arena>, ExpertError> {
        let bytes = self.layers[id.layer].unit(id.expert, id.part).arena_bytes;
        loop {
            if let Some(arena) = self.memory.take(bytes).map_err(refused)? {
                let used_bytes = self.memory.used_bytes as u64;
                self.stats.update(|stats| stats.used_bytes = used_bytes);
                return Ok(Some(arena));
            }
            let Some(unit) = self.residents.evict(id.layer) else { return Ok(None) };
            self.memory.give_back(unit);
        }
    }

    /// Begins to read `job`.
    pub fn read(&mut self, job: ReadJob) -> Result<(), ExpertError> {
        let units: Vec<UnitId> = job.iter().map(|(id, _)| *id).collect();
        let bytes = |id: &UnitId| self.layers[id.layer].unit(id.expert, id.part).bytes;
        let read_bytes: u64 = units.iter().map(bytes).sum();
        self.stats.update(|stats| stats.read_bytes += read_bytes);
        self.jobs.send(job).map_err(|_| ended())?;
        self.in_flight.push_back(units);
        Ok(())
    }

    /// Number of jobs without a result yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Waits for the oldest job. Its units are then resident and pinned.
    ///
    /// # Errors
    /// The error of the read, or [`ExpertError::Timeout`]; the job is then still in flight.
    pub fn wait(&mut self, layer: usize) -> Result<(), ExpertError> {
        let ReadResult { units, outcome } =
            self.results.recv_timeout(self.limit).map_err(|error| match error {
                RecvTimeoutError::Disconnected => ended(),
                RecvTimeoutError::Timeout => ExpertError::Timeout {
                    layer: self.layers[layer].layer,
                    limit_s: self.limit.as_secs(),
                },
            })?;
        self.in_flight.pop_front();
        match outcome {
            Ok(loaded) => {
                units.into_iter().zip(loaded).for_each(|(id, unit)| {
                    self.residents.insert(id, unit);
                });
                Ok(())
            }
            Err(cause) => {
                // The arenas went with the job.
                let bytes =
                    |id: &UnitId| self.layers[id.layer].unit(id.expert, id.part).arena_bytes;
                self.memory.used_bytes -= units.iter().map(bytes).sum::<usize>();
                Err(ExpertError::failed(cause))
            }
        }
    }

    /// Waits for the jobs that a failed pass left, and unpins what they have read.
    pub fn settle(&mut self, layer: usize) -> Result<(), ExpertError> {
        while let Some(units) = self.in_flight.front().cloned() {
            let before = self.in_flight.len();
            let outcome = self.wait(layer);
            if self.in_flight.len() == before {
                return outcome;
            }
            // An error of that pass was reported then.
            units.into_iter().for_each(|id| {
                self.residents.pin(id, false);
            });
        }
        Ok(())
    }
}

impl CacheMemory {
    /// An arena of `bytes` bytes, if there is memory for it.
    fn take(&mut self, bytes: usize) -> Result<Option<Arena>, DeviceError> {
        if let Some(at) = self.free.iter().position(|arena| arena.limit_bytes() == bytes) {
            return Ok(Some(self.free.swap_remove(at)));
        }
        while self.used_bytes + bytes > self.capacity_bytes {
            // Experts of different layers can have different sizes.
            let Some(other) = self.free.pop() else { return Ok(None) };
            self.used_bytes -= other.limit_bytes();
        }
        let arena = Arena::new(bytes)?;
        self.used_bytes += bytes;
        Ok(Some(arena))
    }

    fn give_back(&mut self, unit: ExpertUnit) {
        let ExpertUnit { matrices, mut arena } = unit;
        drop(matrices);
        if arena.clear() {
            self.free.push(arena);
        } else {
            // Something else still reads the memory, which is freed after that.
            self.used_bytes -= arena.limit_bytes();
        }
    }
}

fn refused(cause: DeviceError) -> ExpertError {
    ExpertError::failed(LoadError::device("memory for an expert", cause))
}

fn ended() -> ExpertError {
    ExpertError::failed(LoadError::Defect { what: "the reader of experts".to_owned() })
}
