//! The system prompt. Changing its bytes changes the experiment.

use crate::catalog::money;
use crate::config::{
    Design, LATE_FEE_PERCENT, LOSS_DAYS, PredictionFormat, PredictionMode, REASONING_MAX_CHARS,
    WorldConfig,
};
use crate::tool_specs::tool_specs;
use serde_json::Value;
use std::fmt::Write;

/// The system prompt: role, rules, tools and prediction card. The caller adds the format of
/// replies. All runs of a cell have the same prompt, so that they share its blocks in a prefix
/// cache.
pub fn system_prompt(config: &WorldConfig) -> String {
    let d = &config.demand;
    let mut text = format!(
        "You run a warehouse. Buy goods from suppliers, ship customer orders from stock, stay solvent.\n\
         Rules: a day has {} actions, then it ends; wait ends it at once. Customer orders are due in {} days and expire after \
         {}; {}, and so does running out of money. Storage holds {} units; goods that find no room \
         are lost. Fees: {:.2} a day for each unit in storage, {:.2} a day for the warehouse{}{}{}.\nTools:\n",
        config.actions_in_a_day(),
        d.due_days,
        d.expire_after_days,
        loss_limit(config),
        config.storage_capacity,
        config.storage_fee,
        money(config.daily_fee_cents()),
        fee(config.delivery_cost, "for each shipment"),
        fee(d.late_penalty, "for shipping late"),
        match config.design {
            Design::V1 => String::new(),
            Design::V2 => format!(
                ", {LATE_FEE_PERCENT}% of the price for each day that a delivery to you is late"
            ),
        }
    );
    for spec in tool_specs(config) {
        let arguments: Vec<String> = match &spec.arguments["properties"] {
            Value::Object(map) => map
                .iter()
                .map(|(name, schema)| format!("{name}: {}", schema_phrase(schema)))
                .collect(),
            _ => Vec::new(),
        };
        let _infallible =
            writeln!(text, "- {}({}): {}", spec.name, arguments.join(", "), spec.description);
    }
    text.push_str(card_rules(config).as_str());
    text
}

/// Which losses end the game.
fn loss_limit(config: &WorldConfig) -> String {
    match config.design {
        Design::V1 => format!("{} expired orders end the game", config.demand.max_failures),
        Design::V2 => format!(
            "losing more than {:.0}% of the orders of {LOSS_DAYS} days ends the game",
            100.0 * config.demand.max_lost_share
        ),
    }
}

fn fee(amount: f64, what: &str) -> String {
    if amount > 0.0 { format!(", {amount:.2} {what}") } else { String::new() }
}

/// Describes an argument's JSON schema in a short phrase.
fn schema_phrase(schema: &Value) -> String {
    let bound = |key: &str| schema[key].as_i64().unwrap_or(0);
    if let Some(names) = schema["enum"].as_array() {
        let name =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        return format!("{} to {}", name(names.first()), name(names.last()));
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
        if config.design != Design::V1 {
            text.push_str(
                ", unit_price (of an order, what a unit will be charged at, else null), fees_today (the fees of the day \
                if it ended right after the call)",
            );
        }
    }
    let rich = format == PredictionFormat::Rich;
    let full = mode == PredictionMode::Full;
    let mut extra = |name: &str, required: bool| match (required, rich) {
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
            chars_min => text.push_str(&format!(
                ", reasoning ({chars_min} to {REASONING_MAX_CHARS} characters)"
            )),
        }
    }
    text.push('.');
    text
}
