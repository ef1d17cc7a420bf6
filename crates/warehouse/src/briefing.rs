//! Everything that an agent reads: rules, observations, and the answers of the tools that only
//! look.
use crate::catalog::{money, sku_name, supplier_name};
use crate::tools::CallOutcome;
use crate::world::World;
use crate::{PredictionFormat, PredictionMode, REASONING_MAX_CHARS, WorldConfig, tool_specs};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Cards that `audit_predictions` shows.
pub(crate) const CARDS_SHOWN: usize = 10;

/// A card of the past, and what became known of it.
#[derive(Debug, Clone)]
pub(crate) struct PastCard {
    pub step: u64,
    pub call: String,
    pub expected: Value,
    pub succeeded: bool,
    pub truths: Vec<crate::PredictionPair>,
}

/// The system prompt: role, rules, tools and the card; the form of a reply is for others to say. It
/// is the same for all runs of a cell, so that they share it in a prefix cache.
pub fn system_prompt(config: &WorldConfig) -> String {
    let d = &config.demand;
    let mut text = format!(
        "You run a warehouse. Buy goods from suppliers, ship customer orders from stock, stay solvent.\n\
         Rules: a day has {} actions, then it ends; wait ends it at once. Customer orders are due in {} days and expire after \
         {}; {} expired orders end the game, and so does running out of money. Storage holds {} units; goods that find no room \
         are lost. Fees: {:.2} a day for each unit in storage, {:.2} a day for the warehouse{}{}.\nTools:\n",
        config.actions_in_a_day(),
        d.due_days,
        d.expire_after_days,
        d.max_failures,
        config.storage_capacity,
        config.storage_fee,
        money(config.daily_fee_cents()),
        fee(config.delivery_cost, "for each shipment"),
        fee(d.late_penalty, "for shipping late")
    );
    for spec in tool_specs(config) {
        let arguments: Vec<String> = match &spec.arguments["properties"] {
            Value::Object(map) => {
                map.iter().map(|(name, schema)| format!("{name}: {}", kind_of(schema))).collect()
            }
            _ => Vec::new(),
        };
        let _infallible =
            writeln!(text, "- {}({}): {}", spec.name, arguments.join(", "), spec.description);
    }
    text.push_str(card_rules(config).as_str());
    text
}

fn fee(amount: f64, what: &str) -> String {
    if amount > 0.0 { format!(", {amount:.2} {what}") } else { String::new() }
}

/// An argument's schema in a few words.
fn kind_of(schema: &Value) -> String {
    let bound = |key: &str| schema[key].as_i64().unwrap_or(0);
    if let Some(words) = schema["enum"].as_array() {
        let word = |at: Option<&Value>| at.and_then(Value::as_str).unwrap_or_default().to_owned();
        return format!("{} to {}", word(words.first()), word(words.last()));
    }
    match (schema["type"].as_str(), schema["pattern"].as_str()) {
        (Some("integer"), _) => format!("{} to {}", bound("minimum"), bound("maximum")),
        (_, Some(pattern)) => format!("{} and a number", &pattern[1..2]),
        _ => format!("text, at most {} characters", bound("maxLength")),
    }
}

fn card_rules(config: &WorldConfig) -> String {
    let (mode, format) = (config.prediction_mode, config.prediction_format);
    let mut text = match mode {
        PredictionMode::Optional => {
            "The card is your prediction for this action; you may leave it out (null). ".to_owned()
        }
        _ => "The card is your prediction for this action and is required. ".to_owned(),
    };
    text.push_str("It holds success (will the call succeed?)");
    if format != PredictionFormat::Minimal {
        text.push_str(
            ", delivery_days (from now until the goods come) and quantity (units that will come), both for an order, else null, \
            cost (what the call takes from your cash now; income does not count), storage_after (all units in stock) and budget_after (cash), both right after the call, before the fees and \
            deliveries of a day's end",
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
        match config.reasoning_min_chars {
            0 => text.push_str(", reasoning (under 100 words)"),
            fewest => text
                .push_str(&format!(", reasoning ({fewest} to {REASONING_MAX_CHARS} characters)")),
        }
    }
    text.push('.');
    text
}

/// Items with commas between them, or "none".
fn list<T>(text: &mut String, items: impl Iterator<Item = T>, one: impl Fn(&mut String, T)) {
    let empty = text.len();
    for item in items {
        if text.len() > empty {
            text.push_str(", ");
        }
        one(text, item);
    }
    if text.len() == empty {
        text.push_str("none");
    }
}

/// Words and numbers in turn. Each step writes a hundred of them, which takes the formatting
/// machinery longer than all the rest of the world.
fn put<const N: usize>(text: &mut String, parts: [(&str, u64); N]) {
    for (word, number) in parts {
        text.push_str(word);
        digits(text, number);
    }
}

fn digits(text: &mut String, mut number: u64) {
    let (mut buffer, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&buffer[at..]).unwrap_or_default());
}

impl World {
    /// Who sells what, as agents are told on the first morning: they may need it as long as the
    /// game lasts.
    pub fn market(&self) -> String {
        let mut text = String::from(
            "SKUs: what customers pay a unit; suppliers with price and days to delivery, as of day 1:\n",
        );
        for sku in 0..self.config.skus() {
            let offers = self.published.offers.iter().enumerate();
            let offer = |(s, offers): (usize, &Vec<crate::Offer>)| {
                format!(
                    "{} {:.2} {}d",
                    supplier_name(s),
                    money(offers[sku].price_cents),
                    offers[sku].lead_days
                )
            };
            let offers: Vec<String> = offers.map(offer).collect();
            let sale = money(self.published.sale_cents(sku, self.config.demand.sale_markup));
            let _infallible = writeln!(text, "{} {sale:.2}: {}", sku_name(sku), offers.join(", "));
        }
        text
    }

    /// The first morning: what is new, and what is open.
    pub fn first_observation(&mut self) -> String {
        let mut text = String::new();
        self.write_state(&mut text);
        text
    }

    /// The result of a call, what is new, and what is open.
    pub(crate) fn observation(&mut self, outcome: &CallOutcome) -> String {
        // A little longer than the last one: long texts that grow are copied again and again.
        let mut text = String::with_capacity(self.told_bytes + self.told_bytes / 4 + 512);
        let _infallible = match &outcome.failure {
            Some(why) => writeln!(text, "Failed: {why}"),
            None => writeln!(text, "Result: {}", outcome.result),
        };
        self.write_state(&mut text);
        self.told_bytes = text.len();
        text
    }

    fn write_state(&mut self, text: &mut String) {
        for news in std::mem::take(&mut self.news) {
            let _infallible = writeln!(text, "News: {news}");
        }
        let (cash, units) = (money(self.ledger_cents()), self.stock_units());
        let _infallible = write!(
            text,
            "Day {}, {} actions left. Cash {cash:.2}. Stock ({units}): ",
            self.day, self.actions_left
        );
        list(text, self.stock.iter().enumerate(), |text, (k, n)| {
            put(text, [("P", k as u64 + 1), (" ", u64::from(*n))])
        });
        text.push_str(". Customer orders: ");
        list(text, self.customers.iter(), |text, o| {
            put(text, [("C", o.id), (" ", u64::from(o.quantity)), ("xP", o.sku as u64 + 1)]);
        });
        text.push_str(". On their way: ");
        list(text, self.inbound.iter(), |text, o| {
            put(
                text,
                [
                    ("O", o.id),
                    (" ", u64::from(o.quantity)),
                    ("xP", o.sku as u64 + 1),
                    (" day ", o.promised_day),
                ],
            );
        });
        text.push('.');
    }

    pub(crate) fn inbox(&self) -> Value {
        let open = self.customers.iter().map(|o| {
            let unit_price = money(self.catalog.sale_cents(o.sku, self.config.demand.sale_markup));
            json!({"id": format!("C{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "unit_price": unit_price, "due_day": o.due_day, "expires_day": o.expires_day})
        });
        let coming = self.inbound.iter().map(|o| {
            json!({"id": format!("O{}", o.id), "sku": sku_name(o.sku), "quantity": o.quantity, "expected_day": o.promised_day})
        });
        json!({"customer_orders": open.collect::<Vec<_>>(), "supplier_orders": coming.collect::<Vec<_>>()})
    }

    pub(crate) fn storage(&self) -> Value {
        let stock: Map<String, Value> =
            self.stock.iter().enumerate().map(|(k, n)| (sku_name(k), json!(n))).collect();
        json!({"stock": stock, "total": self.stock_units(), "capacity": self.config.storage_capacity})
    }

    pub(crate) fn budget(&self) -> Value {
        let fee = money(self.stock_units() as i64 * self.storage_fee_cents);
        json!({"cash": money(self.ledger_cents()), "storage_fee_today": fee, "daily_fee": money(self.config.daily_fee_cents())})
    }

    /// The latest cards, youngest first: what was expected, what was true so far, and the error of
    /// each type. Truths that are not known yet are absent, and their errors null.
    pub(crate) fn past_cards(&self) -> Value {
        let card = |past: &PastCard| {
            let truth =
                |pair: &crate::PredictionPair| (pair.field.label().to_owned(), json!(pair.actual));
            let mean = |kind: crate::PeKind| {
                let errors: Vec<f64> =
                    past.truths.iter().filter(|p| p.kind == kind).map(|p| p.error).collect();
                let mean =
                    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
                (kind.label().to_owned(), json!(mean))
            };
            let actual: Map<String, Value> = past.truths.iter().map(truth).collect();
            let error: Map<String, Value> = crate::PeKind::ALL.iter().copied().map(mean).collect();
            json!({"step": past.step, "call": past.call, "expected": past.expected, "actual": actual, "error": error, "succeeded": past.succeeded})
        };
        let mean =
            |kind: crate::PeKind| (kind.label().to_owned(), json!(self.pe.recent_mean(kind)));
        let means: Map<String, Value> = crate::PeKind::ALL.iter().copied().map(mean).collect();
        json!({"cards": self.cards.iter().map(card).collect::<Vec<_>>(), "mean_error": means})
    }

    /// The most urgent thing, by fixed rules: ship what can be shipped, restock what the oldest
    /// order waits for, else wait.
    pub(crate) fn advice(&self) -> Value {
        let advice = match self.customers.iter().find(|o| self.stock[o.sku] >= o.quantity) {
            Some(o) => format!("ship C{}: you have its {} {}", o.id, o.quantity, sku_name(o.sku)),
            None => self
                .restock_advice()
                .unwrap_or_else(|| "wait for customer orders and deliveries".to_owned()),
        };
        json!({"advice": advice})
    }

    /// The oldest customer order that neither stock nor goods on their way will serve, and the
    /// quickest supplier that can be paid, as far as the agent was told.
    fn restock_advice(&self) -> Option<String> {
        let coming = |sku: usize| {
            self.inbound.iter().filter(|o| o.sku == sku).map(|o| o.quantity).sum::<u32>()
        };
        let short =
            self.customers.iter().find(|o| self.stock[o.sku] + coming(o.sku) < o.quantity)?;
        let units = short.quantity - self.stock[short.sku] - coming(short.sku);
        let offers =
            self.published.offers.iter().enumerate().map(|(s, offers)| (s, offers[short.sku]));
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
