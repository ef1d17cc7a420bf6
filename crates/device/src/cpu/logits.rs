//! Softmax and arg max over rows of logits.
#![allow(unsafe_op_in_unsafe_fn)]

use super::dispatch::kernel;
use super::shared::SharedMut;
use super::simd::{LANES, Simd, math};
use super::{Cpu, expect};
use crate::DeviceError;

/// The largest logit of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopLogit {
    /// Index of its first occurrence.
    pub index: u32,
    pub logit: f32,
}

impl Cpu {
    /// log(sum(exp(row))) of every row of [rows, vocab].
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn log_sum_exp(
        &self,
        logits: &[f32],
        vocab: usize,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        expect("log_sum_exp: logits", out.len() * vocab, logits.len())?;
        let (rows, out) = (out.len(), SharedMut::new(out));
        self.over_rows(rows, vocab, &|range| {
            for row in range {
                // SAFETY: each row's sum is written once; `Cpu` checked at construction that the
                // CPU supports this kernel set.
                unsafe {
                    out.slice(row..row + 1)[0] =
                        row_log_sum_exp(self.set, &logits[row * vocab..(row + 1) * vocab])
                };
            }
        })
    }

    /// logits -= log_sum_exp, row by row, in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn log_softmax(&self, logits: &mut [f32], vocab: usize) -> Result<(), DeviceError> {
        let rows = logits.len() / vocab.max(1);
        expect("log_softmax: logits", rows * vocab, logits.len())?;
        let out = SharedMut::new(logits);
        self.over_rows(rows, vocab, &|range| {
            for row in range {
                // SAFETY: concurrent calls access different rows.
                let row = unsafe { out.slice(row * vocab..(row + 1) * vocab) };
                // SAFETY: `Cpu` checked at construction that the CPU supports this kernel set.
                let total = unsafe { row_log_sum_exp(self.set, row) };
                row.iter_mut().for_each(|v| *v -= total);
            }
        })
    }

    /// Softmax of every row of [rows, cols], in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn softmax(&self, x: &mut [f32], cols: usize) -> Result<(), DeviceError> {
        let rows = x.len() / cols.max(1);
        expect("softmax: x", rows * cols, x.len())?;
        let out = SharedMut::new(x);
        self.over_rows(rows, cols, &|range| {
            for row in range {
                // SAFETY: concurrent calls access different rows; `Cpu` checked at construction
                // that the CPU supports this kernel set.
                unsafe { row_softmax(self.set, out.slice(row * cols..(row + 1) * cols)) };
            }
        })
    }

    /// The largest logit, the first of equal ones; `None` for a row that is empty or contains NaN.
    pub fn argmax(&self, logits: &[f32]) -> Option<TopLogit> {
        let mut top = TopLogit { index: 0, logit: f32::NEG_INFINITY };
        let mut nan = false;
        for (index, &logit) in logits.iter().enumerate() {
            nan |= logit.is_nan();
            if logit > top.logit {
                top = TopLogit { index: index as u32, logit };
            }
        }
        (!nan && !logits.is_empty()).then_some(top)
    }
}

kernel! { unsafe fn row_log_sum_exp(row: &[f32]) -> f32 = log_sum_exp_body }
kernel! { pub(super) unsafe fn row_softmax(row: &mut [f32]) = softmax_body }

#[inline(always)]
unsafe fn max_body<S: Simd>(row: &[f32]) -> f32 {
    let mut max = S::splat(f32::NEG_INFINITY);
    let whole = row.len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        max = S::max(S::load(row.as_ptr().add(at)), max);
    }
    row[whole..].iter().fold(S::max_lane(max), |a, &b| if b > a { b } else { a })
}

#[inline(always)]
unsafe fn log_sum_exp_body<S: Simd>(row: &[f32]) -> f32 {
    let max = max_body::<S>(row);
    if max == f32::NEG_INFINITY {
        return if row.iter().any(|v| v.is_nan()) { f32::NAN } else { max };
    }
    let mut sum = S::splat(0.0);
    for at in (0..row.len()).step_by(LANES) {
        sum = S::add(sum, shifted_exp::<S>(row, at, max));
    }
    max + S::sum(sum).ln()
}

#[inline(always)]
unsafe fn softmax_body<S: Simd>(row: &mut [f32]) {
    let max = max_body::<S>(row);
    let mut sum = S::splat(0.0);
    for at in (0..row.len()).step_by(LANES) {
        let e = shifted_exp::<S>(row, at, max);
        sum = S::add(sum, e);
        S::store_part(row.as_mut_ptr().add(at), e, (row.len() - at).min(LANES));
    }
    let scale = 1.0 / S::sum(sum);
    row.iter_mut().for_each(|v| *v *= scale);
}

/// e^(row[at + i] - max) for the 16 lanes i, zero past the end of the row.
#[inline(always)]
unsafe fn shifted_exp<S: Simd>(row: &[f32], at: usize, max: f32) -> S::F {
    let n = (row.len() - at).min(LANES);
    if n == LANES {
        return math::exp::<S>(S::sub(S::load(row.as_ptr().add(at)), S::splat(max)));
    }
    let mut padded = [f32::NEG_INFINITY; LANES];
    padded[..n].copy_from_slice(&row[at..at + n]);
    math::exp::<S>(S::sub(S::load(padded.as_ptr()), S::splat(max)))
}
