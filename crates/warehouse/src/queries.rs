//! Answers of the tools that only read the state. The agent reads these answers, so changing them
//! changes the experiment.

use crate::catalog::{money, sku_name, supplier_name};
use crate::prediction_error::{PeKind, PredictionPair};
use crate::state::{PastCard, WorldState};
use serde_json::{Map, Value, json};

impl WorldState {
    pub(crate) fn inbox(&self) -> Value {
        let open = self.customers.iter().map(|o| {
            let unit_price = money(self.published().sale_cents(o.sku, self.config.demand.sale_markup));
            json!({"id": format!("C{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "unit_price": unit_price, "due_day": o.due_day, "expires_day": o.expires_day})
        });
        let in_transit = self.inbound.iter().map(|o| {
            json!({"id": format!("O{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "expected_day": o.promised_day})
        });
        json!({"customer_orders": open.collect::<Vec<_>>(), "supplier_orders": in_transit.collect::<Vec<_>>()})
    }

    pub(crate) fn storage(&self) -> Value {
        let stock: Map<String, Value> =
            self.stock.iter().enumerate().map(|(k, n)| (sku_name(k), json!(n))).collect();
        json!({"stock": stock, "total": self.stock_units(), "capacity": self.config.storage_capacity})
    }

    pub(crate) fn budget(&self) -> Value {
        let terms = self.shown();
        let fee = money(self.stock_units() as i64 * terms.storage_fee_cents);
        json!({"cash": money(self.ledger_cents()), "storage_fee_today": fee, "daily_fee": money(terms.daily_fee_cents)})
    }

    /// The latest cards, newest first, each with its predictions, the actual values known so far
    /// and the mean error by kind. Unknown values are absent, and their errors null. `mean_error`
    /// is the mean of the errors of the last ten steps, by kind.
    pub(crate) fn past_cards(&self) -> Value {
        let card = |past: &PastCard| {
            let truth = |pair: &PredictionPair| (pair.field.label().to_owned(), json!(pair.actual));
            let mean = |kind: PeKind| {
                let errors: Vec<f64> =
                    past.truths.iter().filter(|p| p.kind == kind).map(|p| p.error).collect();
                let mean =
                    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
                (kind.label().to_owned(), json!(mean))
            };
            let actual: Map<String, Value> = past.truths.iter().map(truth).collect();
            let error: Map<String, Value> =
                PeKind::of(self.config.design).iter().copied().map(mean).collect();
            json!({"step": past.step, "call": past.call, "expected": past.expected, "actual": actual, "error": error, "succeeded": past.succeeded})
        };
        let mean = |kind: PeKind| (kind.label().to_owned(), json!(self.pe.recent_mean(kind)));
        let means: Map<String, Value> =
            PeKind::of(self.config.design).iter().copied().map(mean).collect();
        json!({"cards": self.cards.iter().map(card).collect::<Vec<_>>(), "mean_error": means})
    }

    /// The most urgent action by fixed rules: ship a customer order that stock covers, else restock
    /// for the oldest customer order that neither stock nor goods in transit cover, else wait.
    pub(crate) fn advice(&self) -> Value {
        let advice = match self.customers.iter().find(|o| self.stock[o.sku] >= o.quantity) {
            Some(o) => format!("ship C{}: you have its {} {}", o.id, o.quantity, sku_name(o.sku)),
            None => self
                .restock_advice()
                .unwrap_or_else(|| "wait for customer orders and deliveries".to_owned()),
        };
        json!({"advice": advice})
    }

    /// Advice to restock for the oldest customer order that neither stock nor supplier orders in
    /// transit cover, from the fastest affordable supplier of the published catalog. `None` if
    /// there is no such order or supplier.
    fn restock_advice(&self) -> Option<String> {
        let in_transit = |sku: usize| {
            self.inbound.iter().filter(|o| o.sku == sku).map(|o| o.quantity).sum::<u32>()
        };
        let short =
            self.customers.iter().find(|o| self.stock[o.sku] + in_transit(o.sku) < o.quantity)?;
        let units = short.quantity - self.stock[short.sku] - in_transit(short.sku);
        let offers =
            self.published().offers.iter().enumerate().map(|(s, offers)| (s, offers[short.sku]));
        let payable =
            offers.filter(|(_, offer)| offer.price_cents * i64::from(units) <= self.ledger_cents());
        let (supplier, offer) =
            payable.min_by_key(|(_, offer)| (offer.lead_days, offer.price_cents))?;
        let (sku, supplier, price) =
            (sku_name(short.sku), supplier_name(supplier), money(offer.price_cents));
        let days = offer.lead_days;
        Some(format!(
            "order {units} of {sku} from {supplier} ({price:.2} each, {days} days): C{} waits for them",
            short.id
        ))
    }
}
