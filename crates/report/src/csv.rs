//! A table as CSV.

use analysis::document::{Table, Value};

/// The table as CSV (RFC 4180): a line of column names, then one line a row, each ended by CR LF.
/// Numbers have all digits. An empty field is no value; an empty text is `""`. NaN is no value,
/// infinities are `inf` and `-inf`.
pub fn csv(table: &Table) -> String {
    let mut out = String::new();
    let names = table.columns.iter().map(|column| field(&column.name));
    push_line(&mut out, names);
    for row in &table.rows {
        push_line(&mut out, row.iter().map(value));
    }
    out
}

fn push_line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&field);
    }
    out.push_str("\r\n");
}

fn value(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_nan() => String::new(),
        Value::Number(number) => {
            let text = format!("{number:?}");
            text.strip_suffix(".0").map_or(text.clone(), str::to_string)
        }
        Value::Text(text) => field(text),
        Value::None => String::new(),
    }
}

fn field(text: &str) -> String {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return text.to_string();
    }
    format!("\"{}\"", text.replace('"', "\"\""))
}
