//! Tests of mixtures of experts: products grouped by expert against single linear layers.

use checkpoint::{ClampedSwiglu, Routing};

use super::*;
use crate::backend::{
    Epilogue, ExpertActivation, ExpertOperand, ExpertProduct, ExpertWeights, Precision, Product,
    RouterOptions, SharedOutput,
};
use crate::cpu::{ActivationDtypes, ExpertRoutes, HostBuffer, PackedActivations};

const EXPERTS: usize = 7;
const PER_TOKEN: usize = 3;
const HIDDEN: usize = 256;
const WIDTH: usize = 41;

fn routes(cpu: &Cpu, rng: &mut OperandRng, rows: usize) -> ExpertRoutes {
    let routing =
        Routing { softmax_after_choice: false, normalize: true, scale: 1.5, groups: None };
    let router = RouterOptions { experts: EXPERTS, experts_per_token: PER_TOKEN, routing };
    let mut routes = ExpertRoutes::default();
    cpu.route(&rng.normals(rows * EXPERTS), &router, &mut routes).unwrap();
    routes
}

#[test]
fn slots_have_the_bits_of_single_linear_layers() {
    for dtype in dtypes() {
        for rows in [1, 2, 9, 70] {
            let mut rng = OperandRng::new(rows as u64);
            let weights: Vec<Matrix> =
                (0..EXPERTS).map(|_| matrix(&mut rng, dtype, WIDTH, HIDDEN)).collect();
            let biases: Vec<Vec<f32>> = (0..EXPERTS).map(|_| rng.normals(WIDTH)).collect();
            let x = rng.normals(rows * HIDDEN);
            for cpu in cpus() {
                let routes = routes(cpu, &mut OperandRng::new(5), rows);
                for precision in [Precision::F32, Precision::Native, Precision::Int8] {
                    let dtypes = ActivationDtypes::new(precision).and(dtype);
                    let mut packed = PackedActivations::new();
                    let epilogue = Epilogue { packed: &mut packed, rows, cols: HIDDEN, dtypes };
                    cpu.pack_for_experts(&x, &routes, epilogue).unwrap();
                    let mut out = HostBuffer::default();
                    let all = ExpertWeights::All { weights: &weights, biases: &biases };
                    let product = ExpertProduct { weights: all, out: &mut out };
                    cpu.expert_linear(&packed, &routes, &mut [product]).unwrap();
                    let mut in_parts = HostBuffer::new(out.len());
                    for part in [[1, 4].as_slice(), &[0, 2, 3, 6], &[5]] {
                        let of = part.iter().map(|&expert| {
                            let (weight, bias) = (&weights[expert], Some(&biases[expert]));
                            ExpertOperand { expert, weight, bias }
                        });
                        let some = ExpertWeights::Some { experts: EXPERTS, of: of.collect() };
                        let product = ExpertProduct { weights: some, out: &mut in_parts };
                        cpu.expert_linear(&packed, &routes, &mut [product]).unwrap();
                    }
                    same_bits(&in_parts, &out, &format!("{dtype:?} in parts"));
                    let mut found = vec![0.0; rows * PER_TOKEN * WIDTH];
                    let mut expected = Vec::new();
                    for row in 0..rows {
                        for (rank, &expert) in routes.chosen(row).iter().enumerate() {
                            let slot = routes.slot(row, rank);
                            let at = (row * PER_TOKEN + rank) * WIDTH;
                            found[at..at + WIDTH]
                                .copy_from_slice(&out[slot * WIDTH..(slot + 1) * WIDTH]);
                            let x = &x[row * HIDDEN..(row + 1) * HIDDEN];
                            packed.pack(cpu, x, 1, HIDDEN, dtypes).unwrap();
                            let mut alone = HostBuffer::default();
                            let weight = &weights[expert as usize];
                            let bias = Some(&biases[expert as usize]);
                            let product = Product { weight, bias, out: &mut alone };
                            cpu.linear(&packed, &mut [product]).unwrap();
                            expected.extend_from_slice(&alone);
                        }
                    }
                    let set = cpu.kernel_set();
                    same_bits(&found, &expected, &format!("{dtype:?} {precision:?} {set} {rows}"));
                }
            }
        }
    }
}

#[test]
fn outputs_are_added_with_their_weights_and_the_shared_experts() {
    let rows = 5;
    for cpu in cpus() {
        let mut rng = OperandRng::new(3);
        let routes = routes(cpu, &mut rng, rows);
        let outputs = rng.normals(rows * PER_TOKEN * WIDTH);
        let (shared, gate) = (rng.normals(rows * WIDTH), rng.normals(rows));
        let mut gates = HostBuffer::new(rows);
        gates.copy_from_slice(&gate);
        for case in 0..3 {
            let option = match case {
                0 => SharedOutput::None,
                1 => SharedOutput::Plain,
                _ => SharedOutput::Gated(&gates),
            };
            let mut out = shared.clone();
            cpu.combine_experts(&outputs, &routes, &option, &mut out).unwrap();
            for row in 0..rows {
                let factor = match case {
                    0 => 0.0,
                    1 => 1.0,
                    _ => 1.0 / (1.0 + (-f64::from(gate[row])).exp()),
                };
                for col in 0..WIDTH {
                    let at = row * WIDTH + col;
                    let routed: f64 = (0..PER_TOKEN)
                        .map(|rank| {
                            let slot = routes.slot(row, rank);
                            f64::from(routes.weights(row)[rank])
                                * f64::from(outputs[slot * WIDTH + col])
                        })
                        .sum();
                    let expected = routed + factor * f64::from(shared[at]);
                    assert!((f64::from(out[at]) - expected).abs() < 1e-5, "{case}");
                }
            }
        }
    }
}

#[test]
fn clamped_swiglu_agrees_with_its_definition() {
    let parameters = ClampedSwiglu { alpha: 1.702, limit: 7.0 };
    let mut rng = OperandRng::new(4);
    let (rows, cols) = (3, 37);
    let scaled = |x: Vec<f32>| x.into_iter().map(|x| 6.0 * x).collect::<Vec<f32>>();
    let gate = scaled(rng.normals(rows * PER_TOKEN * cols));
    let up = scaled(rng.normals(rows * PER_TOKEN * cols));
    let pairs: Vec<f32> = gate.iter().zip(&up).flat_map(|(g, u)| [*g, *u]).collect();
    let expected: Vec<f64> = gate
        .iter()
        .zip(&up)
        .map(|(gate, up)| {
            let gate = f64::from(*gate).min(7.0);
            let up = f64::from(*up).clamp(-7.0, 7.0);
            (up + 1.0) * gate / (1.0 + (-1.702 * gate).exp())
        })
        .collect();
    for cpu in cpus() {
        let routes = routes(cpu, &mut rng, rows);
        let dtypes = ActivationDtypes::new(Precision::F32).and(Dtype::F32);
        for (activation, up) in [
            (ExpertActivation::Clamped(parameters), &up),
            (ExpertActivation::ClampedPairs(parameters), &pairs),
        ] {
            let mut packed = PackedActivations::new();
            let epilogue = Epilogue { packed: &mut packed, rows, cols, dtypes };
            let mut out = HostBuffer::new(gate.len());
            out.copy_from_slice(&gate);
            cpu.activate_experts(&activation, &mut out, up, &routes, epilogue).unwrap();
            for (found, expected) in out.iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-5 * expected.abs().max(1.0), "{found} and {expected}");
            }
        }
    }
}

#[test]
fn both_forms_of_mxfp4_give_the_same_bits() {
    let (rows, cols, tokens) = (37, 96, 8);
    let mut rng = OperandRng::new(8);
    let blocks = random_weights(&mut rng, Dtype::Mxfp4, rows * cols);
    let (mut data, mut scales) = (Vec::new(), Vec::new());
    for block in blocks.chunks_exact(17) {
        scales.push(block[0]);
        let code = |i: usize| if i < 16 { block[1 + i] & 15 } else { block[i - 15] >> 4 };
        data.extend((0..16).map(|i| code(2 * i) | code(2 * i + 1) << 4));
    }
    let joined = Matrix::new(Dtype::Mxfp4, rows, cols, unaligned(&blocks)).unwrap();
    let apart = Matrix::fp4(rows, cols, unaligned(&data), unaligned(&scales)).unwrap();
    let x = rng.normals(tokens * cols);
    for cpu in cpus() {
        for precision in [Precision::F32, Precision::Native, Precision::Int8] {
            for tokens in [1, 3, tokens] {
                let multiply = |weight: &Matrix| {
                    let mut packed = PackedActivations::new();
                    let dtypes = ActivationDtypes::new(precision).and(weight.dtype);
                    packed.pack(cpu, &x[..tokens * cols], tokens, cols, dtypes).unwrap();
                    let mut out = HostBuffer::default();
                    let product = Product { weight, bias: None, out: &mut out };
                    cpu.linear(&packed, &mut [product]).unwrap();
                    out.to_vec()
                };
                same_bits(&multiply(&joined), &multiply(&apart), "two forms of MXFP4");
            }
        }
    }
}

#[test]
fn wrong_sizes_of_scales_are_refused() {
    let bytes = |n: usize| unaligned(&vec![0; n]);
    assert!(Matrix::fp4(4, 64, bytes(128), bytes(8)).is_ok());
    assert!(Matrix::fp4(4, 64, bytes(128), bytes(7)).is_err());
    assert!(Matrix::fp4(4, 64, bytes(127), bytes(8)).is_err());
    assert!(Matrix::fp4(4, 48, bytes(96), bytes(6)).is_err());
    assert!(Matrix::new(Dtype::F4, 4, 64, bytes(128)).is_err());
}
