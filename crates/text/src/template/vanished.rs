//! Finds messages that a template omits without an error.
use serde_json::Value;

/// The index of the first message that is missing from the rendered text, if any. To see whether a
/// message is rendered, the conversation is rendered again with a mark in its place, because its
/// own text may occur elsewhere by chance. Of a message with calls, each call must be rendered, and
/// its content may be left out, as the templates of some models do.
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
        let calls = message["tool_calls"].as_array().map_or(0, Vec::len);
        match &with_marks {
            Some(marked) if calls > 0 => {
                (0..calls).all(|call| marked.contains(&call_mark(i, call)))
            }
            Some(marked) => content.is_empty() || marked.contains(&mark(i)),
            None => calls > 0 || text.contains(content),
        }
    };
    messages.iter().enumerate().position(|message| !is_rendered(message))
}

/// No mark is a part of another one.
fn mark(index: usize) -> String {
    format!("message{index}mark")
}

fn call_mark(index: usize, call: usize) -> String {
    format!("message{index}call{call}mark")
}

fn with_marks(message: &Value, index: usize) -> Value {
    let mut marked = message.clone();
    if message["content"].as_str().is_some_and(|text| !text.trim().is_empty()) {
        marked["content"] = mark(index).into();
    }
    let calls = marked.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
    for (i, call) in calls.enumerate() {
        let mark = call_mark(index, i);
        let name = call.pointer_mut("/function/name");
        name.into_iter().for_each(|name| *name = mark.as_str().into());
        let arguments = call.pointer_mut("/function/arguments");
        arguments.into_iter().for_each(|arguments| mark_strings(arguments, &mark));
    }
    marked
}

/// Replaces each string in the arguments of a call.
fn mark_strings(arguments: &mut Value, mark: &str) {
    match arguments {
        Value::String(text) => mark.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mark_strings(item, mark)),
        Value::Object(members) => members.values_mut().for_each(|item| mark_strings(item, mark)),
        _ => {}
    }
}
