//! Checks of attention: against reference arithmetic in f64, and for bit-identical results across
//! chunks, batches and splits.

use std::sync::Arc;

use placement::KvDtype;

use super::operands::{EpilogueCheck, OperandRng, deadline, download, unwritten, upload};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::{AttentionOptions, AttentionSequence};
use crate::cpu::attention::KvShape;
use crate::cpu::reference;
use crate::cuda::ops::attention::{AttentionOperands, Splits, attention, attention_plain};
use crate::cuda::ops::kv::write_kv;
use crate::cuda::{AttentionMetadata, BatchShape, Buffer, Gpu, GpuArena, GpuKvLayer};

/// A shape of attention, which is checked with every KV dtype.
#[derive(Clone, Copy)]
struct AttentionCase {
    name: &'static str,
    kv_heads: usize,
    group: usize,
    key_dim: usize,
    value_dim: usize,
    block_tokens: usize,
    lengths: &'static [usize],
    window: Option<usize>,
    sinks: bool,
}

const BASE: AttentionCase = AttentionCase {
    name: "several sequences",
    kv_heads: 2,
    group: 3,
    key_dim: 64,
    value_dim: 64,
    block_tokens: 32,
    lengths: &[70, 1, 130],
    window: None,
    sinks: false,
};

const LONG: AttentionCase = AttentionCase {
    name: "long",
    kv_heads: 1,
    group: 4,
    lengths: &[600, 257],
    block_tokens: 16,
    ..BASE
};

const WINDOW: AttentionCase = AttentionCase {
    name: "window",
    kv_heads: 1,
    group: 2,
    lengths: &[560],
    window: Some(200),
    ..BASE
};

const SINKS: AttentionCase = AttentionCase {
    name: "sinks",
    group: 8,
    key_dim: 40,
    value_dim: 24,
    block_tokens: 64,
    sinks: true,
    ..BASE
};

const WIDE_HEADS: AttentionCase = AttentionCase {
    name: "wide heads",
    kv_heads: 1,
    group: 1,
    key_dim: 192,
    value_dim: 256,
    lengths: &[150],
    ..BASE
};

const ODD_HEADS: AttentionCase = AttentionCase {
    name: "odd heads",
    group: 1,
    key_dim: 35,
    value_dim: 21,
    window: Some(5),
    sinks: true,
    ..BASE
};

const CASES: [AttentionCase; 6] = [BASE, LONG, WINDOW, SINKS, WIDE_HEADS, ODD_HEADS];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for (dtype, name) in [(KvDtype::Bf16, "bf16"), (KvDtype::Int8, "int8"), (KvDtype::F32, "f32")] {
        for case in CASES {
            checks.push(Check::new(format!("attention {name}, {}", case.name), move |gpu, _| {
                AttentionCheck::new(case, dtype).agrees_with_plain(gpu)
            }));
            checks.push(Check::new(
                format!("attention {name}, {}, in pieces", case.name),
                move |gpu, _| AttentionCheck::new(case, dtype).is_chunk_invariant(gpu),
            ));
        }
        checks.push(Check::new(format!("attention {name}, blocks"), move |gpu, _| {
            copied_block_is_equal(gpu, dtype)
        }));
    }
    checks
}

/// The q, k and v of all tokens of a sequence, and its KV blocks.
struct CheckSequence {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    blocks: Vec<u32>,
    tokens: usize,
}

/// Number of new tokens of a sequence in a step: `chunk(step, sequence)`.
type Chunk<'a> = dyn Fn(usize, usize) -> usize + 'a;

/// All tokens of every sequence in one step.
const WHOLE: &Chunk = &|_, _| usize::MAX;

/// The kernel that a check runs.
#[derive(Clone, Copy)]
enum KernelPath {
    Plain,
    /// The kernel that [`attention`] chooses for the shape, with this schedule of splits.
    Auto(Splits),
}

struct AttentionCheck {
    case: AttentionCase,
    shape: KvShape,
    sequences: Vec<CheckSequence>,
    sinks: Vec<f32>,
    blocks: usize,
}

impl AttentionCheck {
    fn new(case: AttentionCase, dtype: KvDtype) -> Self {
        let mut rng = OperandRng::new(case.key_dim as u64);
        let AttentionCase { kv_heads, group, key_dim, value_dim, block_tokens, .. } = case;
        let shape =
            KvShape { kv_heads, key_dim, value_dim, block_tokens, dtype, values_in_keys: false };
        let blocks =
            case.lengths.iter().map(|length| length.div_ceil(block_tokens)).sum::<usize>() + 2;
        let mut free: Vec<u32> = (0..blocks as u32).collect();
        let sequence = |&tokens: &usize| CheckSequence {
            q: rng.normals(tokens * kv_heads * group * key_dim),
            k: rng.normals(tokens * kv_heads * key_dim),
            v: rng.normals(tokens * kv_heads * value_dim),
            blocks: (0..tokens.div_ceil(block_tokens))
                .map(|_| free.swap_remove(rng.below(free.len())))
                .collect(),
            tokens,
        };
        let sequences = case.lengths.iter().map(sequence).collect();
        let sinks = rng.normals(kv_heads * group);
        Self { case, shape, sequences, sinks, blocks }
    }

    fn heads(&self) -> usize {
        self.case.kv_heads * self.case.group
    }

    fn scale(&self) -> f32 {
        1.0 / (self.shape.key_dim as f32).sqrt()
    }

    /// Number of elements of one token in `out`.
    fn width(&self) -> usize {
        self.heads() * self.shape.value_dim
    }

    fn options<'a>(&self, sinks: Option<&'a Arc<Buffer<f32>>>) -> AttentionOptions<'a, Gpu> {
        let (heads, scale, window) = (self.heads(), self.scale(), self.case.window);
        AttentionOptions { heads, scale, window, sinks }
    }

    /// Computes the sequences with the indices `which`, in steps with `chunk(step, sequence)` new
    /// tokens of each. Returns the outputs of each sequence, and compares the epilogue's outputs
    /// with them.
    fn run(
        &self,
        gpu: &Gpu,
        report: &mut CheckReport,
        which: &[usize],
        path: KernelPath,
        chunk: &Chunk,
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        let mut layer = self.poisoned_layer(gpu)?;
        let sinks = Arc::new(upload(gpu, &self.sinks)?);
        let options = self.options(self.case.sinks.then_some(&sinks));
        let mut metadata = AttentionMetadata::new(gpu, self.batch_shape())?;
        let mut done = vec![0; which.len()];
        let mut outputs = vec![Vec::new(); which.len()];
        for step in 0.. {
            let (mut q, mut k, mut v, mut batch, mut rows) = (vec![], vec![], vec![], vec![], 0);
            for (s, &index) in which.iter().enumerate() {
                let sequence = &self.sequences[index];
                let new = chunk(step, index).min(sequence.tokens - done[s]);
                let part = |x: &[f32]| {
                    let width = x.len() / sequence.tokens;
                    x[done[s] * width..(done[s] + new) * width].to_vec()
                };
                q.extend(part(&sequence.q));
                k.extend(part(&sequence.k));
                v.extend(part(&sequence.v));
                batch.push(AttentionSequence {
                    blocks: &sequence.blocks,
                    rows: rows..rows + new,
                    first_position: done[s],
                });
                rows += new;
            }
            if rows == 0 {
                break;
            }
            metadata.set_batch(&batch, deadline())?;
            write_kv(gpu, &mut layer, &metadata, &upload(gpu, &k)?, &upload(gpu, &v)?)?;
            let q = upload(gpu, &q)?;
            let operands = AttentionOperands {
                layer: &layer,
                metadata: &mut metadata,
                options: &options,
                q: &q,
            };
            let out = self.attend(gpu, report, operands, path)?;
            let width = self.width();
            for (s, sequence) in batch.iter().enumerate() {
                outputs[s].extend(&out[sequence.rows.start * width..sequence.rows.end * width]);
                done[s] += sequence.rows.len();
            }
        }
        Ok(outputs)
    }

    /// Computes one step with the given kernel and checks its epilogue.
    fn attend(
        &self,
        gpu: &Gpu,
        report: &mut CheckReport,
        operands: AttentionOperands<'_>,
        path: KernelPath,
    ) -> Result<Vec<f32>, DeviceError> {
        let (rows, width) = (operands.metadata.tokens(), self.width());
        let mut out = unwritten(gpu, rows * width)?;
        match path {
            KernelPath::Plain => {
                attention_plain(gpu, operands, &mut out)?;
                download(&out)
            }
            KernelPath::Auto(splits) => {
                let mut packed = EpilogueCheck::new(gpu)?;
                let epilogue = Some(packed.epilogue(rows, width));
                attention(gpu, operands, splits, &mut out, epilogue)?;
                let out = download(&out)?;
                packed.compare(report, &out, width)?;
                Ok(out)
            }
        }
    }

    /// A KV layer with NaNs in every slot: a result that depends on an unwritten slot becomes NaN.
    fn poisoned_layer(&self, gpu: &Gpu) -> Result<GpuKvLayer, DeviceError> {
        let arena = GpuArena::new(gpu, GpuKvLayer::bytes(&self.shape, self.blocks))?;
        let mut layer = GpuKvLayer::new(&arena, self.shape, self.blocks)?;
        let tokens = self.blocks * self.shape.block_tokens;
        let shape = BatchShape { tokens, sequences: 1, ..self.batch_shape() };
        let mut metadata = AttentionMetadata::new(gpu, shape)?;
        let blocks: Vec<u32> = (0..self.blocks as u32).collect();
        let all = AttentionSequence { blocks: &blocks, rows: 0..tokens, first_position: 0 };
        metadata.set_batch(&[all], deadline())?;
        let nans = |dim: usize| upload(gpu, &vec![f32::NAN; tokens * self.shape.kv_heads * dim]);
        let (k, v) = (nans(self.shape.key_dim)?, nans(self.shape.value_dim)?);
        write_kv(gpu, &mut layer, &metadata, &k, &v)?;
        Ok(layer)
    }

    fn batch_shape(&self) -> BatchShape {
        BatchShape {
            tokens: self.case.lengths.iter().sum(),
            sequences: self.case.lengths.len(),
            entries: self.blocks,
            group: self.case.group,
            block_tokens: self.shape.block_tokens,
            blocks: self.blocks,
        }
    }

    /// The expected output of one token of a sequence, by reference arithmetic in f64.
    fn plain_row(&self, sequence: usize, token: usize) -> Vec<f64> {
        let (sequence, shape) = (&self.sequences[sequence], &self.shape);
        let row = |x: &[f32], index: usize, dim: usize| -> Vec<f64> {
            let x = &x[index * dim..(index + 1) * dim];
            match shape.dtype {
                KvDtype::F32 => x.iter().map(|&x| f64::from(x)).collect(),
                KvDtype::Bf16 => x.iter().map(|&x| reference::round_bf16(x)).collect(),
                KvDtype::Int8 => reference::round_int8_kv(x),
            }
        };
        let first = self.case.window.map_or(0, |window| (token + 1).saturating_sub(window));
        let head = |head: usize| {
            let at = |token: usize| token * shape.kv_heads + head / self.case.group;
            let keys: Vec<_> =
                (first..=token).map(|t| row(&sequence.k, at(t), shape.key_dim)).collect();
            let values: Vec<_> =
                (first..=token).map(|t| row(&sequence.v, at(t), shape.value_dim)).collect();
            let q = row(&sequence.q, token * self.heads() + head, shape.key_dim);
            let sink = self.case.sinks.then(|| f64::from(self.sinks[head]));
            reference::attention(&q, &keys, &values, f64::from(self.scale()), sink)
        };
        (0..self.heads()).flat_map(head).collect()
    }

    fn compare_with_plain(&self, report: &mut CheckReport, outputs: &[Vec<f32>]) {
        for (s, out) in outputs.iter().enumerate() {
            let (width, tokens) = (self.width(), self.sequences[s].tokens);
            for token in [0, tokens / 2, tokens - 1] {
                let row = &out[token * width..(token + 1) * width];
                report.values(row, &self.plain_row(s, token), 5e-5);
            }
        }
    }

    /// Compares the kernel that is chosen for the shape, and the plain kernel, with reference
    /// arithmetic in f64.
    fn agrees_with_plain(&self, gpu: &Gpu) -> Result<CheckReport, DeviceError> {
        let mut report = CheckReport::new();
        let all: Vec<usize> = (0..self.sequences.len()).collect();
        for path in [KernelPath::Auto(Splits::Auto), KernelPath::Plain] {
            let outputs = self.run(gpu, &mut report, &all, path, WHOLE)?;
            self.compare_with_plain(&mut report, &outputs);
        }
        Ok(report)
    }

    /// Checks that results are bit-identical in one pass, in chunks, token by token, alone and in a
    /// batch, with sequential and with parallel splits.
    fn is_chunk_invariant(&self, gpu: &Gpu) -> Result<CheckReport, DeviceError> {
        let mut report = CheckReport::new();
        let all: Vec<usize> = (0..self.sequences.len()).collect();
        let sequential = KernelPath::Auto(Splits::Sequential);
        let whole = self.run(gpu, &mut report, &all, sequential, WHOLE)?;
        let chunks = |step: usize, s: usize| (37 * (step + 3 * s + 1)) % 61 + 1;
        let decode = |step: usize, s: usize| {
            if step == 0 { self.sequences[s].tokens.saturating_sub(3) } else { 1 }
        };
        let runs: [(Splits, &Chunk); 4] = [
            (Splits::Parallel(2), WHOLE),
            (Splits::Auto, &chunks),
            (Splits::Parallel(1), &decode),
            (Splits::Sequential, &decode),
        ];
        for (splits, chunk) in runs {
            let outputs = self.run(gpu, &mut report, &all, KernelPath::Auto(splits), chunk)?;
            for (found, expected) in outputs.iter().zip(&whole) {
                report.same_bits(found, expected);
            }
        }
        let (last, auto) = (all.len() - 1, KernelPath::Auto(Splits::Auto));
        let alone = self.run(gpu, &mut report, &[last], auto, WHOLE)?;
        report.same_bits(&alone[0], &whole[last]);
        Ok(report)
    }
}

/// Checks that a copied KV block gives the same result as the original.
fn copied_block_is_equal(gpu: &Gpu, dtype: KvDtype) -> Result<CheckReport, DeviceError> {
    let check = AttentionCheck::new(AttentionCase { lengths: &[30], ..BASE }, dtype);
    let mut layer = check.poisoned_layer(gpu)?;
    let mut metadata = AttentionMetadata::new(gpu, check.batch_shape())?;
    let (sequence, options) = (&check.sequences[0], check.options(None));
    let q = upload(gpu, &sequence.q)?;
    let mut outs = Vec::new();
    for block in [0, 2] {
        let batch = [AttentionSequence { blocks: &[block], rows: 0..30, first_position: 0 }];
        metadata.set_batch(&batch, deadline())?;
        if block == 0 {
            let (k, v) = (upload(gpu, &sequence.k)?, upload(gpu, &sequence.v)?);
            write_kv(gpu, &mut layer, &metadata, &k, &v)?;
            layer.copy_block(0, 2)?;
        }
        let mut out = unwritten(gpu, 30 * check.width())?;
        let operands =
            AttentionOperands { layer: &layer, metadata: &mut metadata, options: &options, q: &q };
        attention(gpu, operands, Splits::Auto, &mut out, None)?;
        outs.push(download(&out)?);
    }
    let mut report = CheckReport::new();
    report.same_bits(&outs[1], &outs[0]);
    check.compare_with_plain(&mut report, &outs[..1]);
    Ok(report)
}
