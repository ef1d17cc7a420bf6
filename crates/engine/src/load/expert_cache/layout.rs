//! [`ExpertLayout`]: the tensors of each routed expert of a layer, as stored in the shards.

use std::collections::BTreeMap;

use checkpoint::{Dtype, ExpertStorage, TensorEntry};

use super::super::chunks::host_capacity;
use super::super::plan::{StreamedTensor, bytes_in_memory};
use crate::weights::{ExpertMatrix, ExpertPart, ExpertShapes, TensorView, Tensors, WeightError};
use device::cpu::Cpu;

/// Arenas are whole pages.
const PAGE_BYTES: usize = 4096;

/// The routed experts of a layer on the disk tier.
pub(crate) struct ExpertLayout {
    /// Index of the layer in the model.
    pub layer: usize,
    shapes: ExpertShapes,
    /// By expert and part: see [`Self::index`].
    units: Vec<ExpertTensors>,
    /// The dtypes in memory of the weights of each part, without repetitions.
    dtypes: [Vec<Dtype>; 2],
}

/// The tensors of one part of an expert.
#[derive(Default)]
pub(crate) struct ExpertTensors {
    pub tensors: Vec<StreamedTensor>,
    /// Bytes of weights in memory.
    pub bytes: u64,
    /// Bytes of an arena for the tensors.
    pub arena_bytes: usize,
}

impl ExpertLayout {
    /// Sorts the tensors of a layer's routed experts.
    pub fn new(
        layer: usize,
        shapes: ExpertShapes,
        tensors: &[StreamedTensor],
    ) -> Result<Self, WeightError> {
        let module = shapes.module(layer);
        let by_name: BTreeMap<&str, &StreamedTensor> =
            tensors.iter().map(|tensor| (tensor.0.name.as_str(), tensor)).collect();
        let mut layout =
            ExpertLayout { layer, shapes, units: Vec::new(), dtypes: [vec![], vec![]] };
        for expert in 0..shapes.moe.experts {
            for part in ExpertPart::ALL {
                let mut unit = ExpertTensors::default();
                for (name, _) in shapes.matrices(part) {
                    let weight = layout.add_matrix(&mut unit, &by_name, &module, (expert, name))?;
                    let dtypes = &mut layout.dtypes[part as usize];
                    if !dtypes.contains(&weight) {
                        dtypes.push(weight);
                    }
                }
                unit.arena_bytes = unit.arena_bytes.next_multiple_of(PAGE_BYTES);
                layout.units.push(unit);
            }
        }
        Ok(layout)
    }

    /// Adds the tensors of one matrix to `unit`; returns the dtype of its weights.
    fn add_matrix(
        &self,
        unit: &mut ExpertTensors,
        tensors: &BTreeMap<&str, &StreamedTensor>,
        module: &str,
        (expert, name): (usize, &str),
    ) -> Result<Dtype, WeightError> {
        let mxfp4 = self.shapes.moe.storage == ExpertStorage::Mxfp4;
        let get = |tensor: String| match tensors.get(tensor.as_str()) {
            Some(found) => Ok((*found).clone()),
            None => Err(WeightError::Missing { tensor }),
        };
        if mxfp4 {
            for part in ["blocks", "scales", "bias"] {
                let (entry, dtype) = get(format!("{module}.{name}_{part}"))?;
                let own = format!("{module}.{expert}.{name}_{part}");
                unit.add((one_expert(&entry, expert, own), dtype));
            }
            return Ok(Dtype::F4);
        }
        let stem = format!("{module}.{expert}.{name}");
        let weight = get(format!("{stem}.weight"))?;
        let dtype = weight.1;
        if dtype == Dtype::F8E4M3 {
            unit.add(get(format!("{stem}.weight_scale_inv"))?);
        }
        unit.add(weight);
        if self.shapes.moe.biases {
            unit.add(get(format!("{stem}.bias"))?);
        }
        Ok(dtype)
    }

    /// The name of the module of the experts.
    pub fn module(&self) -> String {
        self.shapes.module(self.layer)
    }

    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.shapes.moe.experts
    }

    /// Index of a part of an expert in the lists of this layer.
    pub fn index(expert: usize, part: ExpertPart) -> usize {
        ExpertPart::ALL.len() * expert + part as usize
    }

    pub fn unit(&self, expert: usize, part: ExpertPart) -> &ExpertTensors {
        &self.units[Self::index(expert, part)]
    }

    pub fn dtypes(&self, part: ExpertPart) -> &[Dtype] {
        &self.dtypes[part as usize]
    }

    /// The matrices of a part of an expert from its loaded tensors.
    pub fn matrices(
        &self,
        tensors: &Tensors<Cpu>,
        expert: usize,
        part: ExpertPart,
    ) -> Result<Vec<ExpertMatrix<Cpu>>, WeightError> {
        let experts: TensorView<Cpu> = tensors.view().pp(self.module());
        let matrix = |matrix| self.shapes.matrix_of_one(&experts, matrix, expert);
        self.shapes.matrices(part).into_iter().map(matrix).collect()
    }

    /// Bytes of the largest arena of a part of an expert.
    pub fn arena_bytes_max(&self) -> usize {
        self.units.iter().map(|unit| unit.arena_bytes).max().unwrap_or(0)
    }
}

impl ExpertTensors {
    fn add(&mut self, (entry, dtype): StreamedTensor) {
        self.bytes += bytes_in_memory(&entry, dtype);
        self.arena_bytes += host_capacity(&entry, dtype);
        self.tensors.push((entry, dtype));
    }
}

/// The part of the tensor `[experts, ..]` that belongs to one expert, `[1, ..]`, as a tensor named
/// `name`.
fn one_expert(entry: &TensorEntry, expert: usize, name: String) -> TensorEntry {
    let experts = entry.shape.first().copied().unwrap_or(1).max(1);
    let bytes = entry.bytes / experts as u64;
    let mut shape = entry.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = 1;
    }
    TensorEntry {
        name,
        dtype: entry.dtype,
        shape,
        shard: entry.shard,
        offset: entry.offset + expert as u64 * bytes,
        bytes,
    }
}
