//! Tests of the ladder: each rung is planned, skipped or refused with a reason.
mod common;

use common::{config, inventory, machine, shipped};
use error_kind::{ErrorKind, HasKind};
use placement::{
    DeviceMapMode, DtypeChoice, FailedRung, Fallback, GpuLeft, Ladder, Limits, Machine, MaxMemory,
    PlanError, Planner, Rung, RungState, Tier, ladder, ladder_below,
};

fn climb(
    model: &str,
    machine: &Machine,
    change: impl Fn(&mut Limits),
    fallback: &str,
) -> Result<Ladder, PlanError> {
    let config = config(model);
    let mut limits = Limits::for_model(&config);
    change(&mut limits);
    ladder(&config, &inventory(&config), machine, &limits, Fallback::parse(fallback).unwrap())
}

fn states(ladder: &Ladder) -> Vec<(Rung, RungState)> {
    ladder.tried.iter().map(|rung| (rung.rung, rung.state)).collect()
}

fn host(gib: u64) -> Machine {
    machine(&format!("host: {{memory: {gib}GiB, cores: 2, read: 70GB/s}}\ndisk: {{read: 2GB/s}}\n"))
}

#[test]
fn a_plan_that_fits_is_taken_as_configured() {
    let ladder = climb("smollm2-135m", &host(24), |_| {}, "auto").unwrap();
    assert_eq!(states(&ladder), [(Rung::AsConfigured, RungState::Taken)]);
    assert!(ladder.plan.uses(Tier::Cpu) && !ladder.plan.uses(Tier::Disk));
}

#[test]
fn seventy_billion_on_24_gib_end_on_the_disk_tier() {
    let ladder = climb("llama-3.3-70b", &host(24), |_| {}, "auto").unwrap();
    assert_eq!(ladder.rung, Rung::DiskTier);
    let expected = [
        (Rung::AsConfigured, RungState::TooSmall),
        (Rung::WithoutMaxMemory, RungState::Skipped),
        (Rung::Sequential, RungState::Skipped),
        (Rung::Int8, RungState::TooSmall),
        (Rung::DiskTier, RungState::Taken),
    ];
    assert_eq!(states(&ladder), expected);
    let plan = &ladder.plan;
    let host = plan.tiers.iter().find(|tier| tier.tier == Tier::Cpu).unwrap();
    assert!(host.total_bytes() <= (24 << 30) / 10 * 9);
    // Host memory is used as far as possible: the rest is smaller than one more layer.
    assert!(host.total_bytes() + 1_711_308_800 > host.available_bytes, "{host:?}");
    assert_eq!(host.weights_bytes + plan.weights_on(Tier::Disk), plan.weights_bytes);
    let rate = plan.predicted_decode_tok_s.unwrap();
    assert!((0.01..0.02).contains(&rate), "{rate}");
    // The embedding is the first module to stay on disk, since it is read row by row; norm and head
    // are not.
    assert_eq!(plan.device_map[0], ("model.embed_tokens".to_owned(), Tier::Disk));
}

#[test]
fn int8_is_taken_where_it_fits_and_not_where_it_is_not_allowed() {
    let ladder = climb("llama-3.1-8b", &host(14), |_| {}, "auto").unwrap();
    assert_eq!(ladder.rung, Rung::Int8);
    assert_eq!(ladder.plan.dtype, "int8");
    let ladder = climb("llama-3.1-8b", &host(14), |_| {}, "keep").unwrap();
    assert_eq!(ladder.rung, Rung::DiskTier);
    assert_eq!(ladder.plan.dtype, "auto");
    assert!(ladder.tried.iter().any(|r| r.rung == Rung::Int8
        && r.state == RungState::NotAllowed
        && r.why.contains("allow=int8")));
    let ladder = climb("llama-3.1-8b", &host(14), |_| {}, "allow=int8").unwrap();
    assert_eq!(ladder.rung, Rung::Int8);
}

#[test]
fn typed_limits_are_exceeded_only_if_allowed() {
    let type_it = |limits: &mut Limits| limits.max_memory = MaxMemory::parse("cpu=4GiB").unwrap();
    let ladder = climb("llama-3.1-8b", &host(64), type_it, "auto").unwrap();
    assert_eq!(ladder.rung, Rung::WithoutMaxMemory);
    let ladder = climb("llama-3.1-8b", &host(64), type_it, "keep").unwrap();
    assert_eq!(ladder.rung, Rung::DiskTier);
    assert!(ladder.plan.weights_on(Tier::Cpu) <= 4 << 30);
}

#[test]
fn fallback_none_stops_at_the_first_rung_and_names_the_smallest_change() {
    let error = climb("llama-3.1-8b", &host(14), |_| {}, "none").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let text = error.to_string();
    for words in [
        "all of the model on cpu: 17464895488 bytes",
        "short",
        "--dtype int8",
        "GiB more host memory",
        "the disk tier",
        "int8: not allowed: --fallback none",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn the_named_change_is_the_smallest() {
    let config = config("llama-3.1-8b");
    let inventory = inventory(&config);
    let limits = Limits { context: 131_072, concurrency: 4, ..Limits::for_model(&config) };
    let planner = Planner::new(&config, &inventory);
    let machine = host(40);
    let PlanError::DoesNotFit { changes, shortage } = planner.plan(&machine, &limits).unwrap_err()
    else {
        panic!("not short")
    };
    assert!(shortage.need_bytes - shortage.have_bytes == shortage.short_bytes);
    let placement::ChangeKind::Context { tokens } = changes[0].kind else { panic!("{changes:?}") };
    let fits = |context| planner.plan(&machine, &Limits { context, ..limits.clone() }).is_ok();
    assert!(fits(tokens) && !fits(tokens + 32), "{tokens}");
    let more = changes.iter().find_map(|change| match change.kind {
        placement::ChangeKind::HostMemory { more_bytes } => Some(more_bytes >> 30),
        _ => None,
    });
    let fits = |gib| planner.plan(&host(gib), &limits).is_ok();
    assert!(more.is_some_and(|more| fits(40 + more) && !fits(40 + more - 1)), "{changes:?}");
}

#[test]
fn refusal_lists_every_rung() {
    // The KV cache of this context exceeds the host's memory on every rung.
    let error =
        climb("llama-3.3-70b", &host(8), |limits| limits.context = 131_072, "auto").unwrap_err();
    let PlanError::NoRungFits { rungs, changes, .. } = &error else { panic!("{error}") };
    assert_eq!(rungs.len(), 5);
    assert!(rungs.iter().all(|rung| rung.state != RungState::Taken));
    assert!(
        changes
            .iter()
            .any(|change| matches!(change.kind, placement::ChangeKind::HostMemory { .. })),
        "{changes:?}"
    );
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(changes[0].text.contains("disk-tier"), "{changes:?}");
}

#[test]
fn the_sequential_rung_is_tried_after_balanced_and_skipped_after_auto() {
    let gpu = |mode: DeviceMapMode| move |limits: &mut Limits| limits.mode = mode.clone();
    let small = machine("gpus: [{name: L4, memory: 4GiB}]\nhost: {memory: 4GiB}\n");
    for (mode, state) in
        [(DeviceMapMode::Auto, RungState::Skipped), (DeviceMapMode::Balanced, RungState::TooSmall)]
    {
        let error = climb("llama-3.3-70b", &small, gpu(mode), "auto").unwrap_err();
        let PlanError::NoRungFits { rungs, .. } = error else { panic!("{error}") };
        assert_eq!(rungs[2].state, state, "{rungs:?}");
    }
}

#[test]
fn after_a_failed_load_the_next_rung_is_planned_from_free_memory() {
    let config = config("llama-3.1-8b");
    let inventory = inventory(&config);
    let planner = Planner::new(&config, &inventory);
    let limits = Limits::for_model(&config);
    let failed = |rung, why: &str| FailedRung {
        rung,
        why: why.to_owned(),
        next_host_bytes: 13 << 30,
        gpu: None,
    };
    let below = |fallback, failed: &[FailedRung]| {
        ladder_below(&planner, &host(14), &limits, fallback, failed)
    };
    let one = [failed(Rung::AsConfigured, "killed for memory")];
    let ladder = below(Fallback::AUTO, &one).unwrap();
    assert_eq!(ladder.rung, Rung::Int8);
    assert_eq!(
        (ladder.tried[0].state, ladder.tried[0].why.as_str()),
        (RungState::Failed, "killed for memory")
    );
    assert_eq!(ladder.tried[1].state, RungState::Skipped, "nothing was typed, then and now");
    let two = [one[0].clone(), failed(Rung::Int8, "again")];
    let ladder = below(Fallback::AUTO, &two).unwrap();
    assert_eq!((ladder.rung, ladder.tried[3].state), (Rung::DiskTier, RungState::Failed));
    // With 60 GiB of host memory the plan would fit. The failed load shows that less is available,
    // so the next plan uses less.
    let ladder = ladder_below(&planner, &host(60), &limits, Fallback::KEEP, &one).unwrap();
    assert!(
        ladder.rung == Rung::DiskTier && ladder.plan.uses(Tier::Disk),
        "{}",
        ladder.plan.describe()
    );
    let on_host = ladder.plan.tiers.iter().find(|tier| tier.tier == Tier::Cpu).unwrap();
    assert!(on_host.total_bytes() <= 13 << 30, "{}", ladder.plan.describe());
    let error = below(
        Fallback::AUTO,
        &[two[0].clone(), two[1].clone(), failed(Rung::DiskTier, "and again")],
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let error = below(Fallback::NONE, &one).unwrap_err();
    assert!(
        error.kind() == ErrorKind::OutOfMemory && error.to_string().contains("killed for memory"),
        "{error}"
    );
}

#[test]
fn a_gpu_out_of_memory_gets_less_and_the_host_keeps_its_budget() {
    let config = config("llama-3.1-8b");
    let inventory = inventory(&config);
    let planner = Planner::new(&config, &inventory);
    let limits = Limits::for_model(&config);
    let machine = machine("gpus: [{name: L40S, memory: 44GiB}]\nhost: {memory: 64GiB, cores: 8}\n");
    let first = planner.plan(&machine, &limits).unwrap();
    assert!(first.spill.is_none(), "{}", first.describe());
    let next_bytes = first.gpu_bytes_if_too_much(0);
    let gpu = Some(GpuLeft { gpu: 0, next_bytes });
    let why = "CUDA device 0 is out of memory".to_owned();
    let failed = FailedRung { rung: Rung::AsConfigured, why, next_host_bytes: 0, gpu };
    let ladder = ladder_below(&planner, &machine, &limits, Fallback::KEEP, &[failed]).unwrap();
    assert_eq!((ladder.rung, ladder.tried[0].state), (Rung::DiskTier, RungState::Failed));
    let on = |tier| ladder.plan.tiers.iter().find(|of| of.tier == tier).unwrap();
    assert!(on(Tier::Gpu(0)).total_bytes() <= next_bytes, "{}", ladder.plan.describe());
    assert!(
        on(Tier::Cpu).weights_bytes > 0 && !ladder.plan.uses(Tier::Disk),
        "{}",
        ladder.plan.describe()
    );
}

#[test]
fn gpt_oss_is_smaller_than_int8_where_it_matters() {
    let ladder =
        climb("gpt-oss-20b", &shipped("l40s"), |limits| limits.dtype = DtypeChoice::Auto, "auto")
            .unwrap();
    assert!(ladder.plan.spill.is_none(), "{}", ladder.plan.describe());
}

#[test]
fn unknown_fallback_policies_are_refused() {
    for text in ["", "always", "allow=", "allow=int4"] {
        assert_eq!(Fallback::parse(text).unwrap_err().kind(), ErrorKind::Usage, "{text}");
    }
}

#[test]
fn a_typed_disk_limit_that_is_too_small_is_exceeded_only_if_allowed() {
    let type_it =
        |limits: &mut Limits| limits.max_memory = MaxMemory::parse("cpu=4GiB,disk=1GB").unwrap();
    let ladder = climb("llama-3.1-8b", &host(12), type_it, "auto").unwrap();
    assert_eq!(
        states(&ladder),
        [(Rung::AsConfigured, RungState::TooSmall), (Rung::WithoutMaxMemory, RungState::Taken)]
    );
    assert!(ladder.plan.uses(Tier::Disk));
    let error = climb("llama-3.1-8b", &host(12), type_it, "keep").unwrap_err();
    let PlanError::NoRungFits { rungs, shortage, .. } = &error else { panic!("{error}") };
    assert_eq!((error.kind(), shortage.tier), (ErrorKind::OutOfMemory, Tier::Cpu), "{error}");
    let skipped = rungs.iter().find(|rung| rung.rung == Rung::DiskTier).unwrap();
    assert_eq!(skipped.outcome(), "skipped: the disk was allowed from the start");
    assert!(error.to_string().contains("smallest change that fits"), "{error}");
}

#[test]
fn rungs_serialize_with_their_outcomes() {
    let ladder = climb("llama-3.1-8b", &host(14), |_| {}, "auto").unwrap();
    let json = serde_json::to_value(&ladder.tried).unwrap();
    assert_eq!(json[1]["rung"], "without-max-memory");
    assert_eq!(json[1]["outcome"], "skipped: no max_memory was typed");
    assert_eq!(
        (&json[3]["rung"], &json[3]["outcome"], &json[3]["state"]),
        (&"int8".into(), &"fits".into(), &"taken".into())
    );
}
