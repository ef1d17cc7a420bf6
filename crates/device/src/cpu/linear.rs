//! Linear layers: multiplication of activations with weight matrices.

use std::cell::RefCell;
use std::ops::Range;

use checkpoint::Dtype;

use super::activation_dtypes::ActivationDtype;
use super::dense::{self, DenseKind, GemmJob};
use super::matrix::is_quantized;
use super::quant::{self, GROUP_ROWS, QuantJob};
use super::row_decoder::{RowDecoder, decode_row, decode_row_bf16};
use super::{ActivationDtypes, Cpu, KernelSet, Matrix, PackedActivations, expect};
use crate::DeviceError;
use crate::backend::Product;
use crate::memory::Scratch;

/// One matrix multiplication, divided into chunks of rows and tokens.
struct LinearJob<'a> {
    set: KernelSet,
    inputs: &'a PackedActivations,
    weight: &'a Matrix,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    activations: ActivationDtype,
    rows_per_chunk: usize,
    threads: usize,
    /// Index of this job's first chunk among the chunks of all jobs of the call.
    first_chunk: usize,
    /// Number of chunks of rows. All of them are multiplied with one part of the tokens before the
    /// next part.
    row_chunks: usize,
    /// Maximum tiles of tokens in a part of the tokens.
    tiles: usize,
}

// SAFETY: a chunk writes the outputs of its rows and tokens, which belong to no other chunk, and is
// computed by one thread.
unsafe impl Sync for LinearJob<'_> {}

/// Maximum bytes of weights of a chunk. A chunk is the unit of work of a thread.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// [`CHUNK_BYTES_MAX`] for many tokens, so that activations are read less often.
const MANY_TOKENS_CHUNK_BYTES_MAX: usize = 512 << 10;

/// Number of tokens from which [`MANY_TOKENS_CHUNK_BYTES_MAX`] applies.
const MANY_TOKENS: usize = 64;

/// L3 block size for activations: all weight rows are multiplied with one block before the next.
const ACTIVATIONS_BYTES: usize = 8 << 20;

/// Minimum bytes of weights of a chunk, so that claiming a chunk costs little in comparison.
const CHUNK_BYTES_MIN: usize = 16 << 10;

impl Cpu {
    /// Multiplies the same activations with all weights in one fork and join, and resizes the
    /// outputs to [tokens, weight.rows].
    ///
    /// # Errors
    /// [`DeviceError::Shape`], [`DeviceError::DtypeUnsupported`],
    /// [`DeviceError::ActivationDtypeMissing`]. All are detected before any multiplication.
    pub fn linear(
        &self,
        inputs: &PackedActivations,
        products: &mut [Product<'_, Cpu>],
    ) -> Result<(), DeviceError> {
        let total_bytes: usize = products.iter().map(|p| p.weight.bytes()).sum();
        let chunk_bytes_max = if inputs.tokens() < MANY_TOKENS {
            CHUNK_BYTES_MAX
        } else {
            MANY_TOKENS_CHUNK_BYTES_MAX
        };
        let chunk_bytes =
            (total_bytes / (8 * self.pool.threads())).clamp(CHUNK_BYTES_MIN, chunk_bytes_max);
        let mut chunks = 0;
        let mut jobs = Vec::with_capacity(products.len());
        for product in products {
            let activations = checked(inputs, product)?;
            product.out.resize(inputs.tokens() * product.weight.rows);
            let rows_per_chunk = (chunk_bytes / product.weight.row_bytes().max(1))
                .max(1)
                .next_multiple_of(GROUP_ROWS);
            let all_tiles = inputs.float(self.set, activations).layout.tiles();
            let tiles = if is_decoded(product.weight.dtype) {
                all_tiles.max(1)
            } else {
                tiles_at_once(self.set, inputs, activations)
            };
            let job = LinearJob {
                set: self.set,
                inputs,
                weight: product.weight,
                bias: product.bias.map(Vec::as_slice),
                out: product.out.as_mut_ptr(),
                activations,
                rows_per_chunk,
                threads: self.pool.threads(),
                first_chunk: chunks,
                row_chunks: product.weight.rows.div_ceil(rows_per_chunk),
                tiles,
            };
            chunks += job.row_chunks * all_tiles.div_ceil(tiles);
            jobs.push(job);
        }
        self.pool.run(chunks, &|chunk, _| {
            let Some(job) = jobs.iter().rev().find(|job| job.first_chunk <= chunk) else { return };
            job.chunk(chunk - job.first_chunk);
        })
    }
}

/// Whether weights of this dtype are decoded before they are multiplied with float activations.
fn is_decoded(dtype: Dtype) -> bool {
    is_quantized(dtype) || dtype == Dtype::F8E4M3
}

/// Checks all shapes of a product and returns its activation dtype.
fn checked(
    inputs: &PackedActivations,
    product: &Product<Cpu>,
) -> Result<ActivationDtype, DeviceError> {
    let weight = product.weight;
    weight.check()?;
    expect("linear: the weight's columns", inputs.cols(), weight.cols)?;
    expect("linear: bias", weight.rows, product.bias.map_or(weight.rows, Vec::len))?;
    let activations = ActivationDtypes::of(inputs.dtypes().precision(), weight.dtype);
    if !inputs.has(activations) {
        return Err(DeviceError::ActivationDtypeMissing {
            activations: activations.name(),
            dtype: weight.dtype.name(),
        });
    }
    Ok(activations)
}

/// Tiles of tokens per L3 block of activations: blocks of equal size of at most
/// [`ACTIVATIONS_BYTES`].
fn tiles_at_once(set: KernelSet, inputs: &PackedActivations, dtype: ActivationDtype) -> usize {
    let x = inputs.float(set, dtype);
    let tiles = x.layout.tiles().max(1);
    let parts = (inputs.tokens() * x.token_bytes).div_ceil(ACTIVATIONS_BYTES).clamp(1, tiles);
    tiles.div_ceil(parts)
}

impl LinearJob<'_> {
    fn chunk(&self, chunk: usize) {
        let first = chunk % self.row_chunks * self.rows_per_chunk;
        let rows = first..(first + self.rows_per_chunk).min(self.weight.rows);
        let tile = chunk / self.row_chunks * self.tiles;
        let tiles = tile..tile + self.tiles;
        if matches!(self.activations, ActivationDtype::Int8 | ActivationDtype::Int16) {
            self.quantized_rows(rows);
        } else if is_decoded(self.weight.dtype) {
            self.decoded_rows(rows, tiles);
        } else {
            self.dense_rows(rows, tiles);
        }
    }

    /// Multiplies quantized weights with quantized activations.
    fn quantized_rows(&self, rows: Range<usize>) {
        let job = QuantJob {
            weight: self.weight,
            bias: self.bias,
            x: self.inputs.codes(),
            out: self.out,
            ahead: self.threads * self.rows_per_chunk,
        };
        // SAFETY: `checked` verified the shapes; no other call writes the outputs of these rows.
        unsafe { quant::multiply(self.set, &job, rows) };
    }

    /// Multiplies f32, f16 or bf16 weights.
    fn dense_rows(&self, rows: Range<usize>, tiles: Range<usize>) {
        let kind =
            if self.is_pair_dot() { DenseKind::Bf16 } else { DenseKind::F32(self.weight.dtype) };
        let start = self.weight.data[rows.start * self.weight.row_bytes()..].as_ptr();
        let job = self.gemm_job(rows, tiles, start, self.weight.row_bytes());
        // SAFETY: `checked` verified the shapes, so the rows are inside the matrix; activations are
        // padded to whole chunks; no other call writes the outputs of these rows and tokens.
        unsafe { dense::multiply(self.set, kind, &job) };
    }

    /// Whether pairs of bf16 are multiplied by the dot product instruction.
    fn is_pair_dot(&self) -> bool {
        self.activations == ActivationDtype::Bf16 && self.set == KernelSet::Avx512Bf16
    }

    /// Multiplies weights that are decoded to f32 or bf16 before, a few rows at a time.
    fn decoded_rows(&self, rows: Range<usize>, tiles: Range<usize>) {
        const ROWS: usize = 32;
        thread_local! {
            static DECODED: RefCell<Scratch<f32>> = const { RefCell::new(Scratch::new()) };
        }
        let (weight, cols) = (self.weight, self.weight.cols);
        // Rows of bf16 take half of the space of a row of f32.
        let (kind, decode): (DenseKind, RowDecoder) = if self.is_pair_dot() {
            (DenseKind::Bf16, decode_row_bf16)
        } else {
            (DenseKind::F32(Dtype::F32), decode_row)
        };
        DECODED.with_borrow_mut(|decoded| {
            let decoded = decoded.resize(ROWS * cols);
            for first in rows.clone().step_by(ROWS) {
                let part = first..(first + ROWS).min(rows.end);
                for (row, out) in part.clone().zip(decoded.chunks_exact_mut(cols.max(1))) {
                    decode(self.set, weight, row, out);
                }
                let job = self.gemm_job(part, tiles.clone(), decoded.as_ptr().cast(), cols * 4);
                // SAFETY: as in `dense_rows`, with the decoded rows as weights.
                unsafe { dense::multiply(self.set, kind, &job) };
            }
        });
    }

    fn gemm_job(
        &self,
        rows: Range<usize>,
        tiles: Range<usize>,
        weights: *const u8,
        row_bytes: usize,
    ) -> GemmJob {
        let x = self.inputs.float(self.set, self.activations);
        GemmJob {
            weights,
            row_bytes,
            rows: rows.len(),
            cols: self.weight.cols,
            // Chunks are claimed in order, so this thread's next chunk is probably as many chunks
            // ahead as there are threads.
            next: weights.wrapping_add(self.threads * self.rows_per_chunk * row_bytes),
            x,
            tiles: tiles.start..tiles.end.min(x.layout.tiles()),
            bias: self.bias.map_or(std::ptr::null(), |bias| bias[rows.start..].as_ptr()),
            out: self.out.wrapping_add(rows.start),
            out_stride: self.weight.rows,
        }
    }
}
