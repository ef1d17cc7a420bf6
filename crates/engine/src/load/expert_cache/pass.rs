//! [`LayerPass`]: fetches the experts that a pass of one layer uses.

use std::collections::VecDeque;
use std::sync::MutexGuard;

use device::cpu::{Cpu, ExpertRoutes};

use super::super::LoadError;
use super::cache::ExpertCache;
use super::reader::{ReadJob, UnitId};
use crate::weights::{ChosenExperts, ExpertError, ExpertPart, ExpertSlice};

/// Bytes after which no more units are added to a job, so that reading and computing overlap.
const JOB_BYTES: usize = 128 << 20;
/// Jobs that are in flight at a time.
const JOBS_MAX: usize = 2;

/// A pass of one layer. Units that are in memory are computed while others are read; where the
/// chosen experts do not fit, they are read and computed one group after the other.
pub(super) struct LayerPass<'a> {
    cache: MutexGuard<'a, ExpertCache>,
    /// Index in the list of layers.
    layer: usize,
    parts: [PartQueue; 2],
    /// The units that were handed out last.
    current: Vec<UnitId>,
}

/// The units of one part that are still to be computed.
#[derive(Default)]
struct PartQueue {
    /// In memory and pinned.
    ready: Vec<UnitId>,
    /// In flight, by job.
    reading: VecDeque<Vec<UnitId>>,
    to_read: VecDeque<UnitId>,
}

impl<'a> LayerPass<'a> {
    /// Begins to read what is not in memory.
    pub fn new(
        mut cache: MutexGuard<'a, ExpertCache>,
        layer: usize,
        routes: &ExpertRoutes,
    ) -> Result<Self, ExpertError> {
        cache.settle(layer)?;
        cache.residents.count(layer, routes.rows(), routes.uses());
        let mut parts = [PartQueue::default(), PartQueue::default()];
        let mut requested_bytes = 0;
        for part in ExpertPart::ALL {
            let queue = &mut parts[part as usize];
            for (expert, _) in routes.uses() {
                let id = UnitId { layer, expert, part };
                requested_bytes += cache.layers[layer].unit(expert, part).bytes;
                if cache.residents.pin(id, true) {
                    queue.ready.push(id);
                } else {
                    queue.to_read.push_back(id);
                }
            }
        }
        let tokens = if layer == 0 { routes.rows() as u64 } else { 0 };
        cache.stats.update(|stats| {
            stats.requested_bytes += requested_bytes;
            stats.tokens += tokens;
        });
        let mut pass = LayerPass { cache, layer, parts, current: Vec::new() };
        pass.read_ahead()?;
        Ok(pass)
    }

    /// Begins to read the next units: of gate and up before those of down.
    fn read_ahead(&mut self) -> Result<(), ExpertError> {
        for part in ExpertPart::ALL {
            while !self.parts[part as usize].to_read.is_empty() {
                if self.cache.in_flight() >= JOBS_MAX || !self.read_job(part)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Begins to read the next units of a part that are not in memory; false if there is no memory
    /// for any.
    fn read_job(&mut self, part: ExpertPart) -> Result<bool, ExpertError> {
        let (mut job, mut bytes): (ReadJob, usize) = (Vec::new(), 0);
        let mut found = false;
        let queue = &mut self.parts[part as usize];
        while let Some(&id) = queue.to_read.front().filter(|_| bytes < JOB_BYTES) {
            // A unit may have stayed in memory after it was unpinned.
            if self.cache.residents.pin(id, true) {
                queue.to_read.pop_front();
                queue.ready.push(id);
                found = true;
                continue;
            }
            let Some(arena) = self.cache.allocate(id)? else { break };
            queue.to_read.pop_front();
            bytes += arena.limit_bytes();
            job.push((id, arena));
        }
        if job.is_empty() {
            return Ok(found);
        }
        queue.reading.push_back(job.iter().map(|(id, _)| *id).collect());
        self.cache.read(job)?;
        Ok(true)
    }

    /// The next units of a part, in memory and pinned; empty after the last ones.
    fn next_units(&mut self, part: ExpertPart) -> Result<Vec<UnitId>, ExpertError> {
        let at = part as usize;
        self.read_ahead()?;
        if self.parts[at].is_done() {
            return Ok(Vec::new());
        }
        if self.parts[at].ready.is_empty() && self.parts[at].reading.is_empty() {
            // There was no memory: the part that comes later gives up what it has.
            self.give_up_later_parts(part)?;
            self.read_ahead()?;
        }
        let queue = &mut self.parts[at];
        if !queue.ready.is_empty() {
            return Ok(std::mem::take(&mut queue.ready));
        }
        let Some(units) = queue.reading.pop_front() else { return Err(too_small()) };
        self.cache.wait(self.layer)?;
        self.read_ahead()?;
        Ok(units)
    }

    /// Unpins the units of parts after `part`, which are read again later if they are evicted.
    fn give_up_later_parts(&mut self, part: ExpertPart) -> Result<(), ExpertError> {
        for queue in &mut self.parts[part as usize + 1..] {
            while let Some(units) = queue.reading.pop_front() {
                self.cache.wait(self.layer)?;
                queue.ready.extend(units);
            }
            for id in queue.ready.drain(..) {
                self.cache.residents.pin(id, false);
                queue.to_read.push_back(id);
            }
        }
        Ok(())
    }

    fn unpin_current(&mut self) {
        for id in self.current.drain(..) {
            self.cache.residents.pin(id, false);
        }
    }
}

impl PartQueue {
    fn is_done(&self) -> bool {
        self.ready.is_empty() && self.reading.is_empty() && self.to_read.is_empty()
    }
}

impl ChosenExperts<Cpu> for LayerPass<'_> {
    fn next(&mut self, part: ExpertPart) -> Result<Option<ExpertSlice<'_, Cpu>>, ExpertError> {
        self.unpin_current();
        self.current = self.next_units(part)?;
        if self.current.is_empty() {
            return Ok(None);
        }
        self.current.sort_unstable_by_key(|id| id.expert);
        let residents = &self.cache.residents;
        let unit = |id: &UnitId| Some((id.expert, residents.get(*id)?.matrices.as_slice()));
        let of: Vec<_> = self.current.iter().filter_map(unit).collect();
        if of.len() != self.current.len() {
            return Err(too_small());
        }
        Ok(Some(ExpertSlice { experts: self.cache.layers[self.layer].experts(), of }))
    }
}

impl Drop for LayerPass<'_> {
    /// Unpins everything. Jobs in flight are left to the next pass.
    fn drop(&mut self) {
        self.unpin_current();
        for queue in &mut self.parts {
            for id in queue.ready.drain(..) {
                self.cache.residents.pin(id, false);
            }
        }
    }
}

/// Does not happen: a load refuses a cache without memory for the largest unit.
fn too_small() -> ExpertError {
    ExpertError::failed(LoadError::Defect { what: "the cache of experts".to_owned() })
}
