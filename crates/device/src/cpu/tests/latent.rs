//! Tests of the operations of latent attention.

use checkpoint::Pairing;
use proptest::prelude::*;

use super::*;
use crate::backend::{KvUpProjection, LatentShape};
use crate::cpu::RopeTable;

/// Cosines and sines of arbitrary angles, `[positions, half]`.
fn table(random: &mut OperandRng, positions: usize, half: usize) -> (Vec<f32>, Vec<f32>) {
    let angles = random.normals(positions * half);
    angles.iter().map(|angle| (angle.cos(), angle.sin())).unzip()
}

/// Rotates interleaved pairs.
fn rotated(x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f64> {
    let pair = |(pair, (c, s)): (&[f32], (&f32, &f32))| {
        let [a, b, c, s] = [pair[0], pair[1], *c, *s].map(f64::from);
        [a * c - b * s, b * c + a * s]
    };
    x.chunks_exact(2).zip(cos.iter().zip(sin)).flat_map(pair).collect()
}

fn product(x: &[f32], rows: &[Vec<f64>]) -> Vec<f64> {
    rows.iter().map(|row| row.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum()).collect()
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows[0].len()).map(|col| rows.iter().map(|row| row[col]).collect()).collect()
}

fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1f64, |max, x| max.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-5 * scale, "{found}, {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Queries and values agree with the reference in both forms of the weights, and the bits of a
    /// token do not depend on the other tokens or on the threads.
    #[test]
    fn absorbed_projections_agree_with_the_reference(
        seed: u64, heads in 1usize..4, nope_dim in 1usize..40, half in 1usize..20, value_dim in 1usize..40,
        latent_dim in 1usize..90, tokens in 1usize..70, split: bool, quantized: bool,
    ) {
        let (rope_dim, dtype) = (2 * half, if quantized { Dtype::Q8_0 } else { Dtype::BF16 });
        let blocks = |dim: usize| if quantized { dim.next_multiple_of(32) } else { dim };
        let (nope_dim, latent_dim) = (blocks(nope_dim), blocks(latent_dim));
        let shape = LatentShape { heads, nope_dim, rope_dim, value_dim, latent_dim };
        let mut random = OperandRng::new(seed);
        let joint = matrix(&mut random, dtype, heads * (nope_dim + value_dim), latent_dim);
        let keys = matrix(&mut random, dtype, heads * latent_dim, nope_dim);
        let values = matrix(&mut random, dtype, heads * value_dim, latent_dim);
        let up = if split {
            KvUpProjection::Split { keys: &keys, values: &values }
        } else {
            KvUpProjection::Joint(&joint)
        };
        let (key_rows, value_rows): (Vec<_>, Vec<_>) = (0..heads).map(|head| {
            if split {
                let rows = |m: &Matrix, count: usize| decoded(m)[head * count..][..count].to_vec();
                return (rows(&keys, latent_dim), rows(&values, value_dim));
            }
            let mut rows = decoded(&joint)[head * (nope_dim + value_dim)..][..nope_dim + value_dim].to_vec();
            let values = rows.split_off(nope_dim);
            (transposed(&rows), values)
        }).unzip();
        let q = random.normals(tokens * heads * shape.query_dim());
        let x = random.normals(tokens * heads * latent_dim);
        let positions: Vec<u32> = (0..tokens).map(|_| random.below(50) as u32).collect();
        let (cos, sin) = table(&mut random, 50, half);
        let table = RopeTable { cos: &cos, sin: &sin, rotary_dim: rope_dim, pairing: Pairing::Interleaved };
        let (q_width, key_dim) = (heads * shape.query_dim(), heads * shape.key_dim());
        let mut before: Option<(Vec<f32>, Vec<f32>)> = None;
        for cpu in cpus() {
            let mut queries = vec![f32::NAN; tokens * key_dim];
            let mut out = vec![f32::NAN; tokens * heads * value_dim];
            cpu.absorb_queries(&shape, &up, &q, &positions, &table, &mut queries).unwrap();
            cpu.expand_values(&shape, &up, &x, &mut out).unwrap();
            for token in [0, tokens - 1] {
                for head in 0..heads {
                    let index = token * heads + head;
                    let query = &q[index * shape.query_dim()..][..shape.query_dim()];
                    let at = positions[token] as usize * half;
                    let mut expected = product(&query[..nope_dim], &key_rows[head]);
                    expected.extend(rotated(&query[nope_dim..], &cos[at..at + half], &sin[at..at + half]));
                    close(&queries[index * shape.key_dim()..][..shape.key_dim()], &expected);
                    let latents = &x[index * latent_dim..][..latent_dim];
                    close(&out[index * value_dim..][..value_dim], &product(latents, &value_rows[head]));
                }
            }
            let (last, mut alone) = (tokens - 1, vec![f32::NAN; key_dim]);
            cpu.absorb_queries(&shape, &up, &q[last * q_width..], &positions[last..], &table, &mut alone).unwrap();
            same_bits(&alone, &queries[last * key_dim..], "a query alone");
            if let Some((q, v)) = &before {
                same_bits(q, &queries, "sets and threads");
                same_bits(v, &out, "sets and threads");
            }
            before = Some((queries, out));
        }
    }
}

#[test]
fn latents_are_normalized_and_keys_are_rotated() {
    let shape = LatentShape { heads: 3, nope_dim: 8, rope_dim: 6, value_dim: 8, latent_dim: 20 };
    let mut random = OperandRng::new(2);
    let (kv, weight) = (random.normals(4 * 26), random.normals(20));
    let (cos, sin) = table(&mut random, 9, 3);
    let table = RopeTable { cos: &cos, sin: &sin, rotary_dim: 6, pairing: Pairing::Interleaved };
    let positions = [3, 8, 0, 5];
    for cpu in cpus() {
        let mut out = kv.clone();
        cpu.latent_keys(&shape, &mut out, &weight, 1e-6, &positions, &table).unwrap();
        for (token, (found, kv)) in out.chunks(26).zip(kv.chunks(26)).enumerate() {
            let at = positions[token] as usize * 3;
            let mut expected = crate::cpu::reference::rms_norm(&kv[..20], &weight, 1e-6);
            expected.extend(rotated(&kv[20..], &cos[at..at + 3], &sin[at..at + 3]));
            close(found, &expected);
        }
        assert!(cpu.latent_keys(&shape, &mut out[1..], &weight, 1e-6, &positions, &table).is_err());
        assert!(cpu.latent_keys(&shape, &mut out, &weight, 1e-6, &[9, 0, 0, 0], &table).is_err());
    }
}
