use super::operands::{EpilogueCheck, OperandRng, downloaded, uploaded};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::cpu::Cpu;
use crate::cuda::{Buffer, Gpu, GpuEpilogue};

type OnGpu2 =
    fn(&Gpu, &mut Buffer<f32>, &Buffer<f32>, Option<GpuEpilogue>) -> Result<(), DeviceError>;
type OnCpu2 = fn(&Cpu, &mut [f32], &[f32]) -> Result<(), DeviceError>;
type OnGpu1 = fn(&Gpu, &mut Buffer<f32>, Option<GpuEpilogue>) -> Result<(), DeviceError>;
type OnCpu1 = fn(&Cpu, &mut [f32]) -> Result<(), DeviceError>;

pub(super) fn checks() -> Vec<Check> {
    let two = |name: &str, on_gpu: OnGpu2, on_cpu: OnCpu2| {
        Check::new(name, move |gpu, cpu| {
            check(gpu, |x, y, epilogue| on_gpu(gpu, x, y, epilogue), |x, y| on_cpu(cpu, x, y))
        })
    };
    let one = |name: &str, on_gpu: OnGpu1, on_cpu: OnCpu1| {
        Check::new(name, move |gpu, cpu| {
            check(gpu, |x, _, epilogue| on_gpu(gpu, x, epilogue), |x, _| on_cpu(cpu, x))
        })
    };
    vec![
        two("silu_mul", Gpu::silu_mul, Cpu::silu_mul),
        two("gelu_mul", Gpu::gelu_mul, Cpu::gelu_mul),
        two("gelu_tanh_mul", Gpu::gelu_tanh_mul, Cpu::gelu_tanh_mul),
        Check::new("add", add),
        one("silu", Gpu::silu, Cpu::silu),
        one("gelu", Gpu::gelu, Cpu::gelu),
        one("gelu_tanh", Gpu::gelu_tanh, Cpu::gelu_tanh),
    ]
}

/// Small and large numbers give the CPU's bits, and gpu_epilogue them: the functions are the same, step by
/// step.
fn check(
    gpu: &Gpu,
    on_gpu: impl Fn(&mut Buffer<f32>, &Buffer<f32>, Option<GpuEpilogue>) -> Result<(), DeviceError>,
    on_cpu: impl Fn(&mut [f32], &[f32]) -> Result<(), DeviceError>,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(8));
    for (len, size) in [(1, 1.0), (1000, 0.3), (5001, 3.0), (700, 80.0)] {
        let mut x: Vec<f32> = random.normals(len).iter().map(|x| x * size).collect();
        let y = random.normals(len);
        let (mut found, mut epilogue) = (uploaded(gpu, &x)?, EpilogueCheck::new(gpu)?);
        on_gpu(&mut found, &uploaded(gpu, &y)?, epilogue.epilogue(1, len))?;
        on_cpu(&mut x, &y)?;
        report.same_bits(&downloaded(&found)?, &x);
        epilogue.compare(&mut report, &x, len)?;
    }
    Ok(report)
}

fn add(gpu: &Gpu, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), OperandRng(10));
    for len in [1, 5001] {
        let [mut x, y] = [(); 2].map(|()| random.normals(len));
        let mut found = uploaded(gpu, &x)?;
        gpu.add(&mut found, &uploaded(gpu, &y)?)?;
        cpu.add(&mut x, &y)?;
        report.same_bits(&downloaded(&found)?, &x);
    }
    Ok(report)
}
