//! Placement according to the user's device map.
use super::split::HostNeed;
use super::{AssignError, Assigned};
use crate::problem::Problem;
use crate::{PlanError, Shortage, Tier};
use base::closest_word;

pub(super) fn explicit(
    problem: &Problem,
    map: &[(String, Tier)],
    names: &[&str],
) -> Result<Assigned, AssignError> {
    check_keys(problem, map, names).map_err(AssignError::Wrong)?;
    let mut assigned = Assigned { tiers: Vec::new(), notes: Vec::new() };
    for (index, name) in names.iter().enumerate() {
        let follows = problem.tied && index == problem.head();
        let tier = match tier_of(map, name) {
            found if follows => {
                let embedding = assigned.tiers[0];
                if found.is_some_and(|tier| tier != embedding) {
                    assigned.notes.push(format!(
                        "{name} shares the weights of {} and is where those are, on {embedding}",
                        names[0]
                    ));
                }
                embedding
            }
            Some(tier) => tier,
            None => return Err(AssignError::Wrong(missing(name))),
        };
        assigned.tiers.push(tier);
    }
    check_experts(problem, &assigned.tiers, names).map_err(AssignError::Wrong)?;
    let norm = problem.norm();
    if assigned.tiers[norm] == Tier::Disk {
        assigned.tiers[norm] = Tier::Cpu;
        assigned.notes.push(format!(
            "{} is a few kilobytes and is kept in host memory, not on disk",
            names[norm]
        ));
    }
    match shortage(problem, &assigned.tiers) {
        Some(shortage) => Err(AssignError::Short(Box::new(shortage))),
        None => Ok(assigned),
    }
}

/// Refuses routed experts on a GPU that does not compute them.
fn check_experts(problem: &Problem, tiers: &[Tier], names: &[&str]) -> Result<(), PlanError> {
    let refused = |(index, tier): (usize, &Tier)| {
        matches!(tier, Tier::Gpu(gpu) if !problem.may_be_on(index, *gpu)).then(|| {
            PlanError::DeviceMap {
                module: names[index].to_owned(),
                expected: "cpu or disk, since no GPU kernel computes routed experts".to_owned(),
                found: format!("{tier}; give this module a tier of its own in the map"),
            }
        })
    };
    tiers.iter().enumerate().find_map(refused).map_or(Ok(()), Err)
}

fn missing(name: &str) -> PlanError {
    PlanError::DeviceMap {
        module: name.to_owned(),
        expected: "a tier for every module".to_owned(),
        found: "none; name it, a module above it, or \"\" for all".to_owned(),
    }
}

/// Whether `key` is the name of the module or of one of its ancestors.
fn covers(key: &str, name: &str) -> bool {
    key.is_empty()
        || name == key
        || name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))
}

fn tier_of(map: &[(String, Tier)], name: &str) -> Option<Tier> {
    map.iter()
        .filter(|(key, _)| covers(key, name))
        .max_by_key(|(key, _)| key.len())
        .map(|(_, tier)| *tier)
}

fn check_keys(problem: &Problem, map: &[(String, Tier)], names: &[&str]) -> Result<(), PlanError> {
    for (key, tier) in map {
        let wrong = |expected: &str, found: String| {
            Err(PlanError::DeviceMap { module: key.clone(), expected: expected.to_owned(), found })
        };
        let is_part = |name: &&&str| covers(name, key) && !names.contains(&key.as_str());
        if let Some(layer) = names.iter().find(is_part) {
            let experts = names.iter().find(|name| covers(layer, name) && *name != layer);
            let other = experts.map_or_else(String::new, |name| format!(" or {name}"));
            return wrong("whole layers", format!("a part of {layer}; give {layer}{other} a tier"));
        }
        if !names.iter().any(|name| covers(key, name)) {
            return wrong("a module of the model", format!("no such module; {}", hint(key, names)));
        }
        if let Tier::Gpu(gpu) = tier
            && *gpu >= problem.gpus.len()
        {
            return wrong("a GPU of the machine", format!("{gpu}, of {} GPUs", problem.gpus.len()));
        }
    }
    Ok(())
}

/// A hint for an unknown key: the module name that differs by a typo or has the same last part, or
/// else a list of all names.
fn hint(key: &str, names: &[&str]) -> String {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let alike = || names.iter().copied().find(|name| last(name) == last(key));
    match closest_word(key, names.iter().copied()).or_else(alike) {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let is_layer =
                |name: &&&str| last(name).is_some_and(|part| part.parse::<u32>().is_ok());
            format!(
                "the modules are {}, layers up to {}, {}",
                names[0],
                names.iter().rfind(is_layer).unwrap_or(&"none"),
                names[names.len() - 2..].join(", ")
            )
        }
    }
}

fn shortage(problem: &Problem, tiers: &[Tier]) -> Option<Shortage> {
    for (index, gpu) in problem.gpus.iter().enumerate() {
        let on = || tiers.iter().zip(&problem.items).filter(|(tier, _)| **tier == Tier::Gpu(index));
        let weights: u64 = on().map(|(_, item)| item.weights).sum();
        let all = weights + on().map(|(_, item)| item.kv).sum::<u64>();
        let short = |what: &str, limit: String, need_bytes: u64, have_bytes: u64| Shortage {
            what: format!("{what} of the modules that the map puts there"),
            tier: Tier::Gpu(index),
            limit,
            need_bytes,
            have_bytes,
            short_bytes: need_bytes - have_bytes,
        };
        if all > gpu.space() {
            let limit = format!("free memory of {index} beside activations, staging and driver");
            return Some(short("weights, keys and values", limit, all, gpu.space()));
        }
        if weights > gpu.budget {
            return Some(short("weights", gpu.budget_name.clone(), weights, gpu.budget));
        }
    }
    HostNeed::of(problem, tiers).shortage(problem, "the modules that the map puts there")
}
