//! Rotary position embedding (Su et al. 2021).
#![allow(unsafe_op_in_unsafe_fn)]

use checkpoint::Pairing;

use super::dispatch::kernel;
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{Cpu, expect};
use crate::DeviceError;

/// Cosines and sines by position, each [positions, rotary_dim / 2], multiplied by the attention
/// factor of the RoPE scaling, if any.
#[derive(Debug, Clone, Copy)]
pub struct RopeTable<'a> {
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// Leading elements of each head that are rotated: even.
    pub rotary_dim: usize,
    /// Which elements form a pair.
    pub pairing: Pairing,
}

/// Operands of the kernel `rotate`.
struct Rotation<'a> {
    table: RopeTable<'a>,
    positions: &'a [u32],
    heads: usize,
    head_dim: usize,
    /// Index of the first rotated element of a head.
    first: usize,
}

impl Cpu {
    /// Rotates `x`, [tokens, heads, head_dim], in place. `positions[t]` is the position of token t.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a position past the table.
    pub fn rope(
        &self,
        x: &mut [f32],
        head_dim: usize,
        positions: &[u32],
        table: &RopeTable,
    ) -> Result<(), DeviceError> {
        self.rope_at(x, head_dim, 0, positions, table)
    }

    /// As [`Self::rope`], but rotates the elements of each head from element `first` on.
    ///
    /// # Errors
    /// As [`Self::rope`].
    pub(super) fn rope_at(
        &self,
        x: &mut [f32],
        head_dim: usize,
        first: usize,
        positions: &[u32],
        table: &RopeTable,
    ) -> Result<(), DeviceError> {
        let (tokens, half) = (positions.len(), table.rotary_dim / 2);
        expect("rope: rotary_dim is even", half * 2, table.rotary_dim)?;
        expect(
            "rope: rotary_dim within the head",
            table.rotary_dim.min(head_dim.saturating_sub(first)),
            table.rotary_dim,
        )?;
        expect("rope: sines", table.cos.len(), table.sin.len())?;
        let token_elements = x.len() / tokens.max(1);
        let heads = token_elements / head_dim.max(1);
        expect("rope: x is [tokens, heads, head_dim]", tokens * heads * head_dim, x.len())?;
        if half == 0 || tokens == 0 {
            return Ok(());
        }
        let len = table.cos.len() / half;
        if let Some(&position) = positions.iter().find(|&&p| p as usize >= len) {
            return Err(DeviceError::Index {
                what: "rope position",
                index: position as usize,
                len,
            });
        }
        let rotation = Rotation { table: *table, positions, heads, head_dim, first };
        let out = SharedMut::new(x);
        self.over_rows(tokens, token_elements, &|rows| {
            // SAFETY: concurrent calls rotate different tokens; positions, heads and halves were
            // checked above.
            unsafe {
                let x = out.slice(rows.start * token_elements..rows.end * token_elements);
                rotate(self.set, x, &rotation, rows.start);
            }
        })
    }
}

kernel! { unsafe fn rotate(x: &mut [f32], rotation: &Rotation, first_token: usize) = rotate_body }

#[inline(always)]
unsafe fn rotate_body<S: Simd>(x: &mut [f32], rotation: &Rotation, first_token: usize) {
    let Rotation { table, positions, heads, head_dim, first } = rotation;
    let half = table.rotary_dim / 2;
    for (token, row) in x.chunks_exact_mut(heads * head_dim).enumerate() {
        let at = positions[first_token + token] as usize * half;
        let (cos, sin) = (table.cos.as_ptr().add(at), table.sin.as_ptr().add(at));
        for head in row.chunks_exact_mut(*head_dim) {
            let head = head.as_mut_ptr().add(*first);
            match table.pairing {
                Pairing::Halves => halves::<S>(head, cos, sin, half),
                Pairing::Interleaved => interleaved::<S>(head, cos, sin, half),
            }
        }
    }
}

#[inline(always)]
unsafe fn halves<S: Simd>(head: *mut f32, cos: *const f32, sin: *const f32, half: usize) {
    for at in (0..half).step_by(LANES) {
        let n = (half - at).min(LANES);
        let (c, s) = (S::load_part(cos.add(at), n), S::load_part(sin.add(at), n));
        let (a, b) = (S::load_part(head.add(at), n), S::load_part(head.add(half + at), n));
        let (a, b) = rotate_pair::<S>(a, b, c, s);
        S::store_part(head.add(at), a, n);
        S::store_part(head.add(half + at), b, n);
    }
}

#[inline(always)]
unsafe fn interleaved<S: Simd>(head: *mut f32, cos: *const f32, sin: *const f32, half: usize) {
    for at in (0..half).step_by(LANES) {
        let n = (half - at).min(LANES);
        let (c, s) = (S::load_part(cos.add(at), n), S::load_part(sin.add(at), n));
        let (first, second) = ((2 * n).min(LANES), (2 * n).saturating_sub(LANES));
        let low = S::load_part(head.add(2 * at), first);
        let high = S::load_part(head.add(2 * at + first), second);
        let (even, odd) = S::split_pairs(low, high);
        let (even, odd) = rotate_pair::<S>(even, odd, c, s);
        let (low, high) = S::join_pairs(even, odd);
        S::store_part(head.add(2 * at), low, first);
        S::store_part(head.add(2 * at + first), high, second);
    }
}

/// Rotates a pair: (a cos - b sin, b cos + a sin).
#[inline(always)]
unsafe fn rotate_pair<S: Simd>(a: S::F, b: S::F, cos: S::F, sin: S::F) -> (S::F, S::F) {
    let minus_b = S::sub(S::splat(0.0), b);
    (S::fma(minus_b, sin, S::mul(a, cos)), S::fma(a, sin, S::mul(b, cos)))
}
