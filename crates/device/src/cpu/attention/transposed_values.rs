//! Values of a KV tile, transposed from its keys: latent attention stores no values.
#![allow(unsafe_op_in_unsafe_fn)]

use super::super::simd::{LANES, Simd};
use super::LANE_GROUPS;
use super::cache::{CacheSlot, KvLane16, KvShape};
use super::kv_format::KvFormat;
use crate::memory::Scratch;

/// The values of one tile, in the layout of stored values.
#[derive(Default)]
pub(super) struct TransposedValues {
    /// `[lane group]`, each as [`KvLane16::values`].
    values: Scratch<u8>,
    /// `[lane group]`, each as [`KvLane16::value_scales`].
    scales: Scratch<u16>,
}

impl TransposedValues {
    /// Writes the values of the tile whose keys are `here`, and points `here` to them. `slots` are
    /// the cache slots of the lane groups; a group whose slot repeats that of the group before it
    /// is past the last position and is not read.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd, K: KvFormat>(
        &mut self,
        shape: &KvShape,
        slots: &[CacheSlot; LANE_GROUPS],
        here: &mut [KvLane16; LANE_GROUPS],
    ) {
        let bytes = LANES * shape.value_stride() * K::VALUE_BYTES;
        let groups = shape.value_groups();
        let values = self.values.resize(LANE_GROUPS * bytes).as_mut_ptr();
        let scales = self.scales.resize(LANE_GROUPS * LANES * groups).as_mut_ptr();
        for (group, lane16) in here.iter_mut().enumerate() {
            let values = values.add(group * bytes);
            let scales = scales.add(group * LANES * groups);
            if group == 0 || slots[group] != slots[group - 1] {
                transpose::<S, K>(shape, lane16, values);
                for g in 0..groups {
                    for position in 0..LANES {
                        let from = lane16.key_scales.add(g * shape.block_tokens + position);
                        scales.add(position * groups + g).write(from.read_unaligned());
                    }
                }
            }
            (lane16.values, lane16.value_scales) = (values, scales);
        }
    }
}

/// Transposes the first words of 16 keys: as many as a value has, rounded up to whole vectors.
#[inline(always)]
unsafe fn transpose<S: Simd, K: KvFormat>(shape: &KvShape, from: &KvLane16, to: *mut u8) {
    let words = shape.key_words();
    let value_words = (shape.value_stride() * K::VALUE_BYTES).div_ceil(4);
    for first in (0..value_words).step_by(LANES) {
        let mut vectors = [S::splat(0.0); LANES];
        for (i, vector) in vectors.iter_mut().enumerate().take(words.saturating_sub(first)) {
            *vector = S::load(from.keys.add((first + i) * shape.block_tokens * 4).cast());
        }
        S::transpose(&mut vectors);
        let mut by_position = [[0u32; LANES]; LANES];
        for (position, vector) in by_position.iter_mut().zip(vectors) {
            S::store(position.as_mut_ptr().cast(), vector);
        }
        K::values_of_keys::<S>(shape, &by_position, first, to);
    }
}
