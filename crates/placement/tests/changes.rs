//! Tests that each suggested change reaches its goal when it is applied and planned again, and that
//! the next smaller change does not.
mod common;

use common::{config, inventory, machine};
use placement::{
    ByteSize, Change, ChangeKind, DtypeChoice, KV_BLOCK_TOKENS, KvDtype, Limits, Machine,
    MaxMemory, Plan, PlanError, Planner, Tier,
};

type Question = (Machine, Limits);

/// Machine and limits with a change applied, and with the next smaller change of its kind.
fn changed(change: &Change, machine: &Machine, limits: &Limits) -> (Question, Option<Question>) {
    let (machine, limits) = (machine.clone(), limits.clone());
    let with_limits = |limits: Limits| (machine.clone(), limits);
    let host = |more_bytes: u64| {
        let mut machine = machine.clone();
        machine.host.total_bytes += more_bytes;
        machine.host.limit_bytes = machine.host.limit_bytes.map(|bytes| bytes + more_bytes);
        (machine, limits.clone())
    };
    let gpus = |count: usize| {
        let mut machine = machine.clone();
        machine.gpus.extend(vec![machine.gpus[0].clone(); count]);
        (machine, limits.clone())
    };
    let budgets = |more_bytes: u64| {
        let typed: Vec<(Tier, u64)> = limits
            .max_memory
            .iter()
            .filter(|(tier, _)| tier.is_gpu())
            .map(|(tier, size)| (tier, size.bytes))
            .collect();
        let grow = |all: MaxMemory, (tier, bytes): (Tier, u64)| {
            all.with(tier, ByteSize::plain(bytes + more_bytes))
        };
        with_limits(Limits {
            max_memory: typed.into_iter().fold(limits.max_memory.clone(), grow),
            ..limits.clone()
        })
    };
    let context = |context: usize| with_limits(Limits { context, ..limits.clone() });
    let sequences = |concurrency: usize| with_limits(Limits { concurrency, ..limits.clone() });
    let nothing_less = (machine.clone(), limits.clone());
    match change.kind {
        ChangeKind::BinaryUnits => {
            let binary = limits.max_memory.to_string().replace("GB", "GiB");
            let max_memory = MaxMemory::parse(&binary).unwrap();
            (with_limits(Limits { max_memory, ..limits.clone() }), Some(nothing_less))
        }
        ChangeKind::WithoutMaxMemory => (
            with_limits(Limits { max_memory: MaxMemory::default(), ..limits.clone() }),
            Some(nothing_less),
        ),
        ChangeKind::Context { tokens } => {
            (context(tokens), Some(context(tokens + KV_BLOCK_TOKENS)))
        }
        ChangeKind::Concurrency { sequences: n } => (sequences(n), Some(sequences(n + 1))),
        ChangeKind::Int8 => {
            (with_limits(Limits { dtype: DtypeChoice::Int8, ..limits.clone() }), Some(nothing_less))
        }
        ChangeKind::KvInt8 => (
            with_limits(Limits { kv_dtype: Some(KvDtype::Int8), ..limits.clone() }),
            Some(nothing_less),
        ),
        ChangeKind::HostMemory { more_bytes } => {
            (host(more_bytes), Some(host(more_bytes - (1 << 30))))
        }
        ChangeKind::Disk => {
            (with_limits(Limits { disk: true, ..limits.clone() }), Some(nothing_less))
        }
        ChangeKind::GpuBudgets { more_bytes } => {
            (budgets(more_bytes), Some(budgets(more_bytes - (1 << 30))))
        }
        ChangeKind::Gpu { count, .. } => (gpus(count), Some(gpus(count - 1))),
    }
}

/// The goal of a suggestion.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Fits,
    NothingOnDisk,
    NoSpill,
}

fn reaches(goal: Goal, planned: &Result<Plan, PlanError>) -> bool {
    planned.as_ref().is_ok_and(|plan| match goal {
        Goal::Fits => true,
        Goal::NothingOnDisk => !plan.uses(Tier::Disk),
        Goal::NoSpill => plan.device_map.iter().all(|(_, tier)| tier.is_gpu()),
    })
}

/// Checks all suggestions for a model and a machine, and returns their kinds.
fn checked(model: &str, machine_text: &str, change: impl Fn(&mut Limits)) -> Vec<&'static str> {
    let config = config(model);
    let inventory = inventory(&config);
    let planner = Planner::new(&config, &inventory);
    let machine = machine(machine_text);
    let mut limits = Limits::for_model(&config);
    change(&mut limits);
    let suggested: Vec<(Goal, Change)> = match planner.plan(&machine, &limits) {
        Err(PlanError::DoesNotFit { changes, .. }) => {
            changes.into_iter().map(|c| (Goal::Fits, c)).collect()
        }
        Err(error) => panic!("{error}"),
        Ok(plan) => {
            let of = |spill: Option<placement::Spill>, goal| {
                spill.into_iter().flat_map(|spill| spill.changes).map(move |change| (goal, change))
            };
            of(plan.spill, Goal::NoSpill).chain(of(plan.disk_spill, Goal::NothingOnDisk)).collect()
        }
    };
    for (goal, change) in &suggested {
        let (enough, less) = changed(change, &machine, &limits);
        let planned = planner.plan(&enough.0, &enough.1);
        assert!(reaches(*goal, &planned), "{goal:?} with {}: {planned:?}", change.text);
        if let Some((machine, limits)) = less {
            assert!(
                !reaches(*goal, &planner.plan(&machine, &limits)),
                "{goal:?}: less than {} is enough",
                change.text
            );
        }
    }
    suggested.iter().map(|(_, change)| word(&change.kind)).collect()
}

fn word(kind: &ChangeKind) -> &'static str {
    match kind {
        ChangeKind::BinaryUnits => "units",
        ChangeKind::WithoutMaxMemory => "without",
        ChangeKind::Context { .. } => "context",
        ChangeKind::Concurrency { .. } => "sequences",
        ChangeKind::Int8 => "int8",
        ChangeKind::KvInt8 => "kv int8",
        ChangeKind::HostMemory { .. } => "host",
        ChangeKind::Disk => "disk",
        ChangeKind::GpuBudgets { .. } => "budgets",
        ChangeKind::Gpu { .. } => "gpu",
    }
}

const GPU: &str = "{name: A100-80GB, memory: 79.25GiB}";

#[test]
fn a_spill_under_typed_limits() {
    let two = format!("gpus: [{GPU}, {GPU}]\nhost: {{memory: 128GiB}}\n");
    let kinds = checked("llama-3.3-70b", &two, |limits| {
        limits.max_memory = MaxMemory::parse("0=67GB,1=67GB").unwrap()
    });
    assert_eq!(kinds, ["units", "budgets", "without", "int8", "gpu"]);
}

#[test]
fn a_spill_caused_by_the_kv_cache() {
    let two = format!("gpus: [{GPU}, {GPU}]\nhost: {{memory: 128GiB}}\n");
    let kinds =
        checked("llama-3.3-70b", &two, |limits| (limits.context, limits.concurrency) = (16_384, 8));
    assert_eq!(kinds, ["context", "sequences", "kv int8", "int8", "gpu"]);
}

#[test]
fn a_spill_that_needs_several_gpus() {
    let one = "gpus: [{name: A100-40GB, memory: 39.5GiB}]\nhost: {memory: 512GiB}\n";
    let kinds = checked("llama-3.3-70b", one, |_| {});
    assert_eq!(kinds, ["gpu"]);
}

#[test]
fn a_model_that_fits_nowhere() {
    let small = "host: {memory: 64GiB, limit: 24GiB}\n";
    assert_eq!(checked("llama-3.3-70b", small, |_| {}), ["host", "disk"]);
    assert_eq!(
        checked("llama-3.1-8b", "host: {memory: 14GiB}\n", |_| {}),
        ["int8", "host", "disk"]
    );
    let wide = |limits: &mut Limits| (limits.context, limits.concurrency) = (32_768, 8);
    assert_eq!(
        checked("llama-3.1-8b", "host: {memory: 24GiB}\n", wide),
        ["context", "sequences", "host"],
        "keys and values are as large on the disk tier"
    );
}

#[test]
fn a_model_partly_on_disk() {
    let disk = |limits: &mut Limits| limits.disk = true;
    assert_eq!(checked("llama-3.3-70b", "host: {memory: 24GiB}\n", disk), ["host"]);
    let gpu = format!("gpus: [{GPU}]\nhost: {{memory: 32GiB}}\n");
    // To move all modules to GPUs: int8 or another GPU. To move all modules off the disk: int8,
    // more host memory or another GPU.
    assert_eq!(checked("llama-3.3-70b", &gpu, disk), ["int8", "gpu", "int8", "host", "gpu"]);
}
