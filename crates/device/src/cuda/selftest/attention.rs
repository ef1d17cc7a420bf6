use placement::KvDtype;

use super::operands::{EpilogueCheck, OperandRng, downloaded, soon, unwritten, uploaded};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::AttentionSequence;
use crate::cpu::attention::KvShape;
use crate::cpu::plain;
use crate::cuda::ops::Splits;
use crate::cuda::{AttentionMetadata, BatchShape, Gpu, GpuArena, GpuAttentionOptions, GpuKvLayer};

/// Shapes that every dtype is checked with.
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

const PLAIN: AttentionCase = AttentionCase {
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

const CASES: [AttentionCase; 6] = [
    PLAIN,
    AttentionCase {
        name: "long",
        kv_heads: 1,
        group: 4,
        lengths: &[600, 257],
        block_tokens: 16,
        ..PLAIN
    },
    AttentionCase {
        name: "window",
        kv_heads: 1,
        group: 2,
        lengths: &[560],
        window: Some(200),
        ..PLAIN
    },
    AttentionCase {
        name: "sinks",
        group: 8,
        key_dim: 40,
        value_dim: 24,
        block_tokens: 64,
        sinks: true,
        ..PLAIN
    },
    AttentionCase {
        name: "wide heads",
        kv_heads: 1,
        group: 1,
        key_dim: 192,
        value_dim: 256,
        lengths: &[150],
        ..PLAIN
    },
    AttentionCase {
        name: "odd heads",
        group: 1,
        key_dim: 35,
        value_dim: 21,
        window: Some(5),
        sinks: true,
        ..PLAIN
    },
];

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for (dtype, name) in [(KvDtype::Bf16, "bf16"), (KvDtype::Int8, "int8"), (KvDtype::F32, "f32")] {
        for case in CASES {
            checks.push(Check::new(format!("attention {name}, {}", case.name), move |gpu, _| {
                AttentionCheck::new(case, dtype).agrees(gpu)
            }));
            checks.push(Check::new(
                format!("attention {name}, {}, in pieces", case.name),
                move |gpu, _| AttentionCheck::new(case, dtype).is_the_same_in_pieces(gpu),
            ));
        }
        checks.push(Check::new(format!("attention {name}, blocks"), move |gpu, _| {
            blocks_are_paged(gpu, dtype)
        }));
    }
    checks
}

/// A sequence's whole q, k and v, and the blocks it lives in.
struct CheckSequence {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    blocks: Vec<u32>,
    tokens: usize,
}

/// KernelPath many new tokens a step has of a sequence.
type Chunk<'a> = dyn Fn(usize, usize) -> usize + 'a;

struct AttentionCheck {
    case: AttentionCase,
    shape: KvShape,
    sequences_of_case: Vec<CheckSequence>,
    sinks: Vec<f32>,
    blocks: usize,
}

impl AttentionCheck {
    fn new(case: AttentionCase, dtype: KvDtype) -> Self {
        let mut random = OperandRng(case.key_dim as u64);
        let AttentionCase { kv_heads, group, key_dim, value_dim, block_tokens, .. } = case;
        let shape = KvShape { kv_heads, key_dim, value_dim, block_tokens, dtype };
        let blocks =
            case.lengths.iter().map(|length| length.div_ceil(block_tokens)).sum::<usize>() + 2;
        let mut free: Vec<u32> = (0..blocks as u32).collect();
        let history = |&tokens: &usize| CheckSequence {
            q: random.normals(tokens * kv_heads * group * key_dim),
            k: random.normals(tokens * kv_heads * key_dim),
            v: random.normals(tokens * kv_heads * value_dim),
            blocks: (0..tokens.div_ceil(block_tokens))
                .map(|_| free.swap_remove(random.below(free.len())))
                .collect(),
            tokens,
        };
        let sequences_of_case = case.lengths.iter().map(history).collect();
        let sinks = random.normals(kv_heads * group);
        Self { case, shape, sequences_of_case, sinks, blocks }
    }

    fn heads(&self) -> usize {
        self.case.kv_heads * self.case.group
    }

    fn scale(&self) -> f32 {
        1.0 / (self.shape.key_dim as f32).sqrt()
    }

    /// Runs the sequences `which` in steps of `chunk(step, sequence)` new tokens each. Returns the
    /// outputs by sequence; what is epilogue beside them is compared with them.
    fn run(
        &self,
        gpu: &Gpu,
        report: &mut CheckReport,
        which: &[usize],
        how: KernelPath,
        chunk: &Chunk,
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        let mut layer = self.dirty_layer(gpu)?;
        let sinks = uploaded(gpu, &self.sinks)?;
        let sinks = self.case.sinks.then_some(&sinks);
        let options = GpuAttentionOptions {
            heads: self.heads(),
            scale: self.scale(),
            window: self.case.window,
            sinks,
        };
        let mut pass = AttentionMetadata::new(gpu, self.pass_shape())?;
        let mut done = vec![0; which.len()];
        let mut outputs = vec![Vec::new(); which.len()];
        for step in 0.. {
            let (mut q, mut k, mut v, mut sequences, mut rows) =
                (vec![], vec![], vec![], vec![], 0);
            for (s, &index) in which.iter().enumerate() {
                let history = &self.sequences_of_case[index];
                let now = chunk(step, index).min(history.tokens - done[s]);
                let part = |x: &[f32]| {
                    let width = x.len() / history.tokens;
                    x[done[s] * width..(done[s] + now) * width].to_vec()
                };
                q.extend(part(&history.q));
                k.extend(part(&history.k));
                v.extend(part(&history.v));
                sequences.push(AttentionSequence {
                    blocks: &history.blocks,
                    rows: rows..rows + now,
                    first_position: done[s],
                });
                rows += now;
            }
            if rows == 0 {
                break;
            }
            pass.begin(&sequences, soon())?;
            gpu.write_kv(&mut layer, &pass, &uploaded(gpu, &k)?, &uploaded(gpu, &v)?)?;
            let width = self.heads() * self.shape.value_dim;
            let (q, mut out) = (uploaded(gpu, &q)?, unwritten(gpu, rows * width)?);
            let mut epilogue = EpilogueCheck::new(gpu)?;
            match how {
                KernelPath::Plainly => {
                    gpu.attention_by_plain_kernel(&layer, &pass, &options, &q, &mut out)
                }
                KernelPath::With(splits) => gpu.attention_with(
                    &layer,
                    &mut pass,
                    &options,
                    splits,
                    &q,
                    (&mut out, epilogue.epilogue(rows, width)),
                ),
            }?;
            let out = downloaded(&out)?;
            if let KernelPath::With(_) = how {
                epilogue.compare(report, &out, width)?;
            }
            for (s, sequence) in sequences.iter().enumerate() {
                outputs[s].extend(&out[sequence.rows.start * width..sequence.rows.end * width]);
                done[s] += sequence.rows.len();
            }
        }
        Ok(outputs)
    }

    /// A layer whose every place holds what no sequence may see: infinities and NaNs.
    fn dirty_layer(&self, gpu: &Gpu) -> Result<GpuKvLayer, DeviceError> {
        let arena = GpuArena::new(gpu, GpuKvLayer::bytes(&self.shape, self.blocks))?;
        let mut layer = GpuKvLayer::new(&arena, self.shape, self.blocks)?;
        let tokens = self.blocks * self.shape.block_tokens;
        let mut pass =
            AttentionMetadata::new(gpu, BatchShape { tokens, sequences: 1, ..self.pass_shape() })?;
        let blocks: Vec<u32> = (0..self.blocks as u32).collect();
        pass.begin(
            &[AttentionSequence { blocks: &blocks, rows: 0..tokens, first_position: 0 }],
            soon(),
        )?;
        let bad = |dim: usize| uploaded(gpu, &vec![f32::NAN; tokens * self.shape.kv_heads * dim]);
        gpu.write_kv(&mut layer, &pass, &bad(self.shape.key_dim)?, &bad(self.shape.value_dim)?)?;
        Ok(layer)
    }

    fn pass_shape(&self) -> BatchShape {
        BatchShape {
            tokens: self.case.lengths.iter().sum(),
            sequences: self.case.lengths.len(),
            entries: self.blocks,
            group: self.case.group,
            block_tokens: self.shape.block_tokens,
            blocks: self.blocks,
        }
    }

    /// The plain result of one token of a sequence.
    fn plain_row(&self, sequence: usize, token: usize) -> Vec<f64> {
        let (history, shape) = (&self.sequences_of_case[sequence], &self.shape);
        let row = |x: &[f32], index: usize, dim: usize| -> Vec<f64> {
            let x = &x[index * dim..(index + 1) * dim];
            match shape.dtype {
                KvDtype::F32 => x.iter().map(|&x| f64::from(x)).collect(),
                KvDtype::Bf16 => x.iter().map(|&x| plain::round_bf16(x)).collect(),
                KvDtype::Int8 => plain::round_int8_kv(x),
            }
        };
        let first = self.case.window.map_or(0, |window| (token + 1).saturating_sub(window));
        let head = |head: usize| {
            let at = |token: usize| token * shape.kv_heads + head / self.case.group;
            let keys: Vec<_> =
                (first..=token).map(|t| row(&history.k, at(t), shape.key_dim)).collect();
            let values: Vec<_> =
                (first..=token).map(|t| row(&history.v, at(t), shape.value_dim)).collect();
            let q = row(&history.q, token * self.heads() + head, shape.key_dim);
            let sink = self.case.sinks.then(|| f64::from(self.sinks[head]));
            plain::attention(&q, &keys, &values, f64::from(self.scale()), sink)
        };
        (0..self.heads()).flat_map(head).collect()
    }

    fn compare_with_plain(&self, report: &mut CheckReport, outputs: &[Vec<f32>]) {
        for (s, out) in outputs.iter().enumerate() {
            let (width, tokens) =
                (self.heads() * self.shape.value_dim, self.sequences_of_case[s].tokens);
            for token in [0, tokens / 2, tokens - 1] {
                report.numbers(
                    &out[token * width..(token + 1) * width],
                    &self.plain_row(s, token),
                    5e-5,
                );
            }
        }
    }

    /// The kernel that the shape calls for, and the plain kernel, against the plain arithmetic.
    fn agrees(&self, gpu: &Gpu) -> Result<CheckReport, DeviceError> {
        let mut report = CheckReport::new();
        let all: Vec<usize> = (0..self.sequences_of_case.len()).collect();
        for how in [KernelPath::With(Splits::Auto), KernelPath::Plainly] {
            let outputs = self.run(gpu, &mut report, &all, how, &|_, _| usize::MAX)?;
            self.compare_with_plain(&mut report, &outputs);
        }
        Ok(report)
    }

    /// The same bits in one pass, in chunks, token by token, alone and among others, with splits in
    /// order and side by side.
    fn is_the_same_in_pieces(&self, gpu: &Gpu) -> Result<CheckReport, DeviceError> {
        let mut report = CheckReport::new();
        let all: Vec<usize> = (0..self.sequences_of_case.len()).collect();
        let whole =
            self.run(gpu, &mut report, &all, KernelPath::With(Splits::Sequential), &|_, _| {
                usize::MAX
            })?;
        let chunks = |step: usize, s: usize| (37 * (step + 3 * s + 1)) % 61 + 1;
        let decode = |step: usize, s: usize| {
            if step == 0 { self.sequences_of_case[s].tokens.saturating_sub(3) } else { 1 }
        };
        let runs: [(Splits, &Chunk); 4] = [
            (Splits::Parallel(2), &|_, _| usize::MAX),
            (Splits::Auto, &chunks),
            (Splits::Parallel(1), &decode),
            (Splits::Sequential, &decode),
        ];
        for (splits, chunk) in runs {
            let outputs = self.run(gpu, &mut report, &all, KernelPath::With(splits), chunk)?;
            for (found, expected) in outputs.iter().zip(&whole) {
                report.same_bits(found, expected);
            }
        }
        let alone = self.run(
            gpu,
            &mut report,
            &[all.len() - 1],
            KernelPath::With(Splits::Auto),
            &|_, _| usize::MAX,
        )?;
        report.same_bits(&alone[0], &whole[all.len() - 1]);
        Ok(report)
    }
}

/// Which kernel.
#[derive(Clone, Copy)]
enum KernelPath {
    Plainly,
    With(Splits),
}

/// A copied block holds what the first one did.
fn blocks_are_paged(gpu: &Gpu, dtype: KvDtype) -> Result<CheckReport, DeviceError> {
    let setup = AttentionCheck::new(AttentionCase { lengths: &[30], ..PLAIN }, dtype);
    let mut layer = setup.dirty_layer(gpu)?;
    let mut pass = AttentionMetadata::new(gpu, setup.pass_shape())?;
    let history = &setup.sequences_of_case[0];
    let options = GpuAttentionOptions {
        heads: setup.heads(),
        scale: setup.scale(),
        window: None,
        sinks: None,
    };
    let width = setup.heads() * setup.shape.value_dim;
    let q = uploaded(gpu, &history.q)?;
    let mut outs = Vec::new();
    for block in [0, 2] {
        pass.begin(
            &[AttentionSequence { blocks: &[block], rows: 0..30, first_position: 0 }],
            soon(),
        )?;
        if block == 0 {
            gpu.write_kv(
                &mut layer,
                &pass,
                &uploaded(gpu, &history.k)?,
                &uploaded(gpu, &history.v)?,
            )?;
            layer.copy_block(0, 2)?;
        }
        let mut out = unwritten(gpu, 30 * width)?;
        gpu.attention(&layer, &mut pass, &options, &q, &mut out, None)?;
        outs.push(downloaded(&out)?);
    }
    let mut report = CheckReport::new();
    report.same_bits(&outs[1], &outs[0]);
    setup.compare_with_plain(&mut report, &outs[..1]);
    Ok(report)
}
