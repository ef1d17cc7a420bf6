//! Routed experts on the disk tier: only the experts that a pass uses are read, and those that are
//! used most stay in a cache. A mixture of experts is computed from parts of its experts in any
//! order (`layers::routed_experts`), so results do not depend on what is cached.

mod cache;
mod layout;
mod pass;
mod reader;
mod residents;
mod use_counts;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::unpoisoned;
use checkpoint::Dtype;
use device::cpu::{Cpu, ExpertRoutes};

use super::LoadError;
use crate::weights::{ChosenExperts, ExpertError, ExpertPart, ExpertSource, SharedExpertStats};
use cache::ExpertCache;
use pass::LayerPass;

pub(crate) use layout::ExpertLayout;
pub(crate) use reader::ExpertReader;

/// The routed experts of all layers that keep them on disk.
pub(crate) struct ExpertStore {
    layers: Arc<Vec<ExpertLayout>>,
    cache: Mutex<ExpertCache>,
    pub stats: SharedExpertStats,
}

/// The routed experts of one layer.
struct StoredExperts {
    store: Arc<ExpertStore>,
    /// Index in [`ExpertStore::layers`].
    layer: usize,
}

impl ExpertStore {
    /// Starts the thread that reads experts. Their cache takes at most `capacity_bytes`; a pass
    /// waits `limit` for experts at most.
    ///
    /// # Errors
    /// [`LoadError::ExpertCache`] if the cache cannot hold any part of an expert.
    pub fn start(
        reader: ExpertReader,
        capacity_bytes: u64,
        limit: Duration,
    ) -> Result<Self, LoadError> {
        let layers = reader.layers.clone();
        let needed = layers.iter().map(ExpertLayout::arena_bytes_max).max().unwrap_or(0);
        if capacity_bytes < needed as u64 {
            let needed_bytes = needed as u64;
            return Err(LoadError::ExpertCache { needed_bytes, planned_bytes: capacity_bytes });
        }
        let capacity = usize::try_from(capacity_bytes).unwrap_or(usize::MAX);
        let cache = ExpertCache::start(reader, capacity, limit)?;
        Ok(ExpertStore { layers, stats: cache.stats.clone(), cache: Mutex::new(cache) })
    }

    /// The experts of each layer of the store, with the name of their module.
    pub fn sources(self: &Arc<Self>) -> impl Iterator<Item = (String, Arc<dyn ExpertSource<Cpu>>)> {
        self.layers.iter().enumerate().map(|(layer, layout)| {
            let source: Arc<dyn ExpertSource<Cpu>> =
                Arc::new(StoredExperts { store: self.clone(), layer });
            (layout.module(), source)
        })
    }
}

impl ExpertSource<Cpu> for StoredExperts {
    fn dtypes(&self, part: ExpertPart) -> &[Dtype] {
        self.store.layers[self.layer].dtypes(part)
    }

    fn choose<'a>(
        &'a self,
        routes: &ExpertRoutes,
    ) -> Result<Box<dyn ChosenExperts<Cpu> + 'a>, ExpertError> {
        let cache = unpoisoned(self.store.cache.lock());
        Ok(Box::new(LayerPass::new(cache, self.layer, routes)?))
    }
}
