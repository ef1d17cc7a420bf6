//! Norms, rotations, embeddings, conversions.

use checkpoint::{Dtype, Pairing};
use half::{bf16, f16};

use super::operands::{
    DTYPES, EpilogueCheck, OperandRng, TestMatrix, downloaded, soon, unwritten, uploaded, weights,
};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::AttentionSequence;
use crate::cpu::{Cpu, Matrix, RopeTable, plain};
use crate::cuda::{AttentionMetadata, BatchShape, Gpu, GpuArena, GpuIndices, GpuRopeTable};
use crate::memory::Arena;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![
        Check::new("rms_norm", |gpu, _| norms(gpu, false)),
        Check::new("rms_norm of a sum", |gpu, _| norm_of_sum(gpu)),
        Check::new("layer_norm", |gpu, _| norms(gpu, true)),
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

/// Rows of heads and of hidden states, alone and among others.
fn norms(gpu: &Gpu, layer: bool) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(1));
    for (rows, cols) in [(1, 1), (19, 64), (9, 100), (3, 513), (5, 4096)] {
        let x: Vec<f32> = random.normals(rows * cols).iter().map(|x| x + 0.5).collect();
        let (weight, bias) = (random.normals(cols), random.normals(cols));
        let on_gpu = (uploaded(gpu, &x)?, uploaded(gpu, &weight)?, uploaded(gpu, &bias)?);
        let (mut out, mut epilogue) = (unwritten(gpu, x.len())?, EpilogueCheck::new(gpu)?);
        let gpu_epilogue = epilogue.epilogue(rows, cols);
        let expected: Vec<f64> = if layer {
            gpu.layer_norm(&on_gpu.0, &on_gpu.1, Some(&on_gpu.2), 1e-2, &mut out, gpu_epilogue)?;
            x.chunks(cols).flat_map(|x| plain::layer_norm(x, &weight, &bias, 1e-2)).collect()
        } else {
            gpu.rms_norm(&on_gpu.0, &on_gpu.1, 1e-5, &mut out, gpu_epilogue)?;
            x.chunks(cols).flat_map(|x| plain::rms_norm(x, &weight, 1e-5)).collect()
        };
        let found = downloaded(&out)?;
        report.numbers(&found, &expected, if layer { 1e-4 } else { 1e-5 });
        epilogue.compare(&mut report, &found, cols)?;
        // The last row alone, and in place.
        let last = (rows - 1) * cols;
        let (mut alone, mut out) = (uploaded(gpu, &x[last..])?, unwritten(gpu, cols)?);
        if layer {
            gpu.layer_norm(&alone, &on_gpu.1, Some(&on_gpu.2), 1e-2, &mut out, None)?;
            report.same_bits(&downloaded(&out)?, &found[last..]);
        } else {
            gpu.rms_norm_inplace(&mut alone, &on_gpu.1, 1e-5)?;
            report.same_bits(&downloaded(&alone)?, &found[last..]);
        }
    }
    Ok(report)
}

/// The sum, its norm and what is epilogue, bit for bit as by one operation after the other.
fn norm_of_sum(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(9));
    for (rows, cols) in [(19, 64), (3, 513), (5, 4096)] {
        let [x, y] = [(); 2].map(|()| random.normals(rows * cols));
        let weight = uploaded(gpu, &random.normals(cols))?;
        let ([mut sum, mut expected], y) =
            ([uploaded(gpu, &x)?, uploaded(gpu, &x)?], uploaded(gpu, &y)?);
        let (mut out, mut epilogue) = (unwritten(gpu, x.len())?, EpilogueCheck::new(gpu)?);
        gpu.add_rms_norm(&mut sum, &y, &weight, 1e-5, &mut out, epilogue.epilogue(rows, cols))?;
        gpu.add(&mut expected, &y)?;
        report.same_bits(&downloaded(&sum)?, &downloaded(&expected)?);
        gpu.rms_norm_inplace(&mut expected, &weight, 1e-5)?;
        let found = downloaded(&out)?;
        report.same_bits(&found, &downloaded(&expected)?);
        epilogue.compare(&mut report, &found, cols)?;
    }
    Ok(report)
}

/// Both pairings, whole and partial, as the CPU turns them.
fn rope(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(2));
    for (pairing, half, rest) in
        [(Pairing::Halves, 32, 0), (Pairing::Interleaved, 20, 24), (Pairing::Halves, 3, 2)]
    {
        let (tokens, heads, head_dim, first) = (13, [6, 1], 2 * half + rest, 5);
        let angles: Vec<f32> = (0..40 * half).map(|_| random.normal() * 3.0).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let table = RopeTable { cos: &cos, sin: &sin, rotary_dim: 2 * half, pairing };
        let mut x = heads.map(|heads| random.normals(tokens * heads * head_dim));
        let [mut q, mut k] = [uploaded(gpu, &x[0])?, uploaded(gpu, &x[1])?];
        let pass = pass_of(gpu, tokens, first)?;
        gpu.rope([&mut q, &mut k], head_dim, &pass, &GpuRopeTable::new(gpu, &table, soon())?)?;
        let positions: Vec<u32> = (first..first + tokens).map(|position| position as u32).collect();
        for (x, on_gpu) in x.iter_mut().zip([q, k]) {
            cpu.rope(x, head_dim, &positions, &table)?;
            report.same_bits(&downloaded(&on_gpu)?, x);
        }
    }
    Ok(report)
}

/// A pass of one sequence.
fn pass_of(
    gpu: &Gpu,
    tokens: usize,
    first_position: usize,
) -> Result<AttentionMetadata, DeviceError> {
    let shape =
        BatchShape { tokens, sequences: 1, entries: 8, group: 1, block_tokens: 16, blocks: 8 };
    let mut pass = AttentionMetadata::new(gpu, shape)?;
    pass.begin(
        &[AttentionSequence { blocks: &[0, 1, 2, 3, 4, 5, 6, 7], rows: 0..tokens, first_position }],
        soon(),
    )?;
    Ok(pass)
}

fn gather(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, cols) = (CheckReport::new(), 77);
    let x = OperandRng(3).normals(9 * cols);
    let mut rows = GpuIndices::new(gpu, 0)?;
    rows.set(&[8, 0, 3, 3], soon())?;
    let mut out = unwritten(gpu, 4 * cols)?;
    gpu.gather_rows(&uploaded(gpu, &x)?, cols, &rows, &mut out)?;
    let expected: Vec<f32> =
        [8, 0, 3, 3].iter().flat_map(|row| x[row * cols..][..cols].to_vec()).collect();
    report.same_bits(&downloaded(&out)?, &expected);
    Ok(report)
}

/// Rows of an embedding are the CPU's, bit for bit.
fn embed(gpu: &Gpu, cpu: &Cpu, dtype: Dtype) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(4));
    let (rows, cols) =
        (11, dtype.block_elements().max(32) * 3 + if dtype.block_elements() == 1 { 5 } else { 0 });
    let table = TestMatrix::random(gpu, &mut random, dtype, rows, cols)?;
    let arena = Arena::new(table.bytes.len() + 4096)?;
    let data = arena.fill::<DeviceError>(table.bytes.len(), |to| {
        to.copy_from_slice(&table.bytes);
        Ok(())
    })?;
    let on_host = Matrix::new(dtype, rows, cols, data)?;
    let ids = [10, 0, 7, 7, 3];
    let mut on_gpu = GpuIndices::new(gpu, 5)?;
    on_gpu.set(&ids, soon())?;
    let (mut found, mut expected) =
        (unwritten(gpu, ids.len() * cols)?, vec![0.0; ids.len() * cols]);
    gpu.embed(&table.gpu, &on_gpu, &mut found)?;
    cpu.embed(&on_host, &ids, &mut expected)?;
    report.same_bits(&downloaded(&found)?, &expected);
    Ok(report)
}

/// What `dtype` weights become on the GPU.
fn converted(gpu: &Gpu, from: Dtype, bytes: &[u8], to: Dtype) -> Result<Vec<u8>, DeviceError> {
    let numbers = bytes.len() / from.block_bytes();
    let mut out = vec![0; numbers / to.block_elements() * to.block_bytes()];
    let from_gpu = uploaded(gpu, bytes)?;
    let mut region = GpuArena::new(gpu, out.len())?.region(out.len())?;
    region.whole()?.fill(|span| gpu.convert(from, &from_gpu, to, span))?;
    region.finish(soon())?.download(&mut out, soon())?;
    Ok(out)
}

/// Every pair of number formats, with numbers that are large, tiny, and none.
fn convert(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(5));
    let mut numbers: Vec<f32> =
        (0..1000).map(|i| random.normal() * 10f32.powi(i % 60 - 30)).collect();
    numbers.extend([
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
    type Bytes = fn(f32) -> Vec<u8>;
    type Number = fn(&[u8]) -> f32;
    let formats: [(Dtype, Bytes, Number); 3] = [
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
    for (from, from_number, number) in formats {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| from_number(*x)).collect();
        for (to, to_bytes, _) in formats {
            let expected: Vec<u8> =
                bytes.chunks(from.block_bytes()).flat_map(|b| to_bytes(number(b))).collect();
            report.same_bytes(&converted(gpu, from, &bytes, to)?, &expected);
        }
    }
    Ok(report)
}

/// The CPU's bytes.
fn quantize(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(6));
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let mut bytes = weights(&mut random, dtype, 70 * 32);
        bytes[..32 * dtype.block_bytes()].fill(0);
        let mut expected = vec![0; 70 * 34];
        cpu.quantize_int8(dtype, &bytes, &mut expected)?;
        report.same_bytes(&converted(gpu, dtype, &bytes, Dtype::Q8_0)?, &expected);
    }
    Ok(report)
}

/// OperandRng weights are about normal with the deviation asked for, and no two seeds give the same.
fn fill(gpu: &Gpu) -> Result<CheckReport, DeviceError> {
    let mut report = CheckReport::new();
    for dtype in DTYPES {
        let cols = 4096;
        let mut bytes = vec![vec![0; cols / dtype.block_elements() * dtype.block_bytes()]; 2];
        for (seed, bytes) in bytes.iter_mut().enumerate() {
            let mut region = GpuArena::new(gpu, bytes.len())?.region(bytes.len())?;
            region.whole()?.fill(|to| gpu.fill_random(dtype, to, 0.02, seed as u64))?;
            region.finish(soon())?.download(bytes, soon())?;
            let numbers = plain::decode_row(dtype, bytes, cols).unwrap_or_default();
            let square = numbers.iter().map(|x| x * x).sum::<f64>() / cols as f64;
            report.number(square.sqrt(), 0.02, 0.002);
        }
        report.number(f64::from(u8::from(bytes[0] == bytes[1])), 0.0, 0.5);
    }
    Ok(report)
}
