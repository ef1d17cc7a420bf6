//! [`LoadPlan`]: the tier and the dtype of each tensor, decided before any byte is read.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::{
    Checkpoint, Dtype, ExpectedTensor, ModelConfig, ModuleKind, Requirement, TensorContent,
    TensorEntry, expected_tensors, modules,
};
use device::backend::Precision;
use device::cpu::readable;
use placement::{DtypeChoice, KvDtype, Plan, Tier, without_gpu_kernel};

use super::LoadError;
use crate::devices::{DeviceId, ModulePlacement};
use crate::models::{CompositionError, check_supported};
use crate::weights::{WeightError, is_float};

/// Dtypes of weights in memory, of matrix multiplications and of the KV cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadDtypes {
    pub choice: DtypeChoice,
    pub precision: Precision,
    pub kv_dtype: KvDtype,
}

/// A tensor that is resident: kept in memory.
#[derive(Clone, Debug)]
pub(crate) struct TensorPlan<'a> {
    pub entry: &'a TensorEntry,
    /// The dtype in memory.
    pub dtype: Dtype,
    pub tier: Tier,
}

/// A module on the disk tier, which is read from disk in every pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamedModule {
    Layer(usize),
    LmHead,
}

/// A tensor of a streamed module, with the dtype that it is converted to.
pub(crate) type StreamedTensor = (TensorEntry, Dtype);

/// The tier, device and dtype of each tensor of a checkpoint.
pub(crate) struct LoadPlan<'a> {
    pub dtypes: LoadDtypes,
    pub placement: ModulePlacement,
    /// Numbers (in the placement plan) of the GPUs in use, ascending. Virtual GPUs are host memory
    /// and are not included.
    pub gpus: Vec<usize>,
    pub resident: Vec<TensorPlan<'a>>,
    /// In the order of a forward pass.
    pub streamed: BTreeMap<StreamedModule, Vec<StreamedTensor>>,
    /// The routed experts of layers that keep them on disk: each pass reads only those that it uses
    /// and the cache does not have. By layer.
    pub experts_on_disk: BTreeMap<usize, Vec<StreamedTensor>>,
    /// The embedding, if it is on the disk tier: each pass reads only the rows of its tokens.
    pub embedding_on_disk: Option<(&'a TensorEntry, Dtype)>,
}

impl<'a> LoadPlan<'a> {
    /// Applies a placement plan to a checkpoint.
    pub fn new(
        checkpoint: &'a Checkpoint,
        plan: &Plan,
        virtual_devices: bool,
    ) -> Result<Self, LoadError> {
        let config = &checkpoint.config;
        check_supported(config)?;
        let tiers = module_tiers(checkpoint, plan)?;
        let gpus = if virtual_devices { Vec::new() } else { gpus_in_use(&tiers) };
        check_gpus(config, &tiers, &gpus)?;
        let mut load_plan = LoadPlan {
            dtypes: LoadDtypes::of(plan),
            placement: module_placement(&tiers, &gpus, config.tie_word_embeddings),
            gpus,
            resident: Vec::new(),
            streamed: BTreeMap::new(),
            experts_on_disk: BTreeMap::new(),
            embedding_on_disk: None,
        };
        for expected in expected_tensors(config) {
            // Some files store an lm_head beside a tied embedding; it is not required and not
            // loaded.
            let required = expected.requirement != Requirement::Tied;
            if let Some(entry) = checkpoint.inventory.get(&expected.name).filter(|_| required) {
                let (kind, tier) = tiers[expected.module];
                let dtype = dtype_in_memory(load_plan.dtypes.choice, &expected, entry)?;
                load_plan.add((entry, dtype), kind, tier, config.tie_word_embeddings);
            }
        }
        Ok(load_plan)
    }

    fn add(
        &mut self,
        (entry, dtype): (&'a TensorEntry, Dtype),
        kind: ModuleKind,
        tier: Tier,
        tied: bool,
    ) {
        if tier != Tier::Disk {
            self.resident.push(TensorPlan { entry, dtype, tier });
            if entry.shape.len() > 1 {
                self.placement.matrix_dtypes.insert((self.device(tier), dtype));
            }
            return;
        }
        let mut stream =
            |module| self.streamed.entry(module).or_default().push((entry.clone(), dtype));
        match kind {
            ModuleKind::Layer(layer) => stream(StreamedModule::Layer(layer)),
            ModuleKind::Experts(layer) => {
                self.experts_on_disk.entry(layer).or_default().push((entry.clone(), dtype));
            }
            ModuleKind::Head => stream(StreamedModule::LmHead),
            ModuleKind::Embedding => {
                if tied {
                    stream(StreamedModule::LmHead);
                }
                self.embedding_on_disk = Some((entry, dtype));
            }
            // The final norm has a few kilobytes. It stays in memory, since reading it in every
            // pass costs more.
            ModuleKind::FinalNorm => {
                self.resident.push(TensorPlan { entry, dtype, tier: Tier::Cpu });
            }
        }
    }

    /// Whether the lm_head is read from disk in every pass.
    pub fn streams_lm_head(&self) -> bool {
        self.streamed.contains_key(&StreamedModule::LmHead)
    }

    /// Indices of the shards with tensors of the disk tier.
    pub fn shards_on_disk(&self) -> BTreeSet<usize> {
        self.tensors_on_disk().map(|(entry, _)| entry.shard).collect()
    }

    /// Bytes of the tensors on the disk tier, in the dtype that they are converted to.
    pub fn bytes_on_disk(&self) -> u64 {
        // A tied embedding is listed twice, as embedding and as lm_head; it counts once.
        let distinct: BTreeMap<&str, u64> = self
            .tensors_on_disk()
            .map(|(entry, dtype)| (entry.name.as_str(), bytes_in_memory(entry, dtype)))
            .collect();
        distinct.values().sum()
    }

    fn tensors_on_disk(&self) -> impl Iterator<Item = (&TensorEntry, Dtype)> {
        let tensors = self.streamed.values().chain(self.experts_on_disk.values()).flatten();
        tensors.map(|(entry, dtype)| (entry, *dtype)).chain(self.embedding_on_disk)
    }

    /// The device that computes the modules of a tier.
    pub fn device(&self, tier: Tier) -> DeviceId {
        device_of(tier, &self.gpus)
    }
}

impl LoadDtypes {
    fn of(plan: &Plan) -> Self {
        // The names of dtypes in a plan are those of these enums; a plan of a newer version may
        // have unknown names, which are replaced by the defaults.
        let choice = DtypeChoice::parse(plan.dtype).unwrap_or_default();
        let kv_dtype = KvDtype::parse(plan.kv_dtype).ok().flatten().unwrap_or(KvDtype::Bf16);
        let precision = match choice {
            DtypeChoice::F32 => Precision::F32,
            DtypeChoice::Int8 => Precision::Int8,
            _ => Precision::Native,
        };
        LoadDtypes { choice, precision, kv_dtype }
    }
}

/// The dtype of a tensor in memory. Matrices are converted to the requested dtype; vectors keep
/// their stored dtype until they are uploaded or used.
fn dtype_in_memory(
    choice: DtypeChoice,
    expected: &ExpectedTensor,
    entry: &TensorEntry,
) -> Result<Dtype, WeightError> {
    let dtype = choice.kept_of(entry.dtype, expected);
    let usable = match expected.content {
        TensorContent::Fp4Blocks | TensorContent::Fp4Scales => dtype == Dtype::U8,
        TensorContent::NormWeight | TensorContent::Bias | TensorContent::BlockScales => {
            is_float(dtype)
        }
        TensorContent::Weight => readable(dtype),
    };
    let (tensor, found) = (&entry.name, entry.dtype.name());
    if usable { Ok(dtype) } else { Err(WeightError::Dtype { tensor: tensor.clone(), found }) }
}

/// The tier of each module, in the order of a forward pass. Routed experts without an entry of
/// their own are on the tier of their layer.
fn module_tiers(
    checkpoint: &Checkpoint,
    plan: &Plan,
) -> Result<Vec<(ModuleKind, Tier)>, LoadError> {
    let map: BTreeMap<&str, Tier> =
        plan.device_map.iter().map(|(module, tier)| (module.as_str(), *tier)).collect();
    let mut tiers: Vec<(ModuleKind, Tier)> = Vec::new();
    for module in modules(&checkpoint.config) {
        let is_experts = matches!(module.kind, ModuleKind::Experts(_));
        let of_layer = tiers.last().filter(|_| is_experts).map(|(_, tier)| *tier);
        match map.get(module.name.as_str()).copied().or(of_layer) {
            Some(tier) => tiers.push((module.kind, tier)),
            None => return Err(LoadError::Unplanned { module: module.name }),
        }
    }
    Ok(tiers)
}

/// Rejects plans that place on GPUs what they cannot compute.
fn check_gpus(
    config: &ModelConfig,
    tiers: &[(ModuleKind, Tier)],
    gpus: &[usize],
) -> Result<(), CompositionError> {
    let on_gpu = |(kind, tier): &(ModuleKind, Tier)| {
        let real = matches!(tier, Tier::Gpu(gpu) if gpus.contains(gpu));
        real && matches!(kind, ModuleKind::Experts(_))
    };
    let experts = tiers.iter().any(on_gpu).then_some("routed experts");
    match without_gpu_kernel(config).filter(|_| !gpus.is_empty()).or(experts) {
        Some(what) => {
            Err(CompositionError::NoGpuKernel { class_name: config.class_name.clone(), what })
        }
        None => Ok(()),
    }
}

fn gpus_in_use(tiers: &[(ModuleKind, Tier)]) -> Vec<usize> {
    let gpu_index = |(_, tier): &(_, Tier)| {
        if let Tier::Gpu(gpu_index) = tier { Some(*gpu_index) } else { None }
    };
    tiers.iter().filter_map(gpu_index).collect::<BTreeSet<_>>().into_iter().collect()
}

fn device_of(tier: Tier, gpus: &[usize]) -> DeviceId {
    let position = |gpu_index| gpus.iter().position(|gpu| *gpu == gpu_index);
    if let Tier::Gpu(gpu_index) = tier {
        position(gpu_index).map_or(DeviceId::Cpu, DeviceId::Gpu)
    } else {
        DeviceId::Cpu
    }
}

fn module_placement(tiers: &[(ModuleKind, Tier)], gpus: &[usize], tied: bool) -> ModulePlacement {
    let mut placement = ModulePlacement {
        embedding: DeviceId::Cpu,
        layers: Vec::new(),
        has_experts: false,
        final_norm: DeviceId::Cpu,
        lm_head: DeviceId::Cpu,
        matrix_dtypes: BTreeSet::new(),
    };
    for (kind, tier) in tiers {
        let device = device_of(*tier, gpus);
        match kind {
            ModuleKind::Embedding => placement.embedding = device,
            ModuleKind::Layer(_) => placement.layers.push(device),
            // The CPU computes routed experts on all tiers that may have them.
            ModuleKind::Experts(_) => placement.has_experts = true,
            ModuleKind::FinalNorm => placement.final_norm = device,
            // A tied lm_head uses the embedding's memory, so its own tier in the device map is
            // ignored.
            ModuleKind::Head => {
                placement.lm_head = if tied { placement.embedding } else { device };
            }
        }
    }
    placement
}

/// Bytes that a tensor takes in `dtype`.
pub(crate) fn bytes_in_memory(entry: &TensorEntry, dtype: Dtype) -> u64 {
    let elements = entry.shape.iter().map(|&d| d as u64).product();
    dtype.bytes_for(elements).unwrap_or(entry.bytes)
}
