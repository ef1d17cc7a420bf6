//! Reads JSONL: one JSON object per line. A name that an object lacks is a missing value.

use super::value::{TypedValue, typed_column};
use super::{ReadColumn, bad, no_column};
use crate::failure::Failure;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

pub fn read(file: File, path: &Path, columns: &[&str]) -> Result<Vec<ReadColumn>, Failure> {
    let mut values: Vec<Vec<TypedValue>> = vec![Vec::new(); columns.len()];
    let mut names = BTreeSet::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => {
                bad(path, format!("line {number}: expected text in UTF-8, found other bytes"))
            }
            _ => Failure::io(&format!("cannot read {}", path.display()), &error),
        })?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let object = object(line).map_err(|found| {
            bad(path, format!("line {number}: expected a JSON object, found {found}"))
        })?;
        for (values, column) in values.iter_mut().zip(columns) {
            let value = object.get(*column).map_or(Ok(TypedValue::Missing), typed);
            values.push(value.map_err(|found| {
                let expected = "expected a number, a boolean, a text or null";
                bad(path, format!("line {number}, column {column}: {expected}, found {found}"))
            })?);
        }
        names.extend(object.into_iter().map(|(name, _)| name));
    }
    if names.is_empty() {
        return Err(bad(path, "expected lines with JSON objects, found none"));
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    match columns.iter().find(|column| !names.contains(**column)) {
        Some(column) => Err(no_column(path, column, &known)),
        None => Ok(values.into_iter().map(typed_column).collect()),
    }
}

/// The object of a line, or what the line is.
fn object(line: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(object),
        _ if line.starts_with('[') => Err("a list; write one object per line, without brackets \
                                           and commas around them"
            .to_owned()),
        Ok(_) => Err("another value".to_owned()),
        Err(error) => Err(format!("no JSON ({error})")),
    }
}

fn typed(value: &Value) -> Result<TypedValue, &'static str> {
    match value {
        Value::Null => Ok(TypedValue::Missing),
        Value::Bool(flag) => Ok(TypedValue::Flag(*flag)),
        Value::String(text) => Ok(TypedValue::Text(text.clone())),
        Value::Number(number) => Ok(match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => TypedValue::whole(whole),
            (None, Some(whole)) => TypedValue::whole_unsigned(whole),
            (None, None) => TypedValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::Array(_) => Err("a list"),
        Value::Object(_) => Err("an object"),
    }
}
