//! The activation functions of experts.
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::{Activation, ClampedSwiglu};

use super::super::dispatch::kernel;
use super::super::packed_activations::PackSource;
use super::super::shared::SharedMut;
use super::super::simd::{LANES, Simd, math};
use super::super::{Cpu, HostBuffer, expect};
use super::ExpertRoutes;
use crate::DeviceError;
use crate::backend::{Epilogue, ExpertActivation};

/// Elements per chunk of parallel work: whole vectors.
const CHUNK: usize = 8 << 10;

impl Cpu {
    /// `gate = activation(gate) * up`, both [slots, width]; packs the result for the next linear
    /// layer of the experts.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub(in crate::cpu) fn activate_experts(
        &self,
        activation: &ExpertActivation,
        gate: &mut HostBuffer,
        up: &[f32],
        routes: &ExpertRoutes,
        epilogue: Epilogue<Cpu>,
    ) -> Result<(), DeviceError> {
        match activation {
            ExpertActivation::Plain(Activation::Silu) => self.silu_mul(gate, up),
            ExpertActivation::Plain(Activation::Gelu) => self.gelu_mul(gate, up),
            ExpertActivation::Plain(Activation::GeluTanh) => self.gelu_tanh_mul(gate, up),
            ExpertActivation::Clamped(parameters) => self.clamped_swiglu(*parameters, gate, up),
            ExpertActivation::ClampedPairs(parameters) => {
                gate.resize(routes.len() * epilogue.cols);
                self.clamped_swiglu_of_pairs(*parameters, up, gate)
            }
        }?;
        let Epilogue { packed, rows, cols, dtypes } = epilogue;
        expect("experts: rows", routes.rows, rows)?;
        expect("experts: gate is [slots, width]", routes.len() * cols, gate.len())?;
        let source = PackSource { x: gate, cols, rows: None };
        packed.pack_groups(self, source, routes.ranges(), dtypes)
    }

    /// gpt-oss's activation function, see [`ClampedSwiglu`]: `gate = (up + 1) * gate *
    /// sigmoid(alpha * gate)` with both clamped.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn clamped_swiglu(
        &self,
        parameters: ClampedSwiglu,
        gate: &mut [f32],
        up: &[f32],
    ) -> Result<(), DeviceError> {
        expect("clamped_swiglu: up", gate.len(), up.len())?;
        let [alpha, limit] = [parameters.alpha as f32, parameters.limit as f32];
        let out = SharedMut::new(gate);
        self.over_rows(up.len().div_ceil(CHUNK), CHUNK, &|chunks| {
            let range = chunks.start * CHUNK..(chunks.end * CHUNK).min(up.len());
            // SAFETY: concurrent calls have disjoint ranges; `Cpu` checked at construction that the
            // CPU supports this kernel set.
            unsafe { clamped(self.set, out.slice(range.clone()), &up[range], alpha, limit) }
        })
    }
}

impl Cpu {
    /// As [`Self::clamped_swiglu`] with gates and ups in turns: `pairs` is twice as long as `out`.
    fn clamped_swiglu_of_pairs(
        &self,
        parameters: ClampedSwiglu,
        pairs: &[f32],
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        expect("clamped_swiglu: pairs", 2 * out.len(), pairs.len())?;
        let [alpha, limit] = [parameters.alpha as f32, parameters.limit as f32];
        let len = out.len();
        let out = SharedMut::new(out);
        self.over_rows(len.div_ceil(CHUNK), CHUNK, &|chunks| {
            let range = chunks.start * CHUNK..(chunks.end * CHUNK).min(len);
            for first in range.clone().step_by(PAIRS) {
                let part = first..(first + PAIRS).min(range.end);
                let (mut gates, mut ups) = ([0.0; PAIRS], [0.0; PAIRS]);
                for (i, pair) in pairs[2 * part.start..2 * part.end].chunks_exact(2).enumerate() {
                    (gates[i], ups[i]) = (pair[0], pair[1]);
                }
                let count = part.len();
                // SAFETY: as in `clamped_swiglu`.
                unsafe { clamped(self.set, &mut gates[..count], &ups[..count], alpha, limit) };
                // SAFETY: concurrent calls have disjoint ranges.
                unsafe { out.slice(part) }.copy_from_slice(&gates[..count]);
            }
        })
    }
}

/// Pairs that are separated at a time.
const PAIRS: usize = 16 * LANES;

kernel! { unsafe fn clamped(gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) = clamped_body }

#[inline(always)]
unsafe fn clamped_body<S: Simd>(gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) {
    let (low, high, one) = (S::splat(-limit), S::splat(limit), S::splat(1.0));
    for at in (0..gate.len()).step_by(LANES) {
        let n = (gate.len() - at).min(LANES);
        let to = gate.as_mut_ptr().add(at);
        // This order of operands propagates NaN.
        let gate = S::min(high, S::load_part(to, n));
        let up = S::max(low, S::min(high, S::load_part(up.as_ptr().add(at), n)));
        let e = math::exp::<S>(S::mul(S::splat(-alpha), gate));
        let glu = S::div(gate, S::add(one, e));
        S::store_part(to, S::mul(S::add(up, one), glu), n);
    }
}
