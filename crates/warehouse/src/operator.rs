//! Scripted agents: references for what is possible. They use only what an agent can see.
use crate::catalog::{money, sku_name, supplier_name};
use crate::random::RandomStream;
use crate::tools::ToolCall;
use crate::world::World;
use crate::{Card, Turn};
use serde_json::json;

/// An agent that needs no model.
pub trait Operator: Send {
    /// What to do next.
    fn act(&mut self, world: &World) -> Turn;
}

/// The operator of this name: careful, greedy, random, looping.
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

/// A card that expects what it can compute.
fn expect(
    world: &World,
    cost: f64,
    units_out: u64,
    income: f64,
    delivery: Option<(i64, u32)>,
) -> Card {
    let (stock, cash) = (world.stock_units(), money(world.ledger_cents()));
    Card {
        success: Some(true),
        delivery_days: delivery.map(|(days, _)| days as f64),
        quantity: delivery.map(|(_, units)| f64::from(units)),
        cost: Some(cost),
        storage_after: Some((stock - units_out) as f64),
        budget_after: Some(cash - cost + income),
        ..Card::default()
    }
}

/// Ships the oldest order it can, keeps each SKU at a target, and waits otherwise.
struct CarefulOperator;

impl Operator for CarefulOperator {
    fn act(&mut self, world: &World) -> Turn {
        ship_oldest(world).or_else(|| restock(world)).unwrap_or_else(|| wait(world))
    }
}

fn wait(world: &World) -> Turn {
    turn(ToolCall::new("wait", json!({})), expect(world, 0.0, 0, 0.0, None))
}

fn ship_oldest(world: &World) -> Option<Turn> {
    let ready = world.customer_orders().iter().find(|o| world.stock()[o.sku] >= o.quantity)?;
    let price = world.published_catalog().sale_cents(ready.sku, world.config().demand.sale_markup);
    let income = (price * i64::from(ready.quantity)) as f64 / 100.0;
    let card = expect(world, world.config().delivery_cost, u64::from(ready.quantity), income, None);
    Some(turn(
        ToolCall::new(
            "ship_customer_order",
            json!({"customer_order_id": format!("C{}", ready.id)}),
        ),
        card,
    ))
}

/// Orders the SKU that is furthest below its target from the supplier that is cheapest for its
/// speed.
fn restock(world: &World) -> Option<Turn> {
    let config = world.config();
    let coming: u64 = world.supplier_orders().iter().map(|o| u64::from(o.quantity)).sum();
    let space = u64::from(config.storage_capacity).saturating_sub(world.stock_units() + coming);
    let target = (f64::from(config.storage_capacity) * 0.95 / config.skus() as f64).floor() as i64;
    // In stock and on order, less what is wanted.
    let mut positions: Vec<i64> = world.stock().iter().map(|units| i64::from(*units)).collect();
    world.supplier_orders().iter().for_each(|o| positions[o.sku] += i64::from(o.quantity));
    world.customer_orders().iter().for_each(|o| positions[o.sku] -= i64::from(o.quantity));
    let sku = (0..config.skus()).min_by_key(|sku| positions[*sku])?;
    let short = target.min(60) - positions[sku];
    if short < 8 {
        return None;
    }
    let worth = |s: &usize| {
        let offer = world.published_catalog().offers[*s][sku];
        offer.price_cents * (2 + offer.lead_days)
    };
    let supplier = (0..config.suppliers()).min_by_key(worth)?;
    let offer = world.published_catalog().offers[supplier][sku];
    let affordable = (money(world.ledger_cents()) * 80.0) as i64 / offer.price_cents.max(1);
    let units = short.min(space as i64).min(affordable).min(999);
    if units < 1 {
        return None;
    }
    let arguments =
        json!({"supplier_id": supplier_name(supplier), "sku": sku_name(sku), "quantity": units});
    let cost = (offer.price_cents * units) as f64 / 100.0;
    Some(turn(
        ToolCall::new("order", arguments),
        expect(world, cost, 0, 0.0, Some((offer.lead_days, units as u32))),
    ))
}

/// Ships when it can, else buys as much as it can pay of what is wanted, however much is on its
/// way.
struct GreedyOperator;

impl Operator for GreedyOperator {
    fn act(&mut self, world: &World) -> Turn {
        if let Some(turn) = ship_oldest(world) {
            return turn;
        }
        let Some(wanted) = world.customer_orders().first() else { return wait(world) };
        let price = |s: &usize| world.published_catalog().offers[*s][wanted.sku].price_cents;
        let Some(supplier) = (0..world.config().suppliers()).min_by_key(price) else {
            return wait(world);
        };
        let offer = world.published_catalog().offers[supplier][wanted.sku];
        let units = wanted.quantity * 2;
        let arguments = json!({"supplier_id": supplier_name(supplier), "sku": sku_name(wanted.sku), "quantity": units});
        let cost = (offer.price_cents * i64::from(units)) as f64 / 100.0;
        turn(
            ToolCall::new("order", arguments),
            expect(world, cost, 0, 0.0, Some((offer.lead_days, units))),
        )
    }
}

/// Draws a tool and its arguments; some of them make no sense.
struct RandomOperator {
    draws: RandomStream,
    step: u64,
}

impl Operator for RandomOperator {
    fn act(&mut self, world: &World) -> Turn {
        self.step += 1;
        let draw = |salt: u64, high: i64| self.draws.within(&[self.step, salt], 0, high);
        let tool = world.tools[draw(0, world.tools.len() as i64 - 1) as usize];
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
            ToolCall::new(tool, arguments),
            expect(world, draw(6, 500) as f64, 0, 0.0, Some((draw(7, 9), 20))),
        )
    }
}

/// Looks into its inbox for ever.
struct LoopingOperator;

impl Operator for LoopingOperator {
    fn act(&mut self, world: &World) -> Turn {
        turn(ToolCall::new("check_inbox", json!({})), expect(world, 0.0, 0, 0.0, None))
    }
}
