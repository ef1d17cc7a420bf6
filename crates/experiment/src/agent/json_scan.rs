//! Finding JSON objects inside of free text.

use serde_json::{Map, Value};

/// Braces that open nothing valid and are passed over before a text is given up: bounds the time
/// for a broken text.
const DEAD_ENDS_MAX: usize = 64;

/// The text without its outermost JSON objects.
pub(crate) fn without_objects(text: &str) -> String {
    let (mut rest, mut from) = (String::new(), 0);
    for (begin, end, _) in scan(text) {
        rest.push_str(&text[from..begin]);
        rest.push(' ');
        from = end;
    }
    rest + &text[from..]
}

/// All outermost JSON objects in a text, in order: begin, end and value of each. Braces that open
/// nothing valid are passed over.
pub(crate) fn scan(text: &str) -> Vec<(usize, usize, Map<String, Value>)> {
    let mut found = Vec::new();
    let (mut at, mut dead_ends) = (0, 0);
    while dead_ends < DEAD_ENDS_MAX
        && let Some(open) = text[at..].find('{').map(|offset| at + offset)
    {
        match first_object(&text[open..]) {
            Some((object, length)) => {
                found.push((open, open + length, object));
                at = open + length;
            }
            None => (at, dead_ends) = (open + 1, dead_ends + 1),
        }
    }
    found
}

/// The object that begins a text, and its length in bytes.
fn first_object(text: &str) -> Option<(Map<String, Value>, usize)> {
    let length = balanced(text)?;
    match serde_json::from_str(&text[..length]) {
        Ok(Value::Object(object)) => Some((object, length)),
        _ => None,
    }
}

/// Length up to the brace that closes the first one, strings respected.
fn balanced(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether an object was begun and not ended.
pub(crate) fn unfinished(text: &str) -> bool {
    text.find('{').is_some_and(|open| balanced(&text[open..]).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str) -> Vec<Map<String, Value>> {
        scan(text).into_iter().map(|(_, _, object)| object).collect()
    }

    #[test]
    fn objects_are_found_in_prose_and_markdown() {
        let text = "It's time.\n```json\n{\"a\": \"}\", \"b\": {\"c\": 1}}\n```\nthen {not json} and {\"d\":2}";
        let found = objects(text);
        assert_eq!(found.len(), 2);
        assert_eq!(Value::Object(found[0].clone()).to_string(), r#"{"a":"}","b":{"c":1}}"#);
        assert!(unfinished("x {\"a\": {"));
        assert!(!unfinished("x {\"a\": {}}"));
        assert!(objects("{ { \"a\": 1 }").len() <= 1);
    }

    #[test]
    fn long_broken_text_takes_no_quadratic_time() {
        let begun = std::time::Instant::now();
        assert!(objects(&"{\"".repeat(200_000)).is_empty());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
