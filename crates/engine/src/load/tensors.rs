//! Tensors whose bytes are there, by name.

use std::collections::BTreeMap;
use std::ops::Range;

use checkpoint::Dtype;

use super::LoadError;
use crate::compute::{Compute, is_plain};

/// A tensor in memory. There is no way to make one without its bytes, and no way to make those
/// unfilled.
pub(crate) struct Stored<C: Compute> {
    pub dtype: Dtype,
    /// Row-major.
    pub shape: Vec<usize>,
    pub data: C::Bytes,
}

/// The tensors of a model, or of one of its blocks, on one kind of device.
pub(crate) struct Tensors<C: Compute>(BTreeMap<String, Stored<C>>);

impl<C: Compute> Default for Tensors<C> {
    fn default() -> Self {
        Tensors(BTreeMap::new())
    }
}

impl<C: Compute> Tensors<C> {
    pub fn insert(&mut self, name: String, tensor: Stored<C>) {
        self.0.insert(name, tensor);
    }

    pub fn extend(&mut self, other: Tensors<C>) {
        self.0.extend(other.0);
    }

    /// A view of the tensors whose names start with `prefix`.
    pub fn under(&self, prefix: impl Into<String>) -> Under<'_, C> {
        Under { tensors: self, prefix: prefix.into() }
    }
}

/// Tensors under a common prefix, as in `model.layers.3.`.
pub(crate) struct Under<'a, C: Compute> {
    tensors: &'a Tensors<C>,
    prefix: String,
}

impl<C: Compute> Under<'_, C> {
    /// Tensors under a longer prefix.
    pub fn under(&self, prefix: &str) -> Self {
        Under { tensors: self.tensors, prefix: format!("{}{prefix}", self.prefix) }
    }

    /// The tensor `name`, which must have this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<&Stored<C>, LoadError> {
        let tensor = format!("{}{name}", self.prefix);
        match self.tensors.0.get(&tensor) {
            None => Err(LoadError::Missing { tensor }),
            Some(stored) if stored.shape != shape => Err(LoadError::Shape {
                tensor,
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            }),
            Some(stored) => Ok(stored),
        }
    }

    /// A matrix of `rows` output and `cols` input features, in its own form.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<C::Matrix, LoadError> {
        self.rows_of(name, rows, cols, 0..rows).map(|(matrix, _)| matrix)
    }

    /// Rows `part` of a matrix of `rows` output and `cols` input features, on the same memory, and
    /// what it is stored as.
    pub fn rows_of(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        part: Range<usize>,
    ) -> Result<(C::Matrix, Dtype), LoadError> {
        let stored = self.get(name, &[rows, cols])?;
        let failed =
            |cause| LoadError::Device { what: format!("tensor {}{name}", self.prefix), cause };
        Ok((C::matrix(stored, cols, part).map_err(failed)?, stored.dtype))
    }

    /// A vector of `len` numbers (a norm's weight, a bias) as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<C::Vector, LoadError> {
        let stored = self.get(name, &[len])?;
        let tensor = || format!("{}{name}", self.prefix);
        if !is_plain(stored.dtype) {
            return Err(LoadError::Dtype { tensor: tensor(), found: stored.dtype.name() });
        }
        C::vector(stored)
            .map_err(|cause| LoadError::Device { what: format!("tensor {}", tensor()), cause })
    }
}
