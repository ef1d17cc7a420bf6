use serde_json::Value;

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueKind {
    /// Any text.
    Text,
    /// Text or nothing.
    OptionalText,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number within bounds, both included.
    Whole(i64, i64),
    /// A whole number within bounds, or nothing.
    OptionalWhole(i64, i64),
    /// A number within bounds, both included.
    Number(f64, f64),
    /// A number within bounds, or nothing.
    OptionalNumber(f64, f64),
    /// true or false.
    Flag,
    /// Level (0-4) -> whole number within bounds.
    ByLevel(i64, i64),
}

impl ValueKind {
    /// The value as it is kept: numbers of the right type, or what was expected instead.
    pub fn check(self, value: &Value) -> Result<Value, String> {
        let refused = || Err(self.expected());
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
                // `none` and `off` are words here, but a YAML reader may have made something else
                // of them.
                None if value.is_null() && words.contains(&"none") => Ok(Value::from("none")),
                _ => refused(),
            },
            ValueKind::Whole(least, most) | ValueKind::OptionalWhole(least, most) => {
                match whole(value) {
                    Some(number) if (least..=most).contains(&number) => Ok(Value::from(number)),
                    _ => refused(),
                }
            }
            // Always kept as a float, so that 0 and 0.0 are one level.
            ValueKind::Number(least, most) | ValueKind::OptionalNumber(least, most) => match value
                .as_f64()
            {
                Some(number) if (least..=most).contains(&number) => Ok(Value::from(number + 0.0)),
                _ => refused(),
            },
            ValueKind::Flag if value.is_boolean() => Ok(value.clone()),
            ValueKind::ByLevel(least, most) => self.check_map(value, |key, value| {
                let level = matches!(key, "0" | "1" | "2" | "3" | "4");
                level.then(|| ValueKind::Whole(least, most).check(value).ok()).flatten()
            }),
            _ => refused(),
        }
    }

    fn check_map(
        self,
        value: &Value,
        keep: impl Fn(&str, &Value) -> Option<Value>,
    ) -> Result<Value, String> {
        let map = value.as_object().ok_or_else(|| self.expected())?;
        let mut kept: Vec<(String, Value)> = Vec::new();
        for (key, value) in map {
            let value = keep(key, value)
                .ok_or_else(|| format!("{} (not {key}: {value})", self.expected()))?;
            kept.push((key.clone(), value));
        }
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Value::Object(kept.into_iter().collect()))
    }

    /// Whether it holds a mapping: its value is not a section of keys.
    pub fn is_map(self) -> bool {
        matches!(self, ValueKind::ByLevel(..))
    }

    /// What may stand there, in words.
    pub fn expected(self) -> String {
        match self {
            ValueKind::Text => "a text".into(),
            ValueKind::OptionalText => "a text or null".into(),
            ValueKind::Choice(words) => format!("one of {}", words.join(", ")),
            ValueKind::Whole(least, most) => format!("a whole number from {least} to {most}"),
            ValueKind::OptionalWhole(least, most) => {
                format!("a whole number from {least} to {most}, or null")
            }
            ValueKind::Number(least, most) => format!("a number from {least} to {most}"),
            ValueKind::OptionalNumber(least, most) => {
                format!("a number from {least} to {most}, or null")
            }
            ValueKind::Flag => "true or false".into(),
            ValueKind::ByLevel(least, most) => {
                format!("a mapping of level (0-4) to a whole number from {least} to {most}")
            }
        }
    }
}

fn whole(value: &Value) -> Option<i64> {
    let from_float =
        || value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64);
    value.as_i64().or_else(from_float)
}

/// A value's type in words, for messages.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing (null)".into(),
        Value::Bool(flag) => format!("the flag {flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {text:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a mapping".into(),
    }
}
