//! The report of a load as lines of text: sizes in human units, or in bytes for `-v`.

use engine::load::{GpuUse, TierUse};
use engine::{ExpertCacheReport, LoadReport};
use placement::{Tier, short_text};

/// The memory that a load used, in human units.
pub fn brief(report: &LoadReport) -> Vec<String> {
    let mut lines = vec![model_line(report)];
    for tier in report.tiers.iter().filter(|tier| is_used(tier)) {
        let parts = format!(
            "weights {}, KV cache {}, activations {}",
            short_text(tier.weights_bytes),
            short_text(tier.kv_bytes),
            short_text(tier.activations_bytes)
        );
        lines.push(match (tier.tier, &tier.gpu) {
            (Tier::Gpu(gpu), Some(memory)) => format!("  GPU {gpu} ({}): {parts}", memory.name),
            (Tier::Gpu(gpu), None) => format!("  virtual GPU {gpu}: {parts}"),
            (other, _) => format!("  {other}: {parts}"),
        });
        lines.extend(tier.gpu.as_ref().map(|memory| {
            format!(
                "    {} allocated, {} reserved, {} total, {} free",
                short_text(memory.allocated_bytes),
                short_text(memory.reserved_bytes),
                short_text(memory.total_bytes),
                short_text(memory.free_bytes)
            )
        }));
    }
    lines.push(smoke_test_line(report));
    lines.extend(
        report
            .expert_cache
            .as_ref()
            .map(|cache| format!("  {}", expert_cache_line(cache, short_text(cache.used_bytes)))),
    );
    lines
}

/// The memory that a load planned and used, in bytes.
pub fn exact(report: &LoadReport) -> Vec<String> {
    let mut lines = vec![model_line(report)];
    lines.extend(report.tiers.iter().filter(|tier| is_used(tier)).map(|tier| {
        format!(
            "  {}: weights {} of {} planned, KV {} of {}, activations {} of {}",
            tier.tier,
            tier.weights_bytes,
            tier.weights_planned_bytes,
            tier.kv_bytes,
            tier.kv_planned_bytes,
            tier.activations_bytes,
            tier.activations_planned_bytes
        )
    }));
    lines.extend(
        report.tiers.iter().filter_map(|tier| Some(gpu_line(tier.tier, tier.gpu.as_ref()?))),
    );
    lines.push(smoke_test_line(report));
    lines.extend(report.expert_cache.as_ref().map(|cache| {
        let bytes = format!("{} of {} bytes planned", cache.used_bytes, cache.planned_bytes);
        format!("  {}", expert_cache_line(cache, bytes))
    }));
    lines
}

/// How some passes used the cache of routed experts on disk, which takes `bytes`.
pub fn expert_cache_line(cache: &ExpertCacheReport, bytes: String) -> String {
    format!(
        "experts on disk: cache of {bytes}, hit rate {:.1}%, {} read per token",
        100.0 * cache.hit_rate,
        short_text(cache.read_bytes_per_token as u64)
    )
}

fn is_used(tier: &TierUse) -> bool {
    tier.weights_bytes + tier.kv_bytes + tier.activations_bytes > 0
}

fn model_line(report: &LoadReport) -> String {
    format!(
        "model class {}, {}, {} kernels on {} threads",
        report.model_class, report.precision, report.kernel_set, report.threads
    )
}

fn gpu_line(tier: Tier, gpu: &GpuUse) -> String {
    format!(
        "  {tier} ({}): {} bytes allocated, {:.1}% of {} planned; {} reserved, {} at most so far; {} of {} free",
        gpu.name,
        gpu.allocated_bytes,
        100.0 * gpu.allocated_bytes as f64 / gpu.planned_bytes.max(1) as f64,
        gpu.planned_bytes,
        gpu.reserved_bytes,
        gpu.peak_reserved_bytes,
        gpu.free_bytes,
        gpu.total_bytes
    )
}

fn smoke_test_line(report: &LoadReport) -> String {
    let smoke = &report.smoke_test;
    format!(
        "smoke test: {} tokens in {:.3} s, {:.1} tok/s, ok",
        smoke.tokens, smoke.seconds, smoke.tok_s
    )
}
