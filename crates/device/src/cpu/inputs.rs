#![allow(unsafe_op_in_unsafe_fn)]

use half::bf16;

use super::dispatch::kernel;
use super::forms::Form;
use super::quant::{BLOCK, CodeRows, CodeView};
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{Cpu, Forms, KernelSet, Precision, expect};
use crate::DeviceError;
use crate::memory::Scratch;

/// Activations, `[tokens, cols]`, in the forms that weights need: prepared once, multiplied several times.
///
/// Keeps its buffers from one `prepare` to the next.
pub struct Inputs {
    forms: Forms,
    tokens: usize,
    cols: usize,
    /// Elements from one token to the next of the float forms.
    stride: usize,
    f32: Scratch<f32>,
    bf16: Scratch<u16>,
    /// The bf16 form of kernel sets that have no bf16 instruction: rounded, stored as f32.
    rounded: Scratch<f32>,
    /// Of 8 or 16 bits: a precision has one of them.
    codes: CodeRows,
}

impl Default for Inputs {
    fn default() -> Self {
        Self::new()
    }
}

impl Inputs {
    /// No activations yet.
    pub fn new() -> Self {
        Self {
            forms: Forms::new(Precision::F32),
            tokens: 0,
            cols: 0,
            stride: 0,
            f32: Scratch::new(),
            bf16: Scratch::new(),
            rounded: Scratch::new(),
            codes: CodeRows::default(),
        }
    }

    /// Takes `x`, [tokens, cols], in the given forms.
    ///
    /// # Errors
    /// [`DeviceError::Shape`]; the int8 and int16 forms need whole blocks of 32 columns.
    pub fn prepare(
        &mut self,
        cpu: &Cpu,
        x: &[f32],
        tokens: usize,
        cols: usize,
        forms: Forms,
    ) -> Result<(), DeviceError> {
        expect("inputs: x is [tokens, cols]", tokens * cols, x.len())?;
        (self.forms, self.tokens, self.cols, self.stride) = (forms, tokens, cols, stride_for(cols));
        let (stride, set) = (self.stride, cpu.set);
        if forms.f32 {
            let out = SharedMut::new(self.f32.resize(tokens * stride));
            cpu.over_rows(tokens, cols, &|rows| {
                for row in rows {
                    // SAFETY: rows are disjoint, and `stride` elements long.
                    let out = unsafe { out.slice(row * stride..(row + 1) * stride) };
                    out[..cols].copy_from_slice(&x[row * cols..(row + 1) * cols]);
                    out[cols..].fill(0.0);
                }
            })?;
        }
        if forms.bf16 && set == KernelSet::Avx512Bf16 {
            let out = SharedMut::new(self.bf16.resize(tokens * stride));
            cpu.over_rows(tokens, cols, &|rows| {
                for row in rows {
                    // SAFETY: as above.
                    unsafe {
                        to_bf16(set, &x[row * cols..(row + 1) * cols], out.slice(row * stride..(row + 1) * stride))
                    };
                }
            })?;
        } else if forms.bf16 {
            let out = SharedMut::new(self.rounded.resize(tokens * stride));
            cpu.over_rows(tokens, cols, &|rows| {
                for row in rows {
                    // SAFETY: as above.
                    let out = unsafe { out.slice(row * stride..(row + 1) * stride) };
                    out.fill(0.0);
                    for (out, x) in out.iter_mut().zip(&x[row * cols..(row + 1) * cols]) {
                        *out = bf16::from_f32(*x).to_f32();
                    }
                }
            })?;
        }
        if forms.int8 || forms.int16 {
            expect("inputs: columns of quantised weights", cols.next_multiple_of(BLOCK), cols)?;
            self.codes.fill(cpu, x, tokens, cols, forms.int16)?;
        }
        Ok(())
    }

    /// Tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Their features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The forms prepared.
    pub fn forms(&self) -> Forms {
        self.forms
    }

    /// Bytes held for reuse.
    pub fn capacity_bytes(&self) -> usize {
        self.f32.capacity_bytes()
            + self.bf16.capacity_bytes()
            + self.rounded.capacity_bytes()
            + self.codes.capacity_bytes()
    }

    pub(super) fn has(&self, form: Form) -> bool {
        match form {
            Form::F32 => self.forms.f32,
            Form::Bf16 => self.forms.bf16,
            Form::Int8 => self.forms.int8,
            Form::Int16 => self.forms.int16,
        }
    }

    /// The float form's first byte and the bytes from token to token.
    pub(super) fn float(&self, set: KernelSet, form: Form) -> (*const u8, usize) {
        match form {
            Form::Bf16 if set == KernelSet::Avx512Bf16 => (self.bf16.as_ptr().cast(), self.stride * 2),
            Form::Bf16 => (self.rounded.as_ptr().cast(), self.stride * 4),
            Form::F32 | Form::Int8 | Form::Int16 => (self.f32.as_ptr().cast(), self.stride * 4),
        }
    }

    pub(super) fn codes(&self) -> CodeView<'_> {
        self.codes.view()
    }
}

/// Whole chunks of 32, and not a multiple of 4096 bytes: rows that far apart would share a cache's sets.
fn stride_for(cols: usize) -> usize {
    let stride = cols.next_multiple_of(2 * LANES);
    if stride.is_multiple_of(1024) { stride + 2 * LANES } else { stride }
}

kernel! { unsafe fn to_bf16(x: &[f32], out: &mut [u16]) = to_bf16_body }

#[inline(always)]
unsafe fn to_bf16_body<S: Simd>(x: &[f32], out: &mut [u16]) {
    for at in (0..out.len()).step_by(LANES) {
        let n = x.len().saturating_sub(at).min(LANES);
        S::store_bf16(out.as_mut_ptr().add(at), S::load_part(x.as_ptr().add(at.min(x.len())), n));
    }
}
