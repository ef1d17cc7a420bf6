//! Tensors become the parts of a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::{ModelConfig, ModuleKind, modules};
use device::cpu::Cpu;
use device::cuda::Gpu;

use super::layout::Layout;
use super::read::Filled;
use super::source::Source;
use super::stream::{Item, Stream, Streamer, head, in_order};
use super::tensors::Tensors;
use super::{LoadError, LoadRequest};
use crate::compute::{Compute, Placed, Site, Sites};
use crate::kv::KvLayout;
use crate::layers::{Norm, Rope};
use crate::models::{Block, Capacity, DiskRows, Embedding, HostBlock, HostHead, Parts};

/// Composes a model of what was loaded.
pub(crate) fn parts(
    request: &LoadRequest,
    layout: &Layout,
    filled: &Filled,
    source: &Arc<Source>,
    sites: Sites,
) -> Result<Parts, LoadError> {
    let (config, route) = (&request.checkpoint.config, &layout.route);
    let streamer = streamer(request, &sites.cpu, layout, source)?;
    let on_host = |layer| match &streamer {
        Some(streamer) if layout.streamed.contains_key(&Item::Block(layer)) => {
            Ok(HostBlock::Streamed(streamer.clone()))
        }
        _ => Block::new(&filled.host, config, layer).map(Box::new).map(HostBlock::Resident),
    };
    let layer = |(layer, site): (usize, &Site)| match *site {
        Site::Host => on_host(layer).map(Placed::Host),
        Site::Gpu(gpu) => Block::new(&filled.gpus[gpu], config, layer)
            .map(|block| Placed::Gpu(gpu, Box::new(block))),
    };
    let layers = route.blocks.iter().enumerate().map(layer).collect::<Result<_, _>>()?;
    let head = match (route.head, &streamer) {
        (Site::Gpu(gpu), _) => Placed::Gpu(gpu, head(&filled.gpus[gpu], config)?),
        (Site::Host, Some(streamer)) if layout.head_streamed => {
            Placed::Host(HostHead::Streamed(streamer.clone()))
        }
        (Site::Host, _) => Placed::Host(HostHead::Resident(head(&filled.host, config)?)),
    };
    let (positions, kv_blocks) = (request.plan.context, request.plan.kv_blocks);
    Ok(Parts {
        capacity: Capacity { positions, kv_blocks, precision: layout.numbers.precision },
        kv_layout: KvLayout::new(config, layout.numbers.kv_dtype),
        // Where no block is computed, nobody asks for a position.
        rope: Rope::new(&config.rope, if route.has_blocks(Site::Host) { positions } else { 0 }),
        embedding: embedding(layout, filled, source, config)?,
        layers,
        norm: match route.norm {
            Site::Host => Placed::Host(final_norm(&filled.host, config)?),
            Site::Gpu(gpu) => Placed::Gpu(gpu, final_norm(&filled.gpus[gpu], config)?),
        },
        head,
        dtypes: dtypes(layout),
        config: config.clone(),
        route: route.clone(),
        sites,
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
    filled: &Filled,
    source: &Arc<Source>,
    config: &ModelConfig,
) -> Result<Placed<Embedding, <Gpu as Compute>::Matrix>, LoadError> {
    if let Some((entry, dtype)) = layout.embedding_on_disk {
        let rows = DiskRows { source: source.clone(), entry: entry.clone(), dtype };
        return Ok(Placed::Host(Embedding::OnDisk(rows)));
    }
    match layout.route.embedding {
        Site::Host => table(&filled.host, config).map(Embedding::Resident).map(Placed::Host),
        Site::Gpu(gpu) => table(&filled.gpus[gpu], config).map(|table| Placed::Gpu(gpu, table)),
    }
}

fn table<C: Compute>(tensors: &Tensors<C>, config: &ModelConfig) -> Result<C::Matrix, LoadError> {
    tensors.under("").matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size)
}

fn final_norm<C: Compute>(
    tensors: &Tensors<C>,
    config: &ModelConfig,
) -> Result<Norm<C>, LoadError> {
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
