use super::data::{Random, downloaded, uploaded};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::cpu::Cpu;
use crate::cuda::{Card, CardBuffer};

type OnCard2 = fn(&Card, &mut CardBuffer<f32>, &CardBuffer<f32>) -> Result<(), DeviceError>;
type OnCpu2 = fn(&Cpu, &mut [f32], &[f32]) -> Result<(), DeviceError>;
type OnCard1 = fn(&Card, &mut CardBuffer<f32>) -> Result<(), DeviceError>;
type OnCpu1 = fn(&Cpu, &mut [f32]) -> Result<(), DeviceError>;

pub(super) fn checks() -> Vec<Check> {
    let two = |name: &str, on_card: OnCard2, on_cpu: OnCpu2| {
        Check::new(name, move |card, cpu| check(card, |x, y| on_card(card, x, y), |x, y| on_cpu(cpu, x, y)))
    };
    let one = |name: &str, on_card: OnCard1, on_cpu: OnCpu1| {
        Check::new(name, move |card, cpu| check(card, |x, _| on_card(card, x), |x, _| on_cpu(cpu, x)))
    };
    vec![
        two("silu_mul", Card::silu_mul, Cpu::silu_mul),
        two("gelu_mul", Card::gelu_mul, Cpu::gelu_mul),
        two("gelu_tanh_mul", Card::gelu_tanh_mul, Cpu::gelu_tanh_mul),
        two("add", Card::add, Cpu::add),
        one("silu", Card::silu, Cpu::silu),
        one("gelu", Card::gelu, Cpu::gelu),
        one("gelu_tanh", Card::gelu_tanh, Cpu::gelu_tanh),
    ]
}

/// Small and large numbers give the CPU's bits: the functions are the same, step by step.
fn check(
    card: &Card,
    on_card: impl Fn(&mut CardBuffer<f32>, &CardBuffer<f32>) -> Result<(), DeviceError>,
    on_cpu: impl Fn(&mut [f32], &[f32]) -> Result<(), DeviceError>,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), Random(8));
    for (len, size) in [(1, 1.0), (1000, 0.3), (5001, 3.0), (700, 80.0)] {
        let mut x: Vec<f32> = random.normals(len).iter().map(|x| x * size).collect();
        let y = random.normals(len);
        let mut found = uploaded(card, &x)?;
        on_card(&mut found, &uploaded(card, &y)?)?;
        on_cpu(&mut x, &y)?;
        report.same_bits(&downloaded(&found)?, &x);
    }
    Ok(report)
}
