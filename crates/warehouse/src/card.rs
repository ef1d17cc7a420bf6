use crate::{PredictionFormat, PredictionMode};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What an agent expects of its call. Fields that it did not give are missing, not zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Card {
    /// Whether the call will succeed.
    pub success: Option<bool>,
    /// Days until the goods come.
    pub delivery_days: Option<f64>,
    /// Units that will come.
    pub quantity: Option<f64>,
    /// What the call will cost.
    pub cost: Option<f64>,
    /// Units in storage after the call.
    pub storage_after: Option<f64>,
    /// Cash after the call.
    pub budget_after: Option<f64>,
    /// How sure, 0 to 1.
    pub confidence: Option<f64>,
    /// The card as it was given; null where it was made of its fields.
    pub raw: Value,
}

/// Why there is no card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "problem", content = "why")]
pub enum CardProblem {
    /// None was given.
    Absent,
    /// It is not of the form asked for.
    Malformed(String),
}

impl Card {
    /// The card as JSON: as it was given, else made of its fields.
    pub fn to_json(&self) -> Value {
        if !self.raw.is_null() {
            return self.raw.clone();
        }
        let number = |value: Option<f64>| match value {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 9e15 => json!(whole as i64),
            other => json!(other),
        };
        json!({
            "success": self.success,
            "delivery_days": number(self.delivery_days),
            "quantity": number(self.quantity),
            "cost": number(self.cost),
            "storage_after": number(self.storage_after),
            "budget_after": number(self.budget_after),
        })
    }

    /// Reads a card; a field of the wrong type is missing.
    ///
    /// # Errors
    /// If it is no object.
    pub fn parse(value: &Value) -> Result<Card, CardProblem> {
        let Value::Object(map) = value else {
            let kind = if value.is_null() { return Err(CardProblem::Absent) } else { value.to_string() };
            return Err(CardProblem::Malformed(format!("expected an object, found {kind}")));
        };
        let number = |key: &str| map.get(key).and_then(Value::as_f64).filter(|n| n.is_finite());
        Ok(Card {
            success: map.get("success").and_then(Value::as_bool),
            delivery_days: number("delivery_days"),
            quantity: number("quantity"),
            cost: number("cost"),
            storage_after: number("storage_after"),
            budget_after: number("budget_after"),
            confidence: number("confidence").map(|c| c.clamp(0.0, 1.0)),
            raw: value.clone(),
        })
    }
}

/// The JSON schema of a card: mode and format both change it.
pub fn card_schema(mode: PredictionMode, format: PredictionFormat) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, schema: Value| drop(fields.insert(name.to_owned(), schema));
    add("success", json!({"type": "boolean"}));
    if format != PredictionFormat::Minimal {
        add("delivery_days", json!({"type": ["integer", "null"], "minimum": 0, "maximum": 99}));
        add("quantity", json!({"type": ["integer", "null"], "minimum": 0, "maximum": 9999}));
        for name in ["cost", "storage_after", "budget_after"] {
            add(name, json!({"type": "integer", "minimum": 0, "maximum": 9_999_999}));
        }
    }
    // What the mode asks for must be given; a rich card has the same fields, but may leave them null.
    let rich = format == PredictionFormat::Rich;
    let mut extra = |name: &str, asked: bool, mut schema: Value| {
        if !asked {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        if asked || rich {
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
        extra("reasoning", true, text(500));
    }
    let required: Vec<String> = fields.keys().cloned().collect();
    json!({"type": "object", "properties": fields, "required": required, "additionalProperties": false})
}
