//! One field of a call or a card: its JSON schema as a question, and answers as JSON values.

use serde_json::{Number, Value};

/// A field that a person fills in.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: String,
    kind: FieldKind,
    /// Whether null is a value of the field.
    nullable: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum FieldKind {
    Choice(Vec<String>),
    /// An id: this letter and a number.
    Id(String),
    Whole(i64, i64),
    Number(f64, f64),
    Flag,
    /// A text of at least and at most so many characters.
    Text(usize, usize),
    /// At most so many texts of so many characters.
    List(usize, usize),
}

impl Field {
    /// The fields of an object's schema, in its order.
    pub fn of_schema(schema: &Value) -> Vec<Field> {
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties.map(|(name, schema)| Field::new(name, schema)).collect()
    }

    fn new(name: &str, schema: &Value) -> Field {
        let types = |schema: &Value| schema["type"].as_array().cloned().unwrap_or_default();
        let alternatives = schema["anyOf"].as_array();
        let plain = alternatives.and_then(|all| all.first()).unwrap_or(schema);
        let nullable = alternatives.is_some() || types(schema).contains(&Value::from("null"));
        let kind_name = types(plain).first().cloned().unwrap_or_else(|| plain["type"].clone());
        let count = |schema: &Value, key: &str| schema[key].as_u64().unwrap_or(0) as usize;
        let kind = match kind_name.as_str() {
            _ if plain["enum"].is_array() => {
                let names = plain["enum"].as_array().into_iter().flatten();
                FieldKind::Choice(names.filter_map(Value::as_str).map(str::to_string).collect())
            }
            Some("integer") => FieldKind::Whole(
                plain["minimum"].as_i64().unwrap_or(0),
                plain["maximum"].as_i64().unwrap_or(i64::MAX),
            ),
            Some("number") => FieldKind::Number(
                plain["minimum"].as_f64().unwrap_or(0.0),
                plain["maximum"].as_f64().unwrap_or(f64::MAX),
            ),
            Some("boolean") => FieldKind::Flag,
            Some("array") => {
                FieldKind::List(count(plain, "maxItems"), count(&plain["items"], "maxLength"))
            }
            _ => match plain["pattern"].as_str() {
                Some(pattern) => FieldKind::Id(pattern.chars().skip(1).take(1).collect()),
                None => FieldKind::Text(count(plain, "minLength"), count(plain, "maxLength")),
            },
        };
        Field { name: name.to_string(), kind, nullable }
    }

    /// The accepted answers, in a few words.
    pub fn hint(&self) -> String {
        let hint = match &self.kind {
            FieldKind::Choice(names) if names.len() > 3 => {
                format!("{} to {}", names[0], names[names.len() - 1])
            }
            FieldKind::Choice(names) => names.join(" or "),
            FieldKind::Id(letter) => format!("{letter} and a number"),
            FieldKind::Whole(min, max) => format!("{min} to {max}, whole"),
            FieldKind::Number(min, max) => format!("{min} to {max}"),
            FieldKind::Flag => "yes or no".to_string(),
            FieldKind::Text(0, max) => format!("text, at most {max} characters"),
            FieldKind::Text(min, max) => format!("text, {min} to {max} characters"),
            FieldKind::List(items, chars) => {
                format!("at most {items} texts of {chars} characters, with ; between them")
            }
        };
        match (self.nullable, self.default().is_some()) {
            (true, _) => format!("{hint}; Enter: null"),
            (false, true) => format!("{hint}; Enter: none"),
            (false, false) => hint,
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self.kind, FieldKind::Text(..))
    }

    /// The value of an empty answer.
    fn default(&self) -> Option<Value> {
        match &self.kind {
            _ if self.nullable => Some(Value::Null),
            FieldKind::Text(0, _) => Some(Value::from("")),
            FieldKind::List(..) => Some(Value::Array(Vec::new())),
            _ => None,
        }
    }

    /// Answers that Tab completes.
    pub fn completions(&self) -> Vec<String> {
        match &self.kind {
            FieldKind::Choice(names) => names.clone(),
            FieldKind::Flag => vec!["yes".into(), "no".into()],
            _ => Vec::new(),
        }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn read(&self, answer: &str) -> Result<Value, String> {
        let answer = answer.trim();
        if answer.is_empty() {
            return self.default().ok_or_else(|| self.expected("nothing"));
        }
        if self.nullable && answer == "null" {
            return Ok(Value::Null);
        }
        let value = match &self.kind {
            FieldKind::Choice(names) => names
                .iter()
                .find(|name| name.eq_ignore_ascii_case(answer))
                .cloned()
                .map(Value::from),
            FieldKind::Id(letter) => {
                let digits = answer.strip_prefix(['C', 'c', 'O', 'o']).unwrap_or(answer);
                let lettered =
                    answer.len() == digits.len() || answer[..1].eq_ignore_ascii_case(letter);
                lettered.then(|| Value::from(format!("{letter}{digits}")))
            }
            FieldKind::Whole(..) => answer.parse::<i64>().ok().map(Value::from),
            FieldKind::Number(..) => match answer.parse::<i64>() {
                Ok(whole) => Some(Value::from(whole)),
                Err(_) => answer.parse().ok().and_then(Number::from_f64).map(Value::Number),
            },
            FieldKind::Flag => match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" | "true" | "1" => Some(Value::from(true)),
                "n" | "no" | "false" | "0" => Some(Value::from(false)),
                _ => None,
            },
            FieldKind::Text(..) => Some(Value::from(answer)),
            FieldKind::List(..) => {
                let items = answer.split(';').map(str::trim).filter(|item| !item.is_empty());
                Some(items.map(Value::from).collect::<Vec<_>>().into())
            }
        };
        let value = value.ok_or_else(|| self.expected(answer))?;
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value against the field's schema.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let chars = |value: &Value| value.as_str().map(|text| text.chars().count());
        let fits = match &self.kind {
            _ if value.is_null() => self.nullable,
            FieldKind::Choice(names) => names.iter().any(|name| value == name.as_str()),
            FieldKind::Id(letter) => value.as_str().is_some_and(|id| {
                id.strip_prefix(letter.as_str()).is_some_and(|digits| {
                    (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
                })
            }),
            FieldKind::Whole(min, max) => {
                value.as_i64().is_some_and(|whole| (*min..=*max).contains(&whole))
            }
            FieldKind::Number(min, max) => {
                value.as_f64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            FieldKind::Flag => value.is_boolean(),
            FieldKind::Text(min, max) => {
                chars(value).is_some_and(|chars| (*min..=*max).contains(&chars))
            }
            FieldKind::List(items, max) => value.as_array().is_some_and(|list| {
                list.len() <= *items
                    && list.iter().all(|item| chars(item).is_some_and(|chars| chars <= *max))
            }),
        };
        if fits { Ok(()) } else { Err(self.expected(&value.to_string())) }
    }

    fn expected(&self, found: &str) -> String {
        let found: String = found.chars().take(60).collect();
        format!("{}: expected {}, found {found}", self.name, self.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(schema: Value) -> Field {
        Field::new("x", &schema)
    }

    #[test]
    fn answers_become_values_of_the_schema() {
        let days = field(json!({"type": ["integer", "null"], "minimum": 0, "maximum": 99}));
        assert_eq!(days.read("7"), Ok(json!(7)));
        assert_eq!(days.read(""), Ok(json!(null)));
        assert_eq!(
            days.read("100").unwrap_err(),
            "x: expected 0 to 99, whole; Enter: null, found 100"
        );
        assert!(days.read("1.5").is_err());
        let price = field(json!({"type": "number", "minimum": 0, "maximum": 9}));
        assert_eq!((price.read("2"), price.read("2.5")), (Ok(json!(2)), Ok(json!(2.5))));
        assert!(price.read("").is_err() && price.read("NaN").is_err() && price.read("-1").is_err());
        let id = field(json!({"type": "string", "pattern": "^C[0-9]{1,6}$"}));
        assert_eq!((id.read("7"), id.read("c7")), (Ok(json!("C7")), Ok(json!("C7"))));
        assert!(id.read("O7").is_err() && id.read("C").is_err() && id.read("\u{e9}7").is_err());
        let supplier = field(json!({"enum": ["S1", "S2"]}));
        assert_eq!(supplier.read("s2"), Ok(json!("S2")));
        assert!(supplier.read("S3").is_err());
        let flag = field(json!({"type": "boolean"}));
        assert_eq!((flag.read("y"), flag.read("no")), (Ok(json!(true)), Ok(json!(false))));
        let list = field(
            json!({"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2}),
        );
        assert_eq!(list.read("a; b"), Ok(json!(["a", "b"])));
        assert!(list.read("a;b;c").is_err() && list.read("abcde").is_err());
        let sure = field(
            json!({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}),
        );
        assert_eq!((sure.read(""), sure.read("0.5")), (Ok(json!(null)), Ok(json!(0.5))));
    }
}
