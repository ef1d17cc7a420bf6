//! Trading with suppliers: quotes, orders, cancellation, expediting.

use super::{CallOutcome, ToolResult};
use crate::catalog::{Offer, money, sku_name, supplier_name};
use crate::orders::SupplierOrder;
use crate::prediction_error::Truth;
use crate::state::WorldState;
use crate::tool_call::{ToolCall, clip};
use serde_json::json;

/// Fee for canceling a supplier order, in percent of the amount paid.
const CANCEL_FEE_PERCENT: i64 = 10;
/// Fee for expediting a supplier order, in percent of the amount paid.
const EXPEDITE_FEE_PERCENT: i64 = 50;
/// Maximum number of days that expediting saves.
const EXPEDITE_DAYS_MAX: u64 = 2;

/// The arguments of an order or a quote, found in the catalog.
struct RequestedGoods {
    /// Index of the supplier.
    supplier: usize,
    sku: usize,
    /// The offer that applies.
    offer: Offer,
    /// The offer that the agent is shown.
    shown: Offer,
    units: u32,
}

fn requested_goods(state: &WorldState, call: &ToolCall) -> Result<RequestedGoods, String> {
    let (supplier, sku) = (call.text_argument("supplier_id")?, call.text_argument("sku")?);
    let found = state.terms.catalog.find(supplier, sku);
    let (supplier, sku, offer) = found.ok_or_else(|| {
        let (suppliers, skus) =
            (supplier_name(state.config.suppliers() - 1), sku_name(state.config.skus() - 1));
        format!(
            "no offer of {:?} for {:?}: suppliers are S1 to {suppliers}, SKUs P1 to {skus}",
            clip(supplier),
            clip(sku)
        )
    })?;
    let shown = state.shown().catalog.offers[supplier][sku];
    Ok(RequestedGoods { supplier, sku, offer, shown, units: call.quantity_argument()? })
}

pub(super) fn quote(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let RequestedGoods { shown: offer, units, .. } = requested_goods(state, call)?;
    let total = offer.price_cents * i64::from(units);
    Ok(CallOutcome::done(
        json!({"unit_price": money(offer.price_cents), "total": money(total), "lead_days": offer.lead_days, "reliability": (offer.reliability * 100.0).round() / 100.0}),
    ))
}

pub(super) fn order(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let RequestedGoods { supplier, sku, offer, shown, units } = requested_goods(state, call)?;
    let cost_cents = offer.price_cents * i64::from(units);
    if let Some(reason) = payment_problem(state, cost_cents) {
        // Only an order that exceeds the ledger, which the agent sees, counts towards budget
        // denial.
        let unaffordable = cost_cents > state.ledger_cents();
        return Ok(CallOutcome { unaffordable, ..CallOutcome::failed(reason) });
    }
    let capacity = state.room_units();
    if u64::from(units) > capacity {
        return Err(format!(
            "storage has room for {capacity} more units, goods on their way included"
        ));
    }
    if let Some(reason) = state.refusal(supplier) {
        return Ok(CallOutcome { refused: true, ..CallOutcome::failed(reason) });
    }
    state.book(-cost_cents);
    state.delay_linked_deliveries(supplier);
    let id = state.take_id();
    let (late_days, arriving) = draw_delivery(state, id, offer.reliability, units);
    let published = state.published().offers[supplier][sku];
    let undisturbed_day = state.day + published.lead_days as u64 + late_days;
    let promised_day = state.day + shown.lead_days as u64;
    state.inbound.push(SupplierOrder {
        id,
        supplier,
        sku,
        quantity: units,
        paid_cents: cost_cents,
        placed_day: state.day,
        promised_day,
        arrives_day: state.day + offer.lead_days as u64 + late_days,
        arriving,
        expedited: false,
        lead_days: published.lead_days as u64,
        undisturbed_day,
        undisturbed_units: arriving,
    });
    let result = json!({"order_id": format!("O{id}"), "paid": money(cost_cents), "expected_in_days": shown.lead_days});
    let unit_price =
        Truth { actual: money(offer.price_cents), without_shocks: money(published.price_cents) };
    let added_cost_cents = (offer.price_cents - published.price_cents) * i64::from(units);
    Ok(CallOutcome {
        cost_cents,
        added_cost_cents,
        ordered: Some(id),
        unit_price: Some(unit_price),
        ..CallOutcome::done(result)
    })
}

/// Why an amount cannot be paid; `None` if it can. Cash decides, even if a late ledger shows more.
fn payment_problem(state: &WorldState, cents: i64) -> Option<String> {
    let (cost, shown) = (money(cents), money(state.ledger_cents()));
    match cents > state.cash_cents {
        false => None,
        true if cents <= state.ledger_cents() => Some(format!(
            "it costs {cost:.2}; the ledger shows {shown:.2}, but the bank refuses the payment"
        )),
        true => Some(format!("it costs {cost:.2}, your cash is {shown:.2}")),
    }
}

/// Draws the days of delay and the arriving units of order `id`: on time and complete with
/// probability `reliability`, otherwise one day late or a fifth short with equal chance.
fn draw_delivery(state: &WorldState, id: u64, reliability: f64, units: u32) -> (u64, u32) {
    let draws = state.streams.deliveries;
    if draws.unit(&[id, 0]) < reliability {
        (0, units)
    } else if draws.unit(&[id, 1]) < 0.5 {
        (1, units)
    } else {
        (0, units - units / 5)
    }
}

/// Index in `inbound` of the supplier order that the call's `order_id` names.
fn supplier_order(state: &WorldState, call: &ToolCall) -> Result<usize, String> {
    let id = call.id_argument("order_id", 'O')?;
    let index = state.inbound.iter().position(|o| o.id == id);
    index.ok_or_else(|| format!("there is no supplier order O{id} on its way"))
}

pub(super) fn cancel(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let index = supplier_order(state, call)?;
    let order = state.inbound.remove(index);
    let fee = order.paid_cents * CANCEL_FEE_PERCENT / 100;
    state.book(order.paid_cents - fee);
    state.pe.cancel_delivery(order.id);
    let result =
        json!({"canceled": format!("O{}", order.id), "refund": money(order.paid_cents - fee)});
    Ok(CallOutcome { cost_cents: fee, ..CallOutcome::done(result) })
}

pub(super) fn expedite(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let index = supplier_order(state, call)?;
    let fee = state.inbound[index].paid_cents * EXPEDITE_FEE_PERCENT / 100;
    if state.inbound[index].expedited {
        return Err("it is expedited already".into());
    }
    if let Some(reason) = payment_problem(state, fee) {
        return Err(reason);
    }
    state.book(-fee);
    let (tomorrow, order) = (state.day + 1, &mut state.inbound[index]);
    order.expedited = true;
    order.arrives_day = order.arrives_day.saturating_sub(EXPEDITE_DAYS_MAX).max(tomorrow);
    order.promised_day = order.promised_day.saturating_sub(EXPEDITE_DAYS_MAX).max(tomorrow);
    order.undisturbed_day = order.undisturbed_day.saturating_sub(EXPEDITE_DAYS_MAX).max(tomorrow);
    let days = order.promised_day - state.day;
    let result =
        json!({"expedited": format!("O{}", order.id), "fee": money(fee), "expected_in_days": days});
    Ok(CallOutcome { cost_cents: fee, ..CallOutcome::done(result) })
}
