//! Searches a checkpoint's files for weights that are NaN or infinity.

use checkpoint::{Inventory, ModelConfig, TensorEntry};
use device::cpu::widen;
use device::memory::ReadMode;
use watch::{Stage, ThreadProgress, Watch};

use super::LoadError;
use crate::weights::{OpenShard, OpenShards, is_float};

/// Bytes that one read takes; a multiple of every element's size.
const READ_BYTES: u64 = 4 << 20;

/// A weight that is not a finite number.
#[derive(Clone, Debug, PartialEq)]
pub struct BadWeight {
    /// The file's name.
    pub file: String,
    pub tensor: String,
    /// Index of the element in the tensor, counted through its rows.
    pub element: u64,
    /// NaN or infinity.
    pub found: f32,
}

impl std::fmt::Display for BadWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BadWeight { file, tensor, element, found } = self;
        write!(
            f,
            "{file}: tensor {tensor}: expected finite weights, found {found} as its element {element}"
        )
    }
}

/// Refuses routers with weights that are not finite: they would choose the same experts for every
/// token, and the logits might stay finite.
///
/// # Errors
/// [`LoadError::BadRouter`]; an error of a file.
pub(super) fn check_routers(
    config: &ModelConfig,
    inventory: &Inventory,
    watch: &Watch,
) -> Result<(), LoadError> {
    let routers = inventory.tensors.iter().filter(|tensor| config.is_router(&tensor.name));
    match first_bad_weight(inventory, routers, Stage::Allocate, watch)? {
        Some(bad) => Err(LoadError::BadRouter(bad)),
        None => Ok(()),
    }
}

/// The first weight of a checkpoint, in the order of its tensors, that is not finite. Quantized
/// tensors are not searched.
///
/// # Errors
/// An error of a file; [`LoadError::Canceled`].
pub(super) fn first_bad_weight<'a>(
    inventory: &Inventory,
    tensors: impl Iterator<Item = &'a TensorEntry>,
    stage: Stage,
    watch: &Watch,
) -> Result<Option<BadWeight>, LoadError> {
    let tensors: Vec<&TensorEntry> = tensors.filter(|tensor| is_float(tensor.dtype)).collect();
    let mut used = vec![false; inventory.shards.len()];
    tensors.iter().for_each(|tensor| used[tensor.shard] = true);
    let shards = OpenShards::open(inventory, &used, ReadMode::Buffered)?;
    let progress = watch.thread("finite weights");
    for tensor in tensors {
        let shard = shards.get(tensor.shard, &tensor.name)?;
        if let Some(bad) = search(tensor, shard, stage, &progress, watch)? {
            return Ok(Some(bad));
        }
    }
    Ok(None)
}

fn search(
    tensor: &TensorEntry,
    shard: &OpenShard,
    stage: Stage,
    progress: &ThreadProgress,
    watch: &Watch,
) -> Result<Option<BadWeight>, LoadError> {
    let elements: u64 = tensor.shape.iter().map(|&size| size as u64).product();
    let element_bytes = tensor.bytes / elements.max(1);
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    for first in (0..tensor.bytes).step_by(READ_BYTES as usize) {
        bytes.resize(READ_BYTES.min(tensor.bytes - first) as usize, 0);
        let offset = tensor.offset + first;
        progress.at(stage, &format!("{}: the values of {}", shard.name, tensor.name), offset);
        shard.read(&tensor.name, &mut bytes, offset, &mut |done| {
            progress.advance(done as u64);
            !watch.canceled()
        })?;
        values.resize(bytes.len() / element_bytes as usize, 0.0);
        widen(tensor.dtype, &bytes, &mut values);
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Ok(Some(BadWeight {
                file: shard.name.clone(),
                tensor: tensor.name.clone(),
                element: first / element_bytes + at as u64,
                found: values[at],
            }));
        }
    }
    Ok(None)
}
