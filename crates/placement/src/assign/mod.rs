//! Assigns modules to tiers according to the mode of the device map.
mod auto;
mod cover;
mod explicit;
mod gpu_classes;
mod layers;
mod pack;
mod sequence;
mod split;

#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod examples;

pub(crate) use split::HostNeed;

use crate::problem::Problem;
use crate::score::{OffBytes, score};
use crate::{DeviceMapMode, PlanError, Shortage, Tier};
use layers::LayerProblem;

/// A tier for each module, in the order of the modules, and notes about the search for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub tiers: Vec<Tier>,
    pub notes: Vec<String>,
}

impl Assigned {
    fn plain(tiers: Vec<Tier>) -> Assigned {
        Assigned { tiers, notes: Vec::new() }
    }
}

/// The reason why there is no assignment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AssignError {
    /// The model does not fit.
    Short(Box<Shortage>),
    /// The user's device map is invalid.
    Wrong(PlanError),
}

/// The GPU of each module; `None`: the module is off the GPUs.
type OnGpus = Vec<Option<usize>>;

/// Assigns every module to a tier. `names` are the names of the modules, for messages.
pub(crate) fn assign(
    problem: &Problem,
    mode: &DeviceMapMode,
    names: &[&str],
) -> Result<Assigned, AssignError> {
    let off = || vec![None; problem.items.len()];
    let short = |on_gpus: OnGpus| {
        split::least(problem, &on_gpus, false).map_err(AssignError::Short).map(Assigned::plain)
    };
    let layers = LayerProblem::whole_if_possible(problem);
    let in_sequence = |on_gpus: OnGpus| short(layers.expand(&on_gpus));
    match mode {
        DeviceMapMode::Auto => auto::best(problem).map_err(AssignError::Short),
        DeviceMapMode::Sequential => in_sequence(sequence::sequential(&layers.problem)),
        DeviceMapMode::Balanced => {
            let balanced = in_sequence(sequence::balanced(&layers.problem, 0));
            unless_auto_keeps_more(problem, balanced, mode)
        }
        DeviceMapMode::BalancedLow0 => {
            let balanced = in_sequence(sequence::balanced(&layers.problem, 1));
            unless_auto_keeps_more(problem, balanced, mode)
        }
        DeviceMapMode::Cpu => short(off()),
        DeviceMapMode::Disk => {
            split::least(problem, &off(), true).map_err(AssignError::Short).map(Assigned::plain)
        }
        DeviceMapMode::Explicit(map) => explicit::explicit(problem, map, names),
    }
}

/// Replaces a balanced placement by that of `auto` if `auto` keeps more bytes on the GPUs. A
/// balanced placement keeps modules and GPUs in order, which can cause a spill.
fn unless_auto_keeps_more(
    problem: &Problem,
    balanced: Result<Assigned, AssignError>,
    mode: &DeviceMapMode,
) -> Result<Assigned, AssignError> {
    let off = |assigned: &Assigned| score(problem, &assigned.tiers).off_bytes;
    let balanced_off = balanced.as_ref().map_or(OffBytes::MAX, off);
    if balanced_off == OffBytes::NONE {
        return balanced;
    }
    match auto::best(problem) {
        Ok(mut best) if off(&best) < balanced_off => {
            best.notes.push(format!(
                "device map {} would leave more off the GPUs than auto does: auto is taken",
                mode.name()
            ));
            Ok(best)
        }
        _ => balanced,
    }
}
