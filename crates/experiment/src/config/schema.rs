//! The JSON Schema of configurations, made from the table of keys, so that editors complete and
//! check them.

use super::keys::{KEYS, Key, Scope};
use super::value_kind::{COUNT_MAX, ValueKind};
use analysis::study::TEST_GROUPS;
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 7, which editors know best) of a configuration as this version writes it.
/// Names of the predecessor are read but are not part of it.
pub fn config_schema() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "inherit".into(),
        json!({
            "type": "string",
            "description": "a configuration, by its path from this file, whose settings this one changes"
        }),
    );
    properties.extend(sections(KEYS.iter(), Key::schema));
    properties.insert(
        "grid".into(),
        section("factors and their levels: every combination is a cell", levels(), Key::levels),
    );
    properties.insert(
        "fixed".into(),
        section("settings that hold in every cell", KEYS.iter(), Key::schema),
    );
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "vendomini configuration",
        "description": "An experiment of vendomini. Keys may be nested or dotted (env.max_steps).",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The keys that can be factors of the grid.
fn levels() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.scope == Scope::Cell && !key.kind.is_map())
}

fn section(
    about: &str,
    keys: impl Iterator<Item = &'static Key>,
    schema: fn(&Key) -> Value,
) -> Value {
    json!({
        "type": ["object", "null"],
        "description": about,
        "additionalProperties": false,
        "properties": sections(keys, schema),
    })
}

/// The keys as properties: nested in sections, and dotted.
fn sections(
    keys: impl Iterator<Item = &'static Key>,
    schema: fn(&Key) -> Value,
) -> Map<String, Value> {
    let (mut nested, mut dotted) = (Map::<String, Value>::new(), Map::new());
    for key in keys {
        let (name, of_key) = (key.name.split_once('.').unwrap_or(("", key.name)), schema(key));
        let empty =
            || json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}});
        let section = nested.entry(name.0).or_insert_with(empty);
        section["properties"][name.1] = of_key.clone();
        if key.name == "model.name" {
            // `model: NAME` is short for `model: {name: NAME}`.
            section["type"] = json!(["object", "null", of_key["type"]]);
            copy(&of_key, section, &["items", "minItems", "uniqueItems"]);
        }
        dotted.insert(key.name.into(), of_key);
    }
    nested.extend(dotted);
    nested
}

fn copy(from: &Value, to: &mut Value, members: &[&str]) {
    for member in members {
        if let Some(value) = from.get(member) {
            to[*member] = value.clone();
        }
    }
}

impl Key {
    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        schema["description"] = Value::from(self.about);
        schema["default"] = self.default_value();
        schema
    }

    fn levels(&self) -> Value {
        json!({
            "type": "array",
            "description": self.about,
            "items": self.kind.schema(),
            "minItems": 1,
            "uniqueItems": true,
        })
    }
}

impl ValueKind {
    /// The schema of the accepted values, which [`Self::check`] decides.
    fn schema(self) -> Value {
        let number = |kind: Value, min: Value, max: Value| json!({"type": kind, "minimum": min, "maximum": max});
        match self {
            ValueKind::Text => json!({"type": "string"}),
            ValueKind::OptionalText => json!({"type": ["string", "null"]}),
            ValueKind::Choice(words) => {
                let mut accepted: Vec<Value> = words.iter().map(|word| json!(word)).collect();
                if words.contains(&"none") {
                    accepted.push(Value::Null);
                }
                json!({"enum": accepted})
            }
            ValueKind::Whole(min, max) => number(json!("integer"), json!(min), json!(max)),
            ValueKind::OptionalWhole(min, max) => {
                number(json!(["integer", "null"]), json!(min), json!(max))
            }
            ValueKind::Number(min, max) => number(json!("number"), json!(min), json!(max)),
            ValueKind::OptionalNumber(min, max) => {
                number(json!(["number", "null"]), json!(min), json!(max))
            }
            ValueKind::Flag => json!({"type": "boolean"}),
            ValueKind::ByLevel(min, max) => json!({
                "type": "object",
                "propertyNames": {"enum": ["0", "1", "2", "3", "4"]},
                "additionalProperties": ValueKind::Whole(min, max).schema(),
            }),
            ValueKind::Thinking(max) => json!({
                "oneOf": [
                    {"enum": ["off", "on", false, true]},
                    {
                        "type": "object",
                        "properties": {"budget": ValueKind::Whole(0, max).schema()},
                        "required": ["budget"],
                        "additionalProperties": false,
                    },
                ],
            }),
            ValueKind::CountsByLevel => json!({
                "type": "object",
                "propertyNames": {"enum": KEYS
                    .iter()
                    .filter(|key| key.scope == Scope::Cell)
                    .map(|key| key.name)
                    .collect::<Vec<_>>()},
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": ValueKind::Whole(1, COUNT_MAX).schema(),
                },
            }),
            ValueKind::TestFamilies => json!({
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": {"enum": TEST_GROUPS},
                    "minItems": 1,
                    "uniqueItems": true,
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Values at and around every boundary of every kind of key.
    fn samples() -> Vec<Value> {
        let mut samples = vec![
            json!(null),
            json!(true),
            json!(""),
            json!("none"),
            json!("null"),
            json!("on"),
            json!("off"),
            json!("v2"),
            json!("hidden"),
            json!([]),
            json!(["model"]),
            json!({}),
            json!({"budget": 0}),
            json!({"budget": 1_000_001}),
            json!({"budget": 5, "other": 1}),
            json!({"0": 5}),
            json!({"4": 0}),
            json!({"5": 5}),
            json!({"0": "5"}),
            json!({"pe_induction.p_shock": {"0": 60}}),
            json!({"pe_induction.p_shock": {"0": 0}}),
            json!({"pe_induction.p_shock": 60}),
            json!({"experiment.name": {"a": 60}}),
            json!({"confirmatory": ["doses", "causes"]}),
            json!({"confirmatory": []}),
            json!({"confirmatory": ["doses", "doses"]}),
            json!({"confirmatory": ["others"]}),
            json!({"confirmatory": "doses"}),
        ];
        let numbers =
            [0.0, -0.0, 0.5, 1e-7, 1e-6, 1.0, 1.5, 2.0, 7.0, 8.0, 127.0, 128.0, 1e9, 1e10];
        samples.extend(numbers.iter().flat_map(|number| [json!(number), json!(-number)]));
        samples.extend([0, 1, 4, 5, 500, 501, 1000, 1001, 100_000, 100_001].map(|n| json!(n)));
        samples.extend([json!(1_000_000), json!(1_000_001), json!(i64::MAX), json!(-1)]);
        samples
    }

    #[test]
    fn the_schema_accepts_what_the_program_accepts() {
        for key in KEYS {
            let schema = jsonschema::validator_for(&key.kind.schema()).expect("a schema");
            assert!(schema.is_valid(&key.default_value()), "{}: its default", key.name);
            for value in samples() {
                let (accepted, found) = (key.kind.check(&value).is_ok(), schema.is_valid(&value));
                assert_eq!(accepted, found, "{}: {value}", key.name);
            }
        }
    }
}
