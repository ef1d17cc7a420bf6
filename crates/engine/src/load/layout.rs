//! Which tensor goes to which tier, and as what it is kept: decided before a byte moves.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{
    Checkpoint, Dtype, ModuleKind, Requirement, TensorEntry, expected_tensors, modules,
};
use device::cpu::{Precision, readable};
use placement::{DtypeChoice, KvDtype, Plan, Tier};

use super::LoadError;
use super::stream::Item;
use crate::compute::{Route, Site, is_plain};
use crate::models::block::check_supported;

/// How numbers are kept and computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub choice: DtypeChoice,
    pub precision: Precision,
    pub kv_dtype: KvDtype,
}

/// A tensor that is to be in memory.
#[derive(Clone, Debug)]
pub(crate) struct Resident<'a> {
    pub entry: &'a TensorEntry,
    pub dtype: Dtype,
    pub tier: Tier,
}

/// Every tensor of a model and its fate.
pub(crate) struct Layout<'a> {
    pub numbers: Numbers,
    /// Where modules are computed.
    pub route: Route,
    /// The plan's numbers of the GPUs in use, in order. Virtual devices are none: they are host
    /// memory.
    pub gpus: Vec<usize>,
    pub resident: Vec<Resident<'a>>,
    /// Modules that are read for every pass, with their tensors.
    pub streamed: BTreeMap<Item, Vec<(TensorEntry, Dtype)>>,
    /// The embedding, if its rows stay in the files.
    pub embedding_on_disk: Option<(&'a TensorEntry, Dtype)>,
    pub head_streamed: bool,
}

impl<'a> Layout<'a> {
    /// Shards with tensors that are read again when they are used.
    pub fn shards_on_disk(&self) -> BTreeSet<usize> {
        let streamed = self.streamed.values().flatten().map(|(entry, _)| entry);
        streamed
            .chain(self.embedding_on_disk.map(|(entry, _)| entry))
            .map(|entry| entry.shard)
            .collect()
    }

    /// Bytes, as what they are computed with, that stay in the checkpoint's files.
    pub fn bytes_on_disk(&self) -> u64 {
        let left = self
            .streamed
            .values()
            .flatten()
            .map(|(entry, dtype)| (entry, *dtype))
            .chain(self.embedding_on_disk);
        let elements = |entry: &TensorEntry| entry.shape.iter().map(|&d| d as u64).product();
        // A tied embedding on disk is there twice, as rows and as the head, and is one.
        let distinct: BTreeMap<&str, u64> = left
            .map(|(entry, dtype)| {
                (entry.name.as_str(), dtype.bytes_for(elements(entry)).unwrap_or(entry.bytes))
            })
            .collect();
        distinct.values().sum()
    }

    /// The layout of a checkpoint under a plan.
    pub fn of(
        checkpoint: &'a Checkpoint,
        plan: &Plan,
        virtual_devices: bool,
    ) -> Result<Self, LoadError> {
        let config = &checkpoint.config;
        check_supported(config)?;
        let tiers = tiers(checkpoint, plan)?;
        let gpus = if virtual_devices { Vec::new() } else { gpus(&tiers) };
        let mut layout = Layout {
            numbers: Numbers::of(plan),
            route: route(&tiers, &gpus, config.tie_word_embeddings),
            gpus,
            resident: Vec::new(),
            streamed: BTreeMap::new(),
            embedding_on_disk: None,
            head_streamed: false,
        };
        for expected in expected_tensors(config) {
            // A tied head is the embedding, whatever a file says.
            let needed = expected.requirement == Requirement::Required;
            if let Some(entry) = checkpoint.inventory.get(&expected.name).filter(|_| needed) {
                let (kind, tier) = tiers[expected.module];
                layout.place(entry, kind, tier, config.tie_word_embeddings)?;
            }
        }
        Ok(layout)
    }

    fn place(
        &mut self,
        entry: &'a TensorEntry,
        kind: ModuleKind,
        tier: Tier,
        tied: bool,
    ) -> Result<(), LoadError> {
        let dtype = kept(self.numbers.choice, entry)?;
        if tier != Tier::Disk {
            self.resident.push(Resident { entry, dtype, tier });
            if entry.shape.len() > 1 {
                self.route.dtypes.insert((self.site(tier), dtype));
            }
            return Ok(());
        }
        let mut stream = |item| self.streamed.entry(item).or_default().push((entry.clone(), dtype));
        match kind {
            ModuleKind::Layer(layer) => stream(Item::Block(layer)),
            ModuleKind::Head => stream(Item::Head),
            ModuleKind::Embedding => {
                if tied {
                    stream(Item::Head);
                }
                self.embedding_on_disk = Some((entry, dtype));
            }
            // A few kilobytes: not worth a read in every pass.
            ModuleKind::FinalNorm => self.resident.push(Resident { entry, dtype, tier: Tier::Cpu }),
        }
        self.head_streamed = self.streamed.contains_key(&Item::Head);
        Ok(())
    }

    /// The device that computes what is on a tier.
    pub fn site(&self, tier: Tier) -> Site {
        site(tier, &self.gpus)
    }
}

impl Numbers {
    fn of(plan: &Plan) -> Self {
        // The plan's words come from the same enumerations; anything else would be a plan of a
        // newer version.
        let choice = DtypeChoice::parse(plan.dtype).unwrap_or_default();
        let kv_dtype = KvDtype::parse(plan.kv_dtype).ok().flatten().unwrap_or(KvDtype::Bf16);
        let precision = match choice {
            DtypeChoice::F32 => Precision::F32,
            DtypeChoice::Int8 => Precision::Int8,
            _ => Precision::Native,
        };
        Numbers { choice, precision, kv_dtype }
    }
}

/// As what a tensor is kept: matrices follow the dtype asked for, vectors stay as they are until
/// they are placed.
fn kept(choice: DtypeChoice, entry: &TensorEntry) -> Result<Dtype, LoadError> {
    let refused = || LoadError::Dtype { tensor: entry.name.clone(), found: entry.dtype.name() };
    if entry.shape.len() < 2 {
        return if is_plain(entry.dtype) { Ok(entry.dtype) } else { Err(refused()) };
    }
    let dtype = choice.kept(entry.dtype, &entry.shape);
    if readable(dtype) { Ok(dtype) } else { Err(refused()) }
}

/// The tier of each module, in the modules' order.
fn tiers(checkpoint: &Checkpoint, plan: &Plan) -> Result<Vec<(ModuleKind, Tier)>, LoadError> {
    let map: BTreeMap<&str, Tier> =
        plan.device_map.iter().map(|(module, tier)| (module.as_str(), *tier)).collect();
    let tier = |module: checkpoint::Module| match map.get(module.name.as_str()) {
        None => Err(LoadError::Unplanned { module: module.name }),
        Some(tier) => Ok((module.kind, *tier)),
    };
    modules(&checkpoint.config).into_iter().map(tier).collect()
}

fn gpus(tiers: &[(ModuleKind, Tier)]) -> Vec<usize> {
    let gpu_index = |(_, tier): &(_, Tier)| {
        if let Tier::Gpu(gpu_index) = tier { Some(*gpu_index) } else { None }
    };
    tiers.iter().filter_map(gpu_index).collect::<BTreeSet<_>>().into_iter().collect()
}

fn site(tier: Tier, gpus: &[usize]) -> Site {
    let place = |gpu_index| gpus.iter().position(|gpu| *gpu == gpu_index);
    if let Tier::Gpu(gpu_index) = tier {
        place(gpu_index).map_or(Site::Host, Site::Gpu)
    } else {
        Site::Host
    }
}

fn route(tiers: &[(ModuleKind, Tier)], gpus: &[usize], tied: bool) -> Route {
    let (host, blocks, dtypes) = (Site::Host, Vec::new(), BTreeSet::new());
    let mut route = Route { embedding: host, blocks, norm: host, head: host, dtypes };
    for (kind, tier) in tiers {
        let site = site(*tier, gpus);
        match kind {
            ModuleKind::Embedding => route.embedding = site,
            ModuleKind::Layer(_) => route.blocks.push(site),
            ModuleKind::FinalNorm => route.norm = site,
            // A tied head is the embedding's memory, wherever a map says that it is.
            ModuleKind::Head => route.head = if tied { route.embedding } else { site },
        }
    }
    route
}
