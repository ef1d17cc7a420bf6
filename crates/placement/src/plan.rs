use crate::assign::{self, Room};
use crate::{Footprint, Limits, Machine, PlanError, Tier, bytes_text};
use checkpoint::{Inventory, ModelConfig, modules};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Kept on the host for the program itself.
const HOST_RESERVE_BYTES: u64 = 128 << 20;

/// Where every byte will live, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Module -> tier.
    #[serde(serialize_with = "as_map")]
    pub device_map: Vec<(String, Tier)>,
    /// Each module with its bytes and the reason for its tier.
    pub modules: Vec<ModulePlan>,
    /// Each tier with what it holds.
    pub tiers: Vec<TierPlan>,
    /// Weights in all, in bytes.
    pub weights_bytes: u64,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences at a time.
    pub concurrency: usize,
    /// KV blocks.
    pub kv_blocks: usize,
    /// What was asked to compute in.
    pub dtype: &'static str,
    /// Seconds that the load should take, if the disk's rate is known.
    pub predicted_load_s: Option<f64>,
    /// Tokens a second that one sequence should decode at, if memory rates are known.
    pub predicted_decode_tok_s: Option<f64>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModulePlan {
    /// accelerate's name.
    pub name: String,
    /// Where.
    pub tier: Tier,
    /// Weights, in bytes.
    pub weights_bytes: u64,
    /// Why there.
    pub reason: String,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierPlan {
    /// Which.
    pub tier: Tier,
    /// Its name.
    pub name: String,
    /// Everything that may be used of it.
    pub available_bytes: u64,
    /// Bytes allowed for weights.
    pub budget_bytes: u64,
    /// Weights.
    pub weights_bytes: u64,
    /// KV cache.
    pub kv_bytes: u64,
    /// Buffers of a forward pass.
    pub activations_bytes: u64,
    /// Buffers between disk and the tier.
    pub staging_bytes: u64,
    /// Kept free.
    pub reserve_bytes: u64,
}

impl TierPlan {
    /// Everything together.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.kv_bytes + self.activations_bytes + self.staging_bytes + self.reserve_bytes
    }
}

/// Plans where each module of a model goes.
///
/// # Errors
/// [`PlanError::DoesNotFit`] with what is short; [`PlanError::Setting`] for an explicit map that names no module.
pub fn plan(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
) -> Result<Plan, PlanError> {
    let footprint = Footprint::of(config, inventory, limits);
    let rooms = rooms(machine, limits, &footprint);
    let assigned = assign::assign(config, &footprint, &rooms, limits)?;
    let mut plan = Plan {
        device_map: Vec::new(),
        modules: Vec::new(),
        tiers: Vec::new(),
        weights_bytes: footprint.weights(),
        context: limits.context,
        concurrency: limits.concurrency,
        kv_blocks: footprint.kv_blocks,
        dtype: limits.dtype.name(),
        predicted_load_s: None,
        predicted_decode_tok_s: None,
        notes: machine.notes.clone(),
    };
    for ((module, (tier, reason)), bytes) in modules(config).into_iter().zip(assigned).zip(&footprint.module_weights) {
        plan.device_map.push((module.name.clone(), tier));
        plan.modules.push(ModulePlan { name: module.name, tier, weights_bytes: *bytes, reason });
    }
    plan.tiers = rooms.iter().map(|room| tier_plan(room, &plan, config, &footprint)).collect();
    check_host(&plan, limits, config)?;
    predict(&mut plan, machine);
    Ok(plan)
}

fn rooms(machine: &Machine, limits: &Limits, footprint: &Footprint) -> Vec<Room> {
    let mut rooms = Vec::new();
    for (i, gpu) in machine.gpus.iter().enumerate() {
        let driver = if gpu.is_virtual { 0 } else { footprint.driver };
        let reserve = footprint.activations + footprint.staging + driver;
        let free = gpu.free_bytes.unwrap_or(gpu.total_bytes);
        let default = (gpu.total_bytes / 10 * 9).min(free.saturating_sub(reserve));
        let budget = limits.max_memory.get(Tier::Gpu(i)).unwrap_or(default);
        rooms.push(Room { tier: Tier::Gpu(i), name: gpu.name.clone(), available: free, budget, reserve });
    }
    let (available, by) = machine.host.really_available();
    let usable = available / 10 * 9;
    let reserve = HOST_RESERVE_BYTES + footprint.activations + footprint.staging;
    let budget = limits.max_memory.get(Tier::Cpu).unwrap_or(usable);
    rooms.push(Room {
        tier: Tier::Cpu,
        name: format!("host memory, limited by {by}"),
        available: usable,
        budget,
        reserve,
    });
    let disk_budget = limits.max_memory.get(Tier::Disk).unwrap_or(u64::MAX);
    let name = "the checkpoint's own files".to_owned();
    rooms.push(Room { tier: Tier::Disk, name, available: u64::MAX, budget: disk_budget, reserve: 0 });
    rooms
}

fn tier_plan(room: &Room, plan: &Plan, config: &ModelConfig, footprint: &Footprint) -> TierPlan {
    let on = |tier: Tier| plan.modules.iter().enumerate().filter(move |(_, m)| m.tier == tier);
    let is_block = |i: usize| (1..=config.layers).contains(&i);
    let weights_bytes = on(room.tier).map(|(_, m)| m.weights_bytes).sum();
    // Blocks on disk are computed on the CPU: their keys and values, and two blocks of weights ahead, live there.
    let mut blocks = on(room.tier).filter(|(i, _)| is_block(*i)).count() as u64;
    let mut staging_bytes = footprint.staging;
    if room.tier == Tier::Cpu {
        blocks += on(Tier::Disk).filter(|(i, _)| is_block(*i)).count() as u64;
        staging_bytes += 2 * on(Tier::Disk).map(|(_, m)| m.weights_bytes).max().unwrap_or(0);
    }
    let used = weights_bytes > 0 || blocks > 0 || room.tier == Tier::Cpu;
    let computes = used && room.tier != Tier::Disk;
    TierPlan {
        tier: room.tier,
        name: room.name.clone(),
        available_bytes: room.available,
        budget_bytes: room.budget,
        weights_bytes,
        kv_bytes: if computes { blocks * footprint.kv_per_layer } else { 0 },
        activations_bytes: if computes { footprint.activations } else { 0 },
        staging_bytes: if computes { staging_bytes } else { 0 },
        reserve_bytes: if computes { room.reserve - footprint.activations - footprint.staging } else { 0 },
    }
}

/// The host holds more than its own modules; whether all of it fits is known only now.
fn check_host(plan: &Plan, limits: &Limits, config: &ModelConfig) -> Result<(), PlanError> {
    let Some(host) = plan.tiers.iter().find(|t| t.tier == Tier::Cpu) else { return Ok(()) };
    let (need_bytes, have_bytes) = (host.total_bytes(), host.available_bytes);
    if need_bytes <= have_bytes {
        return Ok(());
    }
    let short_bytes = need_bytes - have_bytes;
    let per_token = host.kv_bytes / (limits.context.max(1) as u64);
    let change = match short_bytes.checked_div(per_token.max(1)) {
        Some(tokens) if host.kv_bytes > short_bytes => {
            let context = limits.context.saturating_sub(tokens as usize + 1);
            format!(
                "The smallest change that fits: --context {context}, or {} more host memory",
                bytes_text(short_bytes)
            )
        }
        _ => format!(
            "The smallest change that fits: {} more host memory, --dtype int8, or --device-map disk",
            bytes_text(short_bytes)
        ),
    };
    let what = format!("{} with weights, KV cache and buffers", config.class_name);
    Err(PlanError::DoesNotFit { what, tier: "cpu".to_owned(), short_bytes, need_bytes, have_bytes, change })
}

fn predict(plan: &mut Plan, machine: &Machine) {
    let on = |tier: Tier| plan.modules.iter().filter(|m| m.tier == tier).map(|m| m.weights_bytes).sum::<u64>() as f64;
    let disk = machine.disk.read_bytes_per_s.map(|rate| rate as f64);
    plan.predicted_load_s = disk.map(|rate| (plan.weights_bytes as f64 - on(Tier::Disk)) / rate);
    let mut seconds = Some(0.0);
    for tier in plan.tiers.iter().filter(|t| t.weights_bytes > 0) {
        let rate = match tier.tier {
            Tier::Gpu(i) => machine.gpus[i].read_bytes_per_s.map(|r| r as f64),
            Tier::Cpu => machine.host.read_bytes_per_s.map(|r| r as f64),
            Tier::Disk => disk,
        };
        seconds = seconds.zip(rate).map(|(s, rate)| s + on(tier.tier) / rate);
    }
    plan.predicted_decode_tok_s = seconds.filter(|s| *s > 0.0).map(|s| 1.0 / s);
}

fn as_map<S: Serializer>(map: &[(String, Tier)], to: S) -> Result<S::Ok, S::Error> {
    let mut out = to.serialize_map(Some(map.len()))?;
    for (module, tier) in map {
        out.serialize_entry(module, tier)?;
    }
    out.end()
}

impl Plan {
    /// The plan as people read it, a line each.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec!["limits and plan by tier:".to_owned()];
        for tier in &self.tiers {
            let available =
                if tier.available_bytes == u64::MAX { "no limit".to_owned() } else { bytes_text(tier.available_bytes) };
            lines.push(format!(
                "  {} ({}): {available}; weights {}, KV {}, activations {}, staging {}, reserve {}",
                tier.tier,
                tier.name,
                bytes_text(tier.weights_bytes),
                bytes_text(tier.kv_bytes),
                bytes_text(tier.activations_bytes),
                bytes_text(tier.staging_bytes),
                bytes_text(tier.reserve_bytes)
            ));
        }
        lines.push(format!("device map: {}", self.runs()));
        let uses = |tier| if self.modules.iter().any(|m| m.tier == tier) { "used" } else { "not used" };
        lines.push(format!("CPU for weights: {}; disk for weights: {}", uses(Tier::Cpu), uses(Tier::Disk)));
        lines.push(format!("context {} x {} sequences: {} KV blocks", self.context, self.concurrency, self.kv_blocks));
        if let Some(rate) = self.predicted_decode_tok_s {
            lines.push(format!("predicted decode: {rate:.2} tok/s"));
        }
        lines
    }

    /// The device map with equal neighbours joined: `model.embed_tokens..model.layers.39: 0, ...`.
    fn runs(&self) -> String {
        let mut runs: Vec<(String, String, Tier)> = Vec::new();
        for (name, tier) in &self.device_map {
            match runs.last_mut() {
                Some((_, last, on)) if on == tier => last.clone_from(name),
                _ => runs.push((name.clone(), name.clone(), *tier)),
            }
        }
        let text = |(first, last, tier): &(String, String, Tier)| match first == last {
            true => format!("{first} -> {tier}"),
            false => format!("{first} .. {last} -> {tier}"),
        };
        runs.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}
