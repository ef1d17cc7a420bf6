//! JSON values within free text.
use serde_json::{Deserializer, Map, Value};
use std::ops::Range;

/// Number of opening braces without a valid JSON object after which the search for objects ends.
/// Limits the work on a malformed reply.
pub const DEAD_ENDS_MAX: usize = 64;

/// A JSON object in a text.
pub(super) struct ObjectSpan {
    /// Byte range of the object in the text.
    pub range: Range<usize>,
    pub members: Map<String, Value>,
}

/// The JSON value at the start of `text`, after optional whitespace, and the byte offset of its
/// end.
pub(super) fn first_value(text: &str) -> Option<(Value, usize)> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// All outermost JSON objects of a text, in order. Braces that do not open a valid object are
/// skipped.
pub(super) fn objects(text: &str) -> Vec<ObjectSpan> {
    let mut found = Vec::new();
    let (mut at, mut dead_ends) = (0, 0);
    while dead_ends < DEAD_ENDS_MAX
        && let Some(open) = text[at..].find('{').map(|offset| at + offset)
    {
        match first_value(&text[open..]) {
            Some((Value::Object(members), length)) => {
                at = open + length;
                found.push(ObjectSpan { range: open..at, members });
            }
            _ => (at, dead_ends) = (open + 1, dead_ends + 1),
        }
    }
    found
}

/// The text with each outermost JSON object replaced by a space.
pub fn without_objects(text: &str) -> String {
    let (mut rest, mut from) = (String::new(), 0);
    for object in objects(text) {
        rest.push_str(&text[from..object.range.start]);
        rest.push(' ');
        from = object.range.end;
    }
    rest + &text[from..]
}

/// Whether the first opening brace of a text is never closed. Braces in JSON strings do not count.
pub(super) fn is_unclosed(text: &str) -> bool {
    let Some(open) = text.find('{') else { return false };
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes().skip(open) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted && depth == 1 => return false,
            b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Vec<String> {
        objects(text).into_iter().map(|o| Value::Object(o.members).to_string()).collect()
    }

    #[test]
    fn objects_are_found_in_prose_and_markdown() {
        let text = "It's time.\n```json\n{\"a\": \"}\", \"b\": {\"c\": 1}}\n```\nthen {not json} and {\"d\":2}";
        assert_eq!(members(text), [r#"{"a":"}","b":{"c":1}}"#, r#"{"d":2}"#]);
        assert_eq!(without_objects(text), "It's time.\n```json\n \n```\nthen {not json} and  ");
        assert_eq!(members("{ { \"a\": 1 }"), [r#"{"a":1}"#]);
        assert_eq!(members("{\"a\": {\"b\": 1}"), [r#"{"b":1}"#], "in an unclosed object");
    }

    #[test]
    fn an_object_is_unclosed_until_its_own_brace() {
        assert!(is_unclosed("x {\"a\": {"));
        assert!(is_unclosed("{\"a\": \"}\""));
        assert!(!is_unclosed("x {\"a\": {}}"));
        assert!(!is_unclosed("no brace"));
    }

    #[test]
    fn long_broken_text_takes_no_quadratic_time() {
        let begun = std::time::Instant::now();
        assert!(members(&"{\"".repeat(200_000)).is_empty());
        assert!(members(&"{\"a\":[".repeat(100_000)).is_empty());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
