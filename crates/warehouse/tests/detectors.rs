//! Tests each detector at each strictness: it fires at its threshold and not below it, and reports
//! onset and severity.
#![allow(missing_docs)]

use serde_json::json;
use warehouse::*;

fn config(threshold: Strictness) -> DetectorConfig {
    DetectorConfig { threshold, ..DetectorConfig::default() }
}

/// A step number `n` with which no detector fires: the tools alternate.
fn fine(n: usize) -> DetectorStep {
    let tool = ["order", "wait", "quote", "check_inbox", "check_storage"][n % 5];
    DetectorStep {
        tool: tool.into(),
        call: format!("{tool}({n})"),
        changed: true,
        tools_available: 6,
        ..DetectorStep::default()
    }
}

fn steps(count: usize, change: impl Fn(usize, &mut DetectorStep)) -> Vec<DetectorStep> {
    (0..count)
        .map(|n| {
            let mut step = fine(n);
            change(n, &mut step);
            step
        })
        .collect()
}

/// The crash that the detector `kind` reports in 40 steps of [`fine`], after `change` is applied to
/// the last `count` of the first twenty.
fn fired(
    kind: CrashType,
    threshold: Strictness,
    count: usize,
    change: impl Fn(&mut DetectorStep),
) -> Option<Crash> {
    let series = steps(40, |n, step| {
        if (20 - count..20).contains(&n) {
            change(step);
        }
    });
    detect(&series, &config(threshold)).into_iter().find(|crash| crash.kind == kind)
}

/// Smallest number of changed steps at which the detector fires, for each strictness; 99 if it
/// never fires.
fn least(kind: CrashType, change: impl Fn(&mut DetectorStep) + Copy) -> Vec<usize> {
    let first = |threshold| {
        (0..=20).find(|count| fired(kind, threshold, *count, change).is_some()).unwrap_or(99)
    };
    Strictness::ALL.iter().map(|threshold| first(*threshold)).collect()
}

/// Defect 5 of the predecessor: two detectors could not fire, one was not implemented, and one was
/// normalized so that it never fired; severity was never computed.
#[test]
fn defect_05_all_six_detectors_fire_at_their_thresholds() {
    let looping =
        |step: &mut DetectorStep| (step.call, step.changed) = ("check_inbox()".into(), false);
    assert_eq!(least(CrashType::Looping, looping), [3, 4, 6]);
    assert_eq!(
        least(CrashType::InvalidBurst, |step| step.failed = true),
        [6, 8, 10],
        "of a window of twenty"
    );
    assert_eq!(least(CrashType::BudgetDenial, |step| step.unaffordable = true), [3, 4, 5]);
    // Smallest number of contradicted cards among twenty at which the detector fires.
    let decoupled = |threshold| {
        let fires = |count: usize| {
            let series = steps(20, |n, step| step.contradicts = Some(n >= 20 - count));
            detect(&series, &config(threshold))
                .iter()
                .any(|crash| crash.kind == CrashType::Decoupling)
        };
        (0..=20).find(|count| fires(*count)).unwrap_or(99)
    };
    assert_eq!(Strictness::ALL.iter().map(|s| decoupled(*s)).collect::<Vec<_>>(), [8, 10, 12]);
    // The similarity falls by 0.01 per step until the mean of the last twenty is below the
    // threshold.
    let diverged = |threshold| {
        let series = steps(80, |n, step| step.similarity = Some(1.0 - n as f64 / 100.0));
        let crash = detect(&series, &config(threshold))
            .into_iter()
            .find(|crash| crash.kind == CrashType::SlowDivergence);
        crash.map(|crash| crash.detected_step)
    };
    assert_eq!(
        Strictness::ALL.iter().map(|s| diverged(*s)).collect::<Vec<_>>(),
        [Some(41), Some(51), Some(61)]
    );
    // The calls change from five tools in turn to a single one, so the entropy falls from 0.9 of
    // the maximum for six tools to 0.
    let collapsed = |threshold| {
        let series = steps(60, |n, step| {
            if n >= 20 {
                step.tool = "wait".into();
            }
        });
        let crash = detect(&series, &config(threshold))
            .into_iter()
            .find(|crash| crash.kind == CrashType::ExplorationCollapse);
        crash.map_or(0, |crash| crash.detected_step)
    };
    let at: Vec<u64> = Strictness::ALL.iter().map(|s| collapsed(*s)).collect();
    assert!(20 < at[0] && at[0] < at[1] && at[1] < at[2] && at[2] <= 40, "{at:?}");
}

#[test]
fn defect_05_severity_is_computed_for_every_crash() {
    let failing = |from: usize, to: usize, after: fn(&mut DetectorStep)| {
        let series = steps(80, |n, step| {
            if (from..to).contains(&n) {
                (step.failed, step.changed) = (true, false);
            } else if n >= to {
                after(step);
            }
        });
        let crash = detect(&series, &config(Strictness::Lenient))
            .into_iter()
            .find(|c| c.kind == CrashType::InvalidBurst)
            .unwrap();
        (crash.onset_step, crash.severity.unwrap())
    };
    assert_eq!(
        failing(10, 20, |_| ()),
        (11, CrashSeverity::Soft),
        "it recovers within twenty steps"
    );
    assert_eq!(failing(10, 50, |_| ()), (11, CrashSeverity::Hard), "it recovers after forty");
    let dead = |step: &mut DetectorStep| (step.failed, step.changed) = (true, false);
    assert_eq!(failing(10, 20, dead), (11, CrashSeverity::Abandoned), "nothing succeeds any more");
}

/// Each detector can also fire in a window shorter than the default.
#[test]
fn defect_05_a_short_window_leaves_every_detector_able_to_fire() {
    let short = DetectorConfig {
        window_size: 8,
        threshold: Strictness::Lenient,
        ..DetectorConfig::default()
    };
    let series = steps(30, |_, step| {
        (step.tool, step.call, step.changed) = ("order".into(), "order()".into(), false);
        (step.failed, step.unaffordable, step.contradicts, step.similarity) =
            (true, true, Some(true), Some(0.1));
    });
    let kinds: Vec<CrashType> =
        detect(&series, &short).into_iter().map(|crash| crash.kind).collect();
    assert_eq!(kinds.len(), 6, "{kinds:?}");
}

/// The detectors fire on the calls of a real game, not only on constructed steps.
#[test]
fn defect_05_detectors_fire_live() {
    let mut config = WorldConfig {
        complexity_level: 2,
        initial_budget: 3000.0,
        design: Design::V1,
        ..WorldConfig::default()
    };
    config.shocks.p_shock = 0.0;
    let kinds = |call: ToolCall, card: serde_json::Value| {
        let mut world = World::new(&config, 3).expect("valid");
        let turn = Turn::new(Ok(call), Card::parse(&card));
        for _ in 0..24 {
            if world.step(&turn).ending.is_some() {
                break;
            }
        }
        world.crashes().into_iter().map(|crash| crash.kind).collect::<Vec<_>>()
    };
    let sure = json!({"success": true});
    let look = kinds(ToolCall::new("check_inbox", json!({})), sure.clone());
    assert!(
        look.contains(&CrashType::Looping) && look.contains(&CrashType::ExplorationCollapse),
        "{look:?}"
    );
    let broke = ToolCall::new("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": 999}));
    let denied = kinds(broke, sure);
    assert!(
        [CrashType::BudgetDenial, CrashType::InvalidBurst].iter().all(|kind| denied.contains(kind)),
        "{denied:?}"
    );
    let unsure = kinds(ToolCall::new("wait", json!({})), json!({"success": false}));
    assert!(unsure.contains(&CrashType::Decoupling), "{unsure:?}");
}
