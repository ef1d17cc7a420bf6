//! [`LayerContext`]: the state that all modules of a layer share during one forward pass.

use device::Backend;

use super::Matmul;

/// The device, the rows of the pass and the layer's KV cache.
pub(crate) struct LayerContext<'a, B: Backend> {
    pub matmul: Matmul<'a, B>,
    pub rope: B::RopeTable<'a>,
    pub input: B::PassInput<'a>,
    /// Number of rows of the pass.
    pub rows: usize,
    /// Keys and values of this layer.
    pub kv: &'a mut B::KvLayer,
}

impl<'a, B: Backend> LayerContext<'a, B> {
    pub fn backend(&self) -> &'a B {
        self.matmul.backend
    }
}
