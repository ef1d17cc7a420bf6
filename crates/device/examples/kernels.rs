//! Benchmark of the CPU kernels against the measured limits of the machine: `cargo run --release
//! -p device --example kernels [filter]`.
//!
//! `PRECISION=native` quantizes activations for quantized weights to 16 bits instead of 8.
//! `LAYERS=1` decodes with so few layers of the small model that their weights fit in the L3 cache.
//! `THREADS=1` measures CPU time of one thread, which is meaningful on a busy machine too. Every
//! rate is the best of many measurements and is printed beside the limit measured at the same time,
//! since other processes slow down both.
#![allow(clippy::print_stdout, reason = "an example")]

use checkpoint::{Dtype, FP8_BLOCK};
use device::DeviceError;
use device::backend::{AttentionOptions, AttentionSequence, Precision, Product};
use device::cpu::attention::{KvLayer, KvShape};
use device::cpu::measure::{DotKind, ReadMemory, Stopwatch, measure_dot_peak, measure_fork_join};
use device::cpu::{ActivationDtypes, Cpu, HostBuffer, Matrix, PackedActivations};
use device::memory::Arena;
use device::pool::PoolOptions;
use placement::KvDtype;

/// Offset in bytes of a matrix from a 64-byte boundary.
const PHASE_BYTES: usize = 24;

/// Measured limits of the machine: memory reads in bytes/s, and operations/s by dtype.
struct MeasuredLimits {
    read: f64,
    f32: f64,
    bf16: f64,
    int8: f64,
}

fn main() -> Result<(), DeviceError> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok());
    let cpu = Cpu::new(&PoolOptions { threads })?;
    let mut memory = ReadMemory::new()?;
    let limits = MeasuredLimits {
        read: memory.best_rate(&cpu, 384)?,
        f32: measure_dot_peak(&cpu, DotKind::F32, 40)?,
        bf16: measure_dot_peak(&cpu, DotKind::Bf16, 40)?,
        int8: measure_dot_peak(&cpu, DotKind::Int8, 40)?,
    };
    println!("kernels {}, {} threads", cpu.kernel_set(), cpu.pool().threads());
    println!(
        "read {:.1} GB/s; f32 {:.0}, bf16 {:.0}, int8 {:.0} G/s",
        limits.read / 1e9,
        limits.f32 / 1e9,
        limits.bf16 / 1e9,
        limits.int8 / 1e9
    );
    println!("fork and join {:.2} us", measure_fork_join(cpu.pool(), 100_000)? * 1e6);
    if "read".contains(&filter) || "decode".contains(&filter) {
        decode(&cpu, &mut memory, &std::env::args().nth(2).unwrap_or_default())?;
    }
    if "prefill".contains(&filter) {
        prefill(&cpu, &limits)?;
    }
    if "attention".contains(&filter) {
        attention(&cpu, &limits)?;
    }
    if "attention of runs".contains(&filter) {
        attention_of_runs(&cpu, &mut memory)?;
    }
    if "quantize".contains(&filter) {
        quantize(&cpu)?;
    }
    Ok(())
}

/// Pseudo-random weights, unaligned like weights in a file. Their scales are neither denormal,
/// infinite nor NaN.
fn weights(arena: &Arena, dtype: Dtype, rows: usize, cols: usize) -> Result<Matrix, DeviceError> {
    let bytes = rows * cols / dtype.block_elements() * dtype.block_bytes();
    let data = arena.fill::<DeviceError>(bytes + PHASE_BYTES, |to| {
        let mut state = 1u64;
        for word in to.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bytes = (state & 0x3f7f_3f7f_3f7f_3f7f).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
        Ok(())
    })?;
    let data = data.slice(PHASE_BYTES..PHASE_BYTES + bytes)?;
    if dtype == Dtype::F8E4M3 {
        let factors = vec![0.01; rows.div_ceil(FP8_BLOCK) * cols.div_ceil(FP8_BLOCK)];
        return Matrix::block_fp8(rows, cols, data, &factors);
    }
    Matrix::new(dtype, rows, cols, data)
}

/// Best time in seconds of each piece of a workload over many rounds. The sum of these times is
/// robust to interruptions, each of which spoils only one piece of one round.
struct BestTimes<'a> {
    cpu: &'a Cpu,
    seconds: Vec<f64>,
    at: usize,
}

impl BestTimes<'_> {
    fn piece<T>(&mut self, run: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let start = Stopwatch::start(self.cpu);
        let result = run()?;
        let seconds = start.seconds();
        match self.seconds.get_mut(self.at) {
            Some(best) => *best = best.min(seconds),
            None => self.seconds.push(seconds),
        }
        self.at += 1;
        Ok(result)
    }
}

fn best_pieces(
    cpu: &Cpu,
    rounds: usize,
    mut run: impl FnMut(&mut BestTimes<'_>) -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    let mut best = BestTimes { cpu, seconds: Vec::new(), at: 0 };
    for _ in 0..rounds {
        best.at = 0;
        run(&mut best)?;
    }
    Ok(best.seconds.iter().sum())
}

fn best(
    cpu: &Cpu,
    rounds: usize,
    mut run: impl FnMut() -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    best_pieces(cpu, rounds, |best| best.piece(&mut run))
}

/// Weights of one layer.
struct LayerWeights {
    qkv: [Matrix; 3],
    o: Matrix,
    gate_up: [Matrix; 2],
    down: Matrix,
}

impl LayerWeights {
    fn bytes(&self) -> usize {
        let others = [&self.o, &self.down];
        self.qkv.iter().chain(&self.gate_up).chain(others).map(Matrix::bytes).sum()
    }
}

/// Elements per token in a model: hidden state, MLP intermediate, and keys or values of all heads.
#[derive(Clone, Copy)]
struct ModelSizes {
    hidden: usize,
    inter: usize,
    kv: usize,
}

/// Benchmarks decoding with models of several layers, so that weights are read from memory and not
/// from a cache.
fn decode(cpu: &Cpu, memory: &mut ReadMemory, only: &str) -> Result<(), DeviceError> {
    let layers = std::env::var("LAYERS").ok().and_then(|layers| layers.parse().ok()).unwrap_or(30);
    let models = [
        ("1.2B", ModelSizes { hidden: 2048, inter: 8192, kv: 512 }, 2),
        ("SmolLM2", ModelSizes { hidden: 576, inter: 1536, kv: 192 }, layers),
    ];
    for (name, sizes, layers) in models {
        for dtype in [
            Dtype::BF16,
            Dtype::F16,
            Dtype::F32,
            Dtype::F8E4M3,
            Dtype::Q8_0,
            Dtype::Q4_0,
            Dtype::Q4_1,
            Dtype::Q5_1,
            Dtype::Q4K,
            Dtype::Q5K,
            Dtype::Q6K,
        ] {
            let ModelSizes { hidden, inter, kv } = sizes;
            if !hidden.is_multiple_of(dtype.block_elements()) || !dtype.name().contains(only) {
                continue;
            }
            let arena = Arena::new(4 << 30)?;
            let w = |rows, cols| weights(&arena, dtype, rows, cols);
            let mut model = Vec::new();
            for _ in 0..layers {
                model.push(LayerWeights {
                    qkv: [w(hidden, hidden)?, w(kv, hidden)?, w(kv, hidden)?],
                    o: w(hidden, hidden)?,
                    gate_up: [w(inter, hidden)?, w(inter, hidden)?],
                    down: w(hidden, inter)?,
                });
            }
            let bytes: usize = model.iter().map(LayerWeights::bytes).sum();
            for tokens in tokens_of(&[1, 8, 32]) {
                let seconds = decode_step(cpu, &model, sizes, dtype, tokens)?;
                let rate = bytes as f64 / seconds;
                let read = memory.best_rate(cpu, 64)?;
                let flops = 2.0 * tokens as f64 * bytes as f64 / dtype.block_bytes() as f64
                    * dtype.block_elements() as f64
                    / seconds;
                println!(
                    "decode {name:8} {:5} batch {tokens:2}: {:6.1} GB/s = {:3.0}% of read, {:6.0} GFLOP/s",
                    dtype.name(),
                    rate / 1e9,
                    100.0 * rate / read,
                    flops / 1e9
                );
            }
        }
    }
    Ok(())
}

/// Seconds of the matrix multiplications of one decoding step.
fn decode_step(
    cpu: &Cpu,
    model: &[LayerWeights],
    sizes: ModelSizes,
    dtype: Dtype,
    tokens: usize,
) -> Result<f64, DeviceError> {
    let ModelSizes { hidden, inter, .. } = sizes;
    let x: Vec<f32> = (0..tokens * inter).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let mut out = [0; 3].map(|_| HostBuffer::new(tokens * inter));
    let [a, b, c] = &mut out;
    let dtypes = ActivationDtypes::new(precision()).and(dtype);
    let mut inputs = PackedActivations::new();
    let mut linear = |best: &mut BestTimes, inputs: &PackedActivations, weights: &[&Matrix]| {
        let outs = [&mut *a, &mut *b, &mut *c];
        let mut products: Vec<Product<Cpu>> = weights
            .iter()
            .zip(outs)
            .map(|(&weight, out)| Product { weight, bias: None, out })
            .collect();
        best.piece(|| cpu.linear(inputs, &mut products))
    };
    best_pieces(cpu, 60, |best| {
        for LayerWeights { qkv: [q, k, v], o, gate_up: [gate, up], down } in model {
            best.piece(|| inputs.pack(cpu, &x[..tokens * hidden], tokens, hidden, dtypes))?;
            linear(best, &inputs, &[q, k, v])?;
            linear(best, &inputs, &[o])?;
            linear(best, &inputs, &[gate, up])?;
            best.piece(|| inputs.pack(cpu, &x, tokens, inter, dtypes))?;
            linear(best, &inputs, &[down])?;
        }
        Ok(())
    })
}

fn prefill(cpu: &Cpu, limits: &MeasuredLimits) -> Result<(), DeviceError> {
    let arena = Arena::new(1 << 30)?;
    let shapes =
        [(8192usize, 2048usize), (2048, 8192), (2048, 2048), (1536, 576), (576, 1536), (192, 576)];
    for dtype in [
        Dtype::BF16,
        Dtype::F32,
        Dtype::F16,
        Dtype::F8E4M3,
        Dtype::Q8_0,
        Dtype::Q4_0,
        Dtype::Q4_1,
        Dtype::Q4K,
        Dtype::Q6K,
    ] {
        let limit = match dtype {
            Dtype::BF16 | Dtype::F8E4M3 => limits.bf16,
            Dtype::F32 | Dtype::F16 => limits.f32,
            _ => limits.int8,
        };
        for (rows, cols) in shapes {
            if !cols.is_multiple_of(dtype.block_elements()) {
                continue;
            }
            let weight = weights(&arena, dtype, rows, cols)?;
            for tokens in tokens_of(&[512]) {
                let x: Vec<f32> =
                    (0..tokens * cols).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
                let mut out = HostBuffer::new(tokens * rows);
                let mut inputs = PackedActivations::new();
                let seconds = best(cpu, 20, || {
                    inputs.pack(
                        cpu,
                        &x,
                        tokens,
                        cols,
                        ActivationDtypes::new(precision()).and(dtype),
                    )?;
                    cpu.linear(
                        &inputs,
                        &mut [Product { weight: &weight, bias: None, out: &mut out }],
                    )
                })?;
                let rate = 2.0 * (tokens * rows * cols) as f64 / seconds;
                let (percent, of_bf16) = (100.0 * rate / limit, rate / limits.bf16);
                println!(
                    "prefill {:5} {rows:5} x {cols:5} x {tokens}: {:6.0} GFLOP/s = {percent:3.0}% of its limit, {of_bf16:.2} of bf16's",
                    dtype.name(),
                    rate / 1e9
                );
            }
        }
    }
    Ok(())
}

fn attention(cpu: &Cpu, limits: &MeasuredLimits) -> Result<(), DeviceError> {
    let models = [
        ("1.2B", 32, 8, [64, 64]),
        ("SmolLM2", 9, 3, [64, 64]),
        // Latent attention: the values are the first elements of the keys.
        ("DeepSeek", 128, 1, [576, 512]),
    ];
    for (name, heads, kv_heads, [key_dim, value_dim]) in models {
        for dtype in [KvDtype::Bf16, KvDtype::F32, KvDtype::Int8] {
            let shape = KvShape {
                kv_heads,
                key_dim,
                value_dim,
                block_tokens: 32,
                dtype,
                values_in_keys: key_dim != value_dim,
            };
            for (context, tokens) in [(512, 512), (8192, 512), (512, 1), (8192, 1)] {
                let blocks = context / 32;
                let arena = Arena::new(KvLayer::bytes(&shape, blocks))?;
                let mut layer = KvLayer::new(&arena, shape, blocks)?;
                let table: Vec<u32> = (0..blocks as u32).collect();
                let k: Vec<f32> = (0..context * kv_heads * key_dim)
                    .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
                    .collect();
                let q: Vec<f32> = (0..tokens * heads * key_dim)
                    .map(|i| ((i * 53 % 103) as f32 - 50.0) / 50.0)
                    .collect();
                cpu.write_kv(
                    &mut layer,
                    &[AttentionSequence { blocks: &table, rows: 0..context, first_position: 0 }],
                    &k,
                    if shape.values_in_keys { &[] } else { &k },
                )?;
                let mut out = vec![0f32; tokens * heads * value_dim];
                let sequence = AttentionSequence {
                    blocks: &table,
                    rows: 0..tokens,
                    first_position: context - tokens,
                };
                let options = AttentionOptions { heads, scale: 0.125, window: None, sinks: None };
                let seconds = best(cpu, 20, || {
                    cpu.attention(&layer, std::slice::from_ref(&sequence), &options, &q, &mut out)
                })?;
                let keys = tokens * context - tokens * (tokens - 1) / 2;
                let flops = 2.0 * (keys * heads * (key_dim + value_dim)) as f64 / seconds;
                let bytes = KvLayer::bytes(&shape, blocks) as f64 / seconds;
                println!(
                    "attention {name:8} {dtype:?} context {context:5} tokens {tokens:3}: {:6.0} GFLOP/s = {:3.0}% of f32, {:5.1} GB/s of cache, {:.0} us",
                    flops / 1e9,
                    100.0 * flops / limits.f32,
                    bytes / 1e9,
                    seconds * 1e6
                );
            }
        }
    }
    Ok(())
}

/// Benchmarks attention of one new token in each of 16 sequences of 2048 tokens, which share their
/// first 512 tokens, as in runs of an experiment. The KV cache of all layers exceeds the CPU
/// caches.
fn attention_of_runs(cpu: &Cpu, memory: &mut ReadMemory) -> Result<(), DeviceError> {
    const LAYERS: usize = 20;
    const RUNS: usize = 16;
    const CONTEXT: usize = 2048;
    const SHARED: usize = 512;
    const BLOCK: usize = 32;
    let (heads, kv_heads) = (9, 3);
    for dtype in [KvDtype::Bf16, KvDtype::Int8] {
        let shape = KvShape {
            kv_heads,
            key_dim: 64,
            value_dim: 64,
            block_tokens: BLOCK,
            dtype,
            values_in_keys: false,
        };
        let blocks = (SHARED + RUNS * (CONTEXT - SHARED)) / BLOCK;
        let arena = Arena::new(LAYERS * KvLayer::bytes(&shape, blocks))?;
        let mut layers = (0..LAYERS)
            .map(|_| KvLayer::new(&arena, shape, blocks))
            .collect::<Result<Vec<_>, _>>()?;
        let k: Vec<f32> =
            (0..CONTEXT * kv_heads * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        // Runs grow concurrently, so their KV blocks are interleaved.
        let tables: Vec<Vec<u32>> = (0..RUNS)
            .map(|run| {
                let own = (0..(CONTEXT - SHARED) / BLOCK)
                    .map(|block| SHARED / BLOCK + block * RUNS + run);
                (0..SHARED / BLOCK).chain(own).map(|block| block as u32).collect()
            })
            .collect();
        for layer in &mut layers {
            for table in &tables {
                cpu.write_kv(
                    layer,
                    &[AttentionSequence { blocks: table, rows: 0..CONTEXT, first_position: 0 }],
                    &k,
                    &k,
                )?;
            }
        }
        let q: Vec<f32> =
            (0..RUNS * heads * 64).map(|i| ((i * 53 % 103) as f32 - 50.0) / 50.0).collect();
        let mut out = vec![0f32; q.len()];
        let sequences: Vec<AttentionSequence> = tables
            .iter()
            .enumerate()
            .map(|(run, blocks)| AttentionSequence {
                blocks,
                rows: run..run + 1,
                first_position: CONTEXT - 1,
            })
            .collect();
        let options = AttentionOptions { heads, scale: 0.125, window: None, sinks: None };
        let seconds = best_pieces(cpu, 10, |best| {
            for layer in &layers {
                best.piece(|| cpu.attention(layer, &sequences, &options, &q, &mut out))?;
            }
            Ok(())
        })?;
        let rate = (LAYERS * KvLayer::bytes(&shape, blocks)) as f64 / seconds;
        let percent = 100.0 * rate / memory.best_rate(cpu, 64)?;
        println!(
            "attention of {RUNS} runs, SmolLM2 {dtype:?} context {CONTEXT}, {SHARED} shared: {:.1} GB/s of cache = {percent:.0}% of read, {:.0} us a layer",
            rate / 1e9,
            seconds * 1e6 / LAYERS as f64
        );
    }
    Ok(())
}

fn quantize(cpu: &Cpu) -> Result<(), DeviceError> {
    let arena = Arena::new(1 << 30)?;
    let source = weights(&arena, Dtype::BF16, 8192, 8192)?;
    let mut out = vec![0u8; 8192 * 8192 / 32 * 34];
    let seconds = best(cpu, 10, || cpu.quantize_int8(Dtype::BF16, &source.data, &mut out))?;
    println!("bf16 to int8: {:.1} GB/s read", source.bytes() as f64 / seconds / 1e9);
    Ok(())
}

/// Precision that the environment variable PRECISION selects.
fn precision() -> Precision {
    if std::env::var("PRECISION").is_ok_and(|name| name == "native") {
        Precision::Native
    } else {
        Precision::Int8
    }
}

/// Token counts from the environment variable TOKENS, else `default`.
fn tokens_of(default: &[usize]) -> Vec<usize> {
    let given = std::env::var("TOKENS").unwrap_or_default();
    let given: Vec<usize> = given.split(',').filter_map(|count| count.parse().ok()).collect();
    if given.is_empty() { default.to_vec() } else { given }
}
