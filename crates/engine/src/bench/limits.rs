//! What the devices of a model could do at most.

use checkpoint::{Dtype, ModelConfig};
use device::cpu::Cpu;
use device::cpu::measure::{DotKind, ReadMemory, measure_dot_peak};
use device::cuda::selftest::{BenchSizes, benches};
use device::cuda::{CudaError, Driver, Gpu};
use device::pool::PoolOptions;
use placement::Tier;
use watch::{Stage, Watch};

use super::work::Work;
use super::{BenchError, median};
use crate::load::Loaded;

/// Rates with which a pass could go through the model: each part at the rate of the device that it
/// is on, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub read_bytes_per_s: f64,
    pub dot_ops_per_s: f64,
}

/// The devices of a model, to be measured again while the model is: other processes come and go,
/// and what memory gives with them.
pub(super) struct Machine {
    /// The bytes of weights that are on each GPU. GPUs are measured once.
    gpus: Vec<(u64, Limits)>,
    host: Option<Host>,
}

/// The CPU, where it computes.
struct Host {
    weights_bytes: u64,
    cpu: Cpu,
    memory: ReadMemory,
    dot: DotKind,
}

impl Host {
    /// Some milliseconds.
    fn limits(&mut self) -> Result<Limits, BenchError> {
        const PIECES: usize = 4;
        const TURNS: usize = 20;
        Ok(Limits {
            read_bytes_per_s: self.memory.best_rate(&self.cpu, PIECES)?,
            dot_ops_per_s: measure_dot_peak(&self.cpu, self.dot, TURNS)?,
        })
    }
}

impl Machine {
    /// Every GPU of the model is measured.
    pub fn of(
        loaded: &Loaded,
        threads: Option<usize>,
        work: &Work,
        watch: &Watch,
    ) -> Result<Self, BenchError> {
        let progress = watch.thread("bench");
        let mut gpus = Vec::new();
        let mut on_gpus = 0;
        for tier in &loaded.report.tiers {
            let (Tier::Gpu(gpu_index), true) = (tier.tier, tier.gpu.is_some()) else { continue };
            progress.at(Stage::Bench, &format!("what GPU {gpu_index} reads and multiplies"), 0);
            let slot = loaded.model.devices().gpus.iter().find(|slot| slot.gpu_index == gpu_index);
            if let Some(slot) = slot {
                let dtype = loaded
                    .model
                    .dtypes()
                    .iter()
                    .max_by_key(|(_, bytes)| **bytes)
                    .map(|(name, _)| *name);
                gpus.push((
                    tier.weights_bytes,
                    of_gpu(slot.gpu.ordinal(), dtype, &sizes(loaded.model.config()))?,
                ));
                on_gpus += tier.weights_bytes;
            }
            progress.item_done();
        }
        let all: u64 = loaded.report.tiers.iter().map(|tier| tier.weights_bytes).sum();
        let mut host = None;
        if all > on_gpus {
            progress.at(Stage::Bench, "memory bandwidth and dot product", 0);
            let cpu = Cpu::new(&PoolOptions { threads, ..PoolOptions::default() })?;
            host = Some(Host {
                weights_bytes: all - on_gpus,
                cpu,
                memory: ReadMemory::new()?,
                dot: work.dot,
            });
        }
        Ok(Self { gpus, host })
    }

    /// What the model's passes could reach now.
    pub fn limits(&mut self) -> Result<Limits, BenchError> {
        let mut parts = self.gpus.clone();
        if let Some(host) = &mut self.host {
            parts.push((host.weights_bytes, host.limits()?));
        }
        Ok(together(&parts))
    }
}

impl Limits {
    /// The middle ones of what was measured, at one time or more.
    pub fn median(seen: &[Limits]) -> Limits {
        let rate = |of: fn(&Limits) -> f64| median(&seen.iter().map(of).collect::<Vec<_>>());
        Limits {
            read_bytes_per_s: rate(|limits| limits.read_bytes_per_s),
            dot_ops_per_s: rate(|limits| limits.dot_ops_per_s),
        }
    }
}

/// A GPU, apart from the model's own budget on it.
fn of_gpu(ordinal: usize, dtype: Option<&str>, sizes: &BenchSizes) -> Result<Limits, BenchError> {
    let failed = |cause: CudaError| BenchError::Device(cause.into());
    let gpu = Gpu::open(&Driver::open().map_err(failed)?, ordinal, u64::MAX).map_err(failed)?;
    let benches = benches();
    let run = |name: &str| match benches.iter().find(|bench| bench.name == name) {
        Some(bench) => Ok(Some(bench.run(&gpu, sizes)?)),
        None => Ok::<_, BenchError>(None),
    };
    let read = run("read memory")?;
    // Products of forms that are not measured by themselves are like those of bf16.
    let own = run(&format!("prefill {}", dtype.unwrap_or(Dtype::BF16.name()).to_lowercase()))?;
    let product = if own.is_some() { own } else { run("prefill bf16")? };
    Ok(Limits {
        read_bytes_per_s: read.map_or(f64::INFINITY, |read| read.bytes_per_s()),
        dot_ops_per_s: product.map_or(f64::INFINITY, |product| product.operations_per_s()),
    })
}

/// A layer of the model. A quarter of a GiB is read: more than a GPU's cache, less than a full GPU
/// has left.
fn sizes(config: &ModelConfig) -> BenchSizes {
    BenchSizes {
        read_bytes: 256 << 20,
        hidden: config.heads * config.head_dim,
        head_dim: config.head_dim,
        intermediate: config.intermediate_size,
        group: config.heads / config.kv_heads.max(1),
        ..BenchSizes::LLAMA_8B
    }
}

/// Parts with their bytes, one after the other.
fn together(parts: &[(u64, Limits)]) -> Limits {
    if let [(_, one)] = parts {
        return *one;
    }
    let all: f64 = parts.iter().map(|(bytes, _)| *bytes as f64).sum();
    let rate = |of: fn(&Limits) -> f64| {
        let share = |(bytes, limits): &(u64, Limits)| *bytes as f64 / all / of(limits);
        1.0 / parts.iter().map(share).sum::<f64>()
    };
    Limits {
        read_bytes_per_s: rate(|limits| limits.read_bytes_per_s),
        dot_ops_per_s: rate(|limits| limits.dot_ops_per_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_each_rate_is_taken() {
        let limits = |read, dot| Limits { read_bytes_per_s: read, dot_ops_per_s: dot };
        let seen = [limits(80.0, 3.0), limits(48.0, 9.0), limits(50.0, 4.0)];
        assert_eq!(Limits::median(&seen), limits(50.0, 4.0));
    }

    #[test]
    fn a_pass_goes_through_the_parts_one_after_the_other() {
        let limits = |read, dot| Limits { read_bytes_per_s: read, dot_ops_per_s: dot };
        assert_eq!(together(&[(7, limits(50.0, 3.0))]), limits(50.0, 3.0));
        // Half at 100 and half at 50: a whole takes 0.005 + 0.01.
        let both = together(&[(10, limits(100.0, 8.0)), (10, limits(50.0, 8.0))]);
        assert!(
            (both.read_bytes_per_s - 66.666).abs() < 0.01
                && (both.dot_ops_per_s - 8.0).abs() < 1e-9,
            "{both:?}"
        );
    }
}
