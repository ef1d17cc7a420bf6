//! Operators that keep no account of what happened: greedy, random and looping.

use super::beliefs::Beliefs;
use super::careful::{Expectation, ship_oldest, wait};
use super::{Operator, turn};
use crate::catalog::{money, sku_name, supplier_name};
use crate::config::Design;
use crate::random::RandomStream;
use crate::tool_call::ToolCall;
use crate::turn::Turn;
use crate::world::World;
use serde_json::json;

/// Ships the oldest customer order that stock covers, else orders twice the units of the oldest
/// customer order from the cheapest supplier, regardless of cash and of orders in transit. Waits if
/// there is no customer order.
pub(super) struct GreedyOperator;

impl Operator for GreedyOperator {
    fn act(&mut self, world: &World) -> Turn {
        if let Some(turn) = ship_oldest(world, &Beliefs::default()) {
            return turn;
        }
        let Some(oldest) = world.customer_orders().first() else {
            return wait(world, &Beliefs::default());
        };
        let price = |s: &usize| world.published_catalog().offers[*s][oldest.sku].price_cents;
        let Some(supplier) = (0..world.config().suppliers()).min_by_key(price) else {
            return wait(world, &Beliefs::default());
        };
        let offer = world.published_catalog().offers[supplier][oldest.sku];
        let units = oldest.quantity * 2;
        let arguments = json!({"supplier_id": supplier_name(supplier), "sku": sku_name(oldest.sku), "quantity": units});
        let cost = money(offer.price_cents * i64::from(units));
        turn(
            ToolCall::new("order", arguments),
            Expectation {
                cost,
                delivery: Some((offer.lead_days, units)),
                unit_price: Some(money(offer.price_cents)),
                ..Expectation::default()
            }
            .card(world, &Beliefs::default()),
        )
    }
}

/// Calls a random tool with random arguments, some of them invalid.
pub(super) struct RandomOperator {
    draws: RandomStream,
    step: u64,
}

impl RandomOperator {
    pub fn new(seed: u64) -> RandomOperator {
        RandomOperator { draws: RandomStream::new(seed, "random operator"), step: 0 }
    }
}

impl Operator for RandomOperator {
    fn act(&mut self, world: &World) -> Turn {
        self.step += 1;
        let draw = |salt: u64, high: i64| self.draws.within(&[self.step, salt], 0, high);
        let tool = world.tools()[draw(0, world.tools().len() as i64 - 1) as usize];
        let latest = (world.totals().orders_open + world.totals().orders_shipped + 5) as i64;
        // Since design v2 half of the ids are valid, if there are any: the chance of a trade does not
        // depend on how many ids were given before.
        let drawn_id = |salt: u64, ids: Vec<u64>| {
            let index = draw(salt, 2 * ids.len() as i64) as usize;
            ids.get(index).copied().unwrap_or(0)
        };
        let (customer, order) = match world.config().design {
            Design::V1 => (draw(4, latest) as u64, draw(5, latest) as u64),
            Design::V2 => (
                drawn_id(4, world.customer_orders().iter().map(|order| order.id).collect()),
                drawn_id(5, world.supplier_orders().iter().map(|order| order.id).collect()),
            ),
        };
        let arguments = json!({
            "supplier_id": supplier_name(draw(1, world.config().suppliers() as i64) as usize),
            "sku": sku_name(draw(2, world.config().skus() as i64) as usize),
            "quantity": draw(3, 60),
            "customer_order_id": format!("C{}", customer),
            "order_id": format!("O{}", order),
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
            .card(world, &Beliefs::default()),
        )
    }
}

/// Calls `check_inbox` in every step.
pub(super) struct LoopingOperator;

impl Operator for LoopingOperator {
    fn act(&mut self, world: &World) -> Turn {
        turn(
            ToolCall::new("check_inbox", json!({})),
            Expectation::default().card(world, &Beliefs::default()),
        )
    }
}
