//! Tensors whose bytes are there, by name.

use std::collections::BTreeMap;

use checkpoint::Dtype;
use device::cpu::Matrix;
use device::memory::Bytes;

use super::LoadError;
use super::convert::widen;

/// A tensor in memory. There is no way to make one without [`Bytes`], and no way to make those unfilled.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub dtype: Dtype,
    /// Row-major.
    pub shape: Vec<usize>,
    pub data: Bytes,
}

/// The tensors of a model, or of one of its blocks.
#[derive(Debug, Default)]
pub(crate) struct Tensors(BTreeMap<String, Stored>);

impl Tensors {
    pub fn insert(&mut self, name: String, tensor: Stored) {
        self.0.insert(name, tensor);
    }

    pub fn extend(&mut self, other: Tensors) {
        self.0.extend(other.0);
    }

    /// A view of the tensors whose names start with `prefix`.
    pub fn under(&self, prefix: impl Into<String>) -> Under<'_> {
        Under { tensors: self, prefix: prefix.into() }
    }
}

/// Tensors under a common prefix, as in `model.layers.3.`.
#[derive(Clone, Debug)]
pub(crate) struct Under<'a> {
    tensors: &'a Tensors,
    prefix: String,
}

impl Under<'_> {
    /// Tensors under a longer prefix.
    pub fn under(&self, prefix: &str) -> Self {
        Under { tensors: self.tensors, prefix: format!("{}{prefix}", self.prefix) }
    }

    /// The tensor `name`, which must have this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&Stored, LoadError> {
        let tensor = format!("{}{name}", self.prefix);
        match self.tensors.0.get(&tensor) {
            None => Err(LoadError::Missing { tensor }),
            Some(stored) if stored.shape != shape => {
                Err(LoadError::Shape { tensor, expected: shape.to_vec(), found: stored.shape.clone() })
            }
            Some(stored) => Ok(stored),
        }
    }

    /// A matrix of `rows` output and `cols` input features, in its own form.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        let Stored { dtype, data, .. } = self.get(name, &[rows, cols])?.clone();
        Matrix::new(dtype, rows, cols, data)
            .map_err(|cause| LoadError::Device { what: format!("tensor {}{name}", self.prefix), cause })
    }

    /// A vector of `len` numbers (a norm's weight, a bias) as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let stored = self.get(name, &[len])?;
        if !matches!(stored.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let tensor = format!("{}{name}", self.prefix);
            return Err(LoadError::Dtype { tensor, found: stored.dtype.name() });
        }
        let mut numbers = vec![0.0; len];
        widen(stored.dtype, &stored.data, &mut numbers);
        Ok(numbers)
    }
}
