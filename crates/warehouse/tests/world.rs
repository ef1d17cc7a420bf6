//! Tests the properties of the world on which the study depends, mostly in design v1; those of
//! design v2 are in design_v2.rs.
#![allow(missing_docs)]

use serde_json::{Value, json};
use warehouse::*;

fn config(level: u8, p_shock: f64) -> WorldConfig {
    let mut config = WorldConfig { complexity_level: level, ..v1() };
    config.shocks.p_shock = p_shock;
    config.crash_detector.continue_after_crash = Some(100_000);
    config
}

/// The defaults of design v1.
fn v1() -> WorldConfig {
    let mut config = WorldConfig { design: Design::V1, ..WorldConfig::default() };
    config.shocks.observability = Observability::Full;
    config.crash_detector.continue_after_crash = Some(50);
    config
}

/// Plays a whole game; returns the last record, and all records as JSON bytes.
fn play(config: &WorldConfig, seed: u64, name: &str) -> (StepRecord, Vec<u8>) {
    let mut world = World::new(config, seed).expect("a valid configuration");
    let mut player = operator(name, &OperatorSettings::seeded(seed)).expect("a known operator");
    let mut bytes = Vec::new();
    loop {
        let turn = player.act(&world);
        let record = world.step(&turn);
        serde_json::to_writer(&mut bytes, &record).expect("JSON");
        if record.ending.is_some() {
            return (record, bytes);
        }
    }
}

fn survivors(config: &WorldConfig, seeds: u64) -> u64 {
    (0..seeds)
        .filter(|seed| play(config, *seed, "careful").0.ending == Some(EpisodeEnd::Horizon))
        .count() as u64
}

/// Uses the default detectors: none of them may end a game that is played well.
#[test]
fn the_careful_operator_reaches_the_horizon_at_every_level() {
    for level in 0..=4 {
        let mut config = WorldConfig { complexity_level: level, ..v1() };
        config.shocks.p_shock = 0.0;
        let survived = survivors(&config, 200);
        assert!(survived >= 190, "level {level}: {survived} of 200");
    }
}

/// Detectors must not fire on competent play, since they would then not measure crashes.
#[test]
fn detectors_rarely_fire_on_good_play_at_any_strictness() {
    for level in 0..=4 {
        for threshold in Strictness::ALL {
            let mut called = 0;
            for seed in 0..60 {
                let mut config = config(level, 0.0);
                config.crash_detector.threshold = *threshold;
                let mut world = World::new(&config, seed).expect("valid");
                let mut player =
                    operator("careful", &OperatorSettings::seeded(seed)).expect("known");
                while world.ending().is_none() {
                    let turn = player.act(&world);
                    world.advance(&turn);
                }
                called += usize::from(!world.crashes().is_empty());
            }
            assert!(called <= 3, "level {level}, {threshold}: {called} of 60 games called crashed");
        }
    }
}

/// The last record of each of forty games of the careful operator under strong shocks of one type.
fn ends(mix: TypeMix, p_shock: f64) -> Vec<StepRecord> {
    let mut config = config(2, p_shock);
    (config.shocks.pe_type_mix, config.shocks.pe_mag) = (mix, Magnitude::High);
    (0..40).map(|seed| play(&config, seed, "careful").0).collect()
}

#[test]
fn more_temporal_shocks_lose_more_orders() {
    let lost = |p_shock| {
        let ends = ends(TypeMix::TemporalOnly, p_shock);
        let lost: u64 = ends.iter().map(|e| e.totals.orders_expired).sum();
        let shipped: u64 = ends.iter().map(|e| e.totals.orders_shipped).sum();
        lost as f64 / (lost + shipped) as f64
    };
    let trend = [lost(0.0), lost(0.3), lost(1.0)];
    assert!(trend[0] < trend[1] && trend[1] < trend[2], "{trend:?}");
}

#[test]
fn more_rule_shocks_cost_more() {
    let worth =
        |p_shock| ends(TypeMix::RuleOnly, p_shock).iter().map(|e| e.totals.net_worth).sum::<f64>();
    let trend = [0.0, 0.01, 0.05, 0.2, 1.0].map(worth);
    assert!(trend.is_sorted_by(|less, more| less > more), "{trend:?}");
}

/// Covers the shock rates and magnitudes of the study, with its realistic mix of types.
#[test]
fn more_shocks_of_all_kinds_hurt_more_and_the_world_stays_winnable() {
    let reached = |p_shock, magnitude| {
        let mut config = config(1, p_shock);
        config.shocks.pe_mag = magnitude;
        (0..40)
            .filter(|seed| play(&config, *seed, "careful").0.ending == Some(EpisodeEnd::Horizon))
            .count()
    };
    assert!(
        reached(1.0, Magnitude::Low) >= 38,
        "weak shocks, however many, do not decide the game"
    );
    let trend = [0.0, 0.3, 1.0].map(|p_shock| reached(p_shock, Magnitude::High));
    assert!(
        trend[0] >= 38 && trend[0] > trend[1] && trend[1] > trend[2] && trend[1] >= 10,
        "{trend:?}"
    );
}

/// Each rule changes at most three times, so that the world can still be won.
#[test]
fn rules_change_for_good_and_within_bounds() {
    for (magnitude, days, fee) in
        [(Magnitude::Low, 3, 0.4), (Magnitude::Medium, 6, 0.7), (Magnitude::High, 9, 1.0)]
    {
        let mut config = config(1, 1.0);
        (config.shocks.pe_type_mix, config.shocks.pe_mag) = (TypeMix::RuleOnly, magnitude);
        let mut world = World::new(&config, 5).expect("valid");
        let look =
            Turn::new(Ok(ToolCall::new("check_budget", json!({}))), Err(CardProblem::Absent));
        let events: Vec<ShockEvent> = (0..60).flat_map(|_| world.step(&look).shocks).collect();
        let more = |s: usize| {
            world.catalog().offers[s][0].lead_days
                - world.published_catalog().offers[s][0].lead_days
        };
        assert_eq!((0..3).map(more).collect::<Vec<_>>(), [days; 3]);
        let record = world.step(&look);
        let paid = record.result["storage_fee_today"].as_f64().expect("a number");
        assert!(
            (paid - fee * record.totals.stock_units as f64).abs() < 1e-6,
            "{magnitude}: {paid}"
        );
        assert_eq!(
            events.iter().filter(|event| event.effect.is_some()).count(),
            12,
            "three suppliers and the fee"
        );
        assert!(
            events.iter().all(|event| event.effect.is_some() != event.no_effect.is_some()),
            "one or the other"
        );
    }
}

/// A world whose ledger is late from the first step on, and the shock that caused this.
fn late_ledger(observability: Observability) -> (World, ShockEvent) {
    let mut config = config(1, 1.0);
    (config.shocks.pe_type_mix, config.shocks.observability) = (TypeMix::CausalOnly, observability);
    (config.actions_per_day, config.initial_budget) = (Some(2), 1000.0);
    let look = Turn::new(Ok(ToolCall::new("check_budget", json!({}))), Err(CardProblem::Absent));
    let begun = (0..200).find_map(|seed| {
        let mut world = World::new(&config, seed).expect("valid");
        let event = world.step(&look).shocks.remove(0);
        let late = event.effect.as_ref().is_some_and(|effect| effect.contains("ledger"));
        late.then_some((world, event))
    });
    begun.expect("one in two shocks of this type")
}

fn order_from(world: &World, units: u32) -> (Turn, f64) {
    let offer = world.published_catalog().offers[0][0];
    let cost = (offer.price_cents * i64::from(units)) as f64 / 100.0;
    let card = json!({"success": true, "cost": cost, "budget_after": world.totals().ledger - cost});
    let call = ToolCall::new("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": units}));
    (Turn::new(Ok(call), Card::parse(&card)), cost)
}

/// A payment reduces the cash at once. The ledger, which the agent sees and cards are scored
/// against, shows the payment days later.
#[test]
fn a_late_ledger_breaks_predictions_of_cash_and_nothing_else() {
    let (mut world, event) = late_ledger(Observability::Full);
    assert_eq!(
        event.notice.as_deref(),
        Some("causal disturbance: for 10 days the ledger shows income and payments 2 days late")
    );
    let before = world.totals();
    assert_eq!(before.ledger, before.budget);
    let (turn, cost) = order_from(&world, 10);
    let record = world.step(&turn);
    assert!(record.success, "{:?}", record.failure);
    let pair =
        |field| record.pairs.iter().find(|pair| pair.field == field).expect("scored").clone();
    assert_eq!(
        (pair(CardField::Cost).error, pair(CardField::BudgetAfter).actual),
        (0.0, before.ledger),
        "the ledger shows no payment yet"
    );
    assert!(pair(CardField::BudgetAfter).error > 0.0);
    // The order was the last action of the day: the ledger shows the day's fees at once, but not
    // the payment.
    let fees = before.budget - cost - record.totals.budget;
    assert!(
        (record.totals.ledger - record.totals.budget - cost).abs() < 1e-6 && fees > 0.0,
        "{:?}",
        record.totals
    );
    assert!(
        record.observation.contains(&format!("Cash {:.2}.", record.totals.ledger)),
        "{}",
        record.observation
    );
    let wait = Turn::new(Ok(ToolCall::new("wait", json!({}))), Err(CardProblem::Absent));
    let later = world.step(&wait).totals;
    assert_eq!((later.day, later.ledger), (3, later.budget), "two days later it is posted");
}

#[test]
fn the_bank_refuses_what_a_late_ledger_still_shows() {
    let (mut world, event) = late_ledger(Observability::Hidden);
    assert_eq!(event.notice, None);
    // Each of two orders costs a little more than half of the cash; the ledger shows enough for
    // both.
    let half = (world.totals().budget / order_from(&world, 1).1) as u32 / 2 + 1;
    let (turn, _) = order_from(&world, half);
    assert!(world.step(&turn).success);
    let again = world.step(&turn);
    let why = again.failure.expect("there is no money");
    assert!(why.contains("the bank refuses"), "{why}");
    let denied = world.last_detector_step().unwrap().unaffordable;
    assert!(!denied, "the agent could not know: this is no denial");
}

#[test]
fn quotes_fees_and_orders_show_their_prices_to_the_agent() {
    let mut world = World::new(&config(1, 0.0), 3).expect("valid");
    let market = world.market();
    let call = |tool: &str, arguments: Value| {
        Turn::new(Ok(ToolCall::new(tool, arguments)), Err(CardProblem::Absent))
    };
    let quote =
        world.step(&call("quote", json!({"supplier_id": "S1", "sku": "P1", "quantity": 2}))).result;
    let reliability = quote["reliability"].as_f64().expect("a share");
    assert!((0.85..=0.99).contains(&reliability), "{quote}");
    let price = quote["unit_price"].as_f64().expect("a price");
    assert!(
        market
            .lines()
            .nth(1)
            .expect("P1")
            .contains(&format!("S1 {price:.2} {}d", quote["lead_days"])),
        "{market}"
    );
    let ended = world.step(&call("wait", json!({})));
    assert!(ended.observation.contains("News: day 1 ended: fees "), "{}", ended.observation);
    while world.customer_orders().is_empty() {
        world.step(&call("wait", json!({})));
    }
    let inbox = world.step(&call("check_inbox", json!({}))).result;
    let (order, sku) = (&inbox["customer_orders"][0], world.customer_orders()[0].sku);
    let line = market.lines().nth(1 + sku).expect("its line");
    let sale = format!("{:.2}", order["unit_price"].as_f64().expect("a price"));
    assert!(line.starts_with(&format!("P{} {sale}:", sku + 1)), "{line} {sale}");
}

#[test]
fn resetting_beliefs_forgets_past_cards() {
    let mut config = config(1, 0.0);
    config.recovery_tools = RecoveryTools::All;
    let mut world = World::new(&config, 3).expect("valid");
    let mut call = |tool: &str| {
        let turn =
            Turn::new(Ok(ToolCall::new(tool, json!({}))), Card::parse(&json!({"success": true})));
        world.step(&turn).result
    };
    call("check_budget");
    assert_eq!(call("audit_predictions")["cards"].as_array().map(Vec::len), Some(1));
    assert!(call("reset_beliefs")["present_state"]["inbox"].is_object());
    assert_eq!(
        call("audit_predictions")["cards"].as_array().map(Vec::len),
        Some(1),
        "its own alone"
    );
}

/// Defect 8 of the predecessor: the world ignored its seed, seed 0 meant "no seed", and a reset did
/// not seed again.
#[test]
fn defect_08_the_same_seed_gives_the_same_bytes_and_zero_is_a_seed() {
    let config = config(1, 0.4);
    for name in ["careful", "greedy", "random", "looping"] {
        assert_eq!(play(&config, 7, name).1, play(&config, 7, name).1, "{name}");
        assert_ne!(play(&config, 0, name).1, play(&config, 1, name).1, "{name}");
    }
}

#[test]
fn shocks_leave_demand_alone() {
    let orders = |p_shock| {
        let mut world = World::new(&config(1, p_shock), 3).expect("valid");
        let wait = Turn::new(Ok(ToolCall::new("wait", json!({}))), Err(CardProblem::Absent));
        (0..9).for_each(|_| drop(world.step(&wait)));
        world.customer_orders().to_vec()
    };
    assert_eq!(orders(0.0), orders(1.0));
}

/// Defect 1 of the predecessor: errors were computed against an observation without the actual
/// values, so they were always 0.
#[test]
fn defect_01_predictions_are_scored_against_what_happened_and_not_always_zero() {
    let (_, bytes) = play(&config(1, 0.5), 5, "careful");
    let records =
        serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().map(|r| r.expect("JSON"));
    let pairs: Vec<Value> =
        records.flat_map(|r| r["pairs"].as_array().cloned().unwrap_or_default()).collect();
    for kind in ["temporal", "quantity"] {
        let errors: Vec<f64> = pairs
            .iter()
            .filter(|p| p["kind"] == kind)
            .filter_map(|p| p["error"].as_f64())
            .collect();
        assert!(
            errors.contains(&0.0) && errors.iter().any(|e| *e > 0.0),
            "{kind}: {} errors",
            errors.len()
        );
    }
}

#[test]
fn an_unknown_error_is_null() {
    let mut world = World::new(&config(0, 0.0), 1).expect("valid");
    let card = Card::parse(&json!({"success": true, "delivery_days": 3, "quantity": 5}));
    let call = ToolCall::new("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": 5}));
    let record = world.step(&Turn::new(Ok(call), card));
    assert_eq!(record.pe[&PeKind::Temporal], None);
    assert_eq!(record.pe[&PeKind::Causal], Some(0.0));
    assert_eq!(record.pe[&PeKind::Cost], None, "no cost was predicted");
}

#[test]
fn each_failed_call_has_a_reason() {
    let strange = [
        json!({"supplier_id": 7, "sku": null, "quantity": "many"}),
        json!({"supplier_id": "S1", "sku": "P1", "quantity": -3}),
        json!({"supplier_id": "S1", "sku": "P1", "quantity": 1e300}),
        json!({"supplier_id": "S99999999999999999999", "sku": "💥", "quantity": 1}),
        json!({"customer_order_id": "C18446744073709551616"}),
        json!({"order_id": {"a": [1, 2]}}),
        json!({"customer_order_id": "CC1", "order_id": "OO1", "key": 7}),
        json!([]),
    ];
    let mut world = World::new(&config(4, 0.0), 1).expect("valid");
    for tool in [
        "order",
        "quote",
        "ship_customer_order",
        "cancel_order",
        "expedite",
        "delete_scratchpad",
        "drop table",
        "",
    ] {
        for arguments in &strange {
            let call = ToolCall::new(tool, arguments.clone());
            let record = world.step(&Turn::new(Ok(call), Err(CardProblem::Absent)));
            assert!(
                !record.success && record.failure.is_some_and(|why| !why.is_empty()),
                "{tool} {arguments}"
            );
        }
    }
}

#[test]
fn defect_10_a_reply_that_is_no_action_changes_nothing_and_is_counted() {
    let mut world = World::new(&config(0, 0.0), 1).expect("valid");
    let before = (world.totals().budget, world.stock().to_vec());
    let record = world.step(&Turn::new(Err("cut_off".into()), Err(CardProblem::Absent)));
    let failed = world.last_detector_step().unwrap().failed;
    assert!(!record.success && failed && record.observation.contains("cut_off"));
    assert_eq!((record.totals.budget, world.stock().to_vec()), before);
}

#[test]
fn defect_03_every_mode_and_format_asks_for_another_card() {
    let mut schemas = Vec::new();
    for mode in PredictionMode::ALL {
        for format in PredictionFormat::ALL {
            let config = WorldConfig { prediction_mode: *mode, prediction_format: *format, ..v1() };
            schemas.push((system_prompt(&config), card_schema(&config)));
        }
    }
    for i in 0..schemas.len() {
        for j in 0..i {
            assert_ne!(schemas[i], schemas[j], "pairs {i} and {j}");
        }
    }
}

#[test]
fn observability_changes_the_notices() {
    let told = |observability| {
        let mut config = config(1, 1.0);
        config.shocks.observability = observability;
        config.max_steps = 60;
        let (_, bytes) = play(&config, 2, "careful");
        String::from_utf8(bytes).expect("UTF-8")
    };
    let all: Vec<String> = Observability::ALL[..4].iter().map(|o| told(*o)).collect();
    for i in 0..all.len() {
        for j in 0..i {
            assert_ne!(all[i], all[j]);
        }
    }
    assert!(!all[3].contains("disturbance:") && all[0].contains("disturbance:"));
}

#[test]
fn the_error_for_a_value_out_of_range_has_the_range() {
    let error = World::new(&config(9, 0.0), 1).expect_err("level 9");
    assert_eq!(error.to_string(), "complexity_level: expected 0 to 4, found 9");
}

/// Places an order and plays to the end. Returns the scored fields of the order's card: (field,
/// predicted, actual, day on which the outcome became known).
fn truths(config: &WorldConfig, then: impl Fn(&mut World)) -> Vec<(CardField, f64, f64, u64)> {
    let mut world = World::new(config, 11).expect("valid");
    // The order is not placed on the first day, since delivery days count from the order and not
    // from day 1.
    let wait = Turn::new(Ok(ToolCall::new("wait", json!({}))), Err(CardProblem::Absent));
    (0..3).for_each(|_| drop(world.step(&wait)));
    let offer = world.published_catalog().offers[0][0];
    let card = json!({"success": true, "delivery_days": offer.lead_days, "quantity": 20});
    let call = ToolCall::new("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": 20}));
    let placed = world.step(&Turn::new(Ok(call), Card::parse(&card)));
    assert!(placed.success, "{:?}", placed.failure);
    then(&mut world);
    let mut known = Vec::new();
    while world.ending().is_none() {
        let record = world.step(&wait);
        assert!(
            record.pairs.iter().all(|pair| pair.card_step == placed.step),
            "each truth is matched to its card"
        );
        known.extend(
            record
                .pairs
                .iter()
                .map(|pair| (pair.field, pair.predicted, pair.actual, record.totals.day)),
        );
    }
    known
}

#[test]
fn late_short_and_missing_deliveries_are_scored_correctly() {
    let quiet = |mix, p_shock| {
        let mut config = config(1, p_shock);
        (config.shocks.pe_type_mix, config.shocks.pe_mag) = (mix, Magnitude::High);
        config.max_steps = 40;
        config.demand.max_failures = 1000;
        config
    };
    let lead =
        World::new(&quiet(TypeMix::Realistic, 0.0), 11).expect("valid").published_catalog().offers
            [0][0]
            .lead_days;
    let lead = lead as f64;
    let plain = truths(&quiet(TypeMix::Realistic, 0.0), |_| ());
    assert_eq!(
        plain,
        [
            (CardField::DeliveryDays, lead, lead, 4 + lead as u64),
            (CardField::Quantity, 20.0, 20.0, 4 + lead as u64)
        ]
    );
    let never = truths(&quiet(TypeMix::TemporalOnly, 1.0), |_| ());
    assert_eq!(never, [], "put off every day, it never comes");
    let late = truths(&quiet(TypeMix::TemporalOnly, 0.25), |_| ());
    assert!(late[0].2 >= lead + 2.0 && late[1].2 == 20.0, "late, and whole: {late:?}");
    let odd = truths(&quiet(TypeMix::QuantityOnly, 1.0), |_| ());
    assert!(odd[0].2 == lead && odd[1].2 != 20.0, "on time, and another quantity: {odd:?}");
    let cancel = ToolCall::new("cancel_order", json!({"order_id": "nothing yet"}));
    let canceled = truths(&quiet(TypeMix::Realistic, 0.0), |world| {
        let id = world.supplier_orders()[0].id;
        let call = ToolCall {
            arguments: json!({"order_id": format!("O{id}")}).as_object().unwrap().clone(),
            ..cancel.clone()
        };
        assert!(world.step(&Turn::new(Ok(call), Err(CardProblem::Absent))).success);
    });
    assert_eq!(canceled, [], "what never comes has no error");
    let mut short = quiet(TypeMix::Realistic, 0.0);
    short.max_steps = 4 + lead as u64 - 1;
    assert_eq!(truths(&short, |_| ()), [], "the game ends first");
}

#[test]
fn an_audit_shows_each_card_beside_its_outcome_including_late_ones() {
    let mut config = config(1, 0.0);
    config.recovery_tools = RecoveryTools::Audit;
    let mut world = World::new(&config, 11).expect("valid");
    let lead = world.published_catalog().offers[0][0].lead_days;
    let order = ToolCall::new("order", json!({"supplier_id": "S1", "sku": "P1", "quantity": 20}));
    let card = Card::parse(&json!({"success": true, "cost": 1, "delivery_days": lead + 2}));
    world.step(&Turn::new(Ok(order), card));
    let audit = |world: &mut World| {
        let call = ToolCall::new("audit_predictions", json!({}));
        world.step(&Turn::new(Ok(call), Err(CardProblem::Absent))).result["cards"][0].clone()
    };
    let early = audit(&mut world);
    assert_eq!(
        (&early["actual"]["success"], &early["error"]["temporal"]),
        (&json!(1.0), &json!(null)),
        "{early}"
    );
    assert!(
        early["error"]["cost"].as_f64().unwrap() > 0.0 && early["expected"]["cost"] == json!(1)
    );
    for _ in 0..lead {
        world.step(&Turn::new(Ok(ToolCall::new("wait", json!({}))), Err(CardProblem::Absent)));
    }
    let late = audit(&mut world);
    assert_eq!(late["actual"]["delivery_days"], json!(lead as f64), "{late}");
    assert_eq!(late["error"]["temporal"], json!(2.0 / lead as f64), "{late}");
}

#[test]
fn help_is_useful_and_deterministic() {
    let mut config = config(1, 0.0);
    config.recovery_tools = RecoveryTools::Help;
    let play = || {
        let mut world = World::new(&config, 4).expect("valid");
        let mut followed = 0;
        let mut all = String::new();
        while world.ending().is_none() && world.totals().day < 12 {
            let ask = ToolCall::new("ask_help", json!({}));
            let record = world.step(&Turn::new(Ok(ask), Err(CardProblem::Absent)));
            let advice = record.result["advice"].as_str().expect("text").to_owned();
            let words: Vec<&str> = advice.split([' ', ':']).collect();
            let call = match words[0] {
                "ship" => {
                    ToolCall::new("ship_customer_order", json!({"customer_order_id": words[1]}))
                }
                "order" => {
                    let units: u32 = words[1].parse().expect("a number");
                    ToolCall::new(
                        "order",
                        json!({"supplier_id": words[5], "sku": words[3], "quantity": units}),
                    )
                }
                _ => ToolCall::new("wait", json!({})),
            };
            let day = world.day();
            let record = world.step(&Turn::new(Ok(call), Err(CardProblem::Absent)));
            // The day may have ended between the two calls, and the customer order expired.
            assert!(record.success || record.day != day, "{advice}: {:?}", record.failure);
            followed += u32::from(words[0] == "ship" && record.success);
            all += &advice;
        }
        (followed, all)
    };
    let (followed, all) = play();
    assert!(followed >= 5, "{followed} orders shipped by advice alone");
    assert!(all.contains("order "), "{all}");
    assert_eq!(play(), (followed, all));
}
