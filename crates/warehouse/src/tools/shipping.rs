//! Shipping customer orders.

use super::{CallOutcome, ToolResult};
use crate::catalog::money;
use crate::catalog::sku_name;
use crate::config::Design;
use crate::state::WorldState;
use crate::tool_call::ToolCall;
use serde_json::json;

/// Ships a customer order from stock and books the income minus fees.
pub(super) fn ship(state: &mut WorldState, call: &ToolCall) -> ToolResult {
    let id = call.id_argument("customer_order_id", 'C')?;
    let index = state.customers.iter().position(|o| o.id == id);
    let index = index.ok_or_else(|| format!("there is no open customer order C{id}"))?;
    let order = state.customers[index].clone();
    let (sku, in_stock) = (sku_name(order.sku), state.stock[order.sku]);
    if in_stock < order.quantity {
        return Err(format!("C{id} wants {} of {sku}, in stock are {in_stock}", order.quantity));
    }
    let fee = (state.config.delivery_cost * 100.0).round() as i64;
    let price = state.published().sale_cents(order.sku, state.config.demand.sale_markup)
        * i64::from(order.quantity);
    let late = state.day > order.due_day;
    let penalty = if late { (state.config.demand.late_penalty * 100.0).round() as i64 } else { 0 };
    state.stock[order.sku] -= order.quantity;
    state.book(price - fee - penalty);
    state.shipped += 1;
    if state.config.design != Design::V1 {
        state.recent_shipments.push_back(state.day);
    }
    state.customers.remove(index);
    let result = json!({"shipped": format!("C{id}"), "income": money(price), "late": late});
    Ok(CallOutcome { cost_cents: fee + penalty, ..CallOutcome::done(result) })
}
