//! Tests the properties of design v2 on which the study depends: shocks arrive, each type breaks
//! its own kind of prediction, exposure and crashes are measured apart.
#![allow(missing_docs)]

use serde_json::json;
use std::collections::BTreeMap;
use warehouse::*;

fn config(mix: TypeMix, magnitude: Magnitude, p_shock: f64) -> WorldConfig {
    let mut config = WorldConfig { max_steps: 300, ..WorldConfig::default() };
    config.shocks = ShockConfig {
        p_shock,
        pe_mag: magnitude,
        pe_type_mix: mix,
        observability: Observability::Hidden,
    };
    config
}

fn world(config: &WorldConfig, seed: u64) -> World {
    World::new(config, seed).expect("a valid configuration")
}

fn player(name: &str, seed: u64) -> Box<dyn Operator> {
    operator(name, &OperatorSettings::seeded(seed)).expect("a known operator")
}

fn call(tool: &str, arguments: serde_json::Value) -> Turn {
    Turn::new(Ok(ToolCall::new(tool, arguments)), Err(CardProblem::Absent))
}

/// Plays one game, and passes each record to `see`.
fn play(config: &WorldConfig, seed: u64, name: &str, mut see: impl FnMut(&StepRecord)) -> World {
    let (mut world, mut player) = (world(config, seed), player(name, seed));
    while world.ending().is_none() {
        let turn = player.act(&world);
        see(&world.step(&turn));
    }
    world
}

/// Mean errors by field over twenty games of the careful operator.
fn mean_errors(config: &WorldConfig) -> BTreeMap<CardField, f64> {
    let mut sums: BTreeMap<CardField, (f64, f64)> = BTreeMap::new();
    for seed in 0..20 {
        play(config, seed, "careful", |record| {
            for pair in &record.pairs {
                let (sum, count) = sums.entry(pair.field).or_default();
                (*sum, *count) = (*sum + pair.error, *count + 1.0);
            }
        });
    }
    sums.into_iter().map(|(field, (sum, count))| (field, sum / count)).collect()
}

/// The matrix of docs/experiment.md: by how much the mean error of a field rises at least, at
/// p_shock .2 and magnitude medium. Other fields rise by less than .01.
#[test]
fn each_shock_type_breaks_its_own_kind_of_prediction_and_no_other() {
    let quiet = mean_errors(&config(TypeMix::Realistic, Magnitude::Medium, 0.0));
    let matrix: [(TypeMix, &[(CardField, f64)]); 4] = [
        (TypeMix::TemporalOnly, &[(CardField::DeliveryDays, 0.08)]),
        (TypeMix::QuantityOnly, &[(CardField::Quantity, 0.04)]),
        (TypeMix::CausalOnly, &[(CardField::Success, 0.15)]),
        (
            TypeMix::RuleOnly,
            &[
                (CardField::UnitPrice, 0.1),
                (CardField::FeesToday, 0.2),
                (CardField::Cost, 0.04),
                (CardField::DeliveryDays, 0.08),
            ],
        ),
    ];
    for (mix, own) in matrix {
        let errors = mean_errors(&config(mix, Magnitude::Medium, 0.2));
        for field in CardField::ALL {
            let rise = errors[field] - quiet[field];
            match own.iter().find(|(known, _)| known == field) {
                Some((_, least)) => assert!(rise >= *least, "{mix}: {field} rises by {rise}"),
                None => assert!(rise.abs() < 0.01, "{mix}: {field} rises by {rise}"),
            }
        }
    }
}

#[test]
fn more_applied_shocks_are_more_delivery_error_at_each_magnitude() {
    for magnitude in Magnitude::ALL {
        let (mut applied_before, mut error_before) = (-1.0, -1.0);
        for p_shock in [0.0, 0.05, 0.1, 0.2, 0.3] {
            let config = config(TypeMix::Realistic, *magnitude, p_shock);
            let (mut applied, mut drawn, mut error) = (0, 0, 0.0);
            for seed in 0..20 {
                let world = play(&config, seed, "careful", |_| ());
                (applied, drawn) = (
                    applied + world.dose().total(),
                    drawn + world.dose().drawn.iter().sum::<u64>(),
                );
                error += world.exposure().total();
            }
            assert!(
                applied as f64 >= 0.95 * drawn as f64,
                "{magnitude} {p_shock}: {applied} of {drawn}"
            );
            assert!(
                applied as f64 > applied_before && error > error_before,
                "{magnitude} {p_shock}"
            );
            (applied_before, error_before) = (applied as f64, error);
        }
    }
}

#[test]
fn a_shock_waits_for_an_order_and_keeps_the_step_in_which_it_was_drawn() {
    let config = config(TypeMix::TemporalOnly, Magnitude::Low, 1.0);
    let mut world = world(&config, 4);
    let look = call("check_budget", json!({}));
    for _ in 0..3 {
        let record = world.step(&look);
        assert_eq!((record.drawn, record.shocks.len()), (Some(ShockType::Temporal), 0));
    }
    let order = call("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": 20}));
    assert!(world.step(&order).success);
    let record = world.step(&look);
    assert_eq!(record.shocks[0].drawn_step, Some(1), "the oldest first");
    let dose = record.dose.expect("design v2");
    assert_eq!((dose.drawn[0], dose.told), (5, [0; 4]));
    assert_eq!(dose.applied[0], record.shocks.len() as u64);
    let order = &world.supplier_orders()[0];
    assert!(order.arrives_day - order.undisturbed_day <= order.lead_days, "bounded: {order:?}");
}

#[test]
fn units_change_symmetrically_in_the_logarithm_and_within_a_quarter_and_four_times() {
    let config = config(TypeMix::QuantityOnly, Magnitude::High, 0.3);
    let (mut logs, mut extremes) = (Vec::new(), (f64::MAX, 0.0_f64));
    for seed in 0..40 {
        let mut world = world(&config, seed);
        let mut player = player("careful", seed);
        let mut before: BTreeMap<u64, (u32, f64)> = BTreeMap::new();
        while world.ending().is_none() {
            let turn = player.act(&world);
            world.advance(&turn);
            for order in world.supplier_orders() {
                let factor = f64::from(order.arriving) / f64::from(order.quantity);
                extremes = (extremes.0.min(factor), extremes.1.max(factor));
                let (last, _) = before
                    .insert(order.id, (order.arriving, factor))
                    .unwrap_or((order.undisturbed_units, 1.0));
                if last != order.arriving {
                    logs.push((f64::from(order.arriving) / f64::from(last)).ln());
                }
            }
        }
    }
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    assert!(logs.len() > 1000 && mean.abs() < 0.03, "{mean} over {}", logs.len());
    assert!(extremes.0 >= 0.2 && extremes.1 <= 4.0, "{extremes:?}");
}

#[test]
fn hidden_changes_are_shown_by_no_quote_and_no_confirmation() {
    for observability in [Observability::Hidden, Observability::Full] {
        let mut config = config(TypeMix::RuleOnly, Magnitude::High, 0.5);
        config.shocks.observability = observability;
        let (mut world, mut changed, mut shown) = (world(&config, 2), 0, 0);
        for step in 0..200 {
            let arguments = json!({"supplier_id": "S1", "sku": "P1", "quantity": 1});
            let tool = if step % 20 == 0 { "order" } else { "quote" };
            let record = world.step(&call(tool, arguments));
            let published = world.published_catalog().offers[0][0];
            changed += usize::from(world.catalog().offers[0][0] != published);
            let lead = match tool {
                "quote" => &record.result["lead_days"],
                _ => &record.result["expected_in_days"],
            };
            let price = record.result["unit_price"].as_f64();
            let as_published = *lead == json!(published.lead_days)
                && price.is_none_or(|price| price == money(published.price_cents));
            shown += usize::from(!as_published);
        }
        assert!(changed > 50, "{changed}");
        assert_eq!(shown == 0, observability == Observability::Hidden, "{observability}: {shown}");
    }
}

#[test]
fn terms_are_as_published_again_after_five_days() {
    let config = config(TypeMix::RuleOnly, Magnitude::High, 0.02);
    let mut changes = [0, 0];
    let mut last_shock_day = 0;
    for seed in 0..20 {
        let (mut world, mut player) = (world(&config, seed), player("careful", seed));
        last_shock_day = 0;
        while world.ending().is_none() {
            let turn = player.act(&world);
            let record = world.step(&turn);
            if let Some(shock) = record.shocks.last() {
                last_shock_day = shock.day;
            }
            let over = last_shock_day > 0 && world.day() > last_shock_day + 5;
            let as_published = world.catalog() == world.published_catalog();
            assert!(as_published || !over, "day {}", world.day());
            changes[usize::from(as_published)] += 1;
        }
    }
    assert!(changes.iter().all(|count| *count > 100), "{changes:?} {last_shock_day}");
}

#[test]
fn a_refused_order_is_legal_and_breaks_success_alone() {
    let config = config(TypeMix::CausalOnly, Magnitude::Low, 1.0);
    let mut world = world(&config, 3);
    let from = |supplier: &str| {
        let card = json!({"success": true, "cost": 100, "storage_after": 150, "budget_after": 9000, "fees_today": 20});
        let order = json!({"supplier_id": supplier, "sku": "P1", "quantity": 10});
        Turn::new(Ok(ToolCall::new("order", order)), Card::parse(&card))
    };
    assert!(world.step(&from("S1")).success, "no other supplier's goods are on their way");
    let before = world.totals();
    let record = world.step(&from("S2"));
    assert_eq!(record.failure.as_deref(), Some("S2 does not take the order now"));
    let scored: Vec<_> = record.pairs.iter().map(|p| (p.field, p.error, p.induced)).collect();
    assert_eq!(
        scored,
        [(CardField::Success, 1.0, Some(1.0))],
        "what it would have cost is unknown"
    );
    assert_eq!((record.totals, record.dose.expect("v2").applied), (before, [0, 0, 1, 0]));
}

#[test]
fn a_sham_announces_shocks_and_changes_nothing() {
    let mut sham = config(TypeMix::Realistic, Magnitude::High, 0.3);
    sham.shocks.observability = Observability::Sham;
    let quiet = config(TypeMix::Realistic, Magnitude::High, 0.0);
    for seed in 0..10 {
        let (mut told, mut ended, mut totals) = (0, 0, Vec::new());
        let world = play(&sham, seed, "careful", |record| {
            told += record.observation.matches("disturbance: ").count() as u64;
            ended += record.observation.matches("as published again").count();
            totals.push(record.totals);
        });
        let mut undisturbed = Vec::new();
        play(&quiet, seed, "careful", |record| undisturbed.push(record.totals));
        assert_eq!(totals, undisturbed, "seed {seed}");
        let dose = world.dose();
        assert_eq!((dose.applied, dose.told.iter().sum::<u64>()), ([0; 4], told));
        assert!(told > 20 && ended > 0, "{told} {ended}");
    }
}

#[test]
fn delayed_notices_count_as_told_on_the_day_they_are_shown() {
    let mut config = config(TypeMix::Realistic, Magnitude::High, 0.3);
    for (observability, share) in [
        (Observability::Full, 1.0),
        (Observability::Partial, 1.0),
        (Observability::Delayed, 0.9),
        (Observability::Hidden, 0.0),
    ] {
        config.shocks.observability = observability;
        let dose = play(&config, 1, "careful", |_| ()).dose();
        let told = dose.told.iter().sum::<u64>() as f64 / dose.total() as f64;
        assert!(told >= share && (share > 0.0 || told == 0.0), "{observability}: {told}");
    }
}

#[test]
fn an_overdue_order_adds_to_the_exposure_before_it_arrives_and_no_more_afterwards() {
    let config = config(TypeMix::TemporalOnly, Magnitude::High, 1.0);
    let mut world = world(&config, 5);
    let card = json!({"success": true, "delivery_days": 1, "quantity": 20});
    let order = json!({"supplier_id": "S1", "sku": "P1", "quantity": 20});
    world.step(&Turn::new(Ok(ToolCall::new("order", order)), Card::parse(&card)));
    let lead = world.published_catalog().offers[0][0].lead_days as f64;
    assert!(lead > 1.0, "the seed has a slow supplier");
    let mut last = 0.0;
    while !world.supplier_orders().is_empty() {
        let record = world.step(&call("wait", json!({})));
        let exposure = record.exposure.expect("design v2");
        let elapsed = (world.day() - 1) as f64;
        if elapsed > 1.0 && !world.supplier_orders().is_empty() {
            assert_eq!(exposure.days.cum, ((elapsed - 1.0) / elapsed).min(ERROR_MAX));
            assert!(exposure.days.cum > last, "it grows while the order is overdue");
        }
        last = exposure.days.cum;
        if world.supplier_orders().is_empty() {
            let pair = |field| record.pairs.iter().find(|p| p.field == field).expect("scored");
            let days = pair(CardField::DeliveryDays);
            assert_eq!((exposure.days.cum, days.actual), (days.error, elapsed));
            assert_eq!(exposure.induced_days, days.induced.expect("design v2"));
        }
    }
    let after = world.step(&call("check_budget", json!({}))).exposure.expect("design v2");
    assert_eq!(after.days.cum, last);
    assert!(after.days.leaky < last, "the leaky sum forgets");
}

#[test]
fn an_agent_that_only_waits_is_called_abandoned_and_loses_too_many_orders() {
    for level in 0..=4 {
        let mut config = config(TypeMix::Realistic, Magnitude::Low, 0.0);
        config.complexity_level = level;
        let mut world = world(&config, 7);
        while world.ending().is_none() {
            world.step(&call("wait", json!({})));
        }
        assert_eq!(world.ending(), Some(EpisodeEnd::Expired), "level {level}");
        let crashes = world.crashes();
        let crash = crashes.iter().find(|crash| crash.kind == CrashType::Abandonment);
        let crash = crash.unwrap_or_else(|| panic!("level {level}: {crashes:?}"));
        assert!(
            crash.detected_step <= 6 && crash.onset_step + 2 == crash.detected_step,
            "{crash:?}"
        );
    }
}

#[test]
fn failed_calls_are_no_looping_and_recovered_detectors_fire_again() {
    let config = config(TypeMix::Realistic, Magnitude::Low, 0.0);
    let failing = call("ship_customer_order", json!({"customer_order_id": "C999"}));
    let looking = call("check_inbox", json!({}));
    let trading = call("quote", json!({"supplier_id": "S1", "sku": "P1", "quantity": 1}));
    let mut world = world(&config, 7);
    for _ in 0..12 {
        world.step(&failing);
    }
    let kinds: Vec<_> = world.crashes().iter().map(|crash| crash.kind).collect();
    assert_eq!(kinds, [CrashType::InvalidBurst]);
    for _ in 0..2 {
        (0..6).for_each(|_| drop(world.step(&looking)));
        world.step(&trading);
    }
    let looping: Vec<Crash> =
        world.crashes().into_iter().filter(|crash| crash.kind == CrashType::Looping).collect();
    let times: Vec<_> =
        looping.iter().map(|c| (c.onset_step, c.detected_step, c.recovered_step)).collect();
    assert_eq!(times, [(13, 16, Some(19)), (20, 23, Some(26))]);
}

#[test]
fn risk_begins_after_twenty_sound_steps_and_a_delivery() {
    let config = config(TypeMix::Realistic, Magnitude::Low, 0.0);
    let careful = play(&config, 1, "careful", |_| ());
    let monitor = careful.monitor().expect("design v2");
    assert!(monitor.entry_step().is_some_and(|step| (20..60).contains(&step)));
    assert_eq!(monitor.first_event(), None);
    let looping = play(&config, 1, "looping", |_| ());
    let monitor = looping.monitor().expect("design v2");
    assert_eq!((monitor.entry_step(), monitor.first_event()), (None, None), "never competent");
}

#[test]
fn hazard_operators_crash_at_their_hazard() {
    let mut config = config(TypeMix::Realistic, Magnitude::High, 0.3);
    config.max_steps = 200;
    let events = |name: &str, beta: f64| {
        let mut events = 0;
        for seed in 0..200 {
            let (mut world, settings) =
                (world(&config, seed), OperatorSettings { seed, hazard: 0.002, beta });
            let mut player = operator(name, &settings).expect("known");
            while world.ending().is_none() {
                let turn = player.act(&world);
                world.advance(&turn);
            }
            let looping = world.crashes().iter().any(|crash| crash.kind == CrashType::Looping);
            events += u32::from(looping);
        }
        f64::from(events)
    };
    // Of 200 runs, 1 - exp(-.002 * 197) crash early enough for the detector to see it.
    let expected = 200.0 * (1.0 - (-0.002_f64 * 197.0).exp());
    assert!((events("null", 0.05) - expected).abs() < 20.0, "{expected}");
    assert!(events("fragile", 0.1) > events("fragile", 0.0) + 20.0);
}

/// The horizon of the long phase; v1 lost a quarter of these games.
#[test]
fn long_games_at_the_highest_level_are_won_without_shocks() {
    let mut config = config(TypeMix::Realistic, Magnitude::Low, 0.0);
    (config.complexity_level, config.max_steps) = (4, 5000);
    let won = |name| {
        let ended = |seed| play(&config, seed, name, |_| ()).ending();
        (0..20).filter(|seed| ended(*seed) == Some(EpisodeEnd::Horizon)).count()
    };
    assert!(won("careful") >= 19 && won("adaptive") >= 19);
}
