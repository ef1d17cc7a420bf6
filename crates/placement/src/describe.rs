//! The plan as people read it.
use crate::{ModulePlan, Plan, Tier, TierPlan, both_units, bytes_text, short_text};

/// Neighbouring blocks on one tier, or one other module.
struct Run {
    stem: String,
    /// First and last.
    numbers: Option<(usize, usize)>,
    tier: Tier,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { stem, numbers, tier } = self;
        match numbers {
            Some((first, last)) if first == last => write!(f, "{stem}.{first} -> {tier}"),
            Some((first, last)) => write!(f, "{stem}.{first}-{last} -> {tier}"),
            None => write!(f, "{stem} -> {tier}"),
        }
    }
}

impl Plan {
    /// Plain lines: limits, device map, what is used and why, totals, what to expect.
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        lines.push(format!(
            "model: {} of weights in {}, context {} x {} sequence(s) in {} KV blocks ({})",
            bytes_text(self.weights_bytes),
            self.dtype,
            self.context,
            self.concurrency,
            self.kv_blocks,
            self.kv_dtype
        ));
        lines.extend(self.max_memory.iter().map(|limit| format!("max_memory: {}", limit.text)));
        lines.extend(
            self.tiers.iter().filter(|tier| tier.tier != Tier::Disk || tier.weights_bytes > 0).flat_map(tier_lines),
        );
        lines.push(format!("device map ({}): {}", self.mode, self.runs()));
        lines.push(self.use_of(Tier::Cpu, "CPU"));
        lines.push(self.use_of(Tier::Disk, "disk"));
        lines.extend(self.spill_lines());
        lines.extend(self.expectation());
        lines.extend(self.warnings.iter().map(|line| format!("warning: {line}")));
        lines.extend(self.notes.iter().map(|line| format!("note: {line}")));
        lines.join("\n")
    }

    /// The device map with equal neighbours joined: `model.layers.0-39 -> 0`.
    pub fn runs(&self) -> String {
        let mut runs: Vec<Run> = Vec::new();
        for (name, tier) in &self.device_map {
            let block = name.rsplit_once('.').and_then(|(stem, number)| Some((stem, number.parse::<usize>().ok()?)));
            match (runs.last_mut(), block) {
                (Some(Run { stem, numbers: Some((_, last)), tier: on }), Some((of, number)))
                    if stem == of && on == tier =>
                {
                    *last = number;
                }
                (_, Some((stem, number))) => {
                    runs.push(Run { stem: stem.to_owned(), numbers: Some((number, number)), tier: *tier });
                }
                (_, None) => runs.push(Run { stem: name.clone(), numbers: None, tier: *tier }),
            }
        }
        runs.iter().map(Run::to_string).collect::<Vec<_>>().join(", ")
    }

    fn use_of(&self, tier: Tier, name: &str) -> String {
        let on: Vec<&ModulePlan> = self.modules.iter().filter(|module| module.tier == tier).collect();
        match on.iter().max_by_key(|module| module.weights_bytes) {
            None => format!("{name}: not used for weights"),
            Some(largest) => {
                let bytes: u64 = on.iter().map(|module| module.weights_bytes).sum();
                let why = &largest.reason.text;
                format!("{name}: used for {} modules, {}; {}: {why}", on.len(), both_units(bytes), largest.name)
            }
        }
    }

    fn spill_lines(&self) -> Vec<String> {
        let Some(spill) = &self.spill else { return Vec::new() };
        let mut lines =
            vec![format!("spill: {} modules, {}, are off the cards", spill.modules, bytes_text(spill.bytes))];
        if let Some(shortage) = &spill.shortage {
            lines.push(format!("  nearest to more: {shortage}"));
        }
        match spill.changes.as_slice() {
            [] => lines.push("  no single change of limits, dtype or one card keeps all of it on the cards".to_owned()),
            changes => {
                lines.extend(
                    changes
                        .iter()
                        .take(3)
                        .map(|change| format!("  all of it would be on the cards with {}", change.text)),
                );
            }
        }
        lines
    }

    fn expectation(&self) -> Option<String> {
        let load = self.predicted_load_s.map(|s| format!("load in {s:.1} s"));
        let decode = self.predicted_decode_tok_s.zip(self.predicted_decode_tok_s_full);
        let decode =
            decode.map(|(short, full)| format!("decode at up to {short:.2} tok/s ({full:.2} with a full context)"));
        let parts: Vec<String> = load.into_iter().chain(decode).collect();
        (!parts.is_empty()).then(|| format!("expected: {}", parts.join(", ")))
    }
}

fn tier_lines(tier: &TierPlan) -> Vec<String> {
    if tier.tier == Tier::Disk {
        return vec![format!("disk ({}): weights {}", tier.name, bytes_text(tier.weights_bytes))];
    }
    let parts = [
        ("weights", tier.weights_bytes),
        ("KV", tier.kv_bytes),
        ("activations", tier.activations_bytes),
        ("staging", tier.staging_bytes),
        ("reserve", tier.reserve_bytes),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", short_text(bytes)))
        .collect();
    let planned = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    vec![
        format!("{} ({}): {} usable", tier.tier, tier.name, bytes_text(tier.available_bytes)),
        format!("  weights may take {} ({})", bytes_text(tier.budget_bytes), tier.budget_name),
        format!("  planned: {planned}; total {}", bytes_text(tier.total_bytes())),
    ]
}
