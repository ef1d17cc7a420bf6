//! Benchmarks of kernels: matrix products and attention of one transformer layer.

use std::time::{Duration, Instant};

use checkpoint::Dtype;
use placement::KvDtype;

use super::operands::deadline;
use crate::DeviceError;
use crate::backend::{AttentionOptions, AttentionSequence, Precision, Product};
use crate::cpu::attention::KvShape;
use crate::cuda::args::ReadArgs;
use crate::cuda::ops::attention::{AttentionOperands, Splits, attention};
use crate::cuda::ops::kv::write_kv;
use crate::cuda::ops::linear::linear;
use crate::cuda::{
    AttentionMetadata, BatchShape, Buffer, Gpu, GpuActivationDtypes, GpuArena, GpuKvLayer,
    GpuMatrix, GpuPackedActivations, Grid, Kernel,
};

type Run = Box<dyn Fn(&Gpu, &BenchSizes) -> Result<KernelBenchReport, DeviceError> + Send + Sync>;

/// One benchmark.
pub struct KernelBench {
    /// For example `decode bf16, 1 tokens`.
    pub name: String,
    run: Run,
}

/// Sizes of the benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchSizes {
    /// Bytes of the buffer in the bandwidth benchmark.
    pub read_bytes: usize,
    pub hidden: usize,
    pub head_dim: usize,
    /// Intermediate size of the feed-forward part.
    pub intermediate: usize,
    /// Query heads per KV head.
    pub group: usize,
    /// Number of positions of each sequence in attention.
    pub context: usize,
    /// Number of tokens of a prefill.
    pub tokens: usize,
    /// Shortest duration of a measurement.
    pub duration_min: Duration,
}

impl BenchSizes {
    /// One layer of Llama 3.1 8B, with 8192 positions.
    pub const LLAMA_8B: BenchSizes = BenchSizes {
        read_bytes: 1 << 30,
        hidden: 4096,
        head_dim: 128,
        intermediate: 14336,
        group: 4,
        context: 8192,
        tokens: 512,
        duration_min: Duration::from_millis(200),
    };

    /// Small sizes with which every benchmark still runs, for fake GPUs.
    pub const MINIMAL: BenchSizes = BenchSizes {
        read_bytes: 1 << 16,
        hidden: 256,
        head_dim: 64,
        intermediate: 512,
        group: 2,
        context: 320,
        tokens: 70,
        duration_min: Duration::from_millis(1),
    };

    fn heads(&self) -> usize {
        self.hidden / self.head_dim
    }

    fn kv_heads(&self) -> usize {
        self.heads() / self.group
    }

    /// Matrix products of a transformer layer, grouped by input: the number of columns, and the
    /// number of rows of each weight.
    fn products(&self) -> [(usize, Vec<usize>); 4] {
        let kv = self.kv_heads() * self.head_dim;
        [
            (self.hidden, vec![self.hidden, kv, kv]),
            (self.hidden, vec![self.hidden]),
            (self.hidden, vec![self.intermediate, self.intermediate]),
            (self.intermediate, vec![self.hidden]),
        ]
    }
}

/// Result of a benchmark: averages per run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelBenchReport {
    pub seconds: f64,
    /// Bytes that a run must read from GPU memory.
    pub bytes: u64,
    /// Number of multiplications and additions of a run.
    pub operations: u64,
}

impl KernelBenchReport {
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    pub fn operations_per_s(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

impl KernelBench {
    fn new(
        name: String,
        run: impl Fn(&Gpu, &BenchSizes) -> Result<KernelBenchReport, DeviceError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Runs the benchmark.
    ///
    /// # Errors
    /// The driver's error; [`crate::cuda::CudaError::OutOfMemory`] if the GPU has too little free
    /// memory.
    pub fn run(&self, gpu: &Gpu, sizes: &BenchSizes) -> Result<KernelBenchReport, DeviceError> {
        (self.run)(gpu, sizes)
    }
}

/// All benchmarks. The first only reads memory: its bandwidth is the reference for the others.
pub fn benches() -> Vec<KernelBench> {
    let mut benches = vec![KernelBench::new("read memory".to_owned(), read)];
    for dtype in [Dtype::BF16, Dtype::Q8_0, Dtype::Q4K] {
        for tokens in [1, 8] {
            let name = format!("decode {}, {tokens} tokens", dtype.name().to_lowercase());
            benches.push(KernelBench::new(name, move |gpu, sizes| {
                layer_products(gpu, sizes, dtype, tokens)
            }));
        }
        let name = format!("prefill {}", dtype.name().to_lowercase());
        benches.push(KernelBench::new(name, move |gpu, sizes| {
            layer_products(gpu, sizes, dtype, sizes.tokens)
        }));
    }
    for (dtype, name) in [(KvDtype::Bf16, "bf16"), (KvDtype::Int8, "int8")] {
        for sequences in [1, 16] {
            let name = format!("attention {name}, {sequences} sequences decode");
            benches.push(KernelBench::new(name, move |gpu, sizes| {
                layer_attention(gpu, sizes, dtype, sequences, 1)
            }));
        }
        let name = format!("attention {name}, prefill");
        benches.push(KernelBench::new(name, move |gpu, sizes| {
            layer_attention(gpu, sizes, dtype, 1, sizes.tokens)
        }));
    }
    benches
}

/// Average duration of one `job` in seconds, over a series of runs that takes at least
/// `duration_min`.
fn seconds(
    gpu: &Gpu,
    duration_min: Duration,
    mut job: impl FnMut() -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    job()?;
    gpu.synchronize(deadline())?;
    let mut jobs = 1;
    loop {
        let started = Instant::now();
        (0..jobs).try_for_each(|_| job())?;
        gpu.synchronize(deadline())?;
        let elapsed = started.elapsed();
        if elapsed >= duration_min {
            return Ok(elapsed.as_secs_f64() / f64::from(jobs));
        }
        let factor = duration_min.as_secs_f64() / elapsed.as_secs_f64().max(1e-6) * 1.2;
        jobs = (f64::from(jobs) * factor.min(10.0)).ceil() as u32;
    }
}

fn read(gpu: &Gpu, sizes: &BenchSizes) -> Result<KernelBenchReport, DeviceError> {
    let blocks = 8 * gpu.info().multiprocessors.max(1);
    let mut from = Buffer::<f32>::new(gpu, sizes.read_bytes / 4)?;
    gpu.fill_activations(&mut from, 1.0, 1)?;
    let sums = Buffer::<u32>::new(gpu, blocks as usize)?;
    let args =
        ReadArgs { from: from.address(), sums: sums.address(), words: (from.bytes() / 16) as i64 };
    let grid = Grid::one_dimensional(blocks, 256);
    // SAFETY: `from` has `words` words of 16 bytes, and `sums` has an element for each thread
    // block.
    let job = || Ok(unsafe { gpu.launch(Kernel::ReadAll, grid, &args) }?);
    let seconds = seconds(gpu, sizes.duration_min, job)?;
    Ok(KernelBenchReport { seconds, bytes: from.bytes() as u64, operations: 0 })
}

/// Benchmarks all matrix products of one transformer layer, for `tokens` tokens.
fn layer_products(
    gpu: &Gpu,
    sizes: &BenchSizes,
    dtype: Dtype,
    tokens: usize,
) -> Result<KernelBenchReport, DeviceError> {
    let activations = GpuActivationDtypes::for_weights(Precision::Native, [dtype]);
    let (mut bytes, mut elements) = (0, 0);
    let mut steps = Vec::new();
    for (index, (cols, rows)) in sizes.products().into_iter().enumerate() {
        let mut x = Buffer::new(gpu, tokens * cols)?;
        gpu.fill_activations(&mut x, 1.0, index as u64)?;
        let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
        inputs.pack(gpu, &x, tokens, cols, activations)?;
        let mut weights = Vec::new();
        for rows in rows {
            let weight = random_matrix(gpu, dtype, rows, cols)?;
            bytes += weight.bytes() as u64;
            elements += (rows * cols) as u64;
            weights.push((weight, Buffer::new(gpu, tokens * rows)?));
        }
        steps.push((inputs, weights));
    }
    let seconds = seconds(gpu, sizes.duration_min, || {
        steps.iter_mut().try_for_each(|(inputs, weights)| {
            let product = |(weight, out)| Product { weight, bias: None, out };
            let mut products: Vec<_> =
                weights.iter_mut().map(|(weight, out)| product((&*weight, out))).collect();
            linear(gpu, inputs, &mut products)
        })
    })?;
    Ok(KernelBenchReport { seconds, bytes, operations: 2 * elements * tokens as u64 })
}

fn random_matrix(
    gpu: &Gpu,
    dtype: Dtype,
    rows: usize,
    cols: usize,
) -> Result<GpuMatrix, DeviceError> {
    let bytes = rows * cols / dtype.block_elements() * dtype.block_bytes();
    let mut region = GpuArena::new(gpu, bytes)?.region(bytes)?;
    region.whole()?.fill(|to| gpu.fill_random(dtype, to, 0.02, rows as u64))?;
    GpuMatrix::new(dtype, rows, cols, region.finish(deadline())?)
}

/// Tokens per KV block.
const BLOCK_TOKENS: usize = 32;

/// Benchmarks attention in one layer for `tokens` new tokens of each sequence, at the end of its
/// context.
fn layer_attention(
    gpu: &Gpu,
    sizes: &BenchSizes,
    dtype: KvDtype,
    sequences: usize,
    tokens: usize,
) -> Result<KernelBenchReport, DeviceError> {
    let (kv_heads, dim, context) = (sizes.kv_heads(), sizes.head_dim, sizes.context);
    let block_tokens = BLOCK_TOKENS;
    let shape = KvShape {
        kv_heads,
        key_dim: dim,
        value_dim: dim,
        block_tokens,
        dtype,
        values_in_keys: false,
    };
    let blocks_per_sequence = context.div_ceil(block_tokens);
    let blocks = sequences * blocks_per_sequence;
    let arena = GpuArena::new(gpu, GpuKvLayer::bytes(&shape, blocks))?;
    let mut layer = GpuKvLayer::new(&arena, shape, blocks)?;
    let batch_shape = BatchShape {
        tokens: tokens.max(sizes.tokens) * sequences,
        sequences,
        entries: blocks,
        group: sizes.group,
        block_tokens,
        blocks,
    };
    let mut metadata = AttentionMetadata::new(gpu, batch_shape)?;
    // The blocks of the sequences are interleaved in memory, as they are when several sequences are
    // generated concurrently.
    let tables: Vec<Vec<u32>> = (0..sequences)
        .map(|s| (0..blocks_per_sequence).map(|block| (block * sequences + s) as u32).collect())
        .collect();
    let batch = |first_position: usize, count: usize| -> Vec<AttentionSequence> {
        let sequence = |(s, blocks)| AttentionSequence {
            blocks,
            rows: s * count..(s + 1) * count,
            first_position,
        };
        tables.iter().map(Vec::as_slice).enumerate().map(sequence).collect()
    };
    for first in (0..context).step_by(sizes.tokens) {
        let count = sizes.tokens.min(context - first);
        let mut kv = Buffer::new(gpu, sequences * count * kv_heads * dim)?;
        gpu.fill_activations(&mut kv, 1.0, first as u64)?;
        metadata.set_batch(&batch(first, count), deadline())?;
        write_kv(gpu, &mut layer, &metadata, &kv, &kv)?;
    }
    let (heads, scale) = (sizes.heads(), 1.0 / (dim as f32).sqrt());
    let mut q = Buffer::new(gpu, sequences * tokens * heads * dim)?;
    gpu.fill_activations(&mut q, 1.0, 1)?;
    let mut out = Buffer::new(gpu, q.len())?;
    let options = AttentionOptions { heads, scale, window: None, sinks: None };
    metadata.set_batch(&batch(context - tokens, tokens), deadline())?;
    let seconds = seconds(gpu, sizes.duration_min, || {
        let operands =
            AttentionOperands { layer: &layer, metadata: &mut metadata, options: &options, q: &q };
        attention(gpu, operands, Splits::Auto, &mut out, None)
    })?;
    let pairs = sequences as u64 * (tokens * (context - tokens) + tokens * (tokens + 1) / 2) as u64;
    let bytes = GpuKvLayer::bytes(&shape, blocks) as u64;
    Ok(KernelBenchReport { seconds, bytes, operations: 4 * pairs * (heads * dim) as u64 })
}
