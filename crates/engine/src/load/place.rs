//! Tensors become the parts of a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::{ModuleKind, modules};
use device::cpu::Cpu;

use super::layout::Layout;
use super::source::Source;
use super::stream::{Item, Stream, Streamer, head, in_order};
use super::tensors::Tensors;
use super::{LoadError, LoadRequest};
use crate::kv::KvLayout;
use crate::layers::{Norm, Rope};
use crate::models::{Block, DiskRows, Embedding, Head, Layer, Parts};

/// Composes a model of what was loaded.
pub(crate) fn parts(
    request: &LoadRequest,
    layout: &Layout,
    tensors: &Tensors<Cpu>,
    source: &Arc<Source>,
    cpu: Cpu,
) -> Result<Parts, LoadError> {
    let config = &request.checkpoint.config;
    let streamer = streamer(request, &cpu, layout, source)?;
    let resident = |layer| Block::new(tensors, config, layer).map(Box::new).map(Layer::Resident);
    let layer = |layer| match &streamer {
        Some(streamer) if layout.streamed.contains_key(&Item::Block(layer)) => Ok(Layer::Streamed(streamer.clone())),
        _ => resident(layer),
    };
    let head = match &streamer {
        Some(streamer) if layout.head_streamed => Head::Streamed(streamer.clone()),
        _ => Head::Resident(head(tensors, config)?),
    };
    Ok(Parts {
        precision: layout.numbers.precision,
        kv_layout: KvLayout::new(config, layout.numbers.kv_dtype),
        rope: Rope::new(&config.rope, request.plan.context),
        positions: request.plan.context,
        embedding: embedding(layout, tensors, source, config)?,
        layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
        norm: final_norm(tensors, config)?,
        head,
        dtypes: dtypes(layout),
        config: config.clone(),
        cpu,
    })
}

fn streamer(
    request: &LoadRequest,
    cpu: &Cpu,
    layout: &Layout,
    source: &Arc<Source>,
) -> Result<Option<Arc<Streamer>>, LoadError> {
    if layout.streamed.is_empty() {
        return Ok(None);
    }
    let stream = Stream {
        source: source.clone(),
        config: request.checkpoint.config.clone(),
        recipes: in_order(layout.streamed.clone()),
        cpu: cpu.clone(),
        threads: super::readers(request),
        watch: request.watch.clone(),
    };
    Streamer::start(stream).map(|streamer| Some(Arc::new(streamer)))
}

fn embedding(
    layout: &Layout,
    tensors: &Tensors<Cpu>,
    source: &Arc<Source>,
    config: &checkpoint::ModelConfig,
) -> Result<Embedding, LoadError> {
    match layout.embedding_on_disk {
        Some((entry, dtype)) => Ok(Embedding::OnDisk(DiskRows { source: source.clone(), entry: entry.clone(), dtype })),
        None => {
            let table = tensors.under("").matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size)?;
            Ok(Embedding::Resident(table))
        }
    }
}

fn final_norm(tensors: &Tensors<Cpu>, config: &checkpoint::ModelConfig) -> Result<Norm<Cpu>, LoadError> {
    let module = modules(config).into_iter().find(|module| module.kind == ModuleKind::FinalNorm);
    let name = module.map_or_else(|| "model.norm".to_owned(), |module| module.name);
    Norm::new(&tensors.under(""), &name, config.hidden_size, config.norm)
}

/// Bytes of matrices by dtype, streamed ones included: for provenance.
fn dtypes(layout: &Layout) -> BTreeMap<&'static str, u64> {
    let mut bytes = BTreeMap::new();
    let resident = layout.resident.iter().map(|resident| (resident.entry, resident.dtype));
    let streamed = layout.streamed.values().flatten().map(|(entry, dtype)| (entry, *dtype));
    for (entry, dtype) in resident.chain(streamed).filter(|(entry, _)| entry.shape.len() > 1) {
        let elements: u64 = entry.shape.iter().map(|&d| d as u64).product();
        *bytes.entry(dtype.name()).or_default() += dtype.bytes_for(elements).unwrap_or(entry.bytes);
    }
    bytes
}
