//! Running state of the online softmax (Milakov and Gimelshein 2018).
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::simd::{LANES, Simd, math};
use crate::memory::Scratch;

/// Maxima, sums and weighted values of some query rows over the keys visited so far.
#[derive(Default)]
pub(super) struct SoftmaxState {
    /// Largest score of each row, [rows].
    pub max: Scratch<f32>,
    /// Sums of the softmax weights, [rows][16]: one sum per lane.
    pub sums: Scratch<f32>,
    /// Weighted values, [rows][value_stride].
    pub values: Scratch<f32>,
}

impl SoftmaxState {
    /// Resets to the state before the first key.
    pub(super) fn clear(&mut self, rows: usize, stride: usize) {
        self.max.resize(rows).fill(f32::NEG_INFINITY);
        self.sums.resize(rows * LANES).fill(0.0);
        self.values.resize(rows * stride).fill(0.0);
    }

    /// Adds an attention sink to `row`: a logit whose value is zero. Must be called before any key
    /// is added.
    pub(super) fn sink(&mut self, row: usize, logit: f32) {
        self.max[row] = logit;
        self.sums[row * LANES] = 1.0;
    }

    /// Merges the state over later keys into this one.
    #[inline(always)]
    pub(super) unsafe fn merge<S: Simd>(&mut self, later: &Self, stride: usize) {
        for row in 0..self.max.len() {
            let max = if later.max[row] > self.max[row] { later.max[row] } else { self.max[row] };
            let base = S::splat(if max == f32::NEG_INFINITY { 0.0 } else { max });
            let mine = math::exp::<S>(S::sub(S::splat(self.max[row]), base));
            let theirs = math::exp::<S>(S::sub(S::splat(later.max[row]), base));
            self.max[row] = max;
            add_vector::<S>(
                self.sums.as_mut_ptr().add(row * LANES),
                mine,
                later.sums.as_ptr().add(row * LANES),
                theirs,
            );
            for at in (row * stride..(row + 1) * stride).step_by(LANES) {
                add_vector::<S>(
                    self.values.as_mut_ptr().add(at),
                    mine,
                    later.values.as_ptr().add(at),
                    theirs,
                );
            }
        }
    }
}

/// to = to * mine + from * theirs.
#[inline(always)]
unsafe fn add_vector<S: Simd>(to: *mut f32, mine: S::F, from: *const f32, theirs: S::F) {
    S::store(to, S::fma(S::load(from), theirs, S::mul(S::load(to), mine)));
}
