//! Quantization of float weights to Q8_0 at load time.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Dtype;
use half::f16;

use super::super::dispatch::kernel;
use super::super::simd::{LANES, SimdInt};
use super::super::{Cpu, expect};
use super::BLOCK;
use crate::DeviceError;

/// Bytes of a Q8_0 block.
const Q8_BYTES: usize = 34;

impl Cpu {
    /// Quantizes `weights` (F32, F16 or BF16, any alignment) to Q8_0: 34 bytes for each block of
    /// 32. Runs on the calling thread only, since the loader has several threads.
    ///
    /// The scale of a block is the f16 nearest to max |w| / 127. The number of weights, and the
    /// columns of a matrix, must be a multiple of 32.
    ///
    /// # Errors
    /// [`DeviceError::DtypeUnsupported`] or [`DeviceError::Shape`].
    pub fn quantize_int8(
        &self,
        dtype: Dtype,
        weights: &[u8],
        out: &mut [u8],
    ) -> Result<(), DeviceError> {
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(DeviceError::DtypeUnsupported { dtype: dtype.name() });
        }
        let block_bytes = BLOCK * dtype.block_bytes();
        let blocks = weights.len() / block_bytes;
        expect("quantize_int8: weights are whole blocks", blocks * block_bytes, weights.len())?;
        expect("quantize_int8: out", blocks * Q8_BYTES, out.len())?;
        // SAFETY: lengths were checked above; `Cpu` checked at construction that the CPU supports
        // this kernel set.
        unsafe { quantize(self.set, dtype, weights, out) };
        Ok(())
    }
}

kernel! { unsafe fn quantize(dtype: Dtype, from: &[u8], out: &mut [u8]) = quantize_body }

#[inline(always)]
unsafe fn quantize_body<S: SimdInt>(dtype: Dtype, from: &[u8], out: &mut [u8]) {
    let step = LANES * dtype.block_bytes();
    for (block, out) in out.chunks_exact_mut(Q8_BYTES).enumerate() {
        let at = from.as_ptr().add(block * 2 * step);
        let (a, b) = match dtype {
            Dtype::BF16 => (S::load_bf16(at.cast()), S::load_bf16(at.add(step).cast())),
            Dtype::F16 => (S::load_f16(at.cast()), S::load_f16(at.add(step).cast())),
            _ => (S::load(at.cast()), S::load(at.add(step).cast())),
        };
        let max_abs = S::max_lane(S::max(S::abs(a), S::abs(b)));
        // 0, or NaN if the block contains a NaN or an infinity.
        let zero_or_nan = S::sum(S::mul(S::add(a, b), S::splat(0.0)));
        let scale = f16::from_f32(max_abs / 127.0 + zero_or_nan);
        let inverse = 1.0 / scale.to_f32();
        let inverse = S::splat(if inverse.is_finite() { inverse } else { 0.0 });
        let bound = |v| S::max(S::splat(-127.0), S::min(S::splat(127.0), S::mul(v, inverse)));
        out[..2].copy_from_slice(&scale.to_bits().to_le_bytes());
        let codes = out.as_mut_ptr().add(2).cast::<i8>();
        S::store_i8(codes, bound(a));
        S::store_i8(codes.add(LANES), bound(b));
    }
}
