//! How a request wants its tokens chosen.

use serde::{Deserialize, Serialize};

use super::SampleError;

/// SamplingParams settings. They apply in transformers' order: repetition penalty, temperature, top-k,
/// top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// 0 takes the most likely token (the lowest id of equals).
    pub temperature: f32,
    /// Only the `k` most likely tokens; `None` or 0: all.
    pub top_k: Option<usize>,
    /// Only the fewest most likely tokens whose probabilities reach this; 1: all.
    pub top_p: f32,
    /// Only tokens at least this many times as likely as the most likely one; 0: all.
    pub min_p: f32,
    /// Logits of tokens seen so far, prompt included, are divided by this where positive and
    /// multiplied where negative (CTRL, Keskar et al. 2019); 1: unchanged.
    pub repetition_penalty: f32,
    /// Names the stream of random numbers.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        SamplingParams::default()
    }

    /// Draws from the model's distribution at a temperature.
    pub fn at(temperature: f32, seed: u64) -> Self {
        SamplingParams { temperature, seed, ..SamplingParams::default() }
    }

    /// Whether nothing is drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == Some(1)
    }

    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// [`SampleError::Setting`] names the setting, what it may be and what it is.
    pub fn check(&self) -> Result<(), SampleError> {
        let wrong =
            |name, expected, found: f32| Err(SampleError::Setting { name, expected, found });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", "0 or more", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", "above 0 and at most 1", self.top_p);
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p", "from 0 to 1", self.min_p);
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return wrong("repetition_penalty", "above 0", self.repetition_penalty);
        }
        Ok(())
    }
}
