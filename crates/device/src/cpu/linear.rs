//! Products of activations with weight matrices.

use std::cell::RefCell;
use std::ops::Range;

use checkpoint::Dtype;

use super::activation_dtypes::ActivationDtype;
use super::dense::{self, Block, DenseKind};
use super::matrix::is_quantized;
use super::quant::{self, GROUP_ROWS, QuantJob};
use super::{ActivationDtypes, Cpu, KernelSet, Matrix, PackedActivations, expect};
use crate::DeviceError;
use crate::memory::Scratch;

/// One product: out = inputs weight^T + bias.
pub struct Product<'a> {
    /// [rows, cols]
    pub weight: &'a Matrix,
    /// `[rows]`
    pub bias: Option<&'a [f32]>,
    /// [tokens, rows]
    pub out: &'a mut [f32],
}

/// A product as the threads see it.
struct Job<'a> {
    weight: &'a Matrix,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    form: ActivationDtype,
    rows_per_chunk: usize,
    threads: usize,
    /// The number of its first chunk among all products' chunks.
    first_chunk: usize,
    /// Chunks of its rows, which parts of the tokens meet one after the other, and the most tiles
    /// of a part.
    chunks: usize,
    tiles: usize,
}

// SAFETY: `out` is written by whole rows' columns, and each row belongs to one chunk, which one
// thread computes.
unsafe impl Sync for Job<'_> {}

/// Bytes of weights that one thread works through before it asks for more.
const CHUNK_BYTES: usize = 256 << 10;

/// The same where many tokens share the work: activations are then read again less often.
const CHUNK_BYTES_SHARED: usize = 512 << 10;

/// Tokens from which on that counts.
const SHARED_TOKENS: usize = 64;

/// Bytes of activations that all rows meet before they meet the others: they stay in the last
/// cache.
const ACTIVATIONS_BYTES: usize = 8 << 20;

/// Fewer bytes than this are not worth the claim of a chunk.
const CHUNK_BYTES_MIN: usize = 16 << 10;

impl Cpu {
    /// Computes all products of the same inputs in one fork and join.
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::DtypeUnsupported`], [`DeviceError::ActivationDtypeMissing`]
    /// (before anything is computed).
    pub fn linear(
        &self,
        inputs: &PackedActivations,
        products: &mut [Product<'_>],
    ) -> Result<(), DeviceError> {
        let total_bytes: usize = products.iter().map(|p| p.weight.bytes()).sum();
        let most_bytes =
            if inputs.tokens() < SHARED_TOKENS { CHUNK_BYTES } else { CHUNK_BYTES_SHARED };
        let chunk_bytes =
            (total_bytes / (8 * self.pool.threads())).clamp(CHUNK_BYTES_MIN, most_bytes);
        let mut chunks = 0;
        let mut jobs = Vec::with_capacity(products.len());
        for product in products {
            let form = checked(inputs, product)?;
            let rows_per_chunk = (chunk_bytes / product.weight.row_bytes().max(1))
                .max(1)
                .next_multiple_of(GROUP_ROWS);
            let all_tiles = inputs.float(self.set, form).layout.tiles();
            let tiles = if is_quantized(product.weight.dtype) {
                all_tiles.max(1)
            } else {
                tiles_at_once(self.set, inputs, form)
            };
            let job = Job {
                weight: product.weight,
                bias: product.bias,
                out: product.out.as_mut_ptr(),
                form,
                rows_per_chunk,
                threads: self.pool.threads(),
                first_chunk: chunks,
                chunks: product.weight.rows.div_ceil(rows_per_chunk),
                tiles,
            };
            chunks += job.chunks * all_tiles.div_ceil(tiles);
            jobs.push(job);
        }
        self.pool.run(chunks, &|chunk, _| {
            let Some(job) = jobs.iter().rev().find(|job| job.first_chunk <= chunk) else { return };
            job.chunk(self.set, inputs, chunk - job.first_chunk);
        })
    }
}

/// The form of the inputs that the product takes, if everything fits.
fn checked(inputs: &PackedActivations, product: &Product) -> Result<ActivationDtype, DeviceError> {
    let weight = product.weight;
    weight.check()?;
    expect("linear: the weight's columns", inputs.cols(), weight.cols)?;
    expect("linear: out is [tokens, rows]", inputs.tokens() * weight.rows, product.out.len())?;
    expect("linear: bias", weight.rows, product.bias.map_or(weight.rows, <[f32]>::len))?;
    let form = ActivationDtypes::of(inputs.forms().precision(), weight.dtype);
    if !inputs.has(form) {
        return Err(DeviceError::ActivationDtypeMissing {
            activations: form.name(),
            dtype: weight.dtype.name(),
        });
    }
    Ok(form)
}

/// Tiles of tokens of a float form that all rows meet before they meet others: parts of equal size.
fn tiles_at_once(set: KernelSet, inputs: &PackedActivations, form: ActivationDtype) -> usize {
    let x = inputs.float(set, form);
    let tiles = x.layout.tiles().max(1);
    let parts = (inputs.tokens() * x.token_bytes).div_ceil(ACTIVATIONS_BYTES).clamp(1, tiles);
    tiles.div_ceil(parts)
}

impl Job<'_> {
    fn chunk(&self, set: KernelSet, inputs: &PackedActivations, chunk: usize) {
        let first = chunk % self.chunks * self.rows_per_chunk;
        let rows = first..(first + self.rows_per_chunk).min(self.weight.rows);
        let tile = chunk / self.chunks * self.tiles;
        self.rows(set, inputs, rows, tile..tile + self.tiles);
    }

    fn rows(
        &self,
        set: KernelSet,
        inputs: &PackedActivations,
        rows: Range<usize>,
        tiles: Range<usize>,
    ) {
        if matches!(self.form, ActivationDtype::Int8 | ActivationDtype::Int16) {
            let ahead = self.threads * self.rows_per_chunk;
            let job = QuantJob {
                weight: self.weight,
                bias: self.bias,
                x: inputs.codes(),
                out: self.out,
                ahead,
            };
            // SAFETY: the shapes were checked; these rows' outputs are this call's alone.
            unsafe { quant::multiply(set, &job, rows) };
        } else if is_quantized(self.weight.dtype) {
            self.dequantized_rows(set, inputs, rows, tiles);
        } else {
            let dtype = self.weight.dtype;
            let kind = if self.form == ActivationDtype::Bf16 && set == KernelSet::Avx512Bf16 {
                DenseKind::Bf16
            } else {
                DenseKind::F32(dtype)
            };
            let start = self.weight.data[rows.start * self.weight.row_bytes()..].as_ptr();
            let block = self.block(set, inputs, rows, tiles, start, self.weight.row_bytes());
            // SAFETY: as above; rows lie in the checked matrix, inputs are padded to whole chunks.
            unsafe { dense::multiply(set, kind, &block) };
        }
    }

    /// Quantized weights times f32 activations: a few rows at a time are expanded in the cache.
    fn dequantized_rows(
        &self,
        set: KernelSet,
        inputs: &PackedActivations,
        rows: Range<usize>,
        tiles: Range<usize>,
    ) {
        const ROWS: usize = 32;
        thread_local! {
            static EXPANDED: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
        }
        let cols = self.weight.cols;
        EXPANDED.with_borrow_mut(|expanded| {
            let expanded = expanded.resize(ROWS * cols);
            for first in rows.clone().step_by(ROWS) {
                let few = first..(first + ROWS).min(rows.end);
                for (row, out) in few.clone().zip(expanded.chunks_exact_mut(cols.max(1))) {
                    let from = self.weight.data[row * self.weight.row_bytes()..].as_ptr();
                    // SAFETY: the matrix was checked, so a whole row lies at `from`.
                    unsafe { quant::dequantize(set, self.weight.dtype, from, out) };
                }
                let block =
                    self.block(set, inputs, few, tiles.clone(), expanded.as_ptr().cast(), cols * 4);
                // SAFETY: as above, with the expanded rows for the weights.
                unsafe { dense::multiply(set, DenseKind::F32(Dtype::F32), &block) };
            }
        });
    }

    fn block(
        &self,
        set: KernelSet,
        inputs: &PackedActivations,
        rows: Range<usize>,
        tiles: Range<usize>,
        weights: *const u8,
        row_bytes: usize,
    ) -> Block {
        let x = inputs.float(set, self.form);
        Block {
            weights,
            row_bytes,
            rows: rows.len(),
            cols: self.weight.cols,
            // Chunks are claimed in order: the next one of this thread is about as many further as
            // there are threads.
            next: weights.wrapping_add(self.threads * self.rows_per_chunk * row_bytes),
            x,
            tiles: tiles.start..tiles.end.min(x.layout.tiles()),
            bias: self.bias.map_or(std::ptr::null(), |bias| bias[rows.start..].as_ptr()),
            out: self.out.wrapping_add(rows.start),
            out_stride: self.weight.rows,
        }
    }
}
