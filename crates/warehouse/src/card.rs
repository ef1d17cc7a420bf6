//! Prediction cards: the outcomes that an agent predicts for its call.

use crate::config::{Design, PredictionFormat, PredictionMode, REASONING_MAX_CHARS, WorldConfig};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value, json};

/// A prediction card. Fields that are absent or have the wrong type are `None`, not zero. It is
/// serialized as the agent gave it, and a scripted operator's card as an agent would write it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// Whether the call will succeed.
    pub success: Option<bool>,
    /// Days from the order to the delivery.
    pub delivery_days: Option<f64>,
    /// Units that will be delivered.
    pub quantity: Option<f64>,
    /// Cost of the call, in currency units.
    pub cost: Option<f64>,
    /// Units in storage after the call, all SKUs together.
    pub storage_after: Option<f64>,
    /// Cash after the call, in currency units.
    pub budget_after: Option<f64>,
    /// Price of one unit of an order, in currency units; since design v2.
    pub unit_price: Option<f64>,
    /// Fees of the day if it ended right after the call, in currency units; since design v2.
    pub fees_today: Option<f64>,
    /// The agent's confidence in the card, 0 to 1.
    pub confidence: Option<f64>,
    /// The card's JSON as the agent gave it; null for a scripted operator's card.
    pub raw: Value,
}

/// Why a turn has no card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "problem", content = "why")]
pub enum CardProblem {
    Absent,
    /// The card is not a JSON object; the text describes it.
    Malformed(String),
}

impl Card {
    /// Parses a card; fields of the wrong type become `None`.
    ///
    /// # Errors
    /// [`CardProblem::Absent`] for null, and [`CardProblem::Malformed`] for any other value that is
    /// not an object.
    pub fn parse(value: &Value) -> Result<Card, CardProblem> {
        Card::from_value(value.clone())
    }

    /// The same as [`Card::parse`] without a copy of the value.
    ///
    /// # Errors
    /// [`CardProblem::Absent`] for null, and [`CardProblem::Malformed`] for any other value that is
    /// not an object.
    pub fn from_value(value: Value) -> Result<Card, CardProblem> {
        let map = match &value {
            Value::Object(map) => map,
            Value::Null => return Err(CardProblem::Absent),
            other => {
                return Err(CardProblem::Malformed(format!("expected an object, found {other}")));
            }
        };
        let number = |key: &str| map.get(key).and_then(Value::as_f64).filter(|n| n.is_finite());
        Ok(Card {
            success: map.get("success").and_then(Value::as_bool),
            delivery_days: number("delivery_days"),
            quantity: number("quantity"),
            cost: number("cost"),
            storage_after: number("storage_after"),
            budget_after: number("budget_after"),
            unit_price: number("unit_price"),
            fees_today: number("fees_today"),
            // Values out of range are dropped: 70 may mean 0.7 or be a mistake.
            confidence: number("confidence").filter(|c| (0.0..=1.0).contains(c)),
            raw: value,
        })
    }
}

impl Serialize for Card {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.raw.is_null() {
            return self.raw.serialize(serializer);
        }
        let mut card = serializer.serialize_map(None)?;
        card.serialize_entry("success", &self.success)?;
        for (name, value) in [
            ("delivery_days", self.delivery_days),
            ("quantity", self.quantity),
            ("cost", self.cost),
            ("storage_after", self.storage_after),
            ("budget_after", self.budget_after),
        ] {
            card.serialize_entry(name, &CardNumber(value))?;
        }
        for (name, value) in [("unit_price", self.unit_price), ("fees_today", self.fees_today)] {
            if value.is_some() {
                card.serialize_entry(name, &CardNumber(value))?;
            }
        }
        card.end()
    }
}

/// A number of a card, without a decimal point if it is whole.
struct CardNumber(Option<f64>);

impl Serialize for CardNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 9e15 => {
                serializer.serialize_i64(whole as i64)
            }
            other => other.serialize(serializer),
        }
    }
}

/// Checks cards against the schema of a prediction mode and format.
#[derive(Debug, Clone)]
pub struct CardValidator {
    /// Names of the fields, with the JSON types that the schema permits.
    fields: Vec<(String, Vec<String>)>,
    reasoning_min_chars: u64,
}

impl CardValidator {
    /// A validator for the cards of [`card_schema`].
    pub fn new(config: &WorldConfig) -> CardValidator {
        let schema = card_schema(config);
        let fields = schema["properties"].as_object().into_iter().flatten();
        CardValidator {
            fields: fields.map(|(name, field)| (name.clone(), types(field))).collect(),
            reasoning_min_chars: schema["properties"]["reasoning"]["minLength"]
                .as_u64()
                .unwrap_or(0),
        }
    }

    /// Describes the fields of a card that are missing, of the wrong type or out of range; `None`
    /// if the card is valid. Such fields are not scored; the others are.
    pub fn problem(&self, card: &Value) -> Option<String> {
        let found = |(name, types): &(String, Vec<String>)| {
            let given = card.get(name).unwrap_or(&Value::Null);
            let kind = kind(given);
            let fits =
                types.iter().any(|known| known == kind || known == "integer" && kind == "number");
            let sure =
                name == "confidence" && given.as_f64().is_some_and(|c| !(0.0..=1.0).contains(&c));
            match (fits, given.is_null()) {
                (true, _) if sure => Some(format!("{name}: expected 0 to 1, found {given}")),
                (true, _) => None,
                (false, true) => Some(format!("{name} is missing")),
                (false, false) => {
                    Some(format!("{name}: expected {}, found a {kind}", types.join(" or ")))
                }
            }
        };
        let mut problems: Vec<String> = self.fields.iter().filter_map(found).collect();
        let reasoning =
            card.get("reasoning").and_then(Value::as_str).map(|text| text.chars().count() as u64);
        if let Some(chars) = reasoning.filter(|chars| *chars < self.reasoning_min_chars) {
            problems.push(format!(
                "reasoning: expected {} characters or more, found {chars}",
                self.reasoning_min_chars
            ));
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// The JSON types that a field's schema permits.
fn types(schema: &Value) -> Vec<String> {
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().flat_map(types).collect();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    schema["type"]
        .as_array()
        .map_or_else(|| vec![text(&schema["type"])], |all| all.iter().map(text).collect())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The JSON schema of a card; it depends on mode, format and the minimum length of the reasoning.
pub fn card_schema(config: &WorldConfig) -> Value {
    let (mode, format) = (config.prediction_mode, config.prediction_format);
    let mut fields = Map::new();
    let mut add = |name: &str, schema: Value| drop(fields.insert(name.to_owned(), schema));
    add("success", json!({"type": "boolean"}));
    if format != PredictionFormat::Minimal {
        add("delivery_days", json!({"type": ["integer", "null"], "minimum": 0, "maximum": 99}));
        add("quantity", json!({"type": ["integer", "null"], "minimum": 0, "maximum": 9999}));
        for name in ["cost", "storage_after", "budget_after"] {
            add(name, json!({"type": "integer", "minimum": 0, "maximum": 9_999_999}));
        }
        if config.design != Design::V1 {
            add("unit_price", json!({"type": ["number", "null"], "minimum": 0, "maximum": 9999}));
            add("fees_today", json!({"type": "number", "minimum": 0, "maximum": 99_999}));
        }
    }
    // Extra fields that the prediction mode demands are required. A rich card has all extra fields,
    // and those that the mode does not demand may be null.
    let rich = format == PredictionFormat::Rich;
    let mut extra = |name: &str, required: bool, mut schema: Value| {
        if !required {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        if required || rich {
            fields.insert(name.to_owned(), schema);
        }
    };
    let full = mode == PredictionMode::Full;
    let text = |max: u64| json!({"type": "string", "maxLength": max});
    extra(
        "confidence",
        full || mode == PredictionMode::Confidence,
        json!({"type": "number", "minimum": 0, "maximum": 1}),
    );
    extra("uncertain_about", full || mode == PredictionMode::Uncertainty, text(80));
    extra("based_on", full, text(80));
    extra("alternatives", full, json!({"type": "array", "items": text(40), "maxItems": 3}));
    if rich {
        let mut reasoning = text(REASONING_MAX_CHARS);
        if config.reasoning_min_chars > 0 {
            reasoning["minLength"] = json!(config.reasoning_min_chars);
        }
        extra("reasoning", true, reasoning);
    }
    let required: Vec<String> = fields.keys().cloned().collect();
    json!({"type": "object", "properties": fields, "required": required, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(
        prediction_mode: PredictionMode,
        prediction_format: PredictionFormat,
        reasoning_min_chars: u32,
    ) -> WorldConfig {
        WorldConfig {
            prediction_mode,
            prediction_format,
            reasoning_min_chars,
            ..WorldConfig::default()
        }
    }

    #[test]
    fn the_reasoning_has_a_minimum_and_a_maximum_length() {
        let rich = |fewest| config(PredictionMode::Required, PredictionFormat::Rich, fewest);
        let bounds = |fewest| card_schema(&rich(fewest))["properties"]["reasoning"].clone();
        assert_eq!(bounds(0), json!({"type": "string", "maxLength": 500}));
        assert_eq!(bounds(120), json!({"type": "string", "maxLength": 500, "minLength": 120}));
        let card = json!({"success": true, "cost": 1, "storage_after": 4, "budget_after": 5, "fees_today": 6, "reasoning": "Städte"});
        assert_eq!(CardValidator::new(&rich(6)).problem(&card), None, "characters, not bytes");
        assert_eq!(
            CardValidator::new(&rich(7)).problem(&card).as_deref(),
            Some("reasoning: expected 7 characters or more, found 6")
        );
        let structured = config(PredictionMode::Required, PredictionFormat::Structured, 120);
        assert_eq!(
            card_schema(&structured)["properties"].get("reasoning"),
            None,
            "a structured card has no reasoning"
        );
    }

    #[test]
    fn missing_and_wrong_fields_are_named_and_not_scored() {
        let form = CardValidator::new(&config(
            PredictionMode::Confidence,
            PredictionFormat::Structured,
            0,
        ));
        let whole = json!({"success": true, "delivery_days": null, "quantity": 3, "cost": 1.5, "storage_after": 4, "budget_after": 5, "unit_price": null, "fees_today": 2.5, "confidence": 0.5});
        assert_eq!(form.problem(&whole), None);
        let with = |name: &str, value: Value| {
            let mut card = whole.clone();
            card[name] = value;
            (form.problem(&card), Card::parse(&card).expect("an object"))
        };
        let (problem, card) = with("cost", json!("12"));
        assert_eq!(
            (problem.as_deref(), card.cost),
            (Some("cost: expected integer, found a string"), None)
        );
        let (problem, card) = with("cost", json!(null));
        assert_eq!((problem.as_deref(), card.cost), (Some("cost is missing"), None));
        let (problem, card) = with("confidence", json!(70));
        assert_eq!(
            (problem.as_deref(), card.confidence),
            (Some("confidence: expected 0 to 1, found 70"), None)
        );
        assert_eq!(
            form.problem(&json!({})).unwrap().matches("is missing").count(),
            6,
            "fields that may be null may be absent"
        );
    }
}
