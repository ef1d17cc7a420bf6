//! Answers of other programs, as their scripts wrote them.

// Each test uses a part of this.
#![allow(dead_code)]

use analysis::survival::{Covariates, RiskData};
use serde_json::Value;

/// Part of a JSON file.
pub struct Answers(Value);

impl Answers {
    pub fn read(name: &str) -> Answers {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/known_answers");
        let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
        Answers(serde_json::from_str(&text).unwrap())
    }

    /// The part at a path such as `rossi/data`.
    pub fn at(&self, path: &str) -> Answers {
        let found = self.0.pointer(&format!("/{path}"));
        Answers(found.unwrap_or_else(|| panic!("no answer {path}")).clone())
    }

    /// All numbers at a path, in order, also those of nested lists; null and NaN are NaN.
    pub fn numbers(&self, path: &str) -> Vec<f64> {
        fn collect(value: &Value, into: &mut Vec<f64>) {
            match value {
                Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
                value => into.push(value.as_f64().unwrap_or(f64::NAN)),
            }
        }
        let mut numbers = Vec::new();
        collect(&self.at(path).0, &mut numbers);
        numbers
    }

    pub fn number(&self, path: &str) -> f64 {
        self.numbers(path)[0]
    }

    pub fn whole(&self, path: &str) -> Vec<u32> {
        self.numbers(path).iter().map(|number| *number as u32).collect()
    }

    /// Labels by row, of texts or numbers.
    pub fn labels(&self, path: &str) -> Vec<u32> {
        let values = self.at(path).0;
        let values = values.as_array().unwrap();
        let mut levels: Vec<String> = values.iter().map(Value::to_string).collect();
        levels.sort();
        levels.dedup();
        let label = |value: &Value| levels.binary_search(&value.to_string()).unwrap() as u32;
        values.iter().map(label).collect()
    }

    pub fn covariates(&self, names: &[&str]) -> Covariates {
        let columns = names.iter().map(|name| ((*name).to_owned(), self.numbers(name)));
        Covariates::from_columns(columns.collect()).unwrap()
    }

    pub fn durations(&self, time: &str, cause: &str) -> RiskData {
        RiskData::from_durations(&self.numbers(time), &self.whole(cause)).unwrap()
    }

    pub fn intervals(&self, start: &str, stop: &str, cause: &str) -> RiskData {
        let cause = self.whole(cause);
        let (start, stop) = (self.numbers(start), self.numbers(stop));
        RiskData { start, stop, cause, ..RiskData::default() }
    }
}

/// Asserts that numbers agree, relatively where they are above 1. NaN agrees with NaN.
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        let both_nan = found.is_nan() && expected.is_nan();
        assert!(close || both_nan, "{what} [{index}]: found {found}, expected {expected}");
    }
}

/// Values of a matrix, row by row.
pub fn by_row(matrix: &nalgebra::DMatrix<f64>) -> Vec<f64> {
    matrix.transpose().as_slice().to_vec()
}
