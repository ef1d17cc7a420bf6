//! Cost estimate of a grid before it is run. Token counts come from short scripted games and the
//! formats of replies; hours come from a model's size and the rates of a GPU (roofline). The result
//! contains the assumed rates.

use crate::agent::{HistoryPolicy, prompt};
use crate::config::{AgentPolicy, Cell, CellConfig, Config};
use crate::error::ExperimentError;
use crate::identity::{hash_of, world_seed};
use crate::provider::ModelThinking;
use crate::run::episode::Episode;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use warehouse::{PredictionFormat, PredictionMode};

/// Number of steps played to measure the length of observations.
const STEPS_PLAYED: u64 = 40;
/// Bytes per token of English text with numbers, for byte-pair vocabularies of 100,000 tokens.
const BYTES_PER_TOKEN: f64 = 3.2;
/// Number of tokens that a chat template adds to each message.
const TEMPLATE_TOKENS: f64 = 5.0;
/// GPU memory for weights, KV cache and activations, as a multiple of the weights' size.
const MEMORY_OVER_WEIGHTS: f64 = 1.33;
/// Fraction of the longest prompt that remains after exchanges are dropped.
const KEPT_AFTER_DROP: f64 = 0.6;

/// Assumed rates of the GPU and the engine, from which hours are computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostRates {
    pub gpu_memory_gb: f64,
    pub gpu_bandwidth_gb_s: f64,
    /// Peak rate for dense 16-bit matrix multiplication, in teraflops.
    pub gpu_tflops: f64,
    /// Fraction of the peak bandwidth and peak arithmetic rate that is achieved.
    pub reached: f64,
    /// Number of concurrent runs of a model: one pass over the weights serves all of them.
    pub runs_in_flight: f64,
    /// Bytes per weight.
    pub parameter_bytes: f64,
}

impl Default for CostRates {
    /// The rates of an A100 with 80 GB.
    fn default() -> Self {
        CostRates {
            gpu_memory_gb: 80.0,
            gpu_bandwidth_gb_s: 2000.0,
            gpu_tflops: 312.0,
            reached: 0.5,
            runs_in_flight: 16.0,
            parameter_bytes: 2.0,
        }
    }
}

/// Estimated cost of all runs of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelEstimate {
    pub runs: usize,
    /// Maximum number of steps of all these runs.
    pub steps: u64,
    /// Number of tokens of all prompts, with those in the prefix cache, as counted in rows.
    pub prompt_tokens: f64,
    /// Number of prompt tokens that are not in the prefix cache and must be computed.
    pub new_prompt_tokens: f64,
    pub reply_tokens: f64,
    /// Number of parameters in billions; `None` if the model's name does not contain it.
    pub parameters_b: Option<f64>,
    /// Number of GPUs needed to hold the model.
    pub gpus: Option<u64>,
    /// Hours of wall time on `gpus` GPUs.
    pub hours: Option<f64>,
    /// `hours` times `gpus`.
    pub gpu_hours: Option<f64>,
}

/// Estimated cost of a grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub models: BTreeMap<String, ModelEstimate>,
    /// Sum over all models.
    pub prompt_tokens: f64,
    /// Sum over all models.
    pub reply_tokens: f64,
    /// Sum over the models of known size.
    pub hours: f64,
    /// Sum over the models of known size.
    pub gpu_hours: f64,
    /// Names of the models of unknown size, which `hours` and `gpu_hours` do not contain.
    pub unknown: Vec<String>,
    pub rates: CostRates,
}

/// Token counts of one run.
#[derive(Debug, Clone, Copy, Default)]
struct RunTokens {
    prompt: f64,
    /// Number of prompt tokens that are not in the prefix cache.
    new: f64,
    reply: f64,
    /// The step in which the first exchange is left out.
    first_dropped_step: Option<u64>,
}

/// Mean number of tokens of one message of each kind.
struct MessageTokens {
    system: f64,
    first_observation: f64,
    later_observation: f64,
    /// A tool call without its prediction card.
    call: f64,
}

/// Estimates the cost of all runs of a configuration, as if none were committed and each reached
/// its horizon.
///
/// # Errors
/// A cell has settings of the world that contradict each other.
pub fn estimate(config: &Config, rates: &CostRates) -> Result<Estimate, ExperimentError> {
    let mut models: BTreeMap<String, ModelEstimate> = BTreeMap::new();
    let mut known: BTreeMap<String, RunTokens> = BTreeMap::new();
    for run in &config.runs_by_name() {
        let Some(name) = run.cell.model_name() else { continue };
        let key = hash_of(&token_settings(&run.cell));
        let tokens = match known.get(&key) {
            Some(tokens) => *tokens,
            None => *known.entry(key).or_insert(run_tokens(&run.cell, run.seed)?),
        };
        let model = models.entry(name.to_string()).or_default();
        model.runs += 1;
        model.steps += run.cell.steps_max();
        model.prompt_tokens += tokens.prompt;
        model.new_prompt_tokens += tokens.new;
        model.reply_tokens += tokens.reply;
    }
    for (name, model) in &mut models {
        model.add_hours(name, rates);
    }
    // `Iterator::sum` is not used, since it returns -0 for an empty iterator.
    let sum =
        |of: fn(&ModelEstimate) -> f64| models.values().map(of).fold(0.0, |all, one| all + one);
    Ok(Estimate {
        prompt_tokens: sum(|model| model.prompt_tokens),
        reply_tokens: sum(|model| model.reply_tokens),
        hours: sum(|model| model.hours.unwrap_or(0.0)),
        gpu_hours: sum(|model| model.gpu_hours.unwrap_or(0.0)),
        unknown: models
            .iter()
            .filter(|(_, model)| model.hours.is_none())
            .map(|(name, _)| name.clone())
            .collect(),
        rates: rates.clone(),
        models,
    })
}

/// The settings of a cell that determine the token counts of its runs. Model and shocks are
/// omitted, since their influence is small.
fn token_settings(cell: &Cell) -> BTreeMap<&'static str, Value> {
    let determines = |key: &&'static str| {
        !["model.name", "model.temperature", "model.top_p"].contains(key) && !key.starts_with("pe_")
    };
    let settings = cell.values().iter().filter(|(key, _)| determines(key));
    settings.map(|(key, value)| (*key, value.clone())).collect()
}

/// The step in which the oldest exchanges of the cell's first run are first left out of a prompt;
/// `None` if all fit, and without a model.
///
/// # Errors
/// The cell has settings of the world that contradict each other.
pub(super) fn first_dropped_step(
    config: &Config,
    cell: &Cell,
) -> Result<Option<u64>, ExperimentError> {
    if cell.model_name().is_none() {
        return Ok(None);
    }
    let seed = world_seed(config.study().seed, 0, None);
    Ok(run_tokens(cell, seed)?.first_dropped_step)
}

fn run_tokens(run_cell: &Cell, seed: u64) -> Result<RunTokens, ExperimentError> {
    let cell = run_cell.config();
    let message = MessageTokens::measure(cell, seed)?;
    let start = message.system + message.first_observation;
    let limits = cell.model.as_ref();
    let reply_max = limits.map_or(u64::MAX, |model| model.max_tokens_per_call) as f64;
    let answer = (message.call + card_tokens(cell)).min(reply_max);
    let thinking = limits.map_or(ModelThinking::Off, |model| model.thinking);
    // Without a budget, a model may think as long as a reply may be.
    let thought = thinking.budget().map_or(reply_max, |tokens| tokens as f64);
    let reply = (answer + thought).min(reply_max);
    let context = limits.map_or(u64::MAX, |model| model.context_length) as f64;
    let available = (context - reply).max(start);
    // Later prompts do not contain the thinking.
    let exchange = answer + message.later_observation;
    let prompt_max = match cell.agent.history {
        // The prompt is as long as the first one, because the market description is repeated in
        // front of each observation.
        HistoryPolicy::None => start,
        HistoryPolicy::Window(size) => (start + size as f64 * exchange).min(available),
        HistoryPolicy::Full => available,
    };
    let (mut tokens, mut prompt) = (RunTokens::default(), start);
    for step in 0..run_cell.steps_max() {
        // Exchanges are dropped in groups; after a drop, all tokens after the system prompt must be
        // computed again.
        let new = match (step, prompt > prompt_max) {
            (0, _) => prompt,
            (_, true) => {
                tokens.first_dropped_step.get_or_insert(step + 1);
                prompt = match cell.agent.history {
                    HistoryPolicy::None => prompt_max,
                    _ => start.max(prompt_max * KEPT_AFTER_DROP),
                };
                prompt - message.system
            }
            _ => message.later_observation,
        };
        tokens.prompt += prompt;
        tokens.new += new.max(0.0);
        tokens.reply += reply;
        prompt += exchange;
    }
    Ok(tokens)
}

impl MessageTokens {
    /// Measures the messages of a short game played by a scripted operator.
    fn measure(cell: &CellConfig, seed: u64) -> Result<MessageTokens, ExperimentError> {
        let system = prompt::system_prompt(&cell.world(), cell.agent.reply_mode).len();
        let mut episode =
            Episode::of_cell("estimate", &cell.played_by(AgentPolicy::Careful), seed)?;
        let (mut first, mut later, mut steps, mut calls) = (0, 0, 0_u64, 0);
        while episode.ending().is_none() && steps < STEPS_PLAYED {
            let Some(input) = episode.scripted_input() else { break };
            let row = episode.take(input);
            let observations = row.prompt.iter().filter(|message| message.role == "user");
            let bytes: usize = observations.map(|message| message.content.len()).sum();
            (first, later) = if steps == 0 { (bytes, later) } else { (first, later + bytes) };
            calls += row.action.map_or(0, |action| results::RawJson::of(&action).text().len());
            steps += 1;
        }
        let tokens = |bytes: usize, messages: u64| {
            bytes as f64 / messages.max(1) as f64 / BYTES_PER_TOKEN + TEMPLATE_TOKENS
        };
        Ok(MessageTokens {
            system: tokens(system, 1),
            first_observation: tokens(first, 1),
            later_observation: tokens(later, steps.saturating_sub(1)),
            call: tokens(calls, steps),
        })
    }
}

/// Number of tokens of a prediction card: the names and values of its fields, with texts at half of
/// their maximum length.
fn card_tokens(cell: &CellConfig) -> f64 {
    let extras = match cell.interface.prediction_mode {
        PredictionMode::Confidence => 8.0,
        PredictionMode::Uncertainty => 20.0,
        PredictionMode::Full => 60.0,
        PredictionMode::Required | PredictionMode::Optional => 0.0,
    };
    extras
        + match cell.interface.prediction_format {
            PredictionFormat::Minimal => 10.0,
            PredictionFormat::Structured => 50.0,
            PredictionFormat::Rich => 140.0,
        }
}

impl ModelEstimate {
    /// Sets the fields that depend on the model's size. Decoding is limited by memory bandwidth,
    /// prefill by arithmetic.
    fn add_hours(&mut self, name: &str, rates: &CostRates) {
        let Some(size) = ModelSize::from_name(name) else { return };
        let bytes = size.total_b * 1e9 * rates.parameter_bytes;
        let gpus = (bytes * MEMORY_OVER_WEIGHTS / (rates.gpu_memory_gb * 1e9)).ceil().max(1.0);
        let read_s = bytes / (gpus * rates.gpu_bandwidth_gb_s * 1e9 * rates.reached);
        let decode_s = self.reply_tokens / rates.runs_in_flight * read_s;
        let flops = 2.0 * size.active_b * 1e9 * (self.new_prompt_tokens + self.reply_tokens);
        let prefill_s = flops / (gpus * rates.gpu_tflops * 1e12 * rates.reached);
        let hours = (decode_s + prefill_s) / 3600.0;
        self.parameters_b = Some(size.total_b);
        (self.gpus, self.hours, self.gpu_hours) =
            (Some(gpus as u64), Some(hours), Some(hours * gpus));
    }
}

/// Number of parameters in billions, as the model's name tells it.
pub(crate) fn parameters_b(name: &str) -> Option<f64> {
    ModelSize::from_name(name).map(|size| size.total_b)
}

/// Number of parameters of a model in billions: in total, and active. The two differ for mixtures
/// of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ModelSize {
    total_b: f64,
    /// Number of parameters used for one token, in billions.
    active_b: f64,
}

impl ModelSize {
    /// Reads the size from names such as `...-70B`, `...-30B-A3B`, `...-135M`.
    fn from_name(name: &str) -> Option<ModelSize> {
        let parts: Vec<String> = name.split(['/', '-', '_', ':']).map(str::to_lowercase).collect();
        let total_b = parts.iter().find_map(|part| billions(part))?;
        let active_b = parts.iter().find_map(|part| billions(part.strip_prefix('a')?));
        Some(ModelSize { total_b, active_b: active_b.unwrap_or(total_b) })
    }
}

fn billions(part: &str) -> Option<f64> {
    let unit_at = part.len().checked_sub(1).filter(|at| part.is_char_boundary(*at))?;
    let (number, unit) = part.split_at(unit_at);
    let scale = match unit {
        "b" => 1.0,
        "m" => 1e-3,
        _ => return None,
    };
    number.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0).map(|n| n * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_size_is_read_from_its_name() {
        let size =
            |name: &str| ModelSize::from_name(name).map(|size| (size.total_b, size.active_b));
        assert_eq!(size("meta-llama/Llama-3.3-70B-Instruct"), Some((70.0, 70.0)));
        assert_eq!(size("Qwen/Qwen3-30B-A3B"), Some((30.0, 3.0)));
        assert_eq!(size("smollm2-135m-instruct"), Some((0.135, 0.135)));
        assert_eq!(size("openai/gpt-oss-20b"), Some((20.0, 20.0)));
        assert_eq!((size("a-folder"), size("é"), size("b")), (None, None, None));
    }
}
