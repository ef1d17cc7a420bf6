//! Loaded tensors by name. [`TensorView::pp`] selects a submodule, as candle's `VarBuilder::pp`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use checkpoint::{Dtype, FP8_BLOCK};
use device::Backend;

use super::{ExpertSource, WeightError};

/// A tensor in the memory of a device. `data` can be created only from completely filled memory.
pub(crate) struct Tensor<B: Backend> {
    pub dtype: Dtype,
    /// Row-major.
    pub shape: Vec<usize>,
    pub data: B::TensorData,
}

/// The tensors on one device, by name.
pub(crate) struct Tensors<B: Backend> {
    tensors: BTreeMap<String, Tensor<B>>,
    /// The sources of routed experts without tensors here, by the name of their module.
    experts: BTreeMap<String, Arc<dyn ExpertSource<B>>>,
}

impl<B: Backend> Default for Tensors<B> {
    fn default() -> Self {
        Tensors { tensors: BTreeMap::new(), experts: BTreeMap::new() }
    }
}

impl<B: Backend> Tensors<B> {
    pub fn insert(&mut self, name: String, tensor: Tensor<B>) {
        self.tensors.insert(name, tensor);
    }

    /// Names the source of the routed experts of `module`, such as `model.layers.3.mlp.experts`.
    pub fn insert_experts(&mut self, module: String, source: Arc<dyn ExpertSource<B>>) {
        self.experts.insert(module, source);
    }

    pub fn extend(&mut self, other: Tensors<B>) {
        self.tensors.extend(other.tensors);
        self.experts.extend(other.experts);
    }

    /// A view of all tensors.
    pub fn view(&self) -> TensorView<'_, B> {
        TensorView { tensors: self, prefix: String::new() }
    }
}

/// The tensors of one module: those whose names start with a prefix such as `model.layers.3.`.
pub(crate) struct TensorView<'a, B: Backend> {
    tensors: &'a Tensors<B>,
    prefix: String,
}

impl<B: Backend> TensorView<'_, B> {
    /// The tensors of a submodule ("push prefix").
    pub fn pp(&self, module: impl std::fmt::Display) -> Self {
        TensorView { tensors: self.tensors, prefix: format!("{}{module}.", self.prefix) }
    }

    /// The source of the routed experts of this module; `None` if it has tensors.
    pub fn experts(&self) -> Option<Arc<dyn ExpertSource<B>>> {
        self.tensors.experts.get(self.prefix.trim_end_matches('.')).cloned()
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<&Tensor<B>, WeightError> {
        let tensor = self.full_name(name);
        match self.tensors.tensors.get(&tensor) {
            None => Err(WeightError::Missing { tensor }),
            Some(found) if found.shape != shape => Err(WeightError::Shape {
                tensor,
                expected: shape.to_vec(),
                found: found.shape.clone(),
            }),
            Some(found) => Ok(found),
        }
    }

    /// The matrix `name`, `[rows, cols]`, in the dtype that it has in memory.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<B::Matrix, WeightError> {
        self.matrix_rows(name, [rows, cols], 0..rows).map(|(matrix, _)| matrix)
    }

    /// Rows `rows` of the matrix `name`, without a copy, and the matrix's dtype.
    pub fn matrix_rows(
        &self,
        name: &str,
        shape: [usize; 2],
        rows: Range<usize>,
    ) -> Result<(B::Matrix, Dtype), WeightError> {
        let tensor = self.get(name, &shape)?;
        let matrix = if tensor.dtype == Dtype::F8E4M3 {
            let blocks = shape.map(|features| features.div_ceil(FP8_BLOCK));
            let Tensor { dtype, data, .. } = self.get(&format!("{name}_scale_inv"), &blocks)?;
            B::block_fp8_matrix(shape, &tensor.data, (*dtype, data), rows)
        } else {
            B::matrix(tensor.dtype, shape, &tensor.data, rows)
        };
        let matrix =
            matrix.map_err(|cause| WeightError::Device { tensor: self.full_name(name), cause })?;
        Ok((matrix, tensor.dtype))
    }

    /// Rows `rows` of all experts' rows of an MXFP4 tensor, `[experts, rows, cols]`, without a
    /// copy. Its parts are the tensors `blocks`, `[experts, rows, cols / 32, 16]`, and `scales`,
    /// `[experts, rows, cols / 32]`.
    pub fn fp4_matrix(
        &self,
        [blocks, scales]: [&str; 2],
        [experts, rows, cols]: [usize; 3],
        part: Range<usize>,
    ) -> Result<B::Matrix, WeightError> {
        let data = self.get(blocks, &[experts, rows, cols / 32, 16])?;
        let scales = self.get(scales, &[experts, rows, cols / 32])?;
        B::fp4_matrix([experts * rows, cols], &data.data, &scales.data, part)
            .map_err(|cause| WeightError::Device { tensor: self.full_name(blocks), cause })
    }

    /// Elements `elements` of the tensor `name`, in f32.
    pub fn vector_part(
        &self,
        name: &str,
        shape: [usize; 2],
        elements: Range<usize>,
    ) -> Result<B::Vector, WeightError> {
        let Tensor { dtype, data, .. } = self.get(name, &shape)?;
        if !is_float(*dtype) {
            let (tensor, found) = (self.full_name(name), dtype.name());
            return Err(WeightError::Dtype { tensor, found });
        }
        B::vector_part(*dtype, shape[0] * shape[1], data, elements)
            .map_err(|cause| WeightError::Device { tensor: self.full_name(name), cause })
    }

    /// The vector `name` (a norm's weight or a bias) in f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<B::Vector, WeightError> {
        let Tensor { dtype, data, .. } = self.get(name, &[len])?;
        if !is_float(*dtype) {
            let (tensor, found) = (self.full_name(name), dtype.name());
            return Err(WeightError::Dtype { tensor, found });
        }
        B::vector(*dtype, len, data)
            .map_err(|cause| WeightError::Device { tensor: self.full_name(name), cause })
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Whether elements of this dtype are stored singly, not in quantization blocks, and so convert to
/// f32 one by one. Norms and biases must have such a dtype.
pub(crate) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}
