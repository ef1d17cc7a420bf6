//! Elementwise operations: activation functions and residual additions.
#![allow(unsafe_op_in_unsafe_fn)]

use super::dispatch::kernel;
use super::shared::SharedMut;
use super::simd::{LANES, Simd, math};
use super::{Cpu, KernelSet, expect};
use crate::DeviceError;

/// Elements per chunk: whole vectors, so that the lane of an element does not depend on the number
/// of threads.
const CHUNK: usize = 8 << 10;

impl Cpu {
    /// gate = silu(gate) * up, elementwise. Both have the same length.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) -> Result<(), DeviceError> {
        self.binary("silu_mul: up", gate, up, silu_mul)
    }

    /// gate = gelu(gate) * up, elementwise, with the exact GELU.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn gelu_mul(&self, gate: &mut [f32], up: &[f32]) -> Result<(), DeviceError> {
        self.binary("gelu_mul: up", gate, up, gelu_mul)
    }

    /// gate = gelu(gate) * up, elementwise, with the tanh approximation.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn gelu_tanh_mul(&self, gate: &mut [f32], up: &[f32]) -> Result<(), DeviceError> {
        self.binary("gelu_tanh_mul: up", gate, up, gelu_tanh_mul)
    }

    /// x = x + y, elementwise.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn add(&self, x: &mut [f32], y: &[f32]) -> Result<(), DeviceError> {
        self.binary("add: y", x, y, add)
    }

    /// x = silu(x) = x / (1 + e^-x), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`].
    pub fn silu(&self, x: &mut [f32]) -> Result<(), DeviceError> {
        self.unary(x, silu)
    }

    /// x = gelu(x) = x Phi(x), elementwise.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`].
    pub fn gelu(&self, x: &mut [f32]) -> Result<(), DeviceError> {
        self.unary(x, gelu)
    }

    /// x = gelu(x), elementwise, with the tanh approximation.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`].
    pub fn gelu_tanh(&self, x: &mut [f32]) -> Result<(), DeviceError> {
        self.unary(x, gelu_tanh)
    }

    /// x`[t, :]` *= scale`[t]`, for the routing weights of MoE experts. `x` is `[tokens,
    /// features]`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn scale_rows(&self, x: &mut [f32], scale: &[f32]) -> Result<(), DeviceError> {
        if scale.is_empty() {
            return expect("scale_rows: x", 0, x.len());
        }
        let features = x.len() / scale.len();
        expect("scale_rows: x", features * scale.len(), x.len())?;
        for (row, scale) in x.chunks_exact_mut(features.max(1)).zip(scale) {
            row.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(())
    }

    fn binary(
        &self,
        what: &'static str,
        x: &mut [f32],
        y: &[f32],
        kernel: unsafe fn(KernelSet, &mut [f32], &[f32]),
    ) -> Result<(), DeviceError> {
        expect(what, x.len(), y.len())?;
        let out = SharedMut::new(x);
        self.over_rows(y.len().div_ceil(CHUNK), CHUNK, &|chunks| {
            let range = chunks.start * CHUNK..(chunks.end * CHUNK).min(y.len());
            // SAFETY: concurrent calls have disjoint ranges; `Cpu` checked at construction that the
            // CPU supports this kernel set.
            unsafe { kernel(self.set, out.slice(range.clone()), &y[range]) }
        })
    }

    fn unary(
        &self,
        x: &mut [f32],
        kernel: unsafe fn(KernelSet, &mut [f32]),
    ) -> Result<(), DeviceError> {
        let len = x.len();
        let out = SharedMut::new(x);
        self.over_rows(len.div_ceil(CHUNK), CHUNK, &|chunks| {
            let range = chunks.start * CHUNK..(chunks.end * CHUNK).min(len);
            // SAFETY: concurrent calls have disjoint ranges; `Cpu` checked at construction that the
            // CPU supports this kernel set.
            unsafe { kernel(self.set, out.slice(range)) }
        })
    }
}

macro_rules! binary {
    ($name:ident, $body:ident, |$S:ident, $a:ident, $b:ident| $value:expr) => {
        #[inline(always)]
        unsafe fn $body<$S: Simd>(x: &mut [f32], y: &[f32]) {
            for at in (0..x.len()).step_by(LANES) {
                let n = (x.len() - at).min(LANES);
                let ($a, $b) =
                    ($S::load_part(x.as_ptr().add(at), n), $S::load_part(y.as_ptr().add(at), n));
                $S::store_part(x.as_mut_ptr().add(at), $value, n);
            }
        }
        kernel! { unsafe fn $name(x: &mut [f32], y: &[f32]) = $body }
    };
}

macro_rules! unary {
    ($name:ident, $body:ident, $f:path) => {
        #[inline(always)]
        unsafe fn $body<S: Simd>(x: &mut [f32]) {
            for at in (0..x.len()).step_by(LANES) {
                let n = (x.len() - at).min(LANES);
                let value = S::load_part(x.as_ptr().add(at), n);
                S::store_part(x.as_mut_ptr().add(at), $f(value), n);
            }
        }
        kernel! { unsafe fn $name(x: &mut [f32]) = $body }
    };
}

binary!(silu_mul, silu_mul_body, |S, a, b| S::mul(math::silu::<S>(a), b));
binary!(gelu_mul, gelu_mul_body, |S, a, b| S::mul(math::gelu::<S>(a), b));
binary!(gelu_tanh_mul, gelu_tanh_mul_body, |S, a, b| S::mul(math::gelu_tanh::<S>(a), b));
binary!(add, add_body, |S, a, b| S::add(a, b));
unary!(silu, silu_body, math::silu::<S>);
unary!(gelu, gelu_body, math::gelu::<S>);
unary!(gelu_tanh, gelu_tanh_body, math::gelu_tanh::<S>);
