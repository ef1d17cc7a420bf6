//! The careful operator, which believes that the published terms apply, and its rules.

use super::beliefs::Beliefs;
use super::{Operator, turn};
use crate::card::Card;
use crate::catalog::{money, sku_name, supplier_name};
use crate::config::Design;
use crate::tool_call::ToolCall;
use crate::turn::Turn;
use crate::world::World;
use serde_json::json;

/// Expected effects of a call, from which an operator makes its card.
#[derive(Default)]
pub(super) struct Expectation {
    pub cost: f64,
    pub units_shipped: u64,
    pub income: f64,
    /// Expected delivery: (days from now, units).
    pub delivery: Option<(i64, u32)>,
    /// Expected price of one unit of an order.
    pub unit_price: Option<f64>,
}

impl Expectation {
    pub fn card(self, world: &World, beliefs: &Beliefs) -> Card {
        let totals = world.totals();
        let storage_after = totals.stock_units.saturating_sub(self.units_shipped);
        let with_terms = world.config().design != Design::V1;
        Card {
            success: Some(true),
            delivery_days: self.delivery.map(|(days, _)| days as f64),
            quantity: self.delivery.map(|(_, units)| f64::from(units)),
            cost: Some(self.cost),
            storage_after: Some(storage_after as f64),
            budget_after: Some(totals.ledger - self.cost + self.income),
            unit_price: self.unit_price.filter(|_| with_terms),
            fees_today: with_terms.then(|| beliefs.fees(world, storage_after)),
            ..Card::default()
        }
    }
}

/// Ships the oldest customer order that stock covers, else restocks the SKU that is furthest below
/// its target, else waits.
pub(super) struct CarefulOperator;

impl Operator for CarefulOperator {
    fn act(&mut self, world: &World) -> Turn {
        careful_turn(world, &Beliefs::default())
    }
}

/// The careful operator's turn under these beliefs.
pub(super) fn careful_turn(world: &World, beliefs: &Beliefs) -> Turn {
    ship_oldest(world, beliefs)
        .or_else(|| restock(world, beliefs))
        .unwrap_or_else(|| wait(world, beliefs))
}

pub(super) fn wait(world: &World, beliefs: &Beliefs) -> Turn {
    turn(ToolCall::new("wait", json!({})), Expectation::default().card(world, beliefs))
}

pub(super) fn ship_oldest(world: &World, beliefs: &Beliefs) -> Option<Turn> {
    let ready = world.customer_orders().iter().find(|o| world.stock()[o.sku] >= o.quantity)?;
    let price = world.published_catalog().sale_cents(ready.sku, world.config().demand.sale_markup);
    let income = (price * i64::from(ready.quantity)) as f64 / 100.0;
    let expectation = Expectation {
        cost: world.config().delivery_cost,
        units_shipped: u64::from(ready.quantity),
        income,
        ..Expectation::default()
    };
    Some(turn(
        ToolCall::new(
            "ship_customer_order",
            json!({"customer_order_id": format!("C{}", ready.id)}),
        ),
        expectation.card(world, beliefs),
    ))
}

/// Orders the SKU that is furthest below its target from the supplier with the lowest product of
/// price and (2 + lead days). `None` if it lacks fewer than 8 units, or none can be stored or paid.
fn restock(world: &World, beliefs: &Beliefs) -> Option<Turn> {
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
    let offer_of = |supplier: usize| beliefs.offer(world, supplier, sku);
    let price_for_speed = |supplier: &usize| {
        let offer = offer_of(*supplier);
        offer.price_cents * (2 + offer.lead_days)
    };
    let supplier = (0..config.suppliers()).min_by_key(price_for_speed)?;
    let offer = offer_of(supplier);
    let affordable = (totals.ledger * 80.0) as i64 / offer.price_cents.max(1);
    let units = short.min(capacity as i64).min(affordable).min(999);
    if units < 1 {
        return None;
    }
    let arguments =
        json!({"supplier_id": supplier_name(supplier), "sku": sku_name(sku), "quantity": units});
    let expectation = Expectation {
        cost: money(offer.price_cents * units),
        delivery: Some((offer.lead_days, units as u32)),
        unit_price: Some(money(offer.price_cents)),
        ..Expectation::default()
    };
    Some(turn(ToolCall::new("order", arguments), expectation.card(world, beliefs)))
}
