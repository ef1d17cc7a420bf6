//! The plan as people read it: a table of devices, who is where and why, what to expect, what to
//! change.
use crate::{Plan, RateSource, Spill, Tier, TierPlan, both_units, bytes_text, short_text};

/// Neighboring blocks, or one other module.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModuleRange {
    stem: String,
    /// First and last.
    numbers: Option<(usize, usize)>,
}

impl std::fmt::Display for ModuleRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ModuleRange { stem, numbers } = self;
        match numbers {
            Some((first, last)) if first == last => write!(f, "{stem}.{first}"),
            Some((first, last)) => write!(f, "{stem}.{first}-{last}"),
            None => f.write_str(stem),
        }
    }
}

/// Modules that are in one place for one reason.
struct ModuleGroup<'a> {
    tier: Tier,
    reason: &'a str,
    runs: Vec<ModuleRange>,
    modules: usize,
    bytes: u64,
}

impl Plan {
    /// Plain lines, about 110 columns wide.
    pub fn describe(&self) -> String {
        let mut lines = vec![format!(
            "weights {} in {}; context {} x {} in {} KV blocks of {}",
            bytes_text(self.weights_bytes),
            if self.dtype == "auto" { "the stored dtype" } else { self.dtype },
            self.context,
            if self.concurrency == 1 {
                "1 sequence".to_owned()
            } else {
                format!("{} sequences", self.concurrency)
            },
            self.kv_blocks,
            self.kv_dtype
        )];
        lines.extend(self.max_memory.iter().map(|limit| format!("max_memory: {}", limit.text)));
        lines.extend(self.limits_in_bytes());
        lines.extend(self.table());
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
            lines.extend(spill_lines(
                spill,
                "on disk, read again for every token,",
                "keeps all in memory",
            ));
        }
        lines.extend(self.notes.iter().map(|line| format!("note: {line}")));
        lines.join("\n")
    }

    /// The device map with equal neighbors joined: `model.layers.0-39 -> 0`.
    pub fn runs(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut modules = self.device_map.iter().peekable();
        while let Some((name, tier)) = modules.next() {
            let mut runs = vec![run_of(name)];
            while let Some((next, _)) =
                modules.next_if(|(next, on)| on == tier && joins(&runs[0], next))
            {
                join(&mut runs, next);
            }
            parts.push(format!("{} -> {tier}", runs[0]));
        }
        parts.join(", ")
    }

    /// What weights may take of each device, to the byte.
    fn limits_in_bytes(&self) -> impl Iterator<Item = String> {
        self.tiers.iter().filter(|tier| tier.tier != Tier::Disk).map(|tier| {
            format!(
                "limit of {}: {} for weights, {}",
                tier.tier,
                bytes_text(tier.budget_bytes),
                tier.budget_name
            )
        })
    }

    /// A row a device, in GiB.
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

    fn groups(&self) -> Vec<ModuleGroup<'_>> {
        let mut groups: Vec<ModuleGroup<'_>> = Vec::new();
        for module in &self.modules {
            let same = |group: &ModuleGroup<'_>| {
                group.tier == module.tier && group.reason == module.reason.text
            };
            let at = groups.iter().position(same).unwrap_or_else(|| {
                let (tier, reason) = (module.tier, module.reason.text.as_str());
                groups.push(ModuleGroup { tier, reason, runs: Vec::new(), modules: 0, bytes: 0 });
                groups.len() - 1
            });
            join(&mut groups[at].runs, &module.name);
            groups[at].modules += 1;
            groups[at].bytes += module.weights_bytes;
        }
        groups
    }

    fn use_of(&self, tier: Tier, name: &str) -> String {
        match self.modules.iter().filter(|module| module.tier == tier).count() {
            0 => format!("{name}: not used for weights"),
            1 => format!("{name}: used for 1 module, {}", both_units(self.weights_on(tier))),
            count => {
                format!("{name}: used for {count} modules, {}", both_units(self.weights_on(tier)))
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

    /// `0, 1 at 2039 GB/s (described), disk at 2.0 GB/s (described)`.
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

fn run_of(name: &str) -> ModuleRange {
    match name
        .rsplit_once('.')
        .and_then(|(stem, number)| Some((stem, number.parse::<usize>().ok()?)))
    {
        Some((stem, number)) => {
            ModuleRange { stem: stem.to_owned(), numbers: Some((number, number)) }
        }
        None => ModuleRange { stem: name.to_owned(), numbers: None },
    }
}

/// Whether a module is the next block of a run.
fn joins(run: &ModuleRange, name: &str) -> bool {
    let next = run_of(name);
    matches!((run.numbers, next.numbers), (Some((_, last)), Some((first, _))) if run.stem == next.stem && first == last + 1)
}

fn join(runs: &mut Vec<ModuleRange>, name: &str) {
    match runs.last_mut() {
        Some(run) if joins(run, name) => {
            run.numbers = run.numbers.map(|(first, last)| (first, last + 1))
        }
        _ => runs.push(run_of(name)),
    }
}

fn group_line(group: &ModuleGroup) -> String {
    let runs: Vec<String> = group.runs.iter().map(ModuleRange::to_string).collect();
    let count = if group.modules == 1 {
        "1 module".to_owned()
    } else {
        format!("{} modules", group.modules)
    };
    format!(
        "  {:>4}: {} ({count}, {}): {}",
        group.tier.to_string(),
        runs.join(", "),
        short_text(group.bytes),
        group.reason
    )
}

fn spill_lines(spill: &Spill, place: &str, goal: &str) -> Vec<String> {
    let are = if spill.modules == 1 {
        "1 module is".to_owned()
    } else {
        format!("{} modules are", spill.modules)
    };
    let mut lines = vec![format!("{are} {place} with {}", bytes_text(spill.bytes))];
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
