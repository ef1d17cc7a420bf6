//! Sampling parameters of a request, as in vLLM's `SamplingParams`.

use serde::{Deserialize, Serialize};

use super::SampleError;

/// Sampling parameters, applied in the order of transformers: repetition penalty, temperature,
/// top-k, top-p, min-p.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// 0: greedy sampling, which takes the most likely token, or the lowest id among equally likely
    /// tokens.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; `None` or 0: all.
    pub top_k: Option<usize>,
    /// Keeps the smallest set of most likely tokens whose probabilities sum to at least this value;
    /// 1: all.
    pub top_p: f32,
    /// Keeps tokens whose probability is at least this fraction of the most likely token's; 0: all.
    pub min_p: f32,
    /// Factor by which the logits of tokens that already occur in the prompt or the response are
    /// divided if positive and multiplied if negative (CTRL, Keskar et al. 2019); 1: no penalty.
    pub repetition_penalty: f32,
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
    /// Greedy sampling: always the most likely token.
    pub fn greedy() -> Self {
        SamplingParams::default()
    }

    /// Sampling from the model's whole distribution at a temperature, without filters.
    pub fn at(temperature: f32, seed: u64) -> Self {
        SamplingParams { temperature, seed, ..SamplingParams::default() }
    }

    /// Whether the most likely token is always taken, without randomness.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_k == Some(1)
    }

    /// Checks that all parameters are in range.
    ///
    /// # Errors
    /// [`SampleError::Setting`] with the parameter's name, range and value.
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
