//! Tests of row-wise and elementwise operations.

use checkpoint::Pairing;
use proptest::prelude::*;

use super::*;
use crate::cpu::{RopeTable, reference};

/// Asserts that the results of `op` are within `tolerance` of `expected` and bit-identical on every
/// [`Cpu`].
#[track_caller]
fn check(expected: &[f64], tolerance: f64, what: &str, op: impl Fn(&Cpu) -> Vec<f32>) {
    let mut first: Option<Vec<f32>> = None;
    for cpu in cpus() {
        let y = op(cpu);
        assert_eq!(y.len(), expected.len());
        for (i, (y, e)) in y.iter().zip(expected).enumerate() {
            let close = (f64::from(*y) - e).abs() <= tolerance * (1.0 + e.abs());
            assert!(close, "{what} {} element {i}: {y}, expected {e}", cpu.kernel_set());
        }
        same_bits(
            first.get_or_insert_with(|| y.clone()),
            &y,
            &format!("{what} {}", cpu.kernel_set()),
        );
    }
}

/// erf by its Maclaurin series, with an error below 1e-9 for |x| < 4.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut sum, mut term) = (x, x);
    for n in 1..120 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn norms_agree_with_the_reference(seed: u64, rows in 1usize..20, cols in 1usize..200, shift in -3f32..3.0) {
        let mut random = OperandRng::new(seed);
        let x: Vec<f32> = random.normals(rows * cols).iter().map(|x| x + shift).collect();
        let (weight, bias) = (random.normals(cols), random.normals(cols));
        let rms: Vec<f64> = x.chunks(cols).flat_map(|x| reference::rms_norm(x, &weight, 1e-5)).collect();
        check(&rms, 1e-5, "rms", |cpu| {
            let mut out = vec![0.0; x.len()];
            cpu.rms_norm(&x, &weight, 1e-5, &mut out).unwrap();
            let mut again = x.clone();
            cpu.rms_norm_inplace(&mut again, &weight, 1e-5).unwrap();
            same_bits(&out, &again, "in place");
            out
        });
        let layer: Vec<f64> = x.chunks(cols).flat_map(|x| reference::layer_norm(x, &weight, &bias, 1e-2)).collect();
        check(&layer, 1e-4, "layer", |cpu| {
            let mut out = vec![0.0; x.len()];
            cpu.layer_norm(&x, &weight, Some(&bias), 1e-2, &mut out).unwrap();
            out
        });
    }

    #[test]
    fn activations_agree_with_the_reference(seed: u64, len in 1usize..40_000, size in 0.1f32..30.0) {
        let mut random = OperandRng::new(seed);
        let x: Vec<f32> = random.normals(len).iter().map(|x| x * size).collect();
        let y = random.normals(len);
        let both = |f: &dyn Fn(f64) -> f64| x.iter().zip(&y).map(|(&x, &y)| f(f64::from(x)) * f64::from(y)).collect::<Vec<_>>();
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
        let tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh());
        type Binary = fn(&Cpu, &mut [f32], &[f32]) -> Result<(), DeviceError>;
        type Unary = fn(&Cpu, &mut [f32]) -> Result<(), DeviceError>;
        let run2 = |op: Binary| { let (x, y) = (&x, &y); move |cpu: &Cpu| { let mut x = x.clone(); op(cpu, &mut x, y).unwrap(); x } };
        let run1 = |op: Unary| { let x = &x; move |cpu: &Cpu| { let mut x = x.clone(); op(cpu, &mut x).unwrap(); x } };
        let single = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(f64::from(x))).collect::<Vec<_>>();
        check(&both(&silu), 1e-6, "silu_mul", run2(Cpu::silu_mul));
        check(&both(&gelu), 2e-6, "gelu_mul", run2(Cpu::gelu_mul));
        check(&both(&tanh), 2e-6, "gelu_tanh_mul", run2(Cpu::gelu_tanh_mul));
        check(&single(&silu), 1e-6, "silu", run1(Cpu::silu));
        check(&single(&gelu), 2e-6, "gelu", run1(Cpu::gelu));
        check(&single(&tanh), 2e-6, "gelu_tanh", run1(Cpu::gelu_tanh));
        let sum: Vec<f64> = x.iter().zip(&y).map(|(&x, &y)| f64::from(x + y)).collect();
        check(&sum, 0.0, "add", run2(Cpu::add));
    }

    #[test]
    fn rope_agrees_with_the_reference(seed: u64, tokens in 1usize..40, heads in 1usize..5, half in 1usize..40, rest in 0usize..20, interleaved: bool) {
        let mut random = OperandRng::new(seed);
        let (rotary_dim, head_dim) = (2 * half, 2 * half + rest);
        let positions: Vec<u32> = (0..tokens).map(|_| random.below(50) as u32).collect();
        let angles: Vec<f32> = (0..50 * half).map(|_| random.normal() * 3.0).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let x = random.normals(tokens * heads * head_dim);
        let mut expected: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        for (row, head) in expected.chunks_mut(head_dim).enumerate() {
            let position = positions[row / heads] as usize;
            for i in 0..half {
                let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (c, s) = (f64::from(cos[position * half + i]), f64::from(sin[position * half + i]));
                (head[a], head[b]) = (head[a] * c - head[b] * s, head[b] * c + head[a] * s);
            }
        }
        let pairing = if interleaved { Pairing::Interleaved } else { Pairing::Halves };
        let table = RopeTable { cos: &cos, sin: &sin, rotary_dim, pairing };
        check(&expected, 1e-6, "rope", |cpu| {
            let mut x = x.clone();
            cpu.rope(&mut x, head_dim, &positions, &table).unwrap();
            x
        });
        let mut x = x.clone();
        prop_assert!(cpus()[0].rope(&mut x, head_dim, &vec![50; tokens], &table).is_err());
    }

    #[test]
    fn softmax_and_argmax_agree_with_the_reference(seed: u64, rows in 1usize..4, vocab in 1usize..3000, size in 0.1f32..40.0) {
        let mut random = OperandRng::new(seed);
        let x: Vec<f32> = random.normals(rows * vocab).iter().map(|x| x * size).collect();
        let sums: Vec<f64> = x.chunks(vocab).map(|row| {
            let max = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
            max + row.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
        }).collect();
        check(&sums, 1e-6, "log_sum_exp", |cpu| {
            let mut out = vec![0.0; rows];
            cpu.log_sum_exp(&x, vocab, &mut out).unwrap();
            out
        });
        let logs: Vec<f64> = x.iter().enumerate().map(|(i, &x)| f64::from(x) - sums[i / vocab]).collect();
        check(&logs, 1e-5, "log_softmax", |cpu| { let mut x = x.clone(); cpu.log_softmax(&mut x, vocab).unwrap(); x });
        let probabilities: Vec<f64> = logs.iter().map(|l| l.exp()).collect();
        check(&probabilities, 1e-5, "softmax", |cpu| { let mut x = x.clone(); cpu.softmax(&mut x, vocab).unwrap(); x });
        let best = cpus()[0].argmax(&x[..vocab]).unwrap();
        prop_assert!(x[..vocab].iter().all(|&v| v <= best.logit) && x[best.index as usize] == best.logit);
        prop_assert!(!x[..best.index as usize].contains(&best.logit));
    }
}

#[test]
fn argmax_of_nan_or_an_empty_row_is_none() {
    let cpu = &cpus()[0];
    assert!(cpu.argmax(&[]).is_none());
    assert!(cpu.argmax(&[1.0, f32::NAN]).is_none());
    assert_eq!(cpu.argmax(&[1.0, 3.0, 3.0]).unwrap().index, 1);
}

#[test]
fn masked_logits_have_probability_zero() {
    for cpu in cpus() {
        let mut x = vec![f32::NEG_INFINITY; 40];
        x[7] = 2.0;
        x[33] = 2.0;
        cpu.softmax(&mut x, 40).unwrap();
        assert_eq!((x[7], x[33], x.iter().sum::<f32>()), (0.5, 0.5, 1.0));
    }
}
