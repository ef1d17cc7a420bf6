//! Linear layers: multiplication of activations with weight matrices.

use std::cell::RefCell;
use std::ops::Range;

use checkpoint::Dtype;

use super::activation_dtypes::ActivationDtype;
use super::dense::{self, DenseKind, GemmJob};
use super::matrix::is_quantized;
use super::packed_activations::ActivationView;
use super::quant::{self, GROUP_ROWS, QuantJob};
use super::row_decoder::{RowDecoder, decode_row, decode_row_bf16};
use super::{ActivationDtypes, Cpu, KernelSet, Matrix, PackedActivations, expect};
use crate::DeviceError;
use crate::backend::Product;
use crate::memory::Scratch;

/// One matrix multiplication, divided into chunks of rows and tokens.
struct LinearJob<'a> {
    set: KernelSet,
    inputs: ActivationView<'a>,
    weight: &'a Matrix,
    bias: Option<&'a [f32]>,
    out: *mut f32,
    activations: ActivationDtype,
    rows_per_chunk: usize,
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
        let view = inputs.whole(self.set)?;
        let total_bytes = products.iter().map(|p| p.weight.bytes()).sum();
        let mut jobs = LinearJobs::new(self, total_bytes, inputs.tokens(), products.len());
        for product in products {
            let Product { weight, bias, out } = product;
            out.resize(inputs.tokens() * weight.rows);
            // SAFETY: `out` has this size, and is borrowed for as long as `jobs`.
            unsafe { jobs.push(view, weight, bias.map(Vec::as_slice), out.as_mut_ptr())? };
        }
        jobs.run()
    }
}

/// Several matrix multiplications that are computed in one fork and join.
pub(super) struct LinearJobs<'a> {
    cpu: &'a Cpu,
    /// Bytes of weights of a chunk.
    chunk_bytes: usize,
    jobs: Vec<LinearJob<'a>>,
    /// Number of chunks of all jobs.
    chunks: usize,
}

impl<'a> LinearJobs<'a> {
    /// No jobs; space for `count`, whose weights have `total_bytes` bytes together, and the tokens
    /// `tokens`.
    pub fn new(cpu: &'a Cpu, total_bytes: usize, tokens: usize, count: usize) -> Self {
        let chunk_bytes_max =
            if tokens < MANY_TOKENS { CHUNK_BYTES_MAX } else { MANY_TOKENS_CHUNK_BYTES_MAX };
        let chunk_bytes =
            (total_bytes / (8 * cpu.pool.threads())).clamp(CHUNK_BYTES_MIN, chunk_bytes_max);
        LinearJobs { cpu, chunk_bytes, jobs: Vec::with_capacity(count), chunks: 0 }
    }

    /// Adds `out = inputs * weight^T + bias`.
    ///
    /// # Errors
    /// Those of [`Cpu::linear`].
    ///
    /// # Safety
    /// `out` is writable for [tokens, weight.rows] until [`Self::run`] returns, and nothing else
    /// accesses these elements.
    pub unsafe fn push(
        &mut self,
        inputs: ActivationView<'a>,
        weight: &'a Matrix,
        bias: Option<&'a [f32]>,
        out: *mut f32,
    ) -> Result<(), DeviceError> {
        let activations = checked(&inputs, weight, bias)?;
        let rows_per_chunk =
            (self.chunk_bytes / weight.row_bytes().max(1)).max(1).next_multiple_of(GROUP_ROWS);
        let all_tiles = inputs.layout().tiles();
        let tiles = if is_decoded(weight.dtype) {
            all_tiles.max(1)
        } else {
            tiles_at_once(&inputs, activations)
        };
        let job = LinearJob {
            set: self.cpu.set,
            inputs,
            weight,
            bias,
            out,
            activations,
            rows_per_chunk,
            first_chunk: self.chunks,
            row_chunks: weight.rows.div_ceil(rows_per_chunk),
            tiles,
        };
        self.chunks += job.row_chunks * all_tiles.div_ceil(tiles);
        self.jobs.push(job);
        Ok(())
    }

    /// Computes all jobs.
    ///
    /// # Errors
    /// [`DeviceError::WorkerPanicked`].
    pub fn run(self) -> Result<(), DeviceError> {
        let threads = self.cpu.pool.threads();
        self.cpu.pool.run(self.chunks, &|chunk, _| {
            let Some(job) = self.job(chunk) else { return };
            // Chunks are claimed in order, so this thread's next chunk is probably as many chunks
            // ahead as there are threads.
            let next = chunk + threads;
            let next =
                if next < self.chunks { self.job(next).map(|job| job.first(next)) } else { None };
            job.chunk(chunk - job.first_chunk, next.unwrap_or(std::ptr::null()));
        })
    }

    /// The job that a chunk belongs to. A job without chunks has the same first chunk as the next.
    fn job(&self, chunk: usize) -> Option<&LinearJob<'a>> {
        let after = self.jobs.partition_point(|job| job.first_chunk <= chunk);
        self.jobs.get(after.checked_sub(1)?)
    }
}

/// Whether weights of this dtype are decoded before they are multiplied with float activations.
fn is_decoded(dtype: Dtype) -> bool {
    is_quantized(dtype) || dtype == Dtype::F8E4M3
}

/// Checks all shapes of a product and returns its activation dtype.
fn checked(
    inputs: &ActivationView,
    weight: &Matrix,
    bias: Option<&[f32]>,
) -> Result<ActivationDtype, DeviceError> {
    weight.check()?;
    expect("linear: the weight's columns", inputs.cols(), weight.cols)?;
    expect("linear: bias", weight.rows, bias.map_or(weight.rows, <[f32]>::len))?;
    let activations = ActivationDtypes::of(inputs.dtypes().precision(), weight.dtype);
    if !inputs.dtypes().has(activations) {
        return Err(DeviceError::ActivationDtypeMissing {
            activations: activations.name(),
            dtype: weight.dtype.name(),
        });
    }
    Ok(activations)
}

/// Tiles of tokens per L3 block of activations: blocks of equal size of at most
/// [`ACTIVATIONS_BYTES`].
fn tiles_at_once(inputs: &ActivationView, dtype: ActivationDtype) -> usize {
    let x = inputs.float(dtype);
    let tiles = x.layout.tiles().max(1);
    let parts = (inputs.tokens() * x.token_bytes).div_ceil(ACTIVATIONS_BYTES).clamp(1, tiles);
    tiles.div_ceil(parts)
}

impl LinearJob<'_> {
    /// Address of the first weights of chunk `chunk` of all jobs.
    fn first(&self, chunk: usize) -> *const u8 {
        let row = (chunk - self.first_chunk) % self.row_chunks * self.rows_per_chunk;
        self.weight.data.as_ptr().wrapping_add(row * self.weight.row_bytes())
    }

    /// Computes chunk `chunk` of this job. `next` is the address of the weights that this thread
    /// probably multiplies next.
    fn chunk(&self, chunk: usize, next: *const u8) {
        let first = chunk % self.row_chunks * self.rows_per_chunk;
        let rows = first..(first + self.rows_per_chunk).min(self.weight.rows);
        let tile = chunk / self.row_chunks * self.tiles;
        let tiles = tile..tile + self.tiles;
        if matches!(self.activations, ActivationDtype::Int8 | ActivationDtype::Int16) {
            self.quantized_rows(rows, next);
        } else if is_decoded(self.weight.dtype) {
            self.decoded_rows(rows, tiles, next);
        } else {
            self.dense_rows(rows, tiles, next);
        }
    }

    /// Multiplies quantized weights with quantized activations.
    fn quantized_rows(&self, rows: Range<usize>, next: *const u8) {
        let job = QuantJob {
            weight: self.weight,
            bias: self.bias,
            x: self.inputs.codes(),
            out: self.out,
            next,
        };
        // SAFETY: `checked` verified the shapes; no other call writes the outputs of these rows.
        unsafe { quant::multiply(self.set, &job, rows) };
    }

    /// Multiplies f32, f16 or bf16 weights.
    fn dense_rows(&self, rows: Range<usize>, tiles: Range<usize>, next: *const u8) {
        let kind =
            if self.is_pair_dot() { DenseKind::Bf16 } else { DenseKind::F32(self.weight.dtype) };
        let start = self.weight.data[rows.start * self.weight.row_bytes()..].as_ptr();
        let job = GemmJob { next, ..self.gemm_job(rows, tiles, start, self.weight.row_bytes()) };
        // SAFETY: `checked` verified the shapes, so the rows are inside the matrix; activations are
        // padded to whole chunks; no other call writes the outputs of these rows and tokens.
        unsafe { dense::multiply(self.set, kind, &job) };
    }

    /// Whether pairs of bf16 are multiplied by the dot product instruction.
    fn is_pair_dot(&self) -> bool {
        self.activations == ActivationDtype::Bf16 && self.set == KernelSet::Avx512Bf16
    }

    /// Multiplies weights that are decoded to f32 or bf16 before, a few rows at a time.
    fn decoded_rows(&self, rows: Range<usize>, tiles: Range<usize>, next: *const u8) {
        const ROWS: usize = 16;
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
                let start = decoded.as_ptr().cast();
                let job = GemmJob { next, ..self.gemm_job(part, tiles.clone(), start, cols * 4) };
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
        let x = self.inputs.float(self.activations);
        GemmJob {
            weights,
            row_bytes,
            rows: rows.len(),
            cols: self.weight.cols,
            next: std::ptr::null(),
            x,
            tiles: tiles.start..tiles.end.min(x.layout.tiles()),
            bias: self.bias.map_or(std::ptr::null(), |bias| bias[rows.start..].as_ptr()),
            out: self.out.wrapping_add(rows.start),
            out_stride: self.weight.rows,
        }
    }
}
