//! Data and answers of other programs, and tables with the data.

use results::{CellValue, ColumnKind, ExportFormat, Sheet, SheetColumn};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What lifelines and R computed: committed with the crate `analysis`.
pub fn answers(file: &str, path: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../analysis/tests/known_answers");
    let text = std::fs::read_to_string(folder.join(file)).expect("known answers");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all.pointer(path).unwrap_or_else(|| panic!("{file} has no {path}")).clone()
}

/// A folder that is removed after the test.
pub struct Tables(tempfile::TempDir);

impl Tables {
    pub fn new() -> Tables {
        Tables(tempfile::tempdir().expect("a folder"))
    }

    pub fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a table");
        path
    }

    /// A table of columns of numbers or texts, in the format that the name ends with.
    pub fn of_columns(&self, name: &str, columns: &Map<String, Value>) -> PathBuf {
        let path = self.0.path().join(name);
        let ending = path.extension().and_then(|ending| ending.to_str()).expect("an ending");
        let format: ExportFormat = ending.parse().expect("a format");
        let values: Vec<&Vec<Value>> =
            columns.values().map(|values| values.as_array().expect("a column")).collect();
        let kind = |values: &&Vec<Value>| match values[0] {
            Value::String(_) => ColumnKind::Text,
            _ => ColumnKind::Number,
        };
        let sheet_columns = columns
            .keys()
            .zip(&values)
            .map(|(name, values)| SheetColumn { name: name.clone(), kind: kind(values) });
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut sheet =
            Sheet::new(&mut file, &path, format, sheet_columns.collect()).expect("a sheet");
        for row in 0..values[0].len() {
            let cell = |values: &&Vec<Value>| match &values[row] {
                Value::Null => CellValue::Null,
                Value::String(text) => CellValue::Text(text.clone().into()),
                number => CellValue::Number(number.as_f64().expect("a number")),
            };
            sheet.row(&values.iter().map(cell).collect::<Vec<_>>()).expect("a row");
        }
        sheet.finish().expect("a table");
        path
    }
}

/// Runs `vendomini survival TABLE`, with the options that the words of `options` are.
pub fn survival(table: &Path, options: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .arg("survival")
        .arg(table)
        .args(options.split_whitespace())
        .output()
        .expect("the program starts")
}

/// The document of a command that succeeds.
pub fn document(table: &Path, options: &str) -> Value {
    let output = survival(table, &format!("{options} --json"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Asserts that a command fails with this exit code and says these texts, and prints no result.
pub fn assert_refused(table: &Path, options: &str, code: i32, texts: &[&str]) {
    let output = survival(table, options);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{options}: {stderr}");
    assert!(output.stdout.is_empty(), "{options}");
    for text in texts {
        assert!(stderr.contains(text), "{options} should say {text:?}: {stderr}");
    }
}

/// All numbers of a value, in order, also those of nested lists; null is NaN.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap_or(f64::NAN)],
    }
}

/// A member of each object of a list.
pub fn members(list: &Value, name: &str) -> Value {
    list.as_array().expect("a list").iter().map(|of| of[name].clone()).collect()
}

/// Asserts that numbers agree to a relative 1e-6, or an absolute one below 1. The tolerance is
/// that of the answers, of which lifelines stops at a gradient of 1e-7.
pub fn assert_near(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        let is_near = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
        assert!(is_near || (found.is_nan() && expected.is_nan()), "{what}: {found} {expected}");
    }
}
