//! Tables of the report, column by column.

use crate::document::{Format, Table, TableColumn, Value};

/// A table without rows. `columns`: name in files, head in the report, and format.
pub fn table(id: &str, caption: &str, columns: &[(&str, &str, Format)]) -> Table {
    let column = |(name, label, format): &(&str, &str, Format)| TableColumn {
        name: (*name).to_owned(),
        label: (*label).to_owned(),
        format: *format,
    };
    Table {
        id: id.to_owned(),
        caption: caption.to_owned(),
        columns: columns.iter().map(column).collect(),
        ..Table::default()
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        if number.is_finite() { Value::Number(number) } else { Value::None }
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Value {
        Value::Number(count as f64)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Number(count as f64)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::None, Into::into)
    }
}
