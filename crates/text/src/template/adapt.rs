//! Rewrites conversations for templates that lack a role or tools, so that every message reaches
//! the model.
use super::features::TemplateFeatures;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The messages in a form that a template with these features renders in full. They are unchanged
/// where the template has the features that they need.
///
/// - Without tools: their definitions are described in the system message; calls become text of
///   the replies that made them.
/// - Without the role `tool`: results become user messages, or join those beside them.
/// - Without the role `system`: system messages join the next user message.
pub(super) fn adapt(
    features: TemplateFeatures,
    mut messages: Vec<Value>,
    tools: Option<&Value>,
) -> Vec<Value> {
    if !features.tool_results {
        messages = results_as_text(messages);
    }
    if !features.tools {
        messages.iter_mut().for_each(calls_as_text);
        if let Some(tools) = tools {
            add_to_system(&mut messages, &instructions(tools));
        }
    }
    if !features.system {
        messages = system_as_user(messages);
    }
    messages
}

/// A text that describes the tools and how to call them.
fn instructions(tools: &Value) -> String {
    let tools: Vec<String> = tools.as_array().into_iter().flatten().map(Value::to_string).collect();
    format!(
        "You may call these tools:\n{}\nTo call one, answer with nothing but a JSON object: \
         {{\"name\": \"the tool\", \"arguments\": {{...}}}}",
        tools.join("\n")
    )
}

fn add_to_system(messages: &mut Vec<Value>, instructions: &str) {
    match messages.first_mut().filter(|first| role(first) == "system") {
        Some(system) => append(system, instructions, "\n\n"),
        None => messages.insert(0, json!({"role": "system", "content": instructions})),
    }
}

/// Appends the calls of an assistant message to its content, in the form that
/// [`instructions`] asks for.
fn calls_as_text(message: &mut Value) {
    let Some(calls) = message.as_object_mut().and_then(|message| message.remove("tool_calls"))
    else {
        return;
    };
    for call in calls.as_array().into_iter().flatten() {
        append(message, &call["function"].to_string(), "\n");
    }
}

/// Turns tool messages into user messages. Templates without the role `tool` often require that
/// user and assistant alternate, so a result joins the user message before or after it.
fn results_as_text(messages: Vec<Value>) -> Vec<Value> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut out: Vec<Value> = Vec::with_capacity(messages.len());
    let mut last_is_result = false;
    for message in messages {
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            if let (Some(id), Some(name)) = (call["id"].as_str(), call["function"]["name"].as_str())
            {
                names.insert(id.to_owned(), name.to_owned());
            }
        }
        let is_result = role(&message) == "tool";
        let text = if is_result { result_text(&message, &names) } else { content(&message) };
        let joins = is_result || (last_is_result && role(&message) == "user");
        match out.last_mut().filter(|last| joins && role(last) == "user") {
            Some(last) => append(last, &text, "\n\n"),
            None if is_result => out.push(json!({"role": "user", "content": text})),
            None => out.push(message),
        }
        last_is_result = joins;
    }
    out
}

/// The text of a result, with the tool's name if the message or the call states it.
fn result_text(message: &Value, names: &BTreeMap<String, String>) -> String {
    let called = || names.get(message["tool_call_id"].as_str()?).map(String::as_str);
    let tool = message["name"].as_str().or_else(called).map(|name| format!(" {name}"));
    format!("The tool{} returned:\n{}", tool.unwrap_or_default(), content(message))
}

/// Puts the text of each system message before that of the next user message; after the last user
/// message, it becomes a user message.
fn system_as_user(messages: Vec<Value>) -> Vec<Value> {
    let mut out = Vec::with_capacity(messages.len());
    let mut waiting: Vec<String> = Vec::new();
    for mut message in messages {
        match role(&message) {
            "system" => {
                waiting.push(content(&message));
                continue;
            }
            "user" if !waiting.is_empty() => {
                waiting.push(content(&message));
                message["content"] = std::mem::take(&mut waiting).join("\n\n").into();
            }
            _ => {}
        }
        out.push(message);
    }
    if !waiting.is_empty() {
        let text = waiting.join("\n\n");
        match out.last_mut().filter(|last| role(last) == "user") {
            Some(last) => append(last, &text, "\n\n"),
            None => out.push(json!({"role": "user", "content": text})),
        }
    }
    out
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

fn content(message: &Value) -> String {
    message["content"].as_str().unwrap_or_default().to_owned()
}

fn append(message: &mut Value, text: &str, separator: &str) {
    let before = content(message);
    let separator = if before.is_empty() { "" } else { separator };
    message["content"] = format!("{before}{separator}{text}").into();
}
