//! The system prompt, the JSON schema of replies, and the tool definitions for chat templates. All
//! three depend on the prediction mode, the format of the prediction card and the available tools.

use super::reply::ReplyMode;
use serde_json::{Map, Value, json};
use warehouse::{PredictionMode, ToolSpec, WorldConfig, card_schema, tool_specs};

/// The system prompt: rules of the world, tools, and the format of a reply.
pub fn system_prompt(config: &WorldConfig, mode: ReplyMode) -> String {
    let format = match mode {
        ReplyMode::Json => {
            "Reply with one JSON object: {\"tool\": ..., \"arguments\": {...}, \"card\": {...}}."
        }
        // The card is described as one of the call's arguments, as in the tool definitions for chat
        // templates, so that a model sees only one format.
        ReplyMode::Text => {
            "You may think in a few words first. Then make exactly one call of a tool, with the card among its arguments. If you \
             know no other form for calls, write:\n\
             <tool_call>{\"name\": ..., \"arguments\": {..., \"card\": {...}}}</tool_call>"
        }
    };
    format!("{}\n{format}", warehouse::system_prompt(config))
}

/// JSON schema for constrained decoding of a reply: one object with the tool, its arguments and the
/// prediction card.
pub fn reply_schema(config: &WorldConfig) -> Value {
    let card = json!({"$ref": "#/$defs/card"});
    let card = match config.prediction_mode {
        PredictionMode::Optional => json!({"anyOf": [card, {"type": "null"}]}),
        _ => card,
    };
    let call = |spec: &ToolSpec| {
        json!({
            "type": "object",
            "properties": {"tool": {"const": spec.name}, "arguments": spec.arguments, "card": card},
            "required": ["tool", "arguments", "card"],
            "additionalProperties": false,
        })
    };
    json!({
        "anyOf": tool_specs(config).iter().map(call).collect::<Vec<_>>(),
        "$defs": {"card": card_schema(config)},
    })
}

/// Tool definitions in the format of chat templates. Templates render only a tool's parameters, so
/// the prediction card is one of the parameters.
pub fn template_tools(config: &WorldConfig) -> Value {
    let card = card_schema(config);
    let required = config.prediction_mode != PredictionMode::Optional;
    let tool = |spec: ToolSpec| {
        let mut parameters = spec.arguments;
        if let Some(properties) = parameters.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("card".into(), card.clone());
        }
        if let (true, Some(names)) =
            (required, parameters.get_mut("required").and_then(Value::as_array_mut))
        {
            names.push("card".into());
        }
        let function: Map<String, Value> = Map::from_iter([
            ("name".to_string(), Value::from(spec.name)),
            ("description".to_string(), Value::from(spec.description)),
            ("parameters".to_string(), parameters),
        ]);
        json!({"type": "function", "function": function})
    };
    Value::Array(tool_specs(config).into_iter().map(tool).collect())
}
