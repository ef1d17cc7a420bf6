//! Checks that elementwise operations are bit-identical to those of the CPU.

use checkpoint::Activation;

use super::operands::{EpilogueCheck, OperandRng, download, upload};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::backend::{Backend, Epilogue};
use crate::cpu::Cpu;
use crate::cuda::{Buffer, Gpu};

type Unary = fn(&Cpu, &mut [f32]) -> Result<(), DeviceError>;
type Binary = fn(&Cpu, &mut [f32], &[f32]) -> Result<(), DeviceError>;

pub(super) fn checks() -> Vec<Check> {
    let activation = |name: &str, activation: Activation, on_cpu: Unary| {
        Check::new(name, move |gpu, cpu| {
            check(
                gpu,
                |x, _, epilogue| gpu.activate(activation, x, epilogue),
                |x, _| on_cpu(cpu, x),
            )
        })
    };
    let gated = |name: &str, activation: Activation, on_cpu: Binary| {
        Check::new(name, move |gpu, cpu| {
            check(
                gpu,
                |x, y, epilogue| gpu.activate_and_multiply(activation, x, y, epilogue),
                |x, y| on_cpu(cpu, x, y),
            )
        })
    };
    vec![
        gated("silu_mul", Activation::Silu, Cpu::silu_mul),
        gated("gelu_mul", Activation::Gelu, Cpu::gelu_mul),
        gated("gelu_tanh_mul", Activation::GeluTanh, Cpu::gelu_tanh_mul),
        Check::new("add", add),
        activation("silu", Activation::Silu, Cpu::silu),
        activation("gelu", Activation::Gelu, Cpu::gelu),
        activation("gelu_tanh", Activation::GeluTanh, Cpu::gelu_tanh),
    ]
}

/// Compares results for small and large inputs bit by bit with those of the CPU, whose functions
/// perform the same steps, and checks the epilogue.
fn check(
    gpu: &Gpu,
    on_gpu: impl Fn(&mut Buffer<f32>, &Buffer<f32>, Epilogue<'_, Gpu>) -> Result<(), DeviceError>,
    on_cpu: impl Fn(&mut [f32], &[f32]) -> Result<(), DeviceError>,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(8));
    for (len, scale) in [(1, 1.0), (1000, 0.3), (5001, 3.0), (700, 80.0)] {
        let mut x: Vec<f32> = rng.normals(len).iter().map(|x| x * scale).collect();
        let y = rng.normals(len);
        let (mut found, mut packed) = (upload(gpu, &x)?, EpilogueCheck::new(gpu)?);
        on_gpu(&mut found, &upload(gpu, &y)?, packed.epilogue(1, len))?;
        on_cpu(&mut x, &y)?;
        report.same_bits(&download(&found)?, &x);
        packed.compare(&mut report, &x, len)?;
    }
    Ok(report)
}

fn add(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut rng) = (CheckReport::new(), OperandRng::new(10));
    for len in [1, 5001] {
        let [mut x, y] = [(); 2].map(|()| rng.normals(len));
        let mut found = upload(gpu, &x)?;
        gpu.add(&mut found, &upload(gpu, &y)?)?;
        Cpu::add(cpu, &mut x, &y)?;
        report.same_bits(&download(&found)?, &x);
    }
    Ok(report)
}
