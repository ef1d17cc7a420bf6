use std::time::{Duration, Instant};

use checkpoint::Dtype;
use placement::KvDtype;

use super::operands::soon;
use crate::DeviceError;
use crate::backend::{AttentionSequence, Precision};
use crate::cpu::attention::KvShape;
use crate::cuda::args::ReadArgs;
use crate::cuda::{
    AttentionMetadata, BatchShape, Buffer, Gpu, GpuActivationDtypes, GpuArena, GpuAttentionOptions,
    GpuKvLayer, GpuMatrix, GpuPackedActivations, GpuProduct, Grid, Kernel,
};

/// What a benchmark runs.
type Run = Box<dyn Fn(&Gpu, &BenchSizes) -> Result<KernelBenchReport, DeviceError> + Send + Sync>;

/// One benchmark.
pub struct KernelBench {
    /// Its name, such as `decode bf16, 1 token`.
    pub name: String,
    run: Run,
}

/// How large benchmarks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchSizes {
    /// Bytes of the buffer that is read.
    pub read_bytes: usize,
    /// Features of the residual stream.
    pub hidden: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Features of the feed-forward part.
    pub wide: usize,
    /// Query heads of a kv head.
    pub group: usize,
    /// Positions of each sequence whose attention is measured.
    pub context: usize,
    /// Tokens of a prefill.
    pub tokens: usize,
    /// How long each benchmark measures at least.
    pub least: Duration,
}

impl BenchSizes {
    /// One layer of a Llama of 8B parameters, at 8192 positions.
    pub const LLAMA_8B: BenchSizes = BenchSizes {
        read_bytes: 1 << 30,
        hidden: 4096,
        head_dim: 128,
        wide: 14336,
        group: 4,
        context: 8192,
        tokens: 512,
        least: Duration::from_millis(200),
    };

    /// As little as shows that they run: for GPUs that are none.
    pub const MINIMAL: BenchSizes = BenchSizes {
        read_bytes: 1 << 16,
        hidden: 256,
        head_dim: 64,
        wide: 512,
        group: 2,
        context: 320,
        tokens: 70,
        least: Duration::from_millis(1),
    };

    fn heads(&self) -> usize {
        self.hidden / self.head_dim
    }

    fn kv_heads(&self) -> usize {
        self.heads() / self.group
    }

    /// Products of a layer by their inputs: [inputs, [rows]].
    fn products(&self) -> [(usize, Vec<usize>); 4] {
        let narrow = self.kv_heads() * self.head_dim;
        [
            (self.hidden, vec![self.hidden, narrow, narrow]),
            (self.hidden, vec![self.hidden]),
            (self.hidden, vec![self.wide, self.wide]),
            (self.wide, vec![self.hidden]),
        ]
    }
}

/// What a benchmark found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelBenchReport {
    /// Of one run.
    pub seconds: f64,
    /// Bytes that one run has to read at least.
    pub bytes: u64,
    /// Multiplications and additions of one run.
    pub operations: u64,
}

impl KernelBenchReport {
    /// Bytes a second.
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// Operations a second.
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

    /// Runs it.
    ///
    /// # Errors
    /// What the driver says; [`crate::cuda::CudaError::OutOfMemory`] where the GPU is too small.
    pub fn run(&self, gpu: &Gpu, sizes: &BenchSizes) -> Result<KernelBenchReport, DeviceError> {
        (self.run)(gpu, sizes)
    }
}

/// All benchmarks. The first reads memory and nothing else: the others' rates are to be seen beside
/// it.
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
                attention(gpu, sizes, dtype, sequences, 1)
            }));
        }
        let name = format!("attention {name}, prefill");
        benches.push(KernelBench::new(name, move |gpu, sizes| {
            attention(gpu, sizes, dtype, 1, sizes.tokens)
        }));
    }
    benches
}

/// Seconds of one `job`, of so many that they take at least `least`.
fn seconds(
    gpu: &Gpu,
    least: Duration,
    mut job: impl FnMut() -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    job()?;
    gpu.synchronize(soon())?;
    let mut jobs = 1;
    loop {
        let started = Instant::now();
        (0..jobs).try_for_each(|_| job())?;
        gpu.synchronize(soon())?;
        let taken = started.elapsed();
        if taken >= least {
            return Ok(taken.as_secs_f64() / f64::from(jobs));
        }
        let enough = least.as_secs_f64() / taken.as_secs_f64().max(1e-6) * 1.2;
        jobs = (f64::from(jobs) * enough.min(10.0)).ceil() as u32;
    }
}

fn read(gpu: &Gpu, sizes: &BenchSizes) -> Result<KernelBenchReport, DeviceError> {
    let blocks = 8 * gpu.info().multiprocessors.max(1);
    let mut from = Buffer::<f32>::new(gpu, sizes.read_bytes / 4)?;
    gpu.fill_activations(&mut from, 1.0, 1)?;
    let sums = Buffer::<u32>::new(gpu, blocks as usize)?;
    let args =
        ReadArgs { from: from.address(), sums: sums.address(), words: (from.bytes() / 16) as i64 };
    // SAFETY: the buffer has so many words of 16 bytes, and there is a sum for each block.
    let job =
        || Ok(unsafe { gpu.launch(Kernel::ReadAll, Grid::one_dimensional(blocks, 256), &args) }?);
    let seconds = seconds(gpu, sizes.least, job)?;
    Ok(KernelBenchReport { seconds, bytes: from.bytes() as u64, operations: 0 })
}

/// All products of one layer.
fn layer_products(
    gpu: &Gpu,
    sizes: &BenchSizes,
    dtype: Dtype,
    tokens: usize,
) -> Result<KernelBenchReport, DeviceError> {
    let forms = GpuActivationDtypes::for_weights(Precision::Native, [dtype]);
    let (mut bytes, mut numbers) = (0, 0);
    let mut steps = Vec::new();
    for (index, (cols, rows)) in sizes.products().into_iter().enumerate() {
        let mut x = Buffer::new(gpu, tokens * cols)?;
        gpu.fill_activations(&mut x, 1.0, index as u64)?;
        let mut inputs = GpuPackedActivations::new(gpu, 0, 0)?;
        inputs.prepare(gpu, &x, tokens, cols, forms)?;
        let mut matrices = Vec::new();
        for rows in rows {
            let matrix = random_matrix(gpu, dtype, rows, cols)?;
            bytes += matrix.bytes() as u64;
            numbers += (rows * cols) as u64;
            matrices.push((matrix, Buffer::new(gpu, tokens * rows)?));
        }
        steps.push((inputs, matrices));
    }
    let seconds = seconds(gpu, sizes.least, || {
        steps.iter_mut().try_for_each(|(inputs, matrices)| {
            let product = |(weight, out)| GpuProduct { weight, bias: None, out };
            let mut products: Vec<_> =
                matrices.iter_mut().map(|(weight, out)| product((&*weight, out))).collect();
            gpu.linear(inputs, &mut products)
        })
    })?;
    Ok(KernelBenchReport { seconds, bytes, operations: 2 * numbers * tokens as u64 })
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
    GpuMatrix::new(dtype, rows, cols, region.finish(soon())?)
}

/// Attention of one layer: `tokens` new ones of each sequence, the last of its context.
fn attention(
    gpu: &Gpu,
    sizes: &BenchSizes,
    dtype: KvDtype,
    sequences: usize,
    tokens: usize,
) -> Result<KernelBenchReport, DeviceError> {
    const BLOCK: usize = 32;
    let (kv_heads, dim, context) = (sizes.kv_heads(), sizes.head_dim, sizes.context);
    let shape = KvShape { kv_heads, key_dim: dim, value_dim: dim, block_tokens: BLOCK, dtype };
    let a_sequence = context.div_ceil(BLOCK);
    let blocks = sequences * a_sequence;
    let arena = GpuArena::new(gpu, GpuKvLayer::bytes(&shape, blocks))?;
    let mut layer = GpuKvLayer::new(&arena, shape, blocks)?;
    let most = tokens.max(sizes.tokens) * sequences;
    let pass_shape = BatchShape {
        tokens: most,
        sequences,
        entries: blocks,
        group: sizes.group,
        block_tokens: BLOCK,
        blocks,
    };
    let mut pass = AttentionMetadata::new(gpu, pass_shape)?;
    // Blocks of all sequences in turn, as they come to lie when several run.
    let tables: Vec<Vec<u32>> = (0..sequences)
        .map(|s| (0..a_sequence).map(|block| (block * sequences + s) as u32).collect())
        .collect();
    let step = |first: usize, count: usize| -> Vec<AttentionSequence> {
        let tables = tables.iter().enumerate();
        tables
            .map(|(s, blocks)| AttentionSequence {
                blocks,
                rows: s * count..(s + 1) * count,
                first_position: first,
            })
            .collect()
    };
    for first in (0..context).step_by(sizes.tokens) {
        let count = sizes.tokens.min(context - first);
        let mut kv = Buffer::new(gpu, sequences * count * kv_heads * dim)?;
        gpu.fill_activations(&mut kv, 1.0, first as u64)?;
        pass.begin(&step(first, count), soon())?;
        gpu.write_kv(&mut layer, &pass, &kv, &kv)?;
    }
    let heads = sizes.heads();
    let mut q = Buffer::new(gpu, sequences * tokens * heads * dim)?;
    gpu.fill_activations(&mut q, 1.0, 1)?;
    let mut out = Buffer::new(gpu, q.len())?;
    let options =
        GpuAttentionOptions { heads, scale: 1.0 / (dim as f32).sqrt(), window: None, sinks: None };
    pass.begin(&step(context - tokens, tokens), soon())?;
    let seconds = seconds(gpu, sizes.least, || {
        gpu.attention(&layer, &mut pass, &options, &q, &mut out, None)
    })?;
    let seen = sequences as u64 * (tokens * (context - tokens) + tokens * (tokens + 1) / 2) as u64;
    let bytes = GpuKvLayer::bytes(&shape, blocks) as u64;
    Ok(KernelBenchReport { seconds, bytes, operations: 4 * seen * (heads * dim) as u64 })
}
