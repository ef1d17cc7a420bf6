//! Predicts load time and tokens per second from measured, described or data-sheet bandwidths.
use crate::assign::HostNeed;
use crate::problem::{ModuleBytes, Problem};
use crate::score::{DISK_ROW_NS, HOP_NS, cuts};
use crate::{Machine, Rate, Tier, TierRate, short_text};

/// The predictions of a plan; `None` if a required bandwidth is unknown.
pub(crate) struct Prediction {
    pub load_s: Option<f64>,
    pub decode_tok_s: Option<f64>,
    pub decode_tok_s_full: Option<f64>,
    pub rates: Vec<TierRate>,
    /// Notes about unknown bandwidths, and about the time that modules off the GPUs take.
    pub notes: Vec<String>,
}

pub(crate) fn predict(
    problem: &Problem,
    machine: &Machine,
    tiers: &[Tier],
    stored_bytes: u64,
    concurrency: usize,
) -> Prediction {
    let kv_share = 1.0 / concurrency.max(1) as f64;
    let per_second = |seconds: Option<f64>| seconds.filter(|s| *s > 0.0).map(|s| 1.0 / s);
    let (rates, mut notes) = rates(problem, machine, tiers);
    notes.extend(off_the_gpus(problem, machine, tiers));
    Prediction {
        load_s: load_s(problem, machine, tiers, stored_bytes),
        decode_tok_s: per_second(token_s(problem, machine, tiers, 0.0)),
        decode_tok_s_full: per_second(token_s(problem, machine, tiers, kv_share)),
        rates,
        notes,
    }
}

/// The bandwidths of the tiers in use, and a note for each unknown one.
fn rates(problem: &Problem, machine: &Machine, tiers: &[Tier]) -> (Vec<TierRate>, Vec<String>) {
    let computes_on = |tier: Tier| {
        (0..tiers.len()).any(|at| compute_tier(tiers[at]) == tier && reads(problem, at))
    };
    let mut used: Vec<Tier> = (0..machine.gpus.len()).map(Tier::Gpu).chain([Tier::Cpu]).collect();
    used.retain(|tier| computes_on(*tier));
    used.push(Tier::Disk);
    let (mut known, mut notes) = (Vec::new(), Vec::new());
    for tier in used {
        match (machine.rate(tier), tier) {
            (Some(rate), _) => {
                known.push(TierRate { tier, bytes_per_s: rate.bytes_per_s, source: rate.source });
            }
            (None, Tier::Disk) => {
                notes.push("the disk's rate is not known, so no load time is predicted".to_owned())
            }
            (None, Tier::Cpu) => {
                notes.push(
                    "host memory's rate is not known, so no tokens a second are predicted"
                        .to_owned(),
                );
            }
            (None, Tier::Gpu(gpu)) => notes.push(format!(
                "the memory rate of {gpu} ({}) is not known, so no tokens a second are predicted",
                machine.gpus[gpu].name
            )),
        }
    }
    (known, notes)
}

/// A note if GPUs compute only a part of the model: the time per token of the rest on the CPU, and
/// the time to send its weights to a GPU instead.
fn off_the_gpus(problem: &Problem, machine: &Machine, tiers: &[Tier]) -> Option<String> {
    let real = |tier: &Tier| matches!(tier, Tier::Gpu(gpu) if !machine.gpus[*gpu].is_virtual);
    let cached = cached_share(problem, tiers);
    let (mut on_cpu, mut on_disk) = (0, 0);
    for at in (0..tiers.len()).filter(|at| problem.is_computed(*at)) {
        let item = &problem.items[at];
        match tiers[at] {
            Tier::Gpu(_) => {}
            Tier::Disk if item.is_experts() => {
                let hit_bytes = hit_bytes(item, cached) as u64;
                on_cpu += hit_bytes;
                on_disk += item.active - hit_bytes;
            }
            Tier::Disk => on_disk += item.read_from_disk(),
            Tier::Cpu => on_cpu += item.active,
        }
    }
    if on_cpu + on_disk == 0 || !tiers.iter().any(real) {
        return None;
    }
    let seconds = |bytes: u64, rate: Rate| bytes as f64 / rate.bytes_per_s as f64;
    let text =
        |rate: Rate| format!("{:.1} GB/s ({})", rate.bytes_per_s as f64 / 1e9, rate.source.name());
    let there = match (machine.rate(Tier::Cpu), machine.rate(Tier::Disk)) {
        (Some(cpu), _) if on_disk == 0 => Some((seconds(on_cpu, cpu), format!("at {}", text(cpu)))),
        (Some(cpu), Some(disk)) => {
            let both = format!("from memory at {} and the disk at {}", text(cpu), text(disk));
            Some((seconds(on_cpu, cpu) + seconds(on_disk, disk), both))
        }
        _ => None,
    };
    let bytes = short_text(on_cpu + on_disk);
    let off = |at: &usize| !tiers[*at].is_gpu() && problem.is_computed(*at);
    if !(0..tiers.len()).filter(off).any(|at| problem.may_be_on_a_gpu(at)) {
        let there = there.map_or_else(String::new, |(s, at)| format!(": {s:.3} s a token {at}"));
        return Some(format!("{bytes} of routed experts a token are computed on the CPU{there}"));
    }
    let there =
        there.map_or_else(String::new, |(seconds, at)| format!(": {seconds:.3} s a token {at}"));
    let links = (0..machine.gpus.len()).filter(|gpu| tiers.contains(&Tier::Gpu(*gpu)));
    let link = links.filter_map(|gpu| machine.link_rate(gpu)).max_by_key(|rate| rate.bytes_per_s);
    let sent = link.map_or_else(String::new, |link| {
        format!(
            "; sent to a GPU at {} they would take {:.3} s",
            text(link),
            seconds(on_cpu + on_disk, link)
        )
    });
    Some(format!(
        "{bytes} of weights off the GPUs are computed on the CPU{there}{sent}. Prompts too: sent to a GPU for these alone, they \
         would give a prompt other bits than a reply"
    ))
}

/// Load time in seconds: that of the disk or of the slowest GPU link, whichever is longer, since
/// both work at the same time.
fn load_s(problem: &Problem, machine: &Machine, tiers: &[Tier], stored_bytes: u64) -> Option<f64> {
    let rate = machine.rate(Tier::Disk)?.bytes_per_s as f64;
    let sum = |tier: Tier| -> u64 {
        tiers
            .iter()
            .zip(&problem.items)
            .filter(|(at, _)| **at == tier)
            .map(|(_, item)| item.weights)
            .sum()
    };
    let kept: u64 = problem.items.iter().map(|item| item.weights).sum();
    let read_share = 1.0 - sum(Tier::Disk) as f64 / kept.max(1) as f64;
    let disk_s = stored_bytes as f64 * read_share / rate;
    let links = machine.gpus.iter().enumerate();
    let link_s = links.filter_map(|(index, gpu)| {
        gpu.link_bytes_per_s.map(|rate| sum(Tier::Gpu(index)) as f64 / rate as f64)
    });
    Some(link_s.fold(disk_s, f64::max))
}

/// Seconds to decode one token that reads the fraction `kv_share` of the planned keys and values.
fn token_s(problem: &Problem, machine: &Machine, tiers: &[Tier], kv_share: f64) -> Option<f64> {
    let mut seconds = 0.0;
    let cached = cached_share(problem, tiers);
    for (index, tier) in tiers.iter().enumerate() {
        let item = &problem.items[index];
        let rate = |tier: Tier| machine.rate(tier).map(|rate| rate.bytes_per_s as f64);
        let compute = compute_tier(*tier);
        let kv_bytes = item.kv as f64 * kv_share;
        if kv_bytes > 0.0 {
            seconds += kv_bytes / rate(compute)?;
        }
        seconds += match tier {
            Tier::Disk if item.is_experts() => {
                let hit_bytes = hit_bytes(item, cached);
                hit_bytes / rate(Tier::Cpu)? + (item.active as f64 - hit_bytes) / rate(Tier::Disk)?
            }
            Tier::Disk if problem.is_computed(index) => {
                item.read_from_disk() as f64 / rate(Tier::Disk)?
            }
            Tier::Disk => DISK_ROW_NS as f64 / 1e9,
            _ if item.active == 0 => 0.0,
            _ => item.active as f64 / rate(compute)?,
        };
    }
    let cuts = cuts(problem, tiers);
    Some(seconds + cuts as f64 * HOP_NS as f64 / 1e9)
}

/// The share of the routed experts on disk that their cache holds: the share of the bytes found in
/// it if tokens use all experts alike.
fn cached_share(problem: &Problem, tiers: &[Tier]) -> f64 {
    let need = HostNeed::of(problem, tiers);
    let share = need.expert_cache(problem) as f64 / need.experts_on_disk.max(1) as f64;
    share.min(1.0)
}

/// The bytes of routed experts on disk that a token finds in their cache.
fn hit_bytes(item: &ModuleBytes, cached: f64) -> f64 {
    item.active as f64 * cached
}

/// The tier that computes a module. The CPU computes modules on disk.
fn compute_tier(tier: Tier) -> Tier {
    if tier == Tier::Disk { Tier::Cpu } else { tier }
}

fn reads(problem: &Problem, index: usize) -> bool {
    problem.items[index].active > 0 || problem.items[index].kv > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::{Footprint, ModuleWeights, Weights};
    use crate::{DeviceMapMode, DtypeChoice, Limits, MaxMemory};
    use checkpoint::ModuleKind;

    /// Embedding and head of 1 GB each, two layers of 10 GB of weights and 1 GB of keys and values
    /// each, and a norm of 0 bytes.
    fn problem(machine: &Machine) -> Problem {
        let module = |kind, bytes, active_bytes| ModuleWeights {
            name: String::new(),
            kind,
            bytes,
            active_bytes,
        };
        let weights = Weights {
            modules: vec![
                module(ModuleKind::Embedding, 1_000_000_000, 0),
                module(ModuleKind::Layer(0), 10_000_000_000, 10_000_000_000),
                module(ModuleKind::Layer(1), 10_000_000_000, 10_000_000_000),
                module(ModuleKind::FinalNorm, 0, 0),
                module(ModuleKind::Head, 1_000_000_000, 1_000_000_000),
            ],
            tied: false,
            stored_bytes: 22_000_000_000,
            can_be_int8: true,
            experts: 0,
            experts_per_token: 0,
        };
        let footprint = Footprint {
            kv_per_layer_bytes: 1_000_000_000,
            kv_blocks: 1,
            activations_bytes: 0,
            gpu_pass_bytes: 0,
            logits_bytes: 0,
            crossing_bytes: 0,
        };
        let limits = Limits {
            max_memory: MaxMemory::default(),
            mode: DeviceMapMode::Auto,
            context: 32,
            concurrency: 1,
            dtype: DtypeChoice::Auto,
            kv_dtype: None,
            disk: true,
        };
        Problem::new(&weights, &footprint, machine, &limits)
    }

    #[test]
    fn bytes_over_rates() {
        let text = "gpus: [{name: gpu, memory: 20GiB, read: 1TB/s, link: 2GB/s}]\n\
                    host: {memory: 64GiB, read: 100GB/s}\ndisk: {read: 1GB/s}\n";
        let machine = Machine::from_yaml("m", text).unwrap();
        let problem = problem(&machine);
        let (gpu, cpu, disk) = (Tier::Gpu(0), Tier::Cpu, Tier::Disk);
        let predicted = predict(&problem, &machine, &[cpu, gpu, disk, cpu, cpu], 22_000_000_000, 2);
        // The embedding, one layer and the head are read from disk during the load; the layer on
        // the disk tier is not.
        assert!((predicted.load_s.unwrap() - 12.0).abs() < 1e-9);
        let hops = 3.0 * HOP_NS as f64 / 1e9;
        let token_s = 0.01 + 10.0 + 0.01 + hops;
        assert!((1.0 / predicted.decode_tok_s.unwrap() - token_s).abs() < 1e-9);
        // With two sequences, one reads half of the keys and values: 0.5 GB on the GPU and 0.5 GB
        // on the CPU.
        let full_s = token_s + 0.0005 + 0.005;
        assert!((1.0 / predicted.decode_tok_s_full.unwrap() - full_s).abs() < 1e-9);
        assert_eq!(predicted.rates.len(), 3);
        // All modules on the GPU and a very fast disk: the link determines the load time.
        let fast_disk = Machine {
            disk: crate::Disk { read_bytes_per_s: Some(1 << 40), ..machine.disk.clone() },
            ..machine
        };
        let predicted = predict(&problem, &fast_disk, &[gpu; 5], 22_000_000_000, 1);
        assert!((predicted.load_s.unwrap() - 11.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_off_the_gpus_is_told_beside_the_other_way() {
        let notes = |text: &str, tiers: &[Tier]| {
            let machine = Machine::from_yaml("m", text).unwrap();
            predict(&problem(&machine), &machine, tiers, 22_000_000_000, 1).notes
        };
        let (gpu, cpu, disk) = (Tier::Gpu(0), Tier::Cpu, Tier::Disk);
        let text = "gpus: [{name: c, memory: 20GiB, read: 1TB/s, link: 2GB/s}]\nhost: {memory: 64GiB, read: 100GB/s}\ndisk: {read: 1GB/s}\n";
        // One layer and the head have 11 GB. The embedding does not count, since only one row is
        // read.
        let told = notes(text, &[cpu, gpu, cpu, cpu, cpu]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("0.110 s a token at 100.0 GB/s (described)"), "{told:?}");
        assert!(told[0].contains("at 2.0 GB/s (described) they would take 5.500 s"), "{told:?}");
        let told = notes(text, &[cpu, gpu, disk, cpu, cpu]);
        assert!(told[0].contains("10.010 s a token from memory at 100.0 GB/s"), "{told:?}");
        assert!(notes(text, &[cpu, gpu, gpu, gpu, gpu]).is_empty());
        assert!(notes(text, &[cpu; 5]).is_empty());
        // No bandwidth is known: the note still states where the layers are computed.
        let told = notes(
            "gpus: [{name: c, memory: 20GiB}]\nhost: {memory: 64GiB}\n",
            &[cpu, gpu, gpu, cpu, cpu],
        );
        assert!(
            told.iter()
                .any(|note| note.contains("off the GPUs are computed on the CPU. Prompts too")),
            "{told:?}"
        );
        // Virtual GPUs are host memory, so there is no note.
        let text = text.replace("link: 2GB/s", "virtual: true");
        assert!(notes(&text, &[cpu, gpu, cpu, cpu, cpu]).is_empty());
    }

    #[test]
    fn what_nobody_knows_is_not_predicted_and_said() {
        let machine =
            Machine::from_yaml("m", "host: {memory: 64GiB}\ndisk: {read: 1GB/s}\n").unwrap();
        let predicted = predict(&problem(&machine), &machine, &[Tier::Cpu; 5], 22_000_000_000, 1);
        assert!(predicted.load_s.is_some() && predicted.decode_tok_s.is_none());
        assert_eq!(predicted.notes.len(), 1, "{:?}", predicted.notes);
        assert!(predicted.notes[0].contains("host memory's rate"));
    }
}
