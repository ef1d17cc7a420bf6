//! Kinds of values that configuration keys accept, with checks and descriptions.

use super::keys::{self, Scope};
use super::thinking::canonical_thinking;
use analysis::study::TEST_GROUPS;
use serde_json::Value;

/// The set of values that a key accepts. Bounds are inclusive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueKind {
    Text,
    OptionalText,
    /// One of these texts.
    Choice(&'static [&'static str]),
    Whole(i64, i64),
    OptionalWhole(i64, i64),
    Number(f64, f64),
    OptionalNumber(f64, f64),
    /// `true` or `false`.
    Flag,
    /// A mapping from complexity level (0 to 4) to a whole number within these bounds.
    ByLevel(i64, i64),
    /// `off`, `on`, or a mapping `{budget: n}` with at most this number of tokens.
    Thinking(i64),
    /// A mapping from keys of cells to mappings from a level to a count of at least 1.
    CountsByLevel,
    /// A mapping from names to lists of [`TEST_GROUPS`], each of which occurs once.
    TestFamilies,
}

/// Maximum of a count of [`ValueKind::CountsByLevel`].
pub(super) const COUNT_MAX: i64 = 100_000;

impl ValueKind {
    /// Checks a value and returns its canonical form, in which numbers have the key's type.
    ///
    /// # Errors
    /// A description of the accepted values, if the value is not one of them.
    pub fn check(self, value: &Value) -> Result<Value, String> {
        let unexpected = || Err(self.expected());
        match self {
            ValueKind::OptionalText
            | ValueKind::OptionalWhole(..)
            | ValueKind::OptionalNumber(..)
                if value.is_null() =>
            {
                Ok(Value::Null)
            }
            ValueKind::Text | ValueKind::OptionalText if value.is_string() => Ok(value.clone()),
            ValueKind::Choice(words) => match value.as_str() {
                Some(text) if words.contains(&text) => Ok(value.clone()),
                // YAML parsers may read `none` as null.
                None if value.is_null() && words.contains(&"none") => Ok(Value::from("none")),
                _ => unexpected(),
            },
            ValueKind::Whole(min, max) | ValueKind::OptionalWhole(min, max) => {
                match whole_number(value) {
                    Some(number) if (min..=max).contains(&number) => Ok(Value::from(number)),
                    _ => unexpected(),
                }
            }
            // Numbers are stored as floats, so that 0 and 0.0 are the same level.
            ValueKind::Number(min, max) | ValueKind::OptionalNumber(min, max) => {
                match value.as_f64() {
                    Some(number) if (min..=max).contains(&number) => Ok(Value::from(number + 0.0)),
                    _ => unexpected(),
                }
            }
            ValueKind::Flag if value.is_boolean() => Ok(value.clone()),
            ValueKind::ByLevel(min, max) => self.check_by_level(value, ValueKind::Whole(min, max)),
            ValueKind::Thinking(max) => {
                let max = max.unsigned_abs();
                canonical_thinking(value, max).ok_or_else(|| self.expected())
            }
            ValueKind::CountsByLevel => self.check_counts(value),
            ValueKind::TestFamilies => self.check_families(value),
            _ => unexpected(),
        }
    }

    fn check_by_level(self, value: &Value, of_level: ValueKind) -> Result<Value, String> {
        let map = value.as_object().ok_or_else(|| self.expected())?;
        let mut checked: Vec<(String, Value)> = Vec::new();
        for (level, value) in map {
            let known = matches!(level.as_str(), "0" | "1" | "2" | "3" | "4");
            let number = known.then(|| of_level.check(value).ok()).flatten();
            let number =
                number.ok_or_else(|| format!("{} (not {level}: {value})", self.expected()))?;
            checked.push((level.clone(), number));
        }
        checked.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Value::Object(checked.into_iter().collect()))
    }

    fn check_counts(self, value: &Value) -> Result<Value, String> {
        let of_keys = value.as_object().ok_or_else(|| self.expected())?;
        let known = |key: &str| keys::find(key).is_some_and(|key| key.scope == Scope::Cell);
        for (key, counts) in of_keys {
            if !known(key) {
                return Err(format!("{} (not {key})", self.expected()));
            }
            let is_count = |count: &Value| ValueKind::Whole(1, COUNT_MAX).check(count).is_ok();
            let valid = counts.as_object().filter(|counts| counts.values().all(is_count));
            valid.ok_or_else(|| format!("{} (not {key}: {counts})", self.expected()))?;
        }
        Ok(value.clone())
    }

    fn check_families(self, value: &Value) -> Result<Value, String> {
        let families = value.as_object().ok_or_else(|| self.expected())?;
        let mut seen = Vec::new();
        for (family, groups) in families {
            let list = groups.as_array().filter(|list| !list.is_empty());
            for group in
                list.ok_or_else(|| format!("{} (not {family}: {groups})", self.expected()))?
            {
                let known = TEST_GROUPS.iter().find(|known| group.as_str() == Some(**known));
                let known = known.ok_or_else(|| format!("{} (not {group})", self.expected()))?;
                if seen.contains(known) {
                    return Err(format!("{} (not {known} twice)", self.expected()));
                }
                seen.push(*known);
            }
            let is_other = TEST_GROUPS.contains(&family.as_str())
                && !groups.as_array().is_some_and(|list| list.iter().any(|group| group == family));
            if is_other {
                let why = format!("not a family called {family} without that group");
                return Err(format!("{} ({why})", self.expected()));
            }
        }
        Ok(value.clone())
    }

    /// Whether accepted values are mappings, so that a mapping under this key is a value and not a
    /// section of keys.
    pub fn is_map(self) -> bool {
        matches!(self, ValueKind::ByLevel(..) | ValueKind::CountsByLevel | ValueKind::TestFamilies)
    }

    /// Description of the accepted values.
    pub fn expected(self) -> String {
        match self {
            ValueKind::Text => "a text".into(),
            ValueKind::OptionalText => "a text or null".into(),
            ValueKind::Choice(words) => format!("one of {}", words.join(", ")),
            ValueKind::Whole(min, max) => format!("a whole number from {min} to {max}"),
            ValueKind::OptionalWhole(min, max) => {
                format!("a whole number from {min} to {max}, or null")
            }
            ValueKind::Number(min, max) => format!("a number from {min} to {max}"),
            ValueKind::OptionalNumber(min, max) => {
                format!("a number from {min} to {max}, or null")
            }
            ValueKind::Flag => "true or false".into(),
            ValueKind::ByLevel(min, max) => {
                format!("a mapping of level (0-4) to a whole number from {min} to {max}")
            }
            ValueKind::Thinking(max) => {
                format!("off, on, or a mapping {{budget: a whole number from 0 to {max}}}")
            }
            ValueKind::CountsByLevel => {
                "a mapping of a factor to a mapping of its levels to counts".into()
            }
            ValueKind::TestFamilies => {
                format!("a mapping of names to lists of {}", TEST_GROUPS.join(", "))
            }
        }
    }
}

fn whole_number(value: &Value) -> Option<i64> {
    let from_float =
        || value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64);
    value.as_i64().or_else(from_float)
}

/// Bytes of JSON of a mapping that messages show.
const DESCRIBED_MAX: usize = 60;

/// A value and its type, for error messages.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".into(),
        Value::Bool(flag) => format!("the flag {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => match value.to_string() {
            text if text.len() <= DESCRIBED_MAX => format!("the mapping {text}"),
            _ => "a mapping".into(),
        },
    }
}
