use crate::{DeviceMapMode, DtypeChoice, Limits, Machine, MaxMemory, Plan, PlanError, plan};
use checkpoint::{Inventory, ModelConfig};
use serde::Serialize;

/// Which steps down are allowed when a plan does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// Any at all.
    pub any: bool,
    /// Past the limits that were typed.
    pub over_limit: bool,
    /// To another dtype.
    pub int8: bool,
}

impl Fallback {
    /// Reads `auto`, `none`, `keep`, or `allow=over-limit,int8`.
    ///
    /// # Errors
    /// 2, with the choices.
    pub fn parse(text: &str) -> Result<Fallback, PlanError> {
        let mut fallback = Fallback { any: true, over_limit: false, int8: false };
        match text {
            "auto" => return Ok(Fallback { any: true, over_limit: true, int8: true }),
            "none" => return Ok(Fallback { any: false, over_limit: false, int8: false }),
            "keep" => return Ok(fallback),
            _ => {}
        }
        for word in text.strip_prefix("allow=").unwrap_or(text).split(',') {
            match word {
                "over-limit" => fallback.over_limit = true,
                "int8" => fallback.int8 = true,
                _ => {
                    let expected = "auto, none, keep, or allow=over-limit,int8".to_owned();
                    return Err(PlanError::Setting { key: "--fallback", expected, found: text.to_owned() });
                }
            }
        }
        Ok(fallback)
    }
}

/// One attempt of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// As it was asked for.
    AsConfigured,
    /// From what is really free.
    WithoutMaxMemory,
    /// Each card filled before the next.
    Sequential,
    /// Weights as 32-blocks of int8.
    Int8,
    /// Blocks in the checkpoint's files.
    DiskTier,
}

/// What became of a rung.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RungOutcome {
    /// Which.
    pub rung: Rung,
    /// `fits`, or why it was not taken.
    pub outcome: String,
}

/// The ladder as far as it was climbed down.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    /// The rung that fits.
    pub rung: Rung,
    /// Its plan.
    pub plan: Plan,
    /// Every rung that was looked at, in order.
    pub tried: Vec<RungOutcome>,
}

/// Climbs down until a plan fits. In `auto`, blocks go to the disk only on the last rung.
///
/// # Errors
/// The error of the first rung, with the words of all others, if none fits.
pub fn ladder(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
    fallback: Fallback,
) -> Result<Ladder, PlanError> {
    let mut tried: Vec<RungOutcome> = Vec::new();
    let mut first_error = None;
    let mut seen: Vec<Limits> = Vec::new();
    for (rung, wanted, allowed) in rungs(limits, fallback) {
        let refusal = match allowed {
            Err(why) => Some(why.to_owned()),
            Ok(()) if seen.contains(&wanted) => Some("skipped: it cannot differ from a rung above".to_owned()),
            Ok(()) => None,
        };
        if let Some(outcome) = refusal {
            tried.push(RungOutcome { rung, outcome });
            continue;
        }
        seen.push(wanted.clone());
        match attempt(config, inventory, machine, &wanted, rung) {
            Ok(plan) => {
                tried.push(RungOutcome { rung, outcome: "fits".to_owned() });
                return Ok(Ladder { rung, plan, tried });
            }
            Err(error @ PlanError::DoesNotFit { .. }) => {
                tried.push(RungOutcome { rung, outcome: error.to_string() });
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let none = PlanError::Setting { key: "--fallback", expected: "a rung".into(), found: "none".into() };
    Err(first_error.unwrap_or(none))
}

fn attempt(
    config: &ModelConfig,
    inventory: &Inventory,
    machine: &Machine,
    limits: &Limits,
    rung: Rung,
) -> Result<Plan, PlanError> {
    let mut limits = limits.clone();
    let disk_typed = limits.max_memory.get(crate::Tier::Disk).is_some();
    let to_disk =
        rung == Rung::DiskTier || disk_typed || matches!(limits.mode, DeviceMapMode::Disk | DeviceMapMode::Explicit(_));
    if !to_disk {
        limits.max_memory.0.insert(crate::Tier::Disk, 0);
    }
    plan(config, inventory, machine, &limits)
}

type Step = (Rung, Limits, Result<(), &'static str>);

fn rungs(limits: &Limits, fallback: Fallback) -> Vec<Step> {
    let allowed = |yes: bool, why| if fallback.any && yes { Ok(()) } else { Err(why) };
    let mut now = limits.clone();
    let mut steps = vec![(Rung::AsConfigured, now.clone(), Ok(()))];
    if fallback.over_limit {
        now.max_memory = MaxMemory::default();
    }
    let over = allowed(
        fallback.over_limit,
        "not allowed: it would pass the limits that were typed (--fallback allow=over-limit)",
    );
    steps.push((Rung::WithoutMaxMemory, now.clone(), over));
    now.mode = DeviceMapMode::Sequential;
    steps.push((Rung::Sequential, now.clone(), allowed(true, "not allowed by --fallback none")));
    now.mode = limits.mode.clone();
    let int8 = Limits { dtype: DtypeChoice::Int8, ..now.clone() };
    steps.push((
        Rung::Int8,
        int8.clone(),
        allowed(fallback.int8, "not allowed: it would change the model (--fallback allow=int8)"),
    ));
    now.max_memory.0.remove(&crate::Tier::Disk);
    let disk = Limits { mode: DeviceMapMode::Auto, ..now };
    steps.push((Rung::DiskTier, disk, if fallback.any { Ok(()) } else { Err("not allowed by --fallback none") }));
    steps
}
