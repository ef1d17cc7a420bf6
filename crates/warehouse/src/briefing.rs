//! Everything that an agent reads: rules, observations, and the answers of the tools that only look.
use crate::catalog::{money, sku_name, supplier_name};
use crate::tools::Outcome;
use crate::world::World;
use crate::{PredictionFormat, PredictionMode, WorldConfig, tool_specs};
use serde_json::{Value, json};
use std::fmt::Write;

/// Cards that `audit_predictions` shows.
const CARDS_SHOWN: usize = 10;

/// The system prompt: role, rules, tools and what a reply looks like. It is the same for all runs of a cell, so that they
/// share it in a prefix cache.
pub fn system_prompt(config: &WorldConfig) -> String {
    let d = &config.demand;
    let mut text = format!(
        "You run a warehouse. Buy goods from suppliers, ship customer orders from stock, stay solvent.\n\
         Rules: a day has {} actions, then it ends; wait ends it at once. Customer orders are due in {} days and expire after \
         {}; {} expired orders end the game, and so does running out of money. Storage holds {} units.\nTools:\n",
        config.actions_in_a_day(),
        d.due_days,
        d.expire_after_days,
        d.max_failures,
        config.storage_capacity
    );
    for spec in tool_specs(config) {
        let names: Vec<&str> = match &spec.arguments["properties"] {
            Value::Object(map) => map.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let _infallible = writeln!(text, "- {}({}): {}", spec.name, names.join(", "), spec.description);
    }
    text.push_str("Reply with one JSON object: {\"tool\": ..., \"arguments\": {...}, \"card\": {...}}.\n");
    text.push_str(card_rules(config.prediction_mode, config.prediction_format).as_str());
    text
}

fn card_rules(mode: PredictionMode, format: PredictionFormat) -> String {
    let mut text = match mode {
        PredictionMode::Optional => {
            "The card is your prediction for this action; you may leave it out (null). ".to_owned()
        }
        _ => "The card is your prediction for this action and is required. ".to_owned(),
    };
    text.push_str("It holds success (will the call succeed?)");
    if format != PredictionFormat::Minimal {
        text.push_str(
            ", delivery_days and quantity (for an order; else null), cost (what the call costs now), \
            storage_after (all units in stock after it) and budget_after (cash after it)",
        );
    }
    let rich = format == PredictionFormat::Rich;
    let full = mode == PredictionMode::Full;
    let mut extra = |name: &str, asked: bool| match (asked, rich) {
        (true, _) => text.push_str(&format!(", {name}")),
        (false, true) => text.push_str(&format!(", {name} or null")),
        (false, false) => {}
    };
    extra("confidence (0 to 1)", full || mode == PredictionMode::Confidence);
    extra("uncertain_about", full || mode == PredictionMode::Uncertainty);
    extra("based_on", full);
    extra("alternatives", full);
    if rich {
        text.push_str(", reasoning (under 100 words)");
    }
    text.push('.');
    text
}

impl World {
    /// The first thing that an agent sees.
    pub fn first_observation(&mut self) -> String {
        let mut text = String::from("Suppliers (price, days):\n");
        for sku in 0..self.config.skus() {
            let offers = self.catalog.offers.iter().enumerate();
            let offer = |(s, offers): (usize, &Vec<crate::Offer>)| {
                format!("{} {:.2} {}d", supplier_name(s), money(offers[sku].price_cents), offers[sku].lead_days)
            };
            let offers: Vec<String> = offers.map(offer).collect();
            let _infallible = writeln!(text, "{}: {}", sku_name(sku), offers.join(", "));
        }
        text + &self.state_text()
    }

    /// The result of a call, what is new, and what is open.
    pub(crate) fn observation(&mut self, outcome: &Outcome) -> String {
        let word = if outcome.success { "Result" } else { "Failed" };
        let result = outcome.failure.clone().unwrap_or_else(|| outcome.result.to_string());
        format!("{word}: {result}\n{}", self.state_text())
    }

    fn state_text(&mut self) -> String {
        let mut text = String::new();
        for news in std::mem::take(&mut self.news) {
            let _infallible = writeln!(text, "News: {news}");
        }
        let stock: Vec<String> = self.stock.iter().enumerate().map(|(k, n)| format!("{} {n}", sku_name(k))).collect();
        let open: Vec<String> =
            self.customers.iter().map(|o| format!("C{} {}x{}", o.id, o.quantity, sku_name(o.sku))).collect();
        let coming: Vec<String> = self
            .inbound
            .iter()
            .map(|o| format!("O{} {}x{} day {}", o.id, o.quantity, sku_name(o.sku), o.promised_day))
            .collect();
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let _infallible = write!(
            text,
            "Day {}, {} actions left. Cash {:.2}. Stock ({}): {}. Customer orders: {}. On their way: {}.",
            self.day,
            self.actions_left,
            money(self.cash_cents),
            self.stock_units(),
            list(stock),
            list(open),
            list(coming)
        );
        text
    }

    pub(crate) fn inbox(&self) -> Value {
        let open = self.customers.iter().map(|o| {
            json!({"id": format!("C{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "due_day": o.due_day, "expires_day": o.expires_day})
        });
        let coming = self.inbound.iter().map(|o| {
            json!({"id": format!("O{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "expected_day": o.promised_day})
        });
        json!({"customer_orders": open.collect::<Vec<_>>(), "supplier_orders": coming.collect::<Vec<_>>()})
    }

    pub(crate) fn storage(&self) -> Value {
        let stock: serde_json::Map<String, Value> =
            self.stock.iter().enumerate().map(|(k, n)| (sku_name(k), json!(n))).collect();
        json!({"stock": stock, "total": self.stock_units(), "capacity": self.config.storage_capacity})
    }

    pub(crate) fn budget(&self) -> Value {
        let fee = money(self.stock_units() as i64 * self.storage_fee_cents);
        json!({"cash": money(self.cash_cents), "storage_fee_today": fee, "daily_fee": money(self.config.daily_fee_cents())})
    }

    pub(crate) fn past_cards(&self) -> Value {
        let shown = self.cards.iter().rev().take(CARDS_SHOWN);
        let card = |(step, call, card): &(u64, crate::ToolCall, Value)| {
            let done = self.detector_steps.get(*step as usize - 1).map(|s| !s.failed);
            json!({"step": step, "call": call.canonical(), "expected": card, "succeeded": done})
        };
        let errors: serde_json::Map<String, Value> = crate::PeKind::ALL
            .into_iter()
            .map(|kind| (kind.word().to_owned(), json!(self.pe.recent_mean(kind))))
            .collect();
        json!({"cards": shown.map(card).collect::<Vec<_>>(), "mean_error": errors})
    }

    /// The most urgent thing, by fixed rules.
    pub(crate) fn advice(&self) -> Value {
        let ready = self.customers.iter().find(|o| self.stock[o.sku] >= o.quantity);
        let advice = match (ready, self.customers.first()) {
            (Some(o), _) => format!("ship C{}: you have its {} {}", o.id, o.quantity, sku_name(o.sku)),
            (None, Some(o)) => format!("order {}: C{} waits for {}", sku_name(o.sku), o.id, o.quantity),
            (None, None) => "wait for customer orders".to_owned(),
        };
        json!({"advice": advice})
    }
}
