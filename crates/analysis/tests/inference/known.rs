//! Known answers: JSON files, and comparison with them.

use serde_json::Value;

pub fn tests() -> Value {
    parse(include_str!("../known_answers/inference_tests.json"))
}

pub fn regression() -> Value {
    parse(include_str!("../known_answers/inference_regression.json"))
}

pub fn r() -> Value {
    parse(include_str!("../known_answers/inference_r.json"))
}

pub fn models() -> Value {
    parse(include_str!("../known_answers/inference_models.json"))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("known answers are JSON")
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("expected a list, found {value}"))
}

pub fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

pub fn labels(value: &Value) -> Vec<u32> {
    list(value).iter().map(|value| number(value) as u32).collect()
}

pub fn bools(value: &Value) -> Vec<bool> {
    list(value)
        .iter()
        .map(|value| value.as_bool().unwrap_or_else(|| number(value) == 1.0))
        .collect()
}

pub fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().expect("an object").iter().map(|(name, value)| (name.as_str(), value))
}

/// Asserts equality up to a relative tolerance (absolute for numbers below 1).
#[track_caller]
pub fn close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    close_to(found, number(expected), tolerance, what);
}

#[track_caller]
pub fn close_to(found: f64, expected: f64, tolerance: f64, what: &str) {
    let difference = (found - expected).abs();
    assert!(
        difference <= tolerance * expected.abs().max(1.0),
        "{what}: expected {expected}, found {found}"
    );
}

/// Asserts equality of a p-value: relative, also for small ones.
#[track_caller]
pub fn close_p(found: f64, expected: &Value, what: &str) {
    let expected = number(expected);
    assert!(
        (found - expected).abs() <= 1e-9 * expected,
        "{what}: expected {expected}, found {found}"
    );
}
