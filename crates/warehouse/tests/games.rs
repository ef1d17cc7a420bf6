//! Plays ten thousand seeded games of valid and invalid calls. Money, stock and orders are
//! conserved, each failed call has a reason and changes nothing, nothing panics, and the same seed
//! gives the same bytes.
#![allow(missing_docs)]

use serde_json::{Map, Value, json};
use warehouse::*;

const GAMES: u64 = 10_000;
const STEPS: u64 = 30;

struct Player {
    draws: RandomStream,
    step: u64,
    salt: u64,
}

impl Player {
    fn draw(&mut self, choices: u64) -> u64 {
        self.salt += 1;
        self.draws.bits(&[self.step, self.salt]) % choices
    }

    /// A random turn: a call of a known tool, a call of an unknown tool, or no call.
    fn turn(&mut self, world: &World) -> Turn {
        (self.step, self.salt) = (self.step + 1, 0);
        if self.draw(20) == 0 {
            return Turn::new(Err("several_calls".into()), Err(CardProblem::Absent));
        }
        let specs = tool_specs(world.config());
        let spec = &specs[self.draw(specs.len() as u64) as usize];
        let strange = ["", "drop table", "ORDER", "\u{202e}order", "wait ", "order\0", "💥"];
        let known = self.draw(12) > 0;
        let tool =
            if known { spec.name } else { strange[self.draw(strange.len() as u64) as usize] };
        let mut arguments = Map::new();
        for name in
            ["supplier_id", "sku", "quantity", "customer_order_id", "order_id", "key", "text", "x"]
        {
            let needed = spec.arguments["properties"].get(name).is_some();
            if needed && self.draw(15) > 0 || self.draw(15) == 0 {
                arguments.insert(name.into(), self.value(name, world));
            }
        }
        let card = json!({"success": self.draw(3) > 0, "cost": self.number(), "delivery_days": self.number(),
            "quantity": self.number(), "budget_after": self.hostile(), "confidence": self.number()});
        Turn::new(Ok(ToolCall::new(tool, Value::Object(arguments))), Card::parse(&card))
    }

    fn value(&mut self, name: &str, world: &World) -> Value {
        if self.draw(8) == 0 {
            return self.hostile();
        }
        let ids = |letter: char, ids: Vec<u64>, at: u64| match ids.is_empty() {
            true => json!(format!("{letter}1")),
            false => json!(format!("{letter}{}", ids[at as usize % ids.len()])),
        };
        let at = self.draw(1000);
        match name {
            "supplier_id" => json!(format!("S{}", at % 7 + 1)),
            "sku" => json!(format!("P{}", at % 26 + 1)),
            "quantity" => json!(at % 80),
            "customer_order_id" => {
                ids('C', world.customer_orders().iter().map(|o| o.id).collect(), at)
            }
            "order_id" => ids('O', world.supplier_orders().iter().map(|o| o.id).collect(), at),
            _ => json!(format!("note {}", at % 5)),
        }
    }

    fn number(&mut self) -> Value {
        [json!(0), json!(3), json!(-7), json!(1e300), json!(0.5), json!(null)]
            [self.draw(6) as usize]
            .clone()
    }

    /// An unexpected value: of a wrong type, negative, huge, an unknown id, Unicode or nested.
    fn hostile(&mut self) -> Value {
        let pool = [
            json!(null),
            json!(true),
            json!(-3),
            json!(0),
            json!(1000),
            json!(2.5),
            json!(1e300),
            json!(-0.0),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(""),
            json!("S0"),
            json!("P99999999999999999999"),
            json!("C18446744073709551616"),
            json!("O-1"),
            json!("C"),
            json!("CCCC7"),
            json!("\u{0}\u{202e}💥é"),
            json!("x".repeat(5000)),
            json!([1, [2, [3]]]),
            json!({"a": {"b": null}}),
            json!("7"),
        ];
        pool[self.draw(pool.len() as u64) as usize].clone()
    }
}

/// An amount of money in JSON, in cents.
fn cents(value: &Value) -> i64 {
    (value.as_f64().unwrap_or(0.0) * 100.0).round() as i64
}

/// Fees for late deliveries that an observation reports, in cents.
fn late_fees(observation: &str) -> i64 {
    let fees = observation.split(", late: fee ").skip(1);
    let amount = |text: &str| text.split('\n').next().and_then(|amount| amount.parse::<f64>().ok());
    fees.filter_map(amount).map(|amount| (amount * 100.0).round() as i64).sum()
}

fn money_of(world: &World) -> i64 {
    (world.totals().budget * 100.0).round() as i64
}

fn config(seed: u64) -> WorldConfig {
    let mut config = WorldConfig {
        design: [Design::V1, Design::V2][seed as usize / 7 % 2],
        complexity_level: (seed % 5) as u8,
        max_steps: STEPS,
        ..WorldConfig::default()
    };
    config.recovery_tools = RecoveryTools::All;
    config.actions_per_day = [None, Some(1), Some(4)][seed as usize % 3];
    (config.delivery_cost, config.demand.late_penalty) = (1.25, 2.5);
    config.initial_budget = [10_000.0, 600.0][seed as usize / 5 % 2];
    config.crash_detector.continue_after_crash = Some(1000);
    (config.shocks.p_shock, config.shocks.pe_mag) = (0.4, Magnitude::High);
    // Rule shocks change the storage fee. Every second game has no rule shocks, so that each cent
    // can be accounted for.
    config.shocks.pe_type_mix =
        if seed.is_multiple_of(2) { TypeMix::Uniform } else { TypeMix::QuantityOnly };
    config
}

#[test]
fn ten_thousand_random_games_conserve_money_stock_and_orders() {
    let (mut failed, mut succeeded) = (0, 0);
    for seed in 0..GAMES {
        let config = config(seed);
        let mut world = World::new(&config, seed).expect("valid");
        let mut player = Player { draws: RandomStream::new(seed, "fuzz"), step: 0, salt: 0 };
        let mut ledger = Ledger::default();
        let _news_of_the_first_morning = world.first_observation();
        while world.ending().is_none() {
            let turn = player.turn(&world);
            let before = world.clone();
            let record = world.step(&turn);
            let case = || format!("seed {seed}, step {}: {turn:?}", record.step);
            (if record.success { &mut succeeded } else { &mut failed }).add_assign(1);
            assert_eq!(record.success, record.failure.is_none(), "{}", case());
            assert!(
                record.failure.as_ref().is_none_or(|why| !why.trim().is_empty() && why.len() < 600),
                "{}",
                case()
            );
            assert!(record.totals.stock_units <= u64::from(config.storage_capacity), "{}", case());
            ledger.follow(&before, &turn, &record, &world, &case);
        }
    }
    assert!(
        failed > 50_000 && succeeded > 50_000,
        "{failed} failed, {succeeded} succeeded: expected many of both"
    );
}

use std::ops::AddAssign;

/// Numbers of supplier orders placed, canceled and arrived so far.
#[derive(Default)]
struct Ledger {
    placed: u64,
    canceled: u64,
    arrived: u64,
}

impl Ledger {
    fn follow(
        &mut self,
        before: &World,
        turn: &Turn,
        record: &StepRecord,
        after: &World,
        case: &dyn Fn() -> String,
    ) {
        let config = before.config();
        let tool = turn.call.as_ref().map_or("", |call| call.tool.as_str());
        let result = if record.success { &record.result } else { &Value::Null };
        let fees = |late: &Value| 125 + if late == &json!(true) { 250 } else { 0 };
        let (mut cash, mut units) = (money_of(before), before.totals().stock_units);
        match (record.success, tool) {
            (true, "order") => {
                (cash, self.placed) = (cash - cents(&result["paid"]), self.placed + 1)
            }
            (true, "cancel_order") => {
                (cash, self.canceled) = (cash + cents(&result["refund"]), self.canceled + 1)
            }
            (true, "expedite") => cash -= cents(&result["fee"]),
            (true, "ship_customer_order") => {
                cash += cents(&result["income"]) - fees(&result["late"]);
                let id =
                    result["shipped"].as_str().and_then(|id| id[1..].parse().ok()).unwrap_or(0);
                let order = before.customer_orders().iter().find(|order| order.id == id);
                units -= u64::from(order.unwrap_or_else(|| panic!("{}", case())).quantity);
            }
            _ => {}
        }
        let arrived = record.observation.matches(" arrived: ").count() as u64;
        self.arrived += arrived;
        if after.day() == before.day() {
            assert_eq!((money_of(after), after.totals().stock_units), (cash, units), "{}", case());
        } else if config.shocks.pe_type_mix == TypeMix::QuantityOnly {
            assert_eq!(
                money_of(after),
                cash - 10 * units as i64 - 2_000 - late_fees(&record.observation),
                "a day's fees; {}",
                case()
            );
        }
        if arrived == 0 {
            assert_eq!(
                after.totals().stock_units,
                units,
                "stock comes from deliveries alone; {}",
                case()
            );
        }
        let (totals, coming) = (after.totals(), after.supplier_orders().len() as u64);
        assert_eq!(self.placed, self.canceled + self.arrived + coming, "{}", case());
        let shipped = u64::from(record.success && tool == "ship_customer_order");
        assert_eq!(totals.orders_shipped, before.totals().orders_shipped + shipped, "{}", case());
        let lost = record.observation.matches(" expired\n").count() as u64;
        assert_eq!(totals.orders_expired, before.totals().orders_expired + lost, "{}", case());
        let new = record.observation.matches("new customer order").count() as u64;
        assert_eq!(
            totals.orders_open + shipped + lost,
            before.totals().orders_open + new,
            "{}",
            case()
        );
    }
}

#[test]
fn the_same_random_game_gives_the_same_bytes() {
    for seed in 0..200 {
        let bytes = || {
            let mut world = World::new(&config(seed), seed).expect("valid");
            let mut player = Player { draws: RandomStream::new(seed, "fuzz"), step: 0, salt: 0 };
            let mut bytes = Vec::new();
            while world.ending().is_none() {
                let turn = player.turn(&world);
                serde_json::to_writer(&mut bytes, &world.step(&turn)).expect("JSON");
            }
            bytes
        };
        assert_eq!(bytes(), bytes(), "seed {seed}");
    }
}

/// `advance` changes the world exactly as `step` does.
#[test]
fn advancing_and_stepping_are_the_same_game() {
    for seed in 0..200 {
        let mut worlds = [
            World::new(&config(seed), seed).expect("valid"),
            World::new(&config(seed), seed).expect("valid"),
        ];
        let mut player = Player { draws: RandomStream::new(seed, "fuzz"), step: 0, salt: 0 };
        while worlds[0].ending().is_none() {
            let turn = player.turn(&worlds[0]);
            let ending = worlds[0].step(&turn).ending;
            assert_eq!(ending, worlds[1].advance(&turn), "seed {seed}");
            assert_eq!(
                (worlds[0].totals(), worlds[0].crashes()),
                (worlds[1].totals(), worlds[1].crashes())
            );
        }
    }
}
