//! Python's `str`, `repr` and `json.dumps` of values. minijinja has no tuples: they are printed as
//! lists.
use minijinja::Value;
use minijinja::value::ValueKind;

/// `str(value)`, which is what Jinja2 prints.
pub(super) fn text(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.to_string(),
        _ => repr(value),
    }
}

fn repr(value: &Value) -> String {
    let items = || value.try_iter().map(|items| items.collect::<Vec<Value>>()).unwrap_or_default();
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => float(number),
            Err(_) => value.to_string(),
        },
        ValueKind::String => quoted(&value.to_string()),
        ValueKind::Seq => format!("[{}]", items().iter().map(repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let inner = |key: &Value| value.get_item(key).unwrap_or_default();
            let pairs =
                items().into_iter().map(|key| format!("{}: {}", repr(&key), repr(&inner(&key))));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// `repr` of a string: in single quotes, unless the text has single quotes and no double quotes.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if (c as u32) < 0x20 || c as u32 == 0x7F => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `repr` of a float: the shortest digits that round-trip, with an exponent for absolute values
/// below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() || number.is_infinite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number:?}")
}

/// The options of `json.dumps`.
pub(super) struct JsonDumps {
    /// Spaces per level of nesting; `None`: all on one line.
    pub indent: Option<usize>,
    /// Separator between items.
    pub item: String,
    /// Separator between a key and its value.
    pub key: String,
    pub sort_keys: bool,
    /// Whether non-ASCII characters are escaped.
    pub ensure_ascii: bool,
}

impl JsonDumps {
    /// The JSON text of a value.
    pub fn of(&self, value: &serde_json::Value) -> String {
        let mut out = String::new();
        self.write(value, 1, &mut out);
        out
    }

    fn write(&self, value: &serde_json::Value, level: usize, out: &mut String) {
        match value {
            serde_json::Value::Array(list) => {
                let items = list.iter().map(|item| (None, item)).collect();
                self.write_all(['[', ']'], items, level, out);
            }
            serde_json::Value::Object(map) => {
                let mut items: Vec<_> = map.iter().map(|(key, item)| (Some(key), item)).collect();
                if self.sort_keys {
                    items.sort_by_key(|(key, _)| *key);
                }
                self.write_all(['{', '}'], items, level, out);
            }
            serde_json::Value::String(text) => self.write_string(text, out),
            serde_json::Value::Number(number) if number.is_f64() => {
                out.push_str(&number.as_f64().map_or_else(|| number.to_string(), float));
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn write_all(
        &self,
        [open, close]: [char; 2],
        items: Vec<(Option<&String>, &serde_json::Value)>,
        level: usize,
        out: &mut String,
    ) {
        out.push(open);
        let empty = items.is_empty();
        for (at, (key, item)) in items.into_iter().enumerate() {
            if at > 0 {
                out.push_str(&self.item);
            }
            self.new_line(level, out);
            if let Some(key) = key {
                self.write_string(key, out);
                out.push_str(&self.key);
            }
            self.write(item, level + 1, out);
        }
        if !empty {
            self.new_line(level - 1, out);
        }
        out.push(close);
    }

    fn new_line(&self, level: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        // serde_json escapes the same characters as Python.
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ensure_ascii {
            out.push_str(&quoted);
            return;
        }
        for c in quoted.chars() {
            match c.is_ascii() {
                true => out.push(c),
                false => out.extend(
                    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")),
                ),
            }
        }
    }
}
