//! The weighted sum of the outputs of a row's experts.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::dispatch::kernel;
use super::super::shared::SharedMut;
use super::super::simd::{LANES, Simd};
use super::super::{Cpu, expect};
use super::ExpertRoutes;
use crate::DeviceError;
use crate::backend::SharedOutput;

/// The operands of one row.
struct RowSum<'a> {
    /// `[slots, width]`
    outputs: &'a [f32],
    slots: &'a [u32],
    weights: &'a [f32],
    /// Factor of what `out` contains; `None`: it is overwritten.
    shared: Option<f32>,
}

impl Cpu {
    /// `out[row] = sum over the row's experts of weight * outputs[slot]`, in the order of the
    /// choice, plus what `out` contains if there are shared experts. `outputs` is [slots, width],
    /// `out` is [rows, width].
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub(in crate::cpu) fn combine_experts(
        &self,
        outputs: &[f32],
        routes: &ExpertRoutes,
        shared: &SharedOutput<Cpu>,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let (rows, per_row) = (routes.rows, routes.per_row);
        let width = out.len() / rows.max(1);
        expect("experts: out is [rows, width]", rows * width, out.len())?;
        expect("experts: outputs are [slots, width]", routes.len() * width, outputs.len())?;
        if let SharedOutput::Gated(gate) = shared {
            expect("experts: gates of the shared experts", rows, gate.len())?;
        }
        let out = SharedMut::new(out);
        self.over_rows(rows, width * per_row, &|range| {
            for row in range {
                let sum = RowSum {
                    outputs,
                    slots: &routes.slots[row * per_row..(row + 1) * per_row],
                    weights: routes.weights(row),
                    shared: match shared {
                        SharedOutput::None => None,
                        SharedOutput::Plain => Some(1.0),
                        SharedOutput::Gated(gate) => Some(sigmoid(gate[row])),
                    },
                };
                // SAFETY: rows are disjoint; every slot is below `routes.len()`, which `outputs`
                // has rows for; `Cpu` checked that the CPU supports this kernel set.
                unsafe { add_up(self.set, &sum, out.slice(row * width..(row + 1) * width)) };
            }
        })
    }
}

/// In f64, so that the result does not depend on the kernel set.
fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}

kernel! { unsafe fn add_up(sum: &RowSum<'_>, out: &mut [f32]) = add_up_body }

#[inline(always)]
unsafe fn add_up_body<S: Simd>(sum: &RowSum, out: &mut [f32]) {
    let width = out.len();
    for at in (0..width).step_by(LANES) {
        let n = (width - at).min(LANES);
        let mut total = S::splat(0.0);
        for (slot, weight) in sum.slots.iter().zip(sum.weights) {
            let value = S::load_part(sum.outputs.as_ptr().add(*slot as usize * width + at), n);
            total = S::fma(S::splat(*weight), value, total);
        }
        let to = out.as_mut_ptr().add(at);
        if let Some(factor) = sum.shared {
            total = S::fma(S::splat(factor), S::load_part(to, n), total);
        }
        S::store_part(to, total, n);
    }
}
