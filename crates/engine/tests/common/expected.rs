//! Reads an `expected.json` (`tests/golden/README.md` describes its keys) and compares a model with
//! it.

use std::path::Path;

use engine::{BLOCK_TOKENS, Loaded};
use serde_json::Value;

/// Committed results of transformers.
pub struct Expected {
    tokens: Vec<u32>,
    context: usize,
    /// The JSON object that has the results.
    part: Value,
}

/// The distance of a model from the committed results, in nats.
#[derive(Debug, Default)]
pub struct Distance {
    /// Maximum over all committed log-probabilities and logits.
    pub max_abs_error: f64,
    /// KL divergence, `sum p (ln p - ln q)`, averaged over the committed rows. If a row lists only
    /// its likeliest tokens, all other tokens are treated as one.
    pub mean_kl: f64,
}

/// The distance of transformers' run in low precision from its run in float32.
#[derive(Debug)]
pub struct LowPrecision {
    pub dtype: String,
    pub mean_kl: f64,
    pub max_abs_error: f64,
}

impl Expected {
    /// Reads a file. `part` is the key of the results, if they are not at the root.
    pub fn read(file: &Path, part: Option<&str>) -> Self {
        let text = std::fs::read_to_string(file).expect("read the expected results");
        let root: Value = serde_json::from_str(&text).expect("valid JSON");
        let tokens: Vec<u32> = values(&root["tokens"]).into_iter().map(|n| n as u32).collect();
        let context = root["context"].as_u64().map_or(tokens.len(), |n| n as usize);
        let part = part.map_or_else(|| root.clone(), |part| root[part].clone());
        Expected { tokens, context, part }
    }

    /// The context length, in tokens, that RoPE frequencies were computed for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// transformers' run in low precision, if it is committed.
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

    /// Computes the logits of the committed text and compares them with the expected results.
    pub fn distance(&self, loaded: &mut Loaded) -> Distance {
        assert!(self.tokens.len() <= loaded.model.context() && !BLOCK_TOKENS.is_multiple_of(37));
        let logits = super::logits_in_chunks(loaded, &self.tokens, &[37]);
        let vocab = loaded.model.config().vocab_size;
        let rows: Vec<Vec<f64>> = logits.chunks(vocab).map(log_softmax).collect();
        let mut distance = Distance::default();
        let next = optional_values(&self.part["logprobs"]);
        for (position, expected) in next.iter().enumerate() {
            if let Some(expected) = expected {
                distance.add(rows[position - 1][self.tokens[position] as usize], *expected);
            }
        }
        if let Some(last) = self.part.get("last_logits") {
            for (found, expected) in logits[logits.len() - vocab..].iter().zip(values(last)) {
                distance.add(f64::from(*found), expected);
            }
        }
        let committed = self.part["rows"].as_array().expect("rows");
        for row in committed {
            let found = &rows[row["position"].as_u64().expect("a position") as usize];
            let expected = values(&row["logprobs"]);
            let ids = row.get("ids").map_or_else(
                || (0..vocab).collect(),
                |ids| values(ids).into_iter().map(|n| n as usize).collect::<Vec<_>>(),
            );
            let mut kl = 0.0;
            let (mut p_others, mut q_others) = (1.0, 1.0);
            for (&id, &expected) in ids.iter().zip(&expected) {
                distance.add(found[id], expected);
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
    fn add(&mut self, found: f64, expected: f64) {
        let error = (found - expected).abs();
        // f64::max would ignore NaN.
        if error.is_nan() || error > self.max_abs_error {
            self.max_abs_error = error;
        }
    }
}

fn values(value: &Value) -> Vec<f64> {
    optional_values(value).into_iter().map(|n| n.expect("a number")).collect()
}

fn optional_values(value: &Value) -> Vec<Option<f64>> {
    value.as_array().expect("a list").iter().map(Value::as_f64).collect()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
    row.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
}
