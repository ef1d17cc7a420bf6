//! [`Roofline`]: memory bandwidth and peak arithmetic of the devices of a model.

use checkpoint::{Dtype, ModelConfig};
use device::cpu::Cpu;
use device::cpu::measure::{DotKind, ReadMemory, measure_dot_peak};
use device::cuda::selftest::{BenchSizes, benches};
use device::cuda::{CudaError, Driver, Gpu};
use device::pool::PoolOptions;
use placement::Tier;
use watch::{Stage, Watch};

use super::{BenchError, median};
use crate::load::Loaded;

/// Upper limits of the rates of a forward pass. The modules are computed one after the other, each
/// at the rates of its device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Roofline {
    pub read_bytes_per_s: f64,
    pub dot_ops_per_s: f64,
}

/// The devices of a model. The CPU is measured again between passes, since other processes affect
/// its memory bandwidth; GPUs are measured once.
pub(super) struct MeasuredDevices {
    /// Bytes of weights and roofline of each GPU.
    gpus: Vec<(u64, Roofline)>,
    cpu: Option<MeasuredCpu>,
}

/// The CPU, if it computes a part of the model.
struct MeasuredCpu {
    weights_bytes: u64,
    cpu: Cpu,
    memory: ReadMemory,
    dot: DotKind,
}

impl MeasuredCpu {
    /// Measures the CPU's roofline, which takes some milliseconds.
    fn roofline(&mut self) -> Result<Roofline, BenchError> {
        const PIECES: usize = 4;
        const TURNS: usize = 20;
        Ok(Roofline {
            read_bytes_per_s: self.memory.best_rate(&self.cpu, PIECES)?,
            dot_ops_per_s: measure_dot_peak(&self.cpu, self.dot, TURNS)?,
        })
    }
}

impl MeasuredDevices {
    /// Measures every GPU of the model and allocates the memory for measurements of the CPU.
    pub fn of(
        loaded: &Loaded,
        threads: Option<usize>,
        dot: DotKind,
        watch: &Watch,
    ) -> Result<Self, BenchError> {
        let progress = watch.thread("bench");
        let mut gpus = Vec::new();
        for tier in &loaded.report.tiers {
            let (Tier::Gpu(gpu_index), true) = (tier.tier, tier.gpu.is_some()) else { continue };
            let what = format!("memory bandwidth and products of GPU {gpu_index}");
            progress.at(Stage::Bench, &what, 0);
            let slots = &loaded.model.devices().gpus;
            if let Some(slot) = slots.iter().find(|slot| slot.gpu_index == gpu_index) {
                let dtypes = loaded.model.dtypes().iter();
                let dtype = dtypes.max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name);
                let sizes = bench_sizes(loaded.model.config());
                gpus.push((tier.weights_bytes, measure_gpu(slot.gpu.ordinal(), dtype, &sizes)?));
            }
            progress.item_done();
        }
        let total: u64 = loaded.report.tiers.iter().map(|tier| tier.weights_bytes).sum();
        let on_gpus: u64 = gpus.iter().map(|(bytes, _)| bytes).sum();
        let mut cpu = None;
        if total > on_gpus {
            progress.at(Stage::Bench, "memory bandwidth and dot product", 0);
            cpu = Some(MeasuredCpu {
                weights_bytes: total - on_gpus,
                cpu: Cpu::new(&PoolOptions { threads })?,
                memory: ReadMemory::new()?,
                dot,
            });
        }
        Ok(Self { gpus, cpu })
    }

    /// Measures the CPU and combines all devices.
    pub fn roofline(&mut self) -> Result<Roofline, BenchError> {
        let mut parts = self.gpus.clone();
        if let Some(cpu) = &mut self.cpu {
            parts.push((cpu.weights_bytes, cpu.roofline()?));
        }
        Ok(in_series(&parts))
    }
}

impl Roofline {
    /// The median of each rate over `measured`, which must not be empty.
    pub fn median(measured: &[Roofline]) -> Roofline {
        let rate = |of: fn(&Roofline) -> f64| median(&measured.iter().map(of).collect::<Vec<_>>());
        Roofline {
            read_bytes_per_s: rate(|roofline| roofline.read_bytes_per_s),
            dot_ops_per_s: rate(|roofline| roofline.dot_ops_per_s),
        }
    }
}

/// Measures a GPU. The measurement allocates memory outside the model's budget.
fn measure_gpu(
    ordinal: usize,
    dtype: Option<&str>,
    sizes: &BenchSizes,
) -> Result<Roofline, BenchError> {
    let failed = |cause: CudaError| BenchError::Device(cause.into());
    let gpu = Gpu::open(&Driver::open().map_err(failed)?, ordinal, u64::MAX).map_err(failed)?;
    let benches = benches();
    let run = |name: &str| match benches.iter().find(|bench| bench.name == name) {
        Some(bench) => Ok(Some(bench.run(&gpu, sizes)?)),
        None => Ok::<_, BenchError>(None),
    };
    let read = run("read memory")?;
    // A dtype without a benchmark is measured by the benchmark of bf16.
    let own = run(&format!("prefill {}", dtype.unwrap_or(Dtype::BF16.name()).to_lowercase()))?;
    let product = if own.is_some() { own } else { run("prefill bf16")? };
    Ok(Roofline {
        read_bytes_per_s: read.map_or(f64::INFINITY, |read| read.bytes_per_s()),
        dot_ops_per_s: product.map_or(f64::INFINITY, |product| product.operations_per_s()),
    })
}

/// Sizes of the GPU benchmarks, taken from one layer of the model. They read 256 MiB: more than a
/// GPU's cache, less than the free memory of a full GPU.
fn bench_sizes(config: &ModelConfig) -> BenchSizes {
    BenchSizes {
        read_bytes: 256 << 20,
        hidden: config.heads * config.head_dim,
        head_dim: config.head_dim,
        intermediate: config.intermediate_size,
        group: config.heads / config.kv_heads.max(1),
        ..BenchSizes::LLAMA_8B
    }
}

/// Combines the rooflines of parts of a model that are computed one after the other: the harmonic
/// mean of the rates, weighted by the bytes of the parts.
fn in_series(parts: &[(u64, Roofline)]) -> Roofline {
    if let [(_, one)] = parts {
        return *one;
    }
    let all: f64 = parts.iter().map(|(bytes, _)| *bytes as f64).sum();
    let rate = |of: fn(&Roofline) -> f64| {
        let share = |(bytes, roofline): &(u64, Roofline)| *bytes as f64 / all / of(roofline);
        1.0 / parts.iter().map(share).sum::<f64>()
    };
    Roofline {
        read_bytes_per_s: rate(|roofline| roofline.read_bytes_per_s),
        dot_ops_per_s: rate(|roofline| roofline.dot_ops_per_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_taken_of_each_rate() {
        let roofline = |read, dot| Roofline { read_bytes_per_s: read, dot_ops_per_s: dot };
        let measured = [roofline(80.0, 3.0), roofline(48.0, 9.0), roofline(50.0, 4.0)];
        assert_eq!(Roofline::median(&measured), roofline(50.0, 4.0));
    }

    #[test]
    fn parts_in_series_have_the_harmonic_mean_of_their_rates() {
        let roofline = |read, dot| Roofline { read_bytes_per_s: read, dot_ops_per_s: dot };
        assert_eq!(in_series(&[(7, roofline(50.0, 3.0))]), roofline(50.0, 3.0));
        // Half of the bytes at 100 bytes/s and half at 50 bytes/s: 0.005 s + 0.01 s per byte.
        let both = in_series(&[(10, roofline(100.0, 8.0)), (10, roofline(50.0, 8.0))]);
        assert!(
            (both.read_bytes_per_s - 66.666).abs() < 0.01
                && (both.dot_ops_per_s - 8.0).abs() < 1e-9,
            "{both:?}"
        );
    }
}
