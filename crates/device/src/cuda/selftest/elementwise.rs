use super::data::{Fed, Random, downloaded, uploaded};
use super::{Check, CheckReport};
use crate::DeviceError;
use crate::cpu::Cpu;
use crate::cuda::{Card, CardBuffer, CardFeed};

type OnCard2 =
    fn(&Card, &mut CardBuffer<f32>, &CardBuffer<f32>, Option<CardFeed>) -> Result<(), DeviceError>;
type OnCpu2 = fn(&Cpu, &mut [f32], &[f32]) -> Result<(), DeviceError>;
type OnCard1 = fn(&Card, &mut CardBuffer<f32>, Option<CardFeed>) -> Result<(), DeviceError>;
type OnCpu1 = fn(&Cpu, &mut [f32]) -> Result<(), DeviceError>;

pub(super) fn checks() -> Vec<Check> {
    let two = |name: &str, on_card: OnCard2, on_cpu: OnCpu2| {
        Check::new(name, move |card, cpu| {
            check(card, |x, y, fed| on_card(card, x, y, fed), |x, y| on_cpu(cpu, x, y))
        })
    };
    let one = |name: &str, on_card: OnCard1, on_cpu: OnCpu1| {
        Check::new(name, move |card, cpu| {
            check(card, |x, _, fed| on_card(card, x, fed), |x, _| on_cpu(cpu, x))
        })
    };
    vec![
        two("silu_mul", Card::silu_mul, Cpu::silu_mul),
        two("gelu_mul", Card::gelu_mul, Cpu::gelu_mul),
        two("gelu_tanh_mul", Card::gelu_tanh_mul, Cpu::gelu_tanh_mul),
        Check::new("add", add),
        one("silu", Card::silu, Cpu::silu),
        one("gelu", Card::gelu, Cpu::gelu),
        one("gelu_tanh", Card::gelu_tanh, Cpu::gelu_tanh),
    ]
}

/// Small and large numbers give the CPU's bits, and feed them: the functions are the same, step by step.
fn check(
    card: &Card,
    on_card: impl Fn(
        &mut CardBuffer<f32>,
        &CardBuffer<f32>,
        Option<CardFeed>,
    ) -> Result<(), DeviceError>,
    on_cpu: impl Fn(&mut [f32], &[f32]) -> Result<(), DeviceError>,
) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), Random(8));
    for (len, size) in [(1, 1.0), (1000, 0.3), (5001, 3.0), (700, 80.0)] {
        let mut x: Vec<f32> = random.normals(len).iter().map(|x| x * size).collect();
        let y = random.normals(len);
        let (mut found, mut fed) = (uploaded(card, &x)?, Fed::new(card)?);
        on_card(&mut found, &uploaded(card, &y)?, fed.feed(1, len))?;
        on_cpu(&mut x, &y)?;
        report.same_bits(&downloaded(&found)?, &x);
        fed.compare(&mut report, &x, len)?;
    }
    Ok(report)
}

fn add(card: &Card, cpu: &Cpu) -> Result<CheckReport, DeviceError> {
    let (mut report, mut random) = (CheckReport::new(), Random(10));
    for len in [1, 5001] {
        let [mut x, y] = [(); 2].map(|()| random.normals(len));
        let mut found = uploaded(card, &x)?;
        card.add(&mut found, &uploaded(card, &y)?)?;
        cpu.add(&mut x, &y)?;
        report.same_bits(&downloaded(&found)?, &x);
    }
    Ok(report)
}
