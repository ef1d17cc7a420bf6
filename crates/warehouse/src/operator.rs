//! Scripted operators: reference policies that use only information that an agent can see.

use crate::card::Card;
use crate::catalog::{sku_name, supplier_name};
use crate::random::RandomStream;
use crate::tool_call::ToolCall;
use crate::turn::Turn;
use crate::world::World;
use serde_json::json;

/// A scripted policy, which needs no model.
pub trait Operator: Send {
    /// Returns the turn for the next step of `world`.
    fn act(&mut self, world: &World) -> Turn;
}

/// The operator of this name: careful, greedy, random or looping; `None` for any other name.
pub fn operator(name: &str, seed: u64) -> Option<Box<dyn Operator>> {
    Some(match name {
        "careful" => Box::new(CarefulOperator),
        "greedy" => Box::new(GreedyOperator),
        "random" => {
            Box::new(RandomOperator { draws: RandomStream::new(seed, "random operator"), step: 0 })
        }
        "looping" => Box::new(LoopingOperator),
        _ => return None,
    })
}

fn turn(call: ToolCall, card: Card) -> Turn {
    Turn::new(Ok(call), Ok(card))
}

/// Expected effects of a call, from which an operator makes its card.
#[derive(Default)]
struct Expectation {
    cost: f64,
    units_shipped: u64,
    income: f64,
    /// Expected delivery: (days from now, units).
    delivery: Option<(i64, u32)>,
}

impl Expectation {
    fn card(self, world: &World) -> Card {
        let totals = world.totals();
        Card {
            success: Some(true),
            delivery_days: self.delivery.map(|(days, _)| days as f64),
            quantity: self.delivery.map(|(_, units)| f64::from(units)),
            cost: Some(self.cost),
            storage_after: Some((totals.stock_units - self.units_shipped) as f64),
            budget_after: Some(totals.ledger - self.cost + self.income),
            ..Card::default()
        }
    }
}

/// Ships the oldest customer order that stock covers, else restocks the SKU that is furthest below
/// its target, else waits.
struct CarefulOperator;

impl Operator for CarefulOperator {
    fn act(&mut self, world: &World) -> Turn {
        ship_oldest(world).or_else(|| restock(world)).unwrap_or_else(|| wait(world))
    }
}

fn wait(world: &World) -> Turn {
    turn(ToolCall::new("wait", json!({})), Expectation::default().card(world))
}

fn ship_oldest(world: &World) -> Option<Turn> {
    let ready = world.customer_orders().iter().find(|o| world.stock()[o.sku] >= o.quantity)?;
    let price = world.published_catalog().sale_cents(ready.sku, world.config().demand.sale_markup);
    let income = (price * i64::from(ready.quantity)) as f64 / 100.0;
    let expectation = Expectation {
        cost: world.config().delivery_cost,
        units_shipped: u64::from(ready.quantity),
        income,
        delivery: None,
    };
    Some(turn(
        ToolCall::new(
            "ship_customer_order",
            json!({"customer_order_id": format!("C{}", ready.id)}),
        ),
        expectation.card(world),
    ))
}

/// Orders the SKU that is furthest below its target from the supplier with the lowest product of
/// price and (2 + lead days). `None` if it lacks fewer than 8 units, or none can be stored or paid.
fn restock(world: &World) -> Option<Turn> {
    let (config, totals) = (world.config(), world.totals());
    let in_transit: u64 = world.supplier_orders().iter().map(|o| u64::from(o.quantity)).sum();
    let capacity =
        u64::from(config.storage_capacity).saturating_sub(totals.stock_units + in_transit);
    let target = (f64::from(config.storage_capacity) * 0.95 / config.skus() as f64).floor() as i64;
    // Units of each SKU in stock and in transit, minus the units of open customer orders.
    let mut positions: Vec<i64> = world.stock().iter().map(|units| i64::from(*units)).collect();
    world.supplier_orders().iter().for_each(|o| positions[o.sku] += i64::from(o.quantity));
    world.customer_orders().iter().for_each(|o| positions[o.sku] -= i64::from(o.quantity));
    let sku = (0..config.skus()).min_by_key(|sku| positions[*sku])?;
    let short = target.min(60) - positions[sku];
    if short < 8 {
        return None;
    }
    let price_for_speed = |s: &usize| {
        let offer = world.published_catalog().offers[*s][sku];
        offer.price_cents * (2 + offer.lead_days)
    };
    let supplier = (0..config.suppliers()).min_by_key(price_for_speed)?;
    let offer = world.published_catalog().offers[supplier][sku];
    let affordable = (totals.ledger * 80.0) as i64 / offer.price_cents.max(1);
    let units = short.min(capacity as i64).min(affordable).min(999);
    if units < 1 {
        return None;
    }
    let arguments =
        json!({"supplier_id": supplier_name(supplier), "sku": sku_name(sku), "quantity": units});
    let cost = (offer.price_cents * units) as f64 / 100.0;
    Some(turn(
        ToolCall::new("order", arguments),
        Expectation {
            cost,
            delivery: Some((offer.lead_days, units as u32)),
            ..Expectation::default()
        }
        .card(world),
    ))
}

/// Ships the oldest customer order that stock covers, else orders twice the units of the oldest
/// customer order from the cheapest supplier, regardless of cash and of orders in transit. Waits if
/// there is no customer order.
struct GreedyOperator;

impl Operator for GreedyOperator {
    fn act(&mut self, world: &World) -> Turn {
        if let Some(turn) = ship_oldest(world) {
            return turn;
        }
        let Some(oldest) = world.customer_orders().first() else { return wait(world) };
        let price = |s: &usize| world.published_catalog().offers[*s][oldest.sku].price_cents;
        let Some(supplier) = (0..world.config().suppliers()).min_by_key(price) else {
            return wait(world);
        };
        let offer = world.published_catalog().offers[supplier][oldest.sku];
        let units = oldest.quantity * 2;
        let arguments = json!({"supplier_id": supplier_name(supplier), "sku": sku_name(oldest.sku), "quantity": units});
        let cost = (offer.price_cents * i64::from(units)) as f64 / 100.0;
        turn(
            ToolCall::new("order", arguments),
            Expectation {
                cost,
                delivery: Some((offer.lead_days, units)),
                ..Expectation::default()
            }
            .card(world),
        )
    }
}

/// Calls a random tool with random arguments, some of them invalid.
struct RandomOperator {
    draws: RandomStream,
    step: u64,
}

impl Operator for RandomOperator {
    fn act(&mut self, world: &World) -> Turn {
        self.step += 1;
        let draw = |salt: u64, high: i64| self.draws.within(&[self.step, salt], 0, high);
        let tool = world.tools()[draw(0, world.tools().len() as i64 - 1) as usize];
        let latest = (world.totals().orders_open + world.totals().orders_shipped + 5) as i64;
        let arguments = json!({
            "supplier_id": supplier_name(draw(1, world.config().suppliers() as i64) as usize),
            "sku": sku_name(draw(2, world.config().skus() as i64) as usize),
            "quantity": draw(3, 60),
            "customer_order_id": format!("C{}", draw(4, latest)),
            "order_id": format!("O{}", draw(5, latest)),
            "key": "note",
            "text": format!("step {}", self.step),
        });
        turn(
            ToolCall::new(tool.label(), arguments),
            Expectation {
                cost: draw(6, 500) as f64,
                delivery: Some((draw(7, 9), 20)),
                ..Expectation::default()
            }
            .card(world),
        )
    }
}

/// Calls `check_inbox` in every step.
struct LoopingOperator;

impl Operator for LoopingOperator {
    fn act(&mut self, world: &World) -> Turn {
        turn(ToolCall::new("check_inbox", json!({})), Expectation::default().card(world))
    }
}
