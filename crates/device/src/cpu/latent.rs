//! Multi-head latent attention (DeepSeek-V2, Liu et al. 2024) in its absorbed form: queries are
//! projected into the space of the cached latents, and the outputs of attention out of it, so that
//! no key or value of a head is ever computed.
#![allow(unsafe_op_in_unsafe_fn)]

use std::cell::RefCell;
use std::ops::Range;

use super::dispatch::kernel;
use super::row_decoder::decode_row;
use super::shared::SharedMut;
use super::simd::{LANES, Simd};
use super::{Cpu, Matrix, RopeTable, expect};
use crate::DeviceError;
use crate::backend::{KvUpProjection, LatentShape};
use crate::memory::Scratch;

/// Maximum rows of activations of one unit of work.
const ROWS_MAX: usize = 64;

/// A product of every head's activations with its own rows of a weight matrix.
struct HeadProduct<'a> {
    weight: &'a Matrix,
    /// Rows of the weight from one head to the next.
    head_rows: usize,
    /// Rows that are multiplied, within those of a head.
    rows: Range<usize>,
    /// Whether the activations are multiplied with the rows themselves, `out = x W`, instead of
    /// with the transposed rows, `out = x W^T`.
    transposed: bool,
    /// `[tokens, heads, x_width]`, of which the first elements of each head are multiplied.
    x: &'a [f32],
    x_width: usize,
    /// `[tokens, heads, out_width]`, of which the first elements of each head are written.
    out: SharedMut<f32>,
    out_width: usize,
    heads: usize,
}

impl Cpu {
    /// Normalizes the latents and rotates the keys in `kv`, `[tokens, latent + rope]`, in place.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], or [`DeviceError::Index`] for a position past the table.
    pub fn latent_keys(
        &self,
        shape: &LatentShape,
        kv: &mut [f32],
        weight: &[f32],
        eps: f32,
        positions: &[u32],
        table: &RopeTable,
    ) -> Result<(), DeviceError> {
        let width = shape.key_dim();
        expect("latent_keys: the norm's weight", shape.latent_dim, weight.len())?;
        expect("latent_keys: kv is [tokens, latent + rope]", positions.len() * width, kv.len())?;
        for row in kv.chunks_exact_mut(width) {
            self.rms_norm_inplace(&mut row[..shape.latent_dim], weight, eps)?;
        }
        self.rope_at(kv, width, shape.latent_dim, positions, table)
    }

    /// Projects queries `q`, `[tokens, heads, nope + rope]`, into the space of the latents, and
    /// rotates their last elements: `out` is `[tokens, heads, latent + rope]`.
    ///
    /// # Errors
    /// As [`Self::latent_keys`].
    pub fn absorb_queries(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Cpu>,
        q: &[f32],
        positions: &[u32],
        table: &RopeTable,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let (heads, tokens) = (shape.heads, positions.len());
        let (x_width, out_width) = (shape.query_dim(), shape.key_dim());
        expect("absorb_queries: q", tokens * heads * x_width, q.len())?;
        expect("absorb_queries: out", tokens * heads * out_width, out.len())?;
        let rotated = q.chunks_exact(x_width).zip(out.chunks_exact_mut(out_width));
        for (q, out) in rotated {
            out[shape.latent_dim..].copy_from_slice(&q[shape.nope_dim..]);
        }
        self.rope_at(out, out_width, shape.latent_dim, positions, table)?;
        let (weight, head_rows, rows, transposed) = match up {
            KvUpProjection::Joint(weight) => {
                (*weight, shape.nope_dim + shape.value_dim, 0..shape.nope_dim, true)
            }
            KvUpProjection::Split { keys, .. } => {
                (*keys, shape.latent_dim, 0..shape.latent_dim, false)
            }
        };
        let cols = if transposed { shape.latent_dim } else { shape.nope_dim };
        expect("absorb_queries: the weight's columns", cols, weight.cols)?;
        expect("absorb_queries: the weight's rows", heads * head_rows, weight.rows)?;
        let out = SharedMut::new(out);
        let product = HeadProduct {
            weight,
            head_rows,
            rows,
            transposed,
            x: q,
            x_width,
            out,
            out_width,
            heads,
        };
        self.head_product(&product, tokens)
    }

    /// Projects weighted latents `x`, `[tokens, heads, latent]`, to values: `out` is `[tokens,
    /// heads, value]`.
    ///
    /// # Errors
    /// [`DeviceError::Shape`].
    pub fn expand_values(
        &self,
        shape: &LatentShape,
        up: &KvUpProjection<Cpu>,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let (heads, x_width, out_width) = (shape.heads, shape.latent_dim, shape.value_dim);
        let tokens = x.len() / (heads * x_width).max(1);
        expect("expand_values: x", tokens * heads * x_width, x.len())?;
        expect("expand_values: out", tokens * heads * out_width, out.len())?;
        let (weight, head_rows, first) = match up {
            KvUpProjection::Joint(weight) => {
                (*weight, shape.nope_dim + shape.value_dim, shape.nope_dim)
            }
            KvUpProjection::Split { values, .. } => (*values, shape.value_dim, 0),
        };
        expect("expand_values: the weight's columns", shape.latent_dim, weight.cols)?;
        expect("expand_values: the weight's rows", heads * head_rows, weight.rows)?;
        let rows = first..first + shape.value_dim;
        let (transposed, out) = (false, SharedMut::new(out));
        let product =
            HeadProduct { weight, head_rows, rows, transposed, x, x_width, out, out_width, heads };
        self.head_product(&product, tokens)
    }

    /// Computes a product head by head: decodes the head's rows of the weight to f32, which fit in
    /// the L2 cache, and multiplies them with some tokens.
    fn head_product(&self, product: &HeadProduct, tokens: usize) -> Result<(), DeviceError> {
        thread_local! {
            static DECODED: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
        }
        product.weight.check()?;
        let parts = tokens.div_ceil(ROWS_MAX);
        self.pool.run(product.heads * parts, &|index, _| {
            let (head, part) = (index / parts, index % parts);
            let tokens = part * ROWS_MAX..((part + 1) * ROWS_MAX).min(tokens);
            DECODED.with_borrow_mut(|decoded| {
                let cols = product.weight.cols;
                let decoded = decoded.resize(product.rows.len() * cols);
                for (row, out) in product.rows.clone().zip(decoded.chunks_exact_mut(cols.max(1))) {
                    decode_row(self.set, product.weight, head * product.head_rows + row, out);
                }
                // SAFETY: callers checked the shapes; each index writes the outputs of its own
                // head and tokens.
                unsafe { multiply_head(self.set, product, head, tokens, decoded) };
            });
        })
    }
}

kernel! {
    /// Multiplies the activations of one head and some tokens with the head's decoded weights.
    unsafe fn multiply_head(product: &HeadProduct, head: usize, tokens: Range<usize>, weights: &[f32]) = multiply_head_body
}

#[inline(always)]
unsafe fn multiply_head_body<S: Simd>(
    product: &HeadProduct,
    head: usize,
    tokens: Range<usize>,
    weights: &[f32],
) {
    // Four by four accumulators where there are registers for them.
    if S::WIDE {
        tokens_of_head::<S, 4, 4>(product, head, tokens, weights);
    } else {
        tokens_of_head::<S, 2, 2>(product, head, tokens, weights);
    }
}

#[inline(always)]
unsafe fn tokens_of_head<S: Simd, const T: usize, const N: usize>(
    product: &HeadProduct,
    head: usize,
    tokens: Range<usize>,
    weights: &[f32],
) {
    let mut token = tokens.start;
    while token + T <= tokens.end {
        tile_of_tokens::<S, T, N>(product, head, token, weights);
        token += T;
    }
    while token < tokens.end {
        tile_of_tokens::<S, 1, N>(product, head, token, weights);
        token += 1;
    }
}

/// Computes all outputs of T tokens.
#[inline(always)]
unsafe fn tile_of_tokens<S: Simd, const T: usize, const N: usize>(
    product: &HeadProduct,
    head: usize,
    token: usize,
    weights: &[f32],
) {
    let HeadProduct { x, x_width, out, out_width, heads, .. } = *product;
    let x: [*const f32; T] =
        std::array::from_fn(|t| x.as_ptr().add(((token + t) * heads + head) * x_width));
    let out: [*mut f32; T] =
        std::array::from_fn(|t| out.pointer().add(((token + t) * heads + head) * out_width));
    let (rows, cols, weights) = (product.rows.len(), product.weight.cols, weights.as_ptr());
    if product.transposed {
        weighted_rows::<S, T, N>(x, out, weights, rows, cols);
    } else {
        dots::<S, T, N>(x, out, weights, rows, cols);
    }
}

/// out = x W: the sum of the rows, weighted with x, in their order.
#[inline(always)]
unsafe fn weighted_rows<S: Simd, const T: usize, const N: usize>(
    x: [*const f32; T],
    out: [*mut f32; T],
    weights: *const f32,
    rows: usize,
    cols: usize,
) {
    let mut col = 0;
    while col < cols {
        let vectors = (cols - col).div_ceil(LANES).min(N);
        let mut acc = [[S::splat(0.0); N]; T];
        for row in 0..rows {
            let from = weights.add(row * cols + col);
            let mut w = [S::splat(0.0); N];
            if col + N * LANES <= cols {
                for n in 0..N {
                    w[n] = S::load(from.add(n * LANES));
                }
            } else {
                for n in 0..vectors {
                    w[n] = S::load_part(from.add(n * LANES), (cols - col - n * LANES).min(LANES));
                }
            }
            for t in 0..T {
                let factor = S::splat(*x[t].add(row));
                for n in 0..N {
                    acc[t][n] = S::fma(w[n], factor, acc[t][n]);
                }
            }
        }
        for t in 0..T {
            for n in 0..vectors {
                let at = col + n * LANES;
                S::store_part(out[t].add(at), acc[t][n], (cols - at).min(LANES));
            }
        }
        col += N * LANES;
    }
}

/// out = x W^T: dot products with the rows, 16 sums over the columns each.
#[inline(always)]
unsafe fn dots<S: Simd, const T: usize, const N: usize>(
    x: [*const f32; T],
    out: [*mut f32; T],
    weights: *const f32,
    rows: usize,
    cols: usize,
) {
    let mut row = 0;
    while row + N <= rows {
        dots_of_rows::<S, T, N>(x, out, weights, row, cols);
        row += N;
    }
    while row < rows {
        dots_of_rows::<S, T, 1>(x, out, weights, row, cols);
        row += 1;
    }
}

#[inline(always)]
unsafe fn dots_of_rows<S: Simd, const T: usize, const N: usize>(
    x: [*const f32; T],
    out: [*mut f32; T],
    weights: *const f32,
    row: usize,
    cols: usize,
) {
    let weights: [*const f32; N] = std::array::from_fn(|n| weights.add((row + n) * cols));
    let mut acc = [[S::splat(0.0); N]; T];
    let mut col = 0;
    while col < cols {
        let (mut w, count) = ([S::splat(0.0); N], (cols - col).min(LANES));
        for n in 0..N {
            w[n] = load::<S>(weights[n].add(col), count);
        }
        for t in 0..T {
            let x = load::<S>(x[t].add(col), count);
            for n in 0..N {
                acc[t][n] = S::fma(w[n], x, acc[t][n]);
            }
        }
        col += LANES;
    }
    for t in 0..T {
        for n in 0..N {
            *out[t].add(row + n) = S::sum(acc[t][n]);
        }
    }
}

/// Loads `count` lanes, zero-padded.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, count: usize) -> S::F {
    if count == LANES { S::load(from) } else { S::load_part(from, count) }
}
