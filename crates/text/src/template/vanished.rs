//! Finds messages that a template omits without an error.
use serde_json::Value;

/// The index of the first message that is missing from the rendered text, if any. To see whether a
/// message is rendered, the conversation is rendered again with a mark in its place, because its
/// own text may occur elsewhere by chance. A message counts as rendered if its content or one of
/// its calls is: templates may leave out one of them.
///
/// `render` renders a conversation; `text` is the rendering of `messages`, which is searched where
/// the template rejects the marks.
pub(super) fn find_vanished<E>(
    messages: &[Value],
    text: &str,
    render: impl FnOnce(&[Value]) -> Result<String, E>,
) -> Option<usize> {
    let marked: Vec<Value> =
        messages.iter().enumerate().map(|(i, message)| with_marks(message, i)).collect();
    let with_marks = render(&marked).ok();
    let is_rendered = |(i, message): (usize, &Value)| {
        let content = message["content"].as_str().map(str::trim).unwrap_or_default();
        let has_calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
        if content.is_empty() && !has_calls {
            return None;
        }
        Some(match &with_marks {
            Some(marked) => marked.contains(&mark(i)),
            None => has_calls || text.contains(content),
        })
    };
    let rendered: Vec<Option<bool>> = messages.iter().enumerate().map(is_rendered).collect();
    // A template that renders none of the messages makes its prompt from something else.
    if !rendered.contains(&Some(true)) {
        return None;
    }
    rendered.iter().position(|rendered| *rendered == Some(false))
}

/// No mark is a part of another one.
fn mark(index: usize) -> String {
    format!("message{index}mark")
}

fn with_marks(message: &Value, index: usize) -> Value {
    let mut marked = message.clone();
    if message["content"].as_str().is_some_and(|text| !text.trim().is_empty()) {
        marked["content"] = mark(index).into();
    }
    for call in marked.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = call.pointer_mut("/function/name");
        name.into_iter().for_each(|name| *name = mark(index).into());
        let arguments = call.pointer_mut("/function/arguments");
        arguments.into_iter().for_each(|arguments| mark_strings(arguments, index));
    }
    marked
}

/// Replaces each string in the arguments of a call.
fn mark_strings(arguments: &mut Value, index: usize) {
    match arguments {
        Value::String(text) => *text = mark(index),
        Value::Array(items) => items.iter_mut().for_each(|item| mark_strings(item, index)),
        Value::Object(members) => members.values_mut().for_each(|item| mark_strings(item, index)),
        _ => {}
    }
}
