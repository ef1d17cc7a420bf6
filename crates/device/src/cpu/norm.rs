//! RMSNorm (Zhang and Sennrich 2019) and LayerNorm of rows.
#![allow(unsafe_op_in_unsafe_fn)]

use super::dispatch::kernel;
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{Cpu, expect};
use crate::DeviceError;

impl Cpu {
    /// out[t, :] = x[t, :] / sqrt(mean(x[t, :]^2) + eps) * weight. A row has as many elements as
    /// `weight`: the head dimension for a q/k norm.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn rms_norm(
        &self,
        x: &[f32],
        weight: &[f32],
        eps: f32,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let cols = weight.len().max(1);
        expect("rms_norm: x is whole rows", x.len().next_multiple_of(cols), x.len())?;
        expect("rms_norm: out", x.len(), out.len())?;
        let out = SharedMut::new(out);
        self.over_rows(x.len() / cols, cols, &|rows| {
            let range = rows.start * cols..rows.end * cols;
            // SAFETY: concurrent calls write disjoint row ranges; `Cpu` checked at construction
            // that the CPU supports this kernel set; each row has `cols` elements.
            unsafe { rms(self.set, &x[range.clone()], weight, eps, out.slice(range)) }
        })
    }

    /// [`Self::rms_norm`] in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn rms_norm_inplace(
        &self,
        x: &mut [f32],
        weight: &[f32],
        eps: f32,
    ) -> Result<(), DeviceError> {
        let cols = weight.len().max(1);
        expect("rms_norm: x is whole rows", x.len().next_multiple_of(cols), x.len())?;
        let rows = x.len() / cols;
        let out = SharedMut::new(x);
        self.over_rows(rows, cols, &|rows| {
            // SAFETY: concurrent calls access disjoint row ranges of `cols` elements per row; `Cpu`
            // checked the kernel set; the kernel reads each element before it writes it.
            unsafe {
                rms_inplace(self.set, out.slice(rows.start * cols..rows.end * cols), weight, eps)
            }
        })
    }

    /// out[t, :] = (x[t, :] - mean) / sqrt(variance + eps) * weight + bias.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn layer_norm(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        eps: f32,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let cols = weight.len().max(1);
        expect("layer_norm: x is whole rows", x.len().next_multiple_of(cols), x.len())?;
        expect("layer_norm: out", x.len(), out.len())?;
        expect("layer_norm: bias", weight.len(), bias.map_or(weight.len(), <[f32]>::len))?;
        let out = SharedMut::new(out);
        self.over_rows(x.len() / cols, cols, &|rows| {
            let range = rows.start * cols..rows.end * cols;
            // SAFETY: concurrent calls write disjoint row ranges of `cols` elements per row; `Cpu`
            // checked the kernel set.
            unsafe { layer(self.set, &x[range.clone()], weight, bias, eps, out.slice(range)) }
        })
    }
}

kernel! { unsafe fn rms(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_body }
kernel! { unsafe fn rms_inplace(x: &mut [f32], weight: &[f32], eps: f32) = rms_inplace_body }
kernel! { unsafe fn layer(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) = layer_body }

#[inline(always)]
unsafe fn rms_body<S: Simd>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    for row in 0..x.len() / cols.max(1) {
        rms_row::<S>(x.as_ptr().add(row * cols), weight, eps, out.as_mut_ptr().add(row * cols));
    }
}

#[inline(always)]
unsafe fn rms_inplace_body<S: Simd>(x: &mut [f32], weight: &[f32], eps: f32) {
    let cols = weight.len();
    for row in 0..x.len() / cols.max(1) {
        let start = x.as_mut_ptr().add(row * cols);
        rms_row::<S>(start, weight, eps, start);
    }
}

#[inline(always)]
unsafe fn rms_row<S: Simd>(x: *const f32, weight: &[f32], eps: f32, out: *mut f32) {
    let cols = weight.len();
    let mut squares = S::splat(0.0);
    for at in (0..cols).step_by(LANES) {
        let v = S::load_part(x.add(at), (cols - at).min(LANES));
        squares = S::fma(v, v, squares);
    }
    let scale = S::splat(1.0 / (S::sum(squares) / cols as f32 + eps).sqrt());
    for at in (0..cols).step_by(LANES) {
        let n = (cols - at).min(LANES);
        let v = S::mul(S::load_part(x.add(at), n), scale);
        S::store_part(out.add(at), S::mul(v, S::load_part(weight.as_ptr().add(at), n)), n);
    }
}

#[inline(always)]
unsafe fn layer_body<S: Simd>(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let cols = weight.len();
    for row in 0..x.len() / cols.max(1) {
        let (x, out) = (&x[row * cols..(row + 1) * cols], &mut out[row * cols..(row + 1) * cols]);
        let mut sum = S::splat(0.0);
        for at in (0..cols).step_by(LANES) {
            sum = S::add(sum, S::load_part(x.as_ptr().add(at), (cols - at).min(LANES)));
        }
        let mean = S::splat(S::sum(sum) / cols as f32);
        let mut squares = S::splat(0.0);
        for at in (0..cols).step_by(LANES) {
            let n = (cols - at).min(LANES);
            // Lanes past the end are set to the mean, so that they add 0 to the variance.
            let mut padded = [0.0; LANES];
            S::store(padded.as_mut_ptr(), mean);
            S::store_part(padded.as_mut_ptr(), S::load_part(x.as_ptr().add(at), n), n);
            let d = S::sub(S::load(padded.as_ptr()), mean);
            squares = S::fma(d, d, squares);
        }
        let scale = S::splat(1.0 / (S::sum(squares) / cols as f32 + eps).sqrt());
        for at in (0..cols).step_by(LANES) {
            let n = (cols - at).min(LANES);
            let d = S::mul(S::sub(S::load_part(x.as_ptr().add(at), n), mean), scale);
            let shift = bias.map_or(S::splat(0.0), |b| S::load_part(b.as_ptr().add(at), n));
            S::store_part(
                out.as_mut_ptr().add(at),
                S::fma(d, S::load_part(weight.as_ptr().add(at), n), shift),
                n,
            );
        }
    }
}
