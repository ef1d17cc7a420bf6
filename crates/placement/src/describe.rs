//! Formats a plan as text: in full (memory per device, device map with reasons, predictions,
//! suggestions), or as a summary of a few lines.

use crate::module_range::{ModuleRange, append, continues, range_of, ranges_text};
use crate::{Plan, RateSource, Spill, Tier, TierPlan, both_units, bytes_text, short_text};

/// Modules on one tier that have the same reason.
struct ModuleGroup<'a> {
    tier: Tier,
    reason: &'a str,
    ranges: Vec<ModuleRange>,
    modules: usize,
    bytes: u64,
}

impl Plan {
    /// The whole plan as text, in lines of about 110 columns.
    pub fn describe(&self) -> String {
        let mut lines = vec![format!(
            "weights {} in {}; context {} x {} in {} KV blocks of {}",
            bytes_text(self.weights_bytes),
            self.dtype_text(),
            self.context,
            self.concurrency_text(),
            self.kv_blocks,
            self.kv_dtype
        )];
        lines.extend(self.max_memory.iter().map(|limit| format!("max_memory: {}", limit.text)));
        lines.extend(self.limits_in_bytes());
        lines.extend(self.table());
        lines.extend(self.expert_cache());
        lines.push(format!("device map ({}):", self.mode));
        lines.extend(self.groups().iter().map(group_line));
        lines.push(format!(
            "{}; {}",
            self.use_of(Tier::Cpu, "CPU"),
            self.use_of(Tier::Disk, "disk")
        ));
        lines.extend(self.expectation());
        lines.extend(self.warnings.iter().map(|line| format!("warning: {line}")));
        if let Some(spill) = &self.spill {
            lines.extend(spill_lines(spill, "off the GPUs", "keeps all on the GPUs"));
        }
        if let Some(spill) = &self.disk_spill {
            let experts =
                self.modules.iter().any(|m| m.tier == Tier::Disk && m.name.ends_with(".experts"));
            let place = if experts {
                "on disk, read again for every token (of routed experts the chosen ones),"
            } else {
                "on disk, read again for every token,"
            };
            lines.extend(spill_lines(spill, place, "keeps all in memory"));
        }
        lines.extend(self.notes.iter().map(|line| format!("note: {line}")));
        lines.join("\n")
    }

    /// The plan in a few lines: sizes, the limit of each device, the device map in two lines, and
    /// options that the user can change.
    pub fn summary(&self) -> Vec<String> {
        let dtype = match self.dtype {
            "auto" => "as stored".to_owned(),
            dtype => format!("in {dtype}"),
        };
        let mut lines = vec![format!(
            "{} of weights {dtype}; context {} x {}, KV cache in {}",
            short_text(self.weights_bytes),
            self.context,
            self.concurrency_text(),
            self.kv_dtype
        )];
        lines.extend(self.limits().map(|tier| {
            let (budget, why) = (short_text(tier.budget_bytes), &tier.budget_name);
            format!("limit of {}: {budget} for weights ({why})", device_name(tier.tier))
        }));
        lines.extend(self.device_map_in_two_lines());
        lines.extend(self.warnings.iter().map(|line| format!("warning: {line}")));
        let spills = [(&self.spill, "off the GPUs"), (&self.disk_spill, "on disk")];
        for (spill, place) in spills {
            let Some(spill) = spill else { continue };
            lines.push(format!(
                "{} {place}: {}",
                count_text(spill.modules),
                short_text(spill.bytes)
            ));
            if let Some(change) = spill.changes.first() {
                lines.push(format!("  the smallest change that avoids this: {}", change.text));
            }
        }
        lines
    }

    /// The device map, and the weights and number of modules on each device: two lines of at most
    /// `SUMMARY_COLUMNS` columns.
    fn device_map_in_two_lines(&self) -> [String; 2] {
        let tiers: Vec<Tier> = self.tiers.iter().map(|tier| tier.tier).collect();
        let count = |tier: Tier| self.device_map.iter().filter(|(_, on)| *on == tier).count();
        let on_one = tiers.iter().find(|tier| count(**tier) == self.device_map.len());
        let map = match on_one {
            Some(tier) => format!("all {} modules -> {tier}", self.device_map.len()),
            None => self.spans(),
        };
        let sizes = tiers.iter().filter(|tier| count(**tier) > 0).map(|tier| {
            let bytes = short_text(self.weights_on(*tier));
            format!("{}: {bytes} in {}", device_name(*tier), count_text(count(*tier)))
        });
        let sizes = sizes.collect::<Vec<_>>().join("; ");
        [format!("device map ({}): {map}", self.mode), format!("  {sizes}")].map(clipped)
    }

    /// The device map with routed experts that have a tier of their own at the end, so that layers
    /// form ranges.
    fn experts_last(&self) -> impl Iterator<Item = (&str, Tier)> {
        let is_experts = |name: &str| range_of(name).is_part();
        let all = || self.device_map.iter().map(|(name, tier)| (name.as_str(), *tier));
        let rest = all().filter(move |(name, _)| !is_experts(name));
        rest.chain(all().filter(move |(name, _)| is_experts(name)))
    }

    /// The device map as spans of consecutive modules on one tier: `model.embed_tokens,
    /// model.layers.0-39 -> 0; model.layers.40-79, model.norm, lm_head -> cpu`.
    fn spans(&self) -> String {
        let mut spans: Vec<(Tier, Vec<ModuleRange>)> = Vec::new();
        for (name, tier) in self.experts_last() {
            match spans.last_mut() {
                Some((last, ranges)) if *last == tier => append(ranges, name),
                _ => spans.push((tier, vec![range_of(name)])),
            }
        }
        let text = |(tier, ranges): &(Tier, Vec<ModuleRange>)| {
            format!("{} -> {tier}", ranges_text(ranges))
        };
        spans.iter().map(text).collect::<Vec<_>>().join("; ")
    }

    /// The device map with consecutive layers on one tier joined: `model.layers.0-39 -> 0`.
    pub fn runs(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut modules = self.experts_last().peekable();
        while let Some((name, tier)) = modules.next() {
            let mut ranges = vec![range_of(name)];
            while let Some((next, _)) =
                modules.next_if(|(next, on)| *on == tier && continues(&ranges[0], next))
            {
                append(&mut ranges, next);
            }
            parts.push(format!("{} -> {tier}", ranges[0]));
        }
        parts.join(", ")
    }

    fn dtype_text(&self) -> &'static str {
        if self.dtype == "auto" { "the stored dtype" } else { self.dtype }
    }

    fn concurrency_text(&self) -> String {
        match self.concurrency {
            1 => "1 sequence".to_owned(),
            count => format!("{count} sequences"),
        }
    }

    /// The tiers that have a memory limit: GPUs and host memory.
    fn limits(&self) -> impl Iterator<Item = &TierPlan> {
        self.tiers.iter().filter(|tier| tier.tier != Tier::Disk)
    }

    /// For each device, a line with its limit on weights in bytes.
    fn limits_in_bytes(&self) -> impl Iterator<Item = String> {
        self.limits().map(|tier| {
            format!(
                "limit of {}: {} for weights, {}",
                tier.tier,
                bytes_text(tier.budget_bytes),
                tier.budget_name
            )
        })
    }

    /// A table of planned memory with a row for each device, in GiB.
    fn table(&self) -> Vec<String> {
        let name = |tier: &TierPlan| match tier.tier {
            Tier::Gpu(gpu) => format!("{gpu} {}", tier.name),
            Tier::Cpu => "cpu".to_owned(),
            Tier::Disk => "disk".to_owned(),
        };
        let shown =
            || self.tiers.iter().filter(|tier| tier.tier != Tier::Disk || tier.weights_bytes > 0);
        let width = shown().map(|tier| name(tier).len()).max().unwrap_or(0).max(6);
        let mut lines = vec![format!(
            "{:width$} {:>8} {:>7} {:>11} {:>8} {:>8} {:>8} {:>8}  weights may take",
            "GiB", "weights", "KV", "activations", "staging", "reserve", "total", "free"
        )];
        for tier in shown() {
            let parts = [
                tier.weights_bytes,
                tier.kv_bytes,
                tier.activations_bytes,
                tier.staging_bytes,
                tier.reserve_bytes,
            ];
            let [weights, kv, activations, staging, reserve] = parts.map(gib);
            let on_disk = tier.tier == Tier::Disk;
            let free = if on_disk {
                String::new()
            } else {
                gib(tier.available_bytes.saturating_sub(tier.total_bytes()))
            };
            let may = if on_disk { String::new() } else { format!("{}: ", gib(tier.budget_bytes)) };
            lines.push(format!(
                "{:width$} {weights:>8} {kv:>7} {activations:>11} {staging:>8} {reserve:>8} {:>8} {free:>8}  {may}{}",
                name(tier),
                gib(tier.total_bytes()),
                tier.budget_name
            ));
        }
        lines
    }

    /// A line about the cache of routed experts on disk, which the table counts in the total.
    fn expert_cache(&self) -> Option<String> {
        let bytes = self.expert_cache_bytes();
        (bytes > 0).then(|| {
            format!("of host memory {} are a cache of the experts on disk", bytes_text(bytes))
        })
    }

    fn groups(&self) -> Vec<ModuleGroup<'_>> {
        let mut groups: Vec<ModuleGroup<'_>> = Vec::new();
        for module in &self.modules {
            let same = |group: &ModuleGroup<'_>| {
                group.tier == module.tier && group.reason == module.reason.text
            };
            let at = groups.iter().position(same).unwrap_or_else(|| {
                let (tier, reason) = (module.tier, module.reason.text.as_str());
                groups.push(ModuleGroup { tier, reason, ranges: Vec::new(), modules: 0, bytes: 0 });
                groups.len() - 1
            });
            append(&mut groups[at].ranges, &module.name);
            groups[at].modules += 1;
            groups[at].bytes += module.weights_bytes;
        }
        groups
    }

    fn use_of(&self, tier: Tier, name: &str) -> String {
        match self.modules.iter().filter(|module| module.tier == tier).count() {
            0 => format!("{name}: not used for weights"),
            count => {
                let bytes = both_units(self.weights_on(tier));
                format!("{name}: used for {}, {bytes}", count_text(count))
            }
        }
    }

    fn expectation(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(seconds) = self.predicted_load_s {
            lines.push(format!("predicted: loads in {}", seconds_text(seconds)));
        }
        if let Some((short, full)) =
            self.predicted_decode_tok_s.zip(self.predicted_decode_tok_s_full)
        {
            lines.push(format!(
                "predicted: decodes one sequence at up to {} tok/s, {} where its text fills the context",
                rate_text(short),
                rate_text(full)
            ));
        }
        if !lines.is_empty() {
            lines.push(format!("  from the rates {}", self.rates_text()));
        }
        lines
    }

    /// The bandwidths of the tiers and their sources: `0, 1 at 2039 GB/s (described), disk at 2.0
    /// GB/s (described)`.
    fn rates_text(&self) -> String {
        let mut groups: Vec<(u64, RateSource, Vec<String>)> = Vec::new();
        for rate in &self.rates {
            let tier = rate.tier.to_string();
            match groups
                .iter_mut()
                .find(|(bytes, source, _)| (*bytes, *source) == (rate.bytes_per_s, rate.source))
            {
                Some((.., tiers)) => tiers.push(tier),
                None => groups.push((rate.bytes_per_s, rate.source, vec![tier])),
            }
        }
        let text = |(bytes, source, tiers): &(u64, RateSource, Vec<String>)| {
            format!("{} at {:.1} GB/s ({})", tiers.join(", "), *bytes as f64 / 1e9, source.name())
        };
        groups.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

fn count_text(modules: usize) -> String {
    if modules == 1 { "1 module".to_owned() } else { format!("{modules} modules") }
}

/// The name of a tier for people: `GPU 0`, `cpu`, `disk`.
fn device_name(tier: Tier) -> String {
    match tier {
        Tier::Gpu(gpu) => format!("GPU {gpu}"),
        other => other.to_string(),
    }
}

/// Maximum width of the device map in a summary, so that it fits on 100 columns with an
/// indentation.
const SUMMARY_COLUMNS: usize = 96;

fn clipped(line: String) -> String {
    const MORE: &str = " ... (-v: all)";
    if line.chars().count() <= SUMMARY_COLUMNS {
        return line;
    }
    line.chars().take(SUMMARY_COLUMNS - MORE.len()).chain(MORE.chars()).collect()
}

fn group_line(group: &ModuleGroup) -> String {
    format!(
        "  {:>4}: {} ({}, {}): {}",
        group.tier.to_string(),
        ranges_text(&group.ranges),
        count_text(group.modules),
        short_text(group.bytes),
        group.reason
    )
}

fn spill_lines(spill: &Spill, place: &str, goal: &str) -> Vec<String> {
    let are = if spill.modules == 1 { "is" } else { "are" };
    let (modules, bytes) = (count_text(spill.modules), bytes_text(spill.bytes));
    let mut lines = vec![format!("{modules} {are} {place} with {bytes}")];
    if let Some(shortage) = &spill.shortage {
        lines.push(format!("  short: {shortage}"));
    }
    match spill.changes.as_slice() {
        [] => {
            lines.push(format!("  no single change of limits, dtype, host memory or GPUs {goal}"))
        }
        [first, rest @ ..] => {
            lines.push(format!("  the smallest change that {goal}: {}", first.text));
            lines.extend(rest.iter().map(|change| format!("    or: {}", change.text)));
        }
    }
    lines
}

fn gib(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { format!("{:.2}", bytes as f64 / 1_073_741_824.0) }
}

fn rate_text(rate: f64) -> String {
    match rate {
        ..1.0 => format!("{rate:.3}"),
        1.0..100.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

fn seconds_text(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s ({:.1} min)", seconds / 60.0),
    }
}
