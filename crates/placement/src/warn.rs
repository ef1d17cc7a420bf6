//! Warnings of a plan: problems that the user should act on.
use crate::solver::{Solution, Solver};
use crate::{Limits, Machine, Tier, bytes_text, short_text};

pub(crate) fn warnings(
    solver: &Solver,
    solution: &Solution,
    machine: &Machine,
    limits: &Limits,
) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(unit(solver, solution, machine, limits));
    warnings.extend(typed_too_much(solution, machine, limits));
    warnings.extend(slow_disk(solution, machine));
    warnings
}

/// Warns if only the decimal unit of a typed budget causes a spill: with `67GiB` instead of `67GB`,
/// all modules would fit on the GPUs.
fn unit(
    solver: &Solver,
    solution: &Solution,
    machine: &Machine,
    limits: &Limits,
) -> Option<String> {
    let spilled = solution.spilled_bytes();
    let twin = limits.max_memory.binary_twin().filter(|_| spilled > 0)?;
    let other = Limits { max_memory: twin.clone(), ..limits.clone() };
    let fits = solver.solve(machine, &other).is_ok_and(|solution| solution.spilled_bytes() == 0);
    fits.then(|| {
        let typed: Vec<String> = limits.max_memory.echo().into_iter().map(|limit| limit.text).collect();
        format!(
            "the unit alone pushes {} off the GPUs: {}. With --max-memory {twin} nothing would leave them (GB is 10^9 bytes, GiB is 2^30)",
            short_text(spilled),
            typed.join("; ")
        )
    })
}

/// Warns about typed budgets that exceed the available memory.
fn typed_too_much(solution: &Solution, machine: &Machine, limits: &Limits) -> Vec<String> {
    let host = &solution.problem.host;
    let mut warnings = Vec::new();
    for (tier, size) in limits.max_memory.iter() {
        let there = match tier {
            Tier::Gpu(gpu) => match solution.problem.gpus.get(gpu) {
                Some(room) => {
                    (room.space(), format!("beside activations, staging and driver on {gpu}"))
                }
                None => {
                    warnings.push(format!(
                        "--max-memory names {tier}, but there are {} GPUs",
                        machine.gpus.len()
                    ));
                    continue;
                }
            },
            Tier::Cpu => {
                (host.usable, format!("as 90% of what is really available under {}", host.limit))
            }
            Tier::Disk => continue,
        };
        if size.bytes > there.0 {
            warnings.push(format!(
                "--max-memory {tier}={} allows {}, but only {} are there {}: these are planned with",
                size.typed,
                bytes_text(size.bytes),
                bytes_text(there.0),
                there.1
            ));
        }
    }
    warnings
}

/// Warns about weights that are read for every token over a network file system.
fn slow_disk(solution: &Solution, machine: &Machine) -> Option<String> {
    let streamed =
        |(index, tier): (usize, &Tier)| *tier == Tier::Disk && solution.problem.is_computed(index);
    let streams = solution.assigned.tiers.iter().enumerate().any(streamed);
    (streams && machine.disk.network).then(|| {
        let kind =
            if machine.disk.file_system.is_empty() { "a network file system" } else { &machine.disk.file_system };
        format!("the weights on disk are read for every token over {kind}: copy the checkpoint to a local disk first")
    })
}
