//! Assembles a model from its loaded tensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::{ModelConfig, ModuleKind, modules};
use device::backend::Backend;
use device::cpu::Cpu;
use device::cuda::Gpu;

use super::disk_stream::{DiskReader, DiskStream};
use super::expert_cache::{ExpertLayout, ExpertReader, ExpertStore};
use super::plan::{LoadPlan, StreamedModule, StreamedTensor, bytes_in_memory};
use super::read::LoadedTensors;
use super::{LoadError, LoadRequest};
use crate::devices::{DeviceId, DeviceSet, OnDevice};
use crate::kv::KvLayout;
use crate::layers::{Norm, Rope, RoutedExperts};
use crate::models::{
    Embedding, HostLayer, HostLmHead, ModelCapacity, ModelParts, TransformerLayer, lm_head,
};
use crate::weights::{DiskRows, ExpertShapes, OpenShards, Tensors, WeightError};

/// Builds the modules of the model from `tensors`, on the devices of the plan.
pub(crate) fn assemble(
    request: &LoadRequest,
    plan: &LoadPlan,
    tensors: &mut LoadedTensors,
    shards: &Arc<OpenShards>,
    devices: DeviceSet,
) -> Result<ModelParts, LoadError> {
    let (config, placement) = (&request.checkpoint.config, &plan.placement);
    let experts = expert_store(request, &devices.cpu, plan, shards)?;
    for (module, source) in experts.iter().flat_map(ExpertStore::sources) {
        tensors.host.insert_experts(module, source);
    }
    let stream = disk_stream(request, &devices.cpu, plan, shards)?;
    let host_layer = |layer| match &stream {
        Some(stream) if plan.streamed.contains_key(&StreamedModule::Layer(layer)) => {
            Ok(HostLayer::OnDisk(stream.clone()))
        }
        _ => TransformerLayer::new(&tensors.host, config, layer)
            .map(Box::new)
            .map(HostLayer::Resident),
    };
    let layer = |(layer, device): (usize, &DeviceId)| match *device {
        DeviceId::Cpu => host_layer(layer).map(OnDevice::Cpu),
        DeviceId::Gpu(gpu) => TransformerLayer::new(&tensors.gpus[gpu], config, layer)
            .map(|weights| OnDevice::Gpu(gpu, Box::new(weights))),
    };
    let layers = placement.layers.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
    let experts_of = |layer| routed_experts(&tensors.host, config, layer);
    let routed_experts = (0..config.layers).map(experts_of).collect::<Result<_, _>>()?;
    let lm_head = match (placement.lm_head, &stream) {
        (DeviceId::Gpu(gpu), _) => OnDevice::Gpu(gpu, lm_head(&tensors.gpus[gpu], config)?),
        (DeviceId::Cpu, Some(stream)) if plan.streams_lm_head() => {
            OnDevice::Cpu(HostLmHead::OnDisk(stream.clone()))
        }
        (DeviceId::Cpu, _) => OnDevice::Cpu(HostLmHead::Resident(lm_head(&tensors.host, config)?)),
    };
    let (positions, kv_blocks) = (request.plan.context, request.plan.kv_blocks);
    // The CPU's RoPE table is read only if the CPU computes layers.
    let rope_positions = if placement.has_layers(DeviceId::Cpu) { positions } else { 0 };
    Ok(ModelParts {
        capacity: ModelCapacity { positions, kv_blocks, precision: plan.dtypes.precision },
        kv_layout: KvLayout::new(config, plan.dtypes.kv_dtype),
        rope: Rope::new(&config.rope, rope_positions),
        embedding: embedding(plan, tensors, shards, config)?,
        layers,
        routed_experts,
        final_norm: match placement.final_norm {
            DeviceId::Cpu => OnDevice::Cpu(final_norm(&tensors.host, config)?),
            DeviceId::Gpu(gpu) => OnDevice::Gpu(gpu, final_norm(&tensors.gpus[gpu], config)?),
        },
        lm_head,
        dtypes: bytes_by_dtype(plan),
        expert_cache: experts.map(|experts| experts.stats.clone()),
        config: config.clone(),
        placement: placement.clone(),
        devices,
    })
}

fn disk_stream(
    request: &LoadRequest,
    cpu: &Cpu,
    plan: &LoadPlan,
    shards: &Arc<OpenShards>,
) -> Result<Option<Arc<DiskStream>>, LoadError> {
    if plan.streamed.is_empty() {
        return Ok(None);
    }
    let reader = DiskReader {
        shards: shards.clone(),
        config: request.checkpoint.config.clone(),
        modules: plan.streamed.clone().into_iter().collect(),
        cpu: cpu.clone(),
        threads: request.reader_threads(),
        watch: request.watch.clone(),
    };
    DiskStream::start(reader, request.disk_limit).map(|stream| Some(Arc::new(stream)))
}

/// The store of the routed experts on disk; `None` if there are none.
fn expert_store(
    request: &LoadRequest,
    cpu: &Cpu,
    plan: &LoadPlan,
    shards: &Arc<OpenShards>,
) -> Result<Option<Arc<ExpertStore>>, LoadError> {
    let config = &request.checkpoint.config;
    let Some(moe) = config.moe.filter(|_| !plan.experts_on_disk.is_empty()) else {
        return Ok(None);
    };
    let shapes = ExpertShapes::new(config, moe);
    let layout = |(layer, tensors): (&usize, &Vec<StreamedTensor>)| {
        ExpertLayout::new(*layer, shapes, tensors)
    };
    let layers = plan.experts_on_disk.iter().map(layout).collect::<Result<_, _>>()?;
    let reader = ExpertReader {
        shards: shards.clone(),
        layers: Arc::new(layers),
        cpu: cpu.clone(),
        threads: request.reader_threads(),
        watch: request.watch.clone(),
    };
    let capacity_bytes = request.plan.expert_cache_bytes();
    let store = ExpertStore::start(reader, capacity_bytes, request.disk_limit)?;
    Ok(Some(Arc::new(store)))
}

/// The routed experts of a layer, which the CPU computes; `None`: the layer has none.
fn routed_experts(
    host: &Tensors<Cpu>,
    config: &ModelConfig,
    layer: usize,
) -> Result<Option<RoutedExperts<Cpu>>, WeightError> {
    let Some(moe) = config.moe.filter(|_| config.is_sparse(layer)) else { return Ok(None) };
    let tensors = host.view().pp("model.layers").pp(layer);
    RoutedExperts::new(&tensors, config, &moe).map(Some)
}

fn embedding(
    plan: &LoadPlan,
    tensors: &LoadedTensors,
    shards: &Arc<OpenShards>,
    config: &ModelConfig,
) -> Result<OnDevice<Embedding, <Gpu as Backend>::Matrix>, LoadError> {
    if let Some((entry, dtype)) = plan.embedding_on_disk {
        let rows = DiskRows { shards: shards.clone(), entry: entry.clone(), dtype };
        return Ok(OnDevice::Cpu(Embedding::OnDisk(rows)));
    }
    Ok(match plan.placement.embedding {
        DeviceId::Cpu => {
            OnDevice::Cpu(Embedding::Resident(embedding_table(&tensors.host, config)?))
        }
        DeviceId::Gpu(gpu) => OnDevice::Gpu(gpu, embedding_table(&tensors.gpus[gpu], config)?),
    })
}

fn embedding_table<B: Backend>(
    tensors: &Tensors<B>,
    config: &ModelConfig,
) -> Result<B::Matrix, WeightError> {
    let tensors = tensors.view().pp("model.embed_tokens");
    tensors.matrix("weight", config.vocab_size, config.hidden_size)
}

fn final_norm<B: Backend>(
    tensors: &Tensors<B>,
    config: &ModelConfig,
) -> Result<Norm<B>, WeightError> {
    let module = modules(config).into_iter().find(|module| module.kind == ModuleKind::FinalNorm);
    let name = module.map_or_else(|| "model.norm".to_owned(), |module| module.name);
    Norm::new(&tensors.view().pp(name), config.hidden_size, config.norm)
}

/// Bytes of matrices by the name of their dtype, streamed matrices included; recorded in
/// provenance.
fn bytes_by_dtype(plan: &LoadPlan) -> BTreeMap<&'static str, u64> {
    let mut bytes = BTreeMap::new();
    let resident = plan.resident.iter().map(|tensor| (tensor.entry, tensor.dtype));
    let on_disk = plan.streamed.values().chain(plan.experts_on_disk.values());
    let streamed = on_disk.flatten().map(|(entry, dtype)| (entry, *dtype));
    for (entry, dtype) in resident.chain(streamed).filter(|(entry, _)| entry.shape.len() > 1) {
        *bytes.entry(dtype.name()).or_default() += bytes_in_memory(entry, dtype);
    }
    bytes
}
