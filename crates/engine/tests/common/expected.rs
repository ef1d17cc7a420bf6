//! Reads an `expected.json` (its keys are described in `tests/golden/README.md`) and measures how
//! far a model is from it.

use std::path::Path;

use engine::{BLOCK_TOKENS, Loaded};
use serde_json::Value;

/// The committed truth.
pub struct Expected {
    tokens: Vec<u32>,
    context: usize,
    /// The part that holds the numbers.
    part: Value,
}

/// How far a model is from it, in nats.
#[derive(Debug, Default)]
pub struct Distance {
    /// Over all log-probabilities that are committed.
    pub max_abs_error: f64,
    /// Mean over the committed rows of sum p (ln p - ln q); where a row has its likeliest tokens
    /// only, all others count as one.
    pub mean_kl: f64,
}

/// transformers' own run in low precision.
#[derive(Debug)]
pub struct LowPrecision {
    pub dtype: String,
    pub mean_kl: f64,
    pub max_abs_error: f64,
}

impl Expected {
    /// Reads a file; `form` names the part of it that holds the numbers, where it is not the whole.
    pub fn read(file: &Path, form: Option<&str>) -> Self {
        let text = std::fs::read_to_string(file).expect("expected.json");
        let root: Value = serde_json::from_str(&text).expect("JSON");
        let tokens: Vec<u32> = numbers(&root["tokens"]).into_iter().map(|n| n as u32).collect();
        let context = root["context"].as_u64().map_or(tokens.len(), |n| n as usize);
        let part = form.map_or_else(|| root.clone(), |form| root[form].clone());
        Expected { tokens, context, part }
    }

    /// The positions that ropes were taken for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// transformers' low-precision run, if there is one.
    pub fn low_precision(&self) -> Option<LowPrecision> {
        let low = self.part.get("low_precision").filter(|low| low.is_object())?;
        let number = |key: &str| low[key].as_f64().expect("a number");
        let dtype = low["dtype"].as_str().expect("a dtype").to_owned();
        Some(LowPrecision {
            dtype,
            mean_kl: number("mean_kl_rows"),
            max_abs_error: number("max_abs_error"),
        })
    }

    /// Computes the text and compares.
    pub fn distance(&self, loaded: &mut Loaded) -> Distance {
        assert!(self.tokens.len() <= loaded.model.context() && !BLOCK_TOKENS.is_multiple_of(37));
        let logits = super::logits_in_chunks(loaded, &self.tokens, &[37]);
        let vocab = loaded.model.config().vocab_size;
        let rows: Vec<Vec<f64>> = logits.chunks(vocab).map(log_softmax).collect();
        let mut distance = Distance::default();
        let next = numbers_or_null(&self.part["logprobs"]);
        for (position, expected) in next.iter().enumerate() {
            if let Some(expected) = expected {
                distance.see(rows[position - 1][self.tokens[position] as usize], *expected);
            }
        }
        if let Some(last) = self.part.get("last_logits") {
            for (found, expected) in logits[logits.len() - vocab..].iter().zip(numbers(last)) {
                distance.see(f64::from(*found), expected);
            }
        }
        let committed = self.part["rows"].as_array().expect("rows");
        for row in committed {
            let found = &rows[row["position"].as_u64().expect("a position") as usize];
            let expected = numbers(&row["logprobs"]);
            let ids = row.get("ids").map_or_else(
                || (0..vocab).collect(),
                |ids| numbers(ids).into_iter().map(|n| n as usize).collect::<Vec<_>>(),
            );
            let mut kl = 0.0;
            let (mut p_others, mut q_others) = (1.0, 1.0);
            for (&id, &expected) in ids.iter().zip(&expected) {
                distance.see(found[id], expected);
                kl += expected.exp() * (expected - found[id]);
                (p_others, q_others) = (p_others - expected.exp(), q_others - found[id].exp());
            }
            if ids.len() < vocab {
                kl += p_others * (p_others / q_others).ln();
            }
            distance.mean_kl += kl / committed.len() as f64;
        }
        distance
    }
}

impl Distance {
    fn see(&mut self, found: f64, expected: f64) {
        let error = (found - expected).abs();
        // Not f64::max, which passes over NaN.
        if error.is_nan() || error > self.max_abs_error {
            self.max_abs_error = error;
        }
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    numbers_or_null(value).into_iter().map(|n| n.expect("a number")).collect()
}

fn numbers_or_null(value: &Value) -> Vec<Option<f64>> {
    value.as_array().expect("a list").iter().map(Value::as_f64).collect()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    row.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}
