//! The adaptive operator: plays as the careful one, and learns the terms of trade from deliveries,
//! payments and fees.

use super::Operator;
use super::beliefs::Beliefs;
use super::careful::careful_turn;
use crate::catalog::money;
use crate::turn::Turn;
use crate::world::World;
use std::collections::BTreeMap;

/// Weight of the newest delivery in the belief about a supplier's lead times.
const LEARNING_RATE: f64 = 0.2;

#[derive(Default)]
pub(super) struct AdaptiveOperator {
    beliefs: Beliefs,
    /// Supplier order id -> supplier and published lead time.
    placed: BTreeMap<u64, (usize, i64)>,
    last: Option<LastCall>,
}

/// What the operator knew when it made its last call.
struct LastCall {
    /// Supplier, SKU and units of an order.
    order: Option<(usize, usize, i64)>,
    ledger: f64,
    /// Expected units in storage after the call.
    storage_after: f64,
}

impl Operator for AdaptiveOperator {
    fn act(&mut self, world: &World) -> Turn {
        self.learn(world);
        let turn = careful_turn(world, &self.beliefs);
        let storage_after = turn.card.as_ref().ok().and_then(|card| card.storage_after);
        self.last = Some(LastCall {
            order: turn.call.as_ref().ok().and_then(|call| world.requested(call)),
            ledger: world.totals().ledger,
            storage_after: storage_after.unwrap_or(0.0),
        });
        turn
    }
}

impl AdaptiveOperator {
    fn learn(&mut self, world: &World) {
        for arrival in world.arrivals() {
            if let Some((supplier, published)) = self.placed.remove(&arrival.id) {
                let belief = self.beliefs.supplier_mut(supplier);
                let late = arrival.days as f64 - published as f64;
                belief.added_days += LEARNING_RATE * (late - belief.added_days);
            }
        }
        let Some(last) = self.last.take() else { return };
        let fees = world.fees_paid();
        if let Some(fees) = fees {
            let published = money(world.published_fees_cents(last.storage_after.max(0.0) as u64));
            if published > 0.0 {
                self.beliefs.fee_factor = fees / published;
            }
        }
        let Some((supplier, sku, units)) = last.order else { return };
        if world.last_call_failed() {
            return;
        }
        let offer = world.published_catalog().offers[supplier][sku];
        let paid = last.ledger - world.totals().ledger - fees.unwrap_or(0.0);
        let published = money(offer.price_cents * units);
        if published > 0.0 && paid > 0.0 {
            let belief = self.beliefs.supplier_mut(supplier);
            (belief.price_factor, belief.price_day) = (paid / published, world.day());
        }
        // The newest order is the last in transit, unless it has arrived already.
        if let Some(order) = world.supplier_orders().last() {
            self.placed.insert(order.id, (supplier, offer.lead_days));
        }
    }
}
