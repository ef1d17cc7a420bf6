//! Fields of requests that this server does not support. A field without an effect is refused, so
//! that no client assumes one; it may be left at the value that asks for nothing.

use serde_json::{Map, Value, json};

use crate::api_error::ApiError;

/// Fields that say who asks, or advise a service about speed and style. They promise nothing about
/// the text of a reply, and OpenAI accepts them for models that cannot follow them.
const HINTS: [&str; 10] = [
    "cache_control",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "user",
    "verbosity",
];

/// Refuses the first field that has an effect elsewhere. `fields`: the fields of a request that
/// this server does not read.
pub(crate) fn refuse_unsupported(fields: &Map<String, Value>) -> Result<(), ApiError> {
    refuse_unsupported_in("", fields)
}

/// As [`refuse_unsupported`], for an object within the request. `path`: the object's place, such as
/// `tools[0].function`.
pub(crate) fn refuse_unsupported_in(
    path: &str,
    fields: &Map<String, Value>,
) -> Result<(), ApiError> {
    for (name, value) in fields {
        if value.is_null() || HINTS.contains(&name.as_str()) {
            continue;
        }
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let text = match neutral(name) {
            Some(neutral) if same(&neutral, value) => continue,
            Some(neutral) => format!("{at}: expected {neutral}, the only supported value"),
            None => format!("{at} is not supported by this server; leave it out"),
        };
        return Err(ApiError::field(at, text));
    }
    Ok(())
}

/// The value of an unsupported field that changes nothing, which clients send as its default;
/// `None` if the field has no such value.
fn neutral(name: &str) -> Option<Value> {
    Some(match name {
        "add_generation_prompt"
        | "cache_prompt"
        | "detokenize"
        | "parallel_tool_calls"
        | "skip_special_tokens"
        | "spaces_between_special_tokens" => json!(true),
        "add_special_tokens"
        | "continue_final_message"
        | "echo"
        | "ignore_eos"
        | "include_stop_str_in_output"
        | "return_token_ids"
        | "return_tokens_as_token_ids"
        | "store"
        | "use_beam_search" => json!(false),
        "dry_multiplier" | "frequency_penalty" | "min_tokens" | "mirostat" | "presence_penalty"
        | "priority" => json!(0),
        "best_of" | "length_penalty" | "n" | "tfs_z" | "typical_p" => json!(1),
        "modalities" => json!(["text"]),
        "bad_words" | "documents" | "logits_processors" | "stop_token_ids" => json!([]),
        "logit_bias" => json!({}),
        "suffix" => json!(""),
        _ => return None,
    })
}

/// Equality in which 1 equals 1.0.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}
