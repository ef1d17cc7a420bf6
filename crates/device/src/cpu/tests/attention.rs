//! Tests of attention and the KV cache.

use placement::KvDtype;
use proptest::prelude::*;

use super::*;
use crate::backend::{AttentionOptions, AttentionSequence};
use crate::cpu::attention::{KvLayer, KvShape};
use crate::cpu::reference;

/// Queries, keys and values of all tokens of a sequence, and its block table.
struct TestSequence {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    blocks: Vec<u32>,
    tokens: usize,
}

/// Shapes, sequences and options of an attention test.
struct AttentionSetup {
    shape: KvShape,
    heads: usize,
    histories: Vec<TestSequence>,
    sinks: Option<Vec<f32>>,
    window: Option<usize>,
}

impl AttentionSetup {
    fn new(random: &mut OperandRng, shape: KvShape, heads: usize, lengths: &[usize]) -> Self {
        let mut free: Vec<u32> = (0..total_blocks(lengths, shape.block_tokens) as u32).collect();
        let histories = lengths.iter().map(|&tokens| {
            let blocks = (0..tokens.div_ceil(shape.block_tokens))
                .map(|_| free.swap_remove(random.below(free.len())))
                .collect();
            let q = random.normals(tokens * heads * shape.key_dim);
            let k = random.normals(tokens * shape.kv_heads * shape.key_dim);
            let v = random.normals(tokens * shape.kv_heads * shape.stored_value_dim());
            TestSequence { q, k, v, blocks, tokens }
        });
        let histories = histories.collect();
        Self { shape, heads, histories, sinks: None, window: None }
    }

    fn options(&self) -> AttentionOptions<'_, Cpu> {
        let scale = 1.0 / (self.shape.key_dim as f32).sqrt();
        AttentionOptions {
            heads: self.heads,
            scale,
            window: self.window,
            sinks: self.sinks.as_ref(),
        }
    }

    /// Runs all sequences in steps of `chunk(step, sequence)` new tokens each. Returns the outputs
    /// of each sequence.
    fn run(&self, cpu: &Cpu, chunk: &dyn Fn(usize, usize) -> usize) -> Vec<Vec<f32>> {
        let blocks = total_blocks(
            &self.histories.iter().map(|h| h.tokens).collect::<Vec<_>>(),
            self.shape.block_tokens,
        );
        let arena = Arena::new(KvLayer::bytes(&self.shape, blocks)).unwrap();
        let mut layer = KvLayer::new(&arena, self.shape, blocks).unwrap();
        let widths = [
            self.heads * self.shape.key_dim,
            self.shape.kv_heads * self.shape.key_dim,
            self.shape.kv_heads * self.shape.stored_value_dim(),
        ];
        let out_width = self.heads * self.shape.value_dim;
        let mut done = vec![0; self.histories.len()];
        let mut outputs: Vec<Vec<f32>> = self.histories.iter().map(|_| Vec::new()).collect();
        for step in 0.. {
            let (mut q, mut k, mut v, mut sequences) = (vec![], vec![], vec![], vec![]);
            let mut rows = 0;
            for (s, h) in self.histories.iter().enumerate() {
                let now = chunk(step, s).min(h.tokens - done[s]);
                let part =
                    |x: &[f32], width: usize| x[done[s] * width..(done[s] + now) * width].to_vec();
                q.extend(part(&h.q, widths[0]));
                k.extend(part(&h.k, widths[1]));
                v.extend(part(&h.v, widths[2]));
                sequences.push(AttentionSequence {
                    blocks: &h.blocks,
                    rows: rows..rows + now,
                    first_position: done[s],
                });
                rows += now;
            }
            if rows == 0 {
                return outputs;
            }
            let mut out = vec![f32::NAN; rows * out_width];
            cpu.write_kv(&mut layer, &sequences, &k, &v).unwrap();
            cpu.attention(&layer, &sequences, &self.options(), &q, &mut out).unwrap();
            for (s, sequence) in sequences.iter().enumerate() {
                outputs[s]
                    .extend(&out[sequence.rows.start * out_width..sequence.rows.end * out_width]);
                done[s] += sequence.rows.len();
            }
        }
        unreachable!()
    }

    /// Reference output of one token.
    fn reference_row(&self, sequence: usize, token: usize) -> Vec<f64> {
        self.reference_row_with(sequence, token, |value| value)
    }

    /// Tolerances for the output of a kernel set. Where softmax weights are rounded to bf16, each
    /// has a relative error of up to 2^-8.
    fn tolerances(&self, set: KernelSet, sequence: usize, token: usize) -> Vec<f64> {
        let rounded = set == KernelSet::Avx512Bf16 && self.shape.dtype == KvDtype::Bf16;
        let relative = if rounded { 1.0 / 256.0 } else { 0.0 };
        self.reference_row_with(sequence, token, f64::abs)
            .iter()
            .map(|sum| 2e-5 + 1.01 * relative * sum)
            .collect()
    }

    /// [`Self::reference_row`] with `map` applied to every element of the values.
    fn reference_row_with(
        &self,
        sequence: usize,
        token: usize,
        map: impl Fn(f64) -> f64,
    ) -> Vec<f64> {
        let (h, shape) = (&self.histories[sequence], &self.shape);
        let row = |x: &[f32], index: usize, dim: usize| -> Vec<f64> {
            let x = &x[index * dim..(index + 1) * dim];
            match shape.dtype {
                KvDtype::F32 => x.iter().map(|&x| f64::from(x)).collect(),
                KvDtype::Bf16 => x.iter().map(|&x| reference::round_bf16(x)).collect(),
                KvDtype::Int8 => reference::round_int8_kv(x),
            }
        };
        let first = self.window.map_or(0, |w| (token + 1).saturating_sub(w));
        let head = |head: usize| {
            let kv = head / (self.heads / shape.kv_heads);
            let keys: Vec<_> = (first..=token)
                .map(|t| row(&h.k, t * shape.kv_heads + kv, shape.key_dim))
                .collect();
            let value = |t| {
                let index = t * shape.kv_heads + kv;
                let stored = if shape.values_in_keys {
                    row(&h.k, index, shape.key_dim)
                } else {
                    row(&h.v, index, shape.value_dim)
                };
                stored.into_iter().take(shape.value_dim).map(&map).collect()
            };
            let values: Vec<_> = (first..=token).map(value).collect();
            let q = row(&h.q, token * self.heads + head, shape.key_dim);
            reference::attention(
                &q,
                &keys,
                &values,
                f64::from(self.options().scale),
                self.sinks.as_ref().map(|s| f64::from(s[head])),
            )
        };
        (0..self.heads).flat_map(head).collect()
    }
}

fn total_blocks(lengths: &[usize], block_tokens: usize) -> usize {
    lengths.iter().map(|l| l.div_ceil(block_tokens)).sum::<usize>() + 2
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_agrees_with_the_reference_for_any_chunking(
        seed: u64, kv_heads in 1usize..4, group in 1usize..5, key_dim in 1usize..80, value_dim in 1usize..150,
        block in 0usize..3, dtype in 0usize..3, lengths in prop::collection::vec(1usize..200, 1..4),
        window in prop::option::of(1usize..150), sinks: bool, chunk in 1usize..90, values_in_keys: bool,
    ) {
        let dtype = [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8][dtype];
        let key_dim = if values_in_keys { key_dim + value_dim } else { key_dim };
        let shape = KvShape { kv_heads, key_dim, value_dim, block_tokens: 16 << block, dtype, values_in_keys };
        let mut random = OperandRng::new(seed);
        let mut setup = AttentionSetup::new(&mut random, shape, kv_heads * group, &lengths);
        setup.window = window;
        setup.sinks = sinks.then(|| random.normals(kv_heads * group));
        for cpu in cpus() {
            let whole = setup.run(cpu, &|_, _| usize::MAX);
            for (s, out) in whole.iter().enumerate() {
                let width = out.len() / lengths[s];
                for token in [0, lengths[s] / 2, lengths[s] - 1] {
                    let expected = setup.reference_row(s, token).into_iter().zip(setup.tolerances(cpu.kernel_set(), s, token));
                    for (y, (e, tolerance)) in out[token * width..(token + 1) * width].iter().zip(expected) {
                        prop_assert!(
                            (f64::from(*y) - e).abs() < tolerance,
                            "{} sequence {s} token {token}: {y} {e}, tolerance {tolerance}", cpu.kernel_set()
                        );
                    }
                }
            }
            let chunked = setup.run(cpu, &|step, s| (chunk * (step + 3 * s + 1)) % 61 + 1);
            for (a, b) in whole.iter().zip(&chunked) {
                same_bits(a, b, "in chunks");
            }
        }
    }
}

/// Tests that sequences of more than two splits give bit-identical results in prefill, in decode
/// and in chunks, on any number of threads.
#[test]
fn long_sequences_are_bit_identical_for_any_chunking() {
    for (dtype, window) in [(KvDtype::Bf16, None), (KvDtype::F32, Some(700)), (KvDtype::Int8, None)]
    {
        let shape = KvShape {
            kv_heads: 1,
            key_dim: 16,
            value_dim: 16,
            block_tokens: 32,
            dtype,
            values_in_keys: false,
        };
        let mut setup = AttentionSetup::new(&mut OperandRng::new(3), shape, 2, &[2500, 1100]);
        setup.window = window;
        let mut before: Option<(KernelSet, Vec<Vec<f32>>)> = None;
        for cpu in cpus() {
            let whole = setup.run(cpu, &|_, _| usize::MAX);
            let decoded = setup.run(cpu, &|step, _| if step == 0 { 1019 } else { 1 });
            let chunked = setup.run(cpu, &|step, s| 300 + 17 * step + s);
            for (s, a) in whole.iter().enumerate() {
                same_bits(a, &decoded[s], "decode");
                same_bits(a, &chunked[s], "chunks");
            }
            let last = &whole[0][2499 * 32..];
            let tolerances = setup.tolerances(cpu.kernel_set(), 0, 2499);
            for ((y, e), tolerance) in last.iter().zip(setup.reference_row(0, 2499)).zip(tolerances)
            {
                assert!((f64::from(*y) - e).abs() < tolerance);
            }
            // Kernel sets give the same bits, except that the bf16 dot product instruction adds
            // pairs and rounds softmax weights.
            if let Some((set, before)) = before.replace((cpu.kernel_set(), whole.clone()))
                && (dtype != KvDtype::Bf16 || set == cpu.kernel_set())
            {
                same_bits(&before[0], &whole[0], "sets and threads");
            }
        }
    }
}

/// As above, for values that are parts of the keys, and more query heads than one task takes.
#[test]
fn latent_keys_are_bit_identical_for_any_chunking() {
    for dtype in [KvDtype::Bf16, KvDtype::F32, KvDtype::Int8] {
        let shape = KvShape {
            kv_heads: 1,
            key_dim: 40,
            value_dim: 24,
            block_tokens: 32,
            dtype,
            values_in_keys: true,
        };
        let setup = AttentionSetup::new(&mut OperandRng::new(6), shape, 70, &[210, 70]);
        for cpu in cpus() {
            let whole = setup.run(cpu, &|_, _| usize::MAX);
            let decoded = setup.run(cpu, &|step, _| if step == 0 { 189 } else { 1 });
            for (s, a) in whole.iter().enumerate() {
                same_bits(a, &decoded[s], "decode");
            }
            let width = 70 * shape.value_dim;
            let tolerances = setup.tolerances(cpu.kernel_set(), 0, 209);
            let expected = setup.reference_row(0, 209).into_iter().zip(tolerances);
            for (y, (e, tolerance)) in whole[0][209 * width..].iter().zip(expected) {
                assert!((f64::from(*y) - e).abs() < tolerance, "{dtype:?}: {y} {e}");
            }
        }
    }
}

#[test]
fn a_nan_does_not_reach_other_sequences() {
    for dtype in [KvDtype::Bf16, KvDtype::Int8] {
        let shape = KvShape {
            kv_heads: 1,
            key_dim: 8,
            value_dim: 8,
            block_tokens: 16,
            dtype,
            values_in_keys: false,
        };
        let mut setup = AttentionSetup::new(&mut OperandRng::new(4), shape, 1, &[70, 40]);
        setup.histories[0].k[20 * 8] = f32::NAN;
        for cpu in cpus() {
            let out = setup.run(cpu, &|_, _| usize::MAX);
            assert!(out[1].iter().all(|x| x.is_finite()));
            assert!(out[0][20 * 8..].iter().all(|x| x.is_nan()));
        }
    }
}

/// Tests that NaN values of the previous owner of a reused block, past the end of the new sequence,
/// do not affect the result.
#[test]
fn a_stale_nan_in_a_reused_block_is_ignored() {
    let dtypes = [KvDtype::F32, KvDtype::Bf16, KvDtype::Int8];
    for (dtype, values_in_keys) in dtypes.into_iter().flat_map(|d| [(d, false), (d, true)]) {
        let shape = KvShape {
            kv_heads: 1,
            key_dim: 8,
            value_dim: 8,
            block_tokens: 16,
            dtype,
            values_in_keys,
        };
        let values = |x: &'_ [f32]| x[..x.len() / 8 * shape.stored_value_dim()].to_vec();
        let options = AttentionOptions { heads: 1, scale: 0.3, window: None, sinks: None };
        for cpu in cpus() {
            let arena = Arena::new(KvLayer::bytes(&shape, 1)).unwrap();
            let mut layer = KvLayer::new(&arena, shape, 1).unwrap();
            let before = [f32::NAN; 16 * 8];
            cpu.write_kv(
                &mut layer,
                &[AttentionSequence { blocks: &[0], rows: 0..16, first_position: 0 }],
                &before,
                &values(&before),
            )
            .unwrap();
            let x = OperandRng::new(8).normals(16 * 8);
            for position in 0..16 {
                let row = &x[position * 8..][..8];
                let sequences =
                    [AttentionSequence { blocks: &[0], rows: 0..1, first_position: position }];
                let mut out = [0.0; 8];
                cpu.write_kv(&mut layer, &sequences, row, &values(row)).unwrap();
                cpu.attention(&layer, &sequences, &options, row, &mut out).unwrap();
                assert!(
                    out.iter().all(|x| x.is_finite()),
                    "{dtype:?} {}: position {position}",
                    cpu.kernel_set()
                );
            }
        }
    }
}

/// Tests that the error of an int8 cache is at most half a step (max |x| / 127 of the group) plus
/// the rounding of the scale to bf16.
#[test]
fn an_int8_cache_has_a_small_error() {
    let shape = KvShape {
        kv_heads: 2,
        key_dim: 64,
        value_dim: 96,
        block_tokens: 32,
        dtype: KvDtype::Int8,
        values_in_keys: false,
    };
    let setup = AttentionSetup::new(&mut OperandRng::new(5), shape, 6, &[300]);
    let exact = AttentionSetup {
        shape: KvShape { dtype: KvDtype::F32, ..shape },
        ..AttentionSetup::new(&mut OperandRng::new(5), shape, 6, &[300])
    };
    let values = &setup.histories[0].v[..96];
    for (group, kept) in values.chunks(32).zip(reference::round_int8_kv(values).chunks(32)) {
        let max_abs = group.iter().fold(0f64, |m, &x| m.max(f64::from(x.abs())));
        assert!(
            group
                .iter()
                .zip(kept)
                .all(|(&x, k)| (f64::from(x) - k).abs() <= 0.51 * max_abs / 127.0)
        );
    }
    let cpu = cpus().last().expect("a CPU");
    let (int8, f32) = (setup.run(cpu, &|_, _| usize::MAX), exact.run(cpu, &|_, _| usize::MAX));
    let worst = int8[0].iter().zip(&f32[0]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst > 0.0 && worst < 0.03, "{worst}");
}

#[test]
fn invalid_block_tables_are_errors() {
    let shape = KvShape {
        kv_heads: 1,
        key_dim: 8,
        value_dim: 8,
        block_tokens: 16,
        dtype: KvDtype::Bf16,
        values_in_keys: false,
    };
    let arena = Arena::new(1 << 20).unwrap();
    let mut layer = KvLayer::new(&arena, shape, 4).unwrap();
    let cpu = &cpus()[0];
    let x = vec![0.0; 20 * 8];
    let mut write = |sequences: &[AttentionSequence], x: &[f32]| {
        cpu.write_kv(&mut layer, sequences, x, x).is_err()
    };
    assert!(
        write(&[AttentionSequence { blocks: &[0], rows: 0..20, first_position: 0 }], &x),
        "too few blocks"
    );
    assert!(
        write(&[AttentionSequence { blocks: &[0, 4], rows: 0..20, first_position: 0 }], &x),
        "no such block"
    );
    assert!(
        write(&[AttentionSequence { blocks: &[0, 1], rows: 0..20, first_position: 0 }], &x[8..]),
        "too few values"
    );
    let twice =
        [0..10, 5..15].map(|rows| AttentionSequence { blocks: &[2], rows, first_position: 0 });
    assert!(write(&twice, &x), "shared rows");
    assert!(!write(&[AttentionSequence { blocks: &[0, 1], rows: 0..20, first_position: 0 }], &x));
    assert!(layer.copy_block(0, 4).is_err());
    layer.copy_block(0, 3).unwrap();
    let odd = KvShape { block_tokens: 24, ..shape };
    assert!(KvLayer::new(&arena, odd, 1).is_err());
}
