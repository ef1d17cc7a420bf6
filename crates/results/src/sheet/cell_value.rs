//! One value of a table.

use serde::Serialize;
use std::borrow::Cow;

/// Type of a column's values. Every column can hold null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// 64-bit integers.
    Whole,
    /// 64-bit floats.
    Number,
    /// `true` or `false`.
    Flag,
    Text,
    /// A structured value: itself in JSONL, its JSON text in CSV and Parquet.
    Json,
}

impl ColumnKind {
    pub fn label(self) -> &'static str {
        match self {
            ColumnKind::Whole => "whole",
            ColumnKind::Number => "number",
            ColumnKind::Flag => "flag",
            ColumnKind::Text => "text",
            ColumnKind::Json => "json",
        }
    }
}

/// One value of a table; `Json` holds JSON text.
#[derive(Debug, Clone, PartialEq)]
pub enum CellValue<'a> {
    Null,
    Whole(i64),
    Number(f64),
    Flag(bool),
    Text(Cow<'a, str>),
    Json(Cow<'a, str>),
}

impl CellValue<'_> {
    /// The value as JSON text; null for what is null in JSON.
    pub fn json(value: &impl Serialize) -> CellValue<'static> {
        match serde_json::to_string(value) {
            Ok(text) if text != "null" => CellValue::Json(text.into()),
            _ => CellValue::Null,
        }
    }
}

impl From<i64> for CellValue<'_> {
    fn from(value: i64) -> Self {
        CellValue::Whole(value)
    }
}

impl From<u64> for CellValue<'_> {
    /// Counts and seeds are below 2^53, so that no value is cut off.
    fn from(value: u64) -> Self {
        CellValue::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for CellValue<'_> {
    /// NaN and infinities are null, as in JSON.
    fn from(value: f64) -> Self {
        if value.is_finite() { CellValue::Number(value) } else { CellValue::Null }
    }
}

impl From<bool> for CellValue<'_> {
    fn from(value: bool) -> Self {
        CellValue::Flag(value)
    }
}

impl<'a> From<&'a str> for CellValue<'a> {
    fn from(text: &'a str) -> Self {
        CellValue::Text(text.into())
    }
}

impl<'a, T: Into<CellValue<'a>>> From<Option<T>> for CellValue<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(CellValue::Null, T::into)
    }
}
