//! Checks of norms, RoPE, embeddings, gathering, conversion and random weights.

use std::sync::Arc;

use checkpoint::{Dtype, Pairing};
use half::{bf16, f16};

use super::operands::{
    DTYPES, EpilogueCheck, OperandRng, TestMatrix, deadline, download, random_weights, unwritten,
    upload,
};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::{AttentionSequence, Backend, NormWeights};
use crate::cpu::{Cpu, Matrix, RopeTable, reference};
use crate::cuda::ops::{elementwise, embed, rope};
use crate::cuda::{AttentionMetadata, BatchShape, Gpu, GpuArena, GpuRopeTable, IndexList};
use crate::memory::Arena;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("rms_norm", |gpu, _| norms(gpu, NormCheckKind::Rms)),
        Check::new("rms_norm of a sum", |gpu, _| norm_of_sum(gpu)),
        Check::new("layer_norm", |gpu, _| norms(gpu, NormCheckKind::Layer)),
        Check::new("rope", rope),
        Check::new("gather_rows", |gpu, _| gather(gpu)),
        Check::new("convert", |gpu, _| convert(gpu)),
        Check::new("convert to q8_0", quantize),
        Check::new("fill_random", |gpu, _| fill(gpu)),
    ];
    for dtype in DTYPES {
        let name = format!("embed {}", dtype.name().to_lowercase());
        checks.push(Check::new(name, move |gpu, cpu| embed(gpu, cpu, dtype)));
    }
    checks
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NormCheckKind {
    Rms,
    Layer,
}

/// Checks norms of rows as long as heads and as hidden states: against reference arithmetic in f64,
/// and for bit-identical results of a row alone, in a batch and in place.
fn norms(gpu: &Gpu, kind: NormCheckKind) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(1));
    for (rows, cols) in [(1, 1), (19, 64), (9, 100), (3, 513), (5, 4096)] {
        let x: Vec<f32> = rng.normals(rows * cols).iter().map(|x| x + 0.5).collect();
        let (weight, bias) = (rng.normals(cols), rng.normals(cols));
        let (gpu_x, gpu_weight) = (upload(gpu, &x)?, Arc::new(upload(gpu, &weight)?));
        let gpu_bias = Arc::new(upload(gpu, &bias)?);
        let rms = || NormWeights { weight: &gpu_weight, bias: None, eps: 1e-5 };
        let layer = || NormWeights { weight: &gpu_weight, bias: Some(&gpu_bias), eps: 1e-2 };
        let (mut out, mut packed) = (unwritten(gpu, x.len())?, EpilogueCheck::new(gpu)?);
        let epilogue = Some(packed.epilogue(rows, cols));
        let (expected, tolerance): (Vec<f64>, f64) = match kind {
            NormCheckKind::Layer => {
                gpu.layer_norm(&gpu_x, layer(), &mut out, epilogue)?;
                let rows = x.chunks(cols);
                (rows.flat_map(|x| reference::layer_norm(x, &weight, &bias, 1e-2)).collect(), 1e-4)
            }
            NormCheckKind::Rms => {
                gpu.rms_norm(&gpu_x, rms(), &mut out, epilogue)?;
                (x.chunks(cols).flat_map(|x| reference::rms_norm(x, &weight, 1e-5)).collect(), 1e-5)
            }
        };
        let found = download(&out)?;
        report.values(&found, &expected, tolerance);
        packed.compare(&mut report, &found, cols)?;
        // The last row alone must give the same bits; RMSNorm is computed in place.
        let last = (rows - 1) * cols;
        let (mut alone, mut out) = (upload(gpu, &x[last..])?, unwritten(gpu, cols)?);
        match kind {
            NormCheckKind::Layer => {
                gpu.layer_norm(&alone, layer(), &mut out, None)?;
                report.same_bits(&download(&out)?, &found[last..]);
            }
            NormCheckKind::Rms => {
                gpu.rms_norm_inplace(&mut alone, rms())?;
                report.same_bits(&download(&alone)?, &found[last..]);
            }
        }
    }
    Ok(report)
}

/// Checks that the fused sum, norm and epilogue are bit-identical to separate operations.
fn norm_of_sum(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(9));
    for (rows, cols) in [(19, 64), (3, 513), (5, 4096)] {
        let [x, y] = [(); 2].map(|()| rng.normals(rows * cols));
        let weight = Arc::new(upload(gpu, &rng.normals(cols))?);
        let norm = || NormWeights { weight: &weight, bias: None, eps: 1e-5 };
        let ([mut sum, mut expected], y) = ([upload(gpu, &x)?, upload(gpu, &x)?], upload(gpu, &y)?);
        let (mut out, mut packed) = (unwritten(gpu, x.len())?, EpilogueCheck::new(gpu)?);
        let epilogue = Some(packed.epilogue(rows, cols));
        gpu.add_rms_norm(&mut sum, &y, norm(), &mut out, epilogue)?;
        gpu.add(&mut expected, &y)?;
        report.same_bits(&download(&sum)?, &download(&expected)?);
        gpu.rms_norm_inplace(&mut expected, norm())?;
        let found = download(&out)?;
        report.same_bits(&found, &download(&expected)?);
        packed.compare(&mut report, &found, cols)?;
    }
    Ok(report)
}

/// Checks that RoPE is bit-identical to that of the CPU, for both pairings and for full and partial
/// rotation.
fn rope(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(2));
    for (pairing, half, rest) in
        [(Pairing::Halves, 32, 0), (Pairing::Interleaved, 20, 24), (Pairing::Halves, 3, 2)]
    {
        let (tokens, heads, head_dim, first) = (13, [6, 1], 2 * half + rest, 5);
        let angles: Vec<f32> = (0..40 * half).map(|_| rng.normal() * 3.0).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let table = RopeTable { cos: &cos, sin: &sin, rotary_dim: 2 * half, pairing };
        let gpu_table = GpuRopeTable::new(gpu, &table, deadline())?;
        let mut x = heads.map(|heads| rng.normals(tokens * heads * head_dim));
        let [mut q, mut k] = [upload(gpu, &x[0])?, upload(gpu, &x[1])?];
        let metadata = one_sequence(gpu, tokens, first)?;
        rope::rope(gpu, [&mut q, &mut k], head_dim, &metadata, &gpu_table)?;
        let positions: Vec<u32> = (first..first + tokens).map(|position| position as u32).collect();
        for (x, on_gpu) in x.iter_mut().zip([q, k]) {
            cpu.rope(x, head_dim, &positions, &table)?;
            report.same_bits(&download(&on_gpu)?, x);
        }
    }
    Ok(report)
}

/// Metadata of a batch with one sequence.
fn one_sequence(
    gpu: &Gpu,
    tokens: usize,
    first_position: usize,
) -> Result<AttentionMetadata, DeviceError> {
    let shape =
        BatchShape { tokens, sequences: 1, entries: 8, group: 1, block_tokens: 16, blocks: 8 };
    let mut metadata = AttentionMetadata::new(gpu, shape)?;
    let blocks = &[0, 1, 2, 3, 4, 5, 6, 7];
    let sequence = AttentionSequence { blocks, rows: 0..tokens, first_position };
    metadata.set_batch(&[sequence], deadline())?;
    Ok(metadata)
}

fn gather(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, cols) = (CheckReport::new(), 77);
    let x = OperandRng::new(3).normals(9 * cols);
    let mut rows = IndexList::new(gpu, 0)?;
    rows.set(&[8, 0, 3, 3], deadline())?;
    let mut out = unwritten(gpu, 4 * cols)?;
    elementwise::gather_rows(gpu, &upload(gpu, &x)?, cols, &rows, &mut out)?;
    let expected: Vec<f32> =
        [8, 0, 3, 3].iter().flat_map(|row| x[row * cols..][..cols].to_vec()).collect();
    report.same_bits(&download(&out)?, &expected);
    Ok(report)
}

/// Checks that embedded rows are bit-identical to those of the CPU.
fn embed(gpu: &Gpu, cpu: &Cpu, dtype: Dtype) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(4));
    let ragged = if dtype.block_elements() == 1 { 5 } else { 0 };
    let (rows, cols) = (11, dtype.block_elements().max(32) * 3 + ragged);
    let table = TestMatrix::random(gpu, &mut rng, dtype, rows, cols)?;
    let arena = Arena::new(table.bytes.len() + 4096)?;
    let data = arena.fill::<DeviceError>(table.bytes.len(), |to| {
        to.copy_from_slice(&table.bytes);
        Ok(())
    })?;
    let cpu_table = Matrix::new(dtype, rows, cols, data)?;
    let ids = [10, 0, 7, 7, 3];
    let mut gpu_ids = IndexList::new(gpu, 5)?;
    gpu_ids.set(&ids, deadline())?;
    let len = ids.len() * cols;
    let (mut found, mut expected) = (unwritten(gpu, len)?, vec![0.0; len]);
    embed::embed(gpu, &table.gpu, &gpu_ids, &mut found)?;
    cpu.embed(&cpu_table, &ids, &mut expected)?;
    report.same_bits(&download(&found)?, &expected);
    Ok(report)
}

/// Converts weights on the GPU and returns the converted bytes.
fn converted(gpu: &Gpu, from: Dtype, bytes: &[u8], to: Dtype) -> Result<Vec<u8>, DeviceError> {
    let elements = bytes.len() / from.block_bytes();
    let mut out = vec![0; elements / to.block_elements() * to.block_bytes()];
    let gpu_bytes = upload(gpu, bytes)?;
    let mut region = GpuArena::new(gpu, out.len())?.region(out.len())?;
    region.whole()?.fill(|span| gpu.convert(from, &gpu_bytes, to, span))?;
    region.finish(deadline())?.download(&mut out, deadline())?;
    Ok(out)
}

/// Checks conversion between every pair of unquantized dtypes, with large, tiny and special values.
fn convert(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(5));
    let mut values: Vec<f32> = (0..1000).map(|i| rng.normal() * 10f32.powi(i % 60 - 30)).collect();
    values.extend([
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        65504.0,
        65520.0,
        1e-7,
        6e-8,
        2f32.powi(-24),
    ]);
    type Encode = fn(f32) -> Vec<u8>;
    type Decode = fn(&[u8]) -> f32;
    let formats: [(Dtype, Encode, Decode); 3] = [
        (
            Dtype::F32,
            |x| x.to_le_bytes().to_vec(),
            |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        ),
        (
            Dtype::F16,
            |x| f16::from_f32(x).to_le_bytes().to_vec(),
            |b| f16::from_le_bytes([b[0], b[1]]).to_f32(),
        ),
        (
            Dtype::BF16,
            |x| bf16::from_f32(x).to_le_bytes().to_vec(),
            |b| bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        ),
    ];
    for (from, encode, decode) in formats {
        let bytes: Vec<u8> = values.iter().flat_map(|x| encode(*x)).collect();
        for (to, encode, _) in formats {
            let elements = bytes.chunks(from.block_bytes());
            let expected: Vec<u8> = elements.flat_map(|b| encode(decode(b))).collect();
            report.same_bytes(&converted(gpu, from, &bytes, to)?, &expected);
        }
    }
    Ok(report)
}

/// Checks that weights quantized to Q8_0 have the same bytes as on the CPU.
fn quantize(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(6));
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut bytes = random_weights(&mut rng, dtype, 70 * 32);
        bytes[..32 * dtype.block_bytes()].fill(0);
        let mut expected = vec![0; 70 * 34];
        cpu.quantize_int8(dtype, &bytes, &mut expected)?;
        report.same_bytes(&converted(gpu, dtype, &bytes, Dtype::Q8_0)?, &expected);
    }
    Ok(report)
}

/// Checks that random weights have the requested deviation, and two seeds give different weights.
fn fill(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let mut report = CheckReport::new();
    for dtype in DTYPES {
        let cols = 4096;
        let mut bytes = vec![vec![0; cols / dtype.block_elements() * dtype.block_bytes()]; 2];
        for (seed, bytes) in bytes.iter_mut().enumerate() {
            let mut region = GpuArena::new(gpu, bytes.len())?.region(bytes.len())?;
            region.whole()?.fill(|to| gpu.fill_random(dtype, to, 0.02, seed as u64))?;
            region.finish(deadline())?.download(bytes, deadline())?;
            let values = reference::decode_row(dtype, bytes, cols).unwrap_or_default();
            let square = values.iter().map(|x| x * x).sum::<f64>() / cols as f64;
            report.value(square.sqrt(), 0.02, 0.002);
        }
        report.value(f64::from(u8::from(bytes[0] == bytes[1])), 0.0, 0.5);
    }
    Ok(report)
}
