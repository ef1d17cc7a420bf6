//! Experts that are stored as transformers 5 keeps them in memory: one tensor for all experts of a
//! layer, `experts.gate_up_proj [e, 2i, h]` with the rows of the gate first, and `experts.down_proj
//! [e, h, i]`. They become one entry per expert and projection, each with a part of the byte range.
use super::keys::Result;
use crate::config::{ExpertStorage, ModelConfig, Moe};
use crate::error::{Defect, DefectKind};
use crate::family::ExpertNames;
use crate::{Inventory, TensorEntry};
use std::path::Path;

/// Replaces fused tensors by the entries of their experts.
///
/// # Errors
/// A [`Defect`] for a fused tensor of another shape, or an expert that is stored in both forms.
pub(crate) fn split_fused_experts(config: &ModelConfig, inventory: &mut Inventory) -> Result<()> {
    let Some(moe) = config.moe.filter(|moe| moe.storage == ExpertStorage::Separate) else {
        return Ok(());
    };
    if !inventory.tensors.iter().any(|tensor| is_fused(&tensor.name)) {
        return Ok(());
    }
    let names = config.family.traits().expert_names;
    let mut tensors = Vec::with_capacity(inventory.tensors.len());
    for tensor in std::mem::take(&mut inventory.tensors) {
        let file = inventory.shards.get(tensor.shard).map_or(Path::new(""), |s| &s.path);
        match fused_part(&tensor.name) {
            Some((layer, projection)) => {
                let fused = FusedTensor { moe: &moe, names, layer, hidden: config.hidden_size };
                tensors.extend(fused.split(file, &tensor, projection)?);
            }
            // Mixtral's router has another name in this form.
            None => match tensor.name.strip_suffix(".mlp.gate.weight") {
                Some(layer) => {
                    let name = format!("{layer}.{}.{}.weight", names.block, names.router);
                    tensors.push(TensorEntry { name, ..tensor });
                }
                None => tensors.push(tensor),
            },
        }
    }
    *inventory = Inventory::new(std::mem::take(&mut inventory.shards), tensors);
    refuse_experts_stored_twice(inventory)
}

/// Both forms of an expert in one checkpoint: it is unknown which is right.
fn refuse_experts_stored_twice(inventory: &Inventory) -> Result<()> {
    let twice = inventory.tensors.windows(2).find(|pair| pair[0].name == pair[1].name);
    let Some([first, second]) = twice else { return Ok(()) };
    let file = inventory.shards.get(second.shard).map_or(Path::new(""), |shard| &shard.path);
    let expected = "each expert once, in a tensor of its own or in one of all experts of its layer";
    let found =
        format!("both, {} {:?} and {} {:?}", first.dtype, first.shape, second.dtype, second.shape);
    Err(Defect::new(DefectKind::TensorUnexpected, file, expected, found).tensor(&first.name).into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Projection {
    GateUp,
    Down,
}

/// The layer's prefix, such as `model.layers.3`, and the projection of a fused tensor.
fn fused_part(name: &str) -> Option<(&str, Projection)> {
    let part = |suffix, projection| Some((name.strip_suffix(suffix)?, projection));
    part(".mlp.experts.gate_up_proj", Projection::GateUp)
        .or_else(|| part(".mlp.experts.down_proj", Projection::Down))
}

fn is_fused(name: &str) -> bool {
    fused_part(name).is_some()
}

struct FusedTensor<'a> {
    moe: &'a Moe,
    names: ExpertNames,
    layer: &'a str,
    hidden: usize,
}

impl FusedTensor<'_> {
    fn split(
        &self,
        file: &Path,
        tensor: &TensorEntry,
        projection: Projection,
    ) -> Result<Vec<TensorEntry>> {
        let (experts, width) = (self.moe.experts, self.moe.intermediate_size);
        let (rows, cols) = match projection {
            Projection::GateUp => (2 * width, self.hidden),
            Projection::Down => (self.hidden, width),
        };
        if tensor.shape != [experts, rows, cols] || !tensor.bytes.is_multiple_of(experts as u64) {
            let expected = format!("{:?}, from the configuration", [experts, rows, cols]);
            let found = format!("{:?}", tensor.shape);
            return Err(Defect::new(DefectKind::ShapeMismatch, file, expected, found)
                .tensor(&tensor.name)
                .into());
        }
        let ExpertNames { block, gate, up, down, .. } = self.names;
        let parts: &[&str] = if projection == Projection::GateUp { &[gate, up] } else { &[down] };
        let shape = vec![rows / parts.len(), cols];
        let bytes = tensor.bytes / (experts * parts.len()) as u64;
        let part = |index: usize| TensorEntry {
            name: format!(
                "{}.{block}.experts.{}.{}.weight",
                self.layer,
                index / parts.len(),
                parts[index % parts.len()]
            ),
            shape: shape.clone(),
            offset: tensor.offset + bytes * index as u64,
            bytes,
            ..tensor.clone()
        };
        Ok((0..experts * parts.len()).map(part).collect())
    }
}
