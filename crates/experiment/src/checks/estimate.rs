//! What a grid will cost, before anyone submits it: tokens from short scripted games and the forms
//! of replies, hours from a model's size and a GPU's rates. Estimates, with what they assume beside
//! them.

use crate::agent::{ReplyMode, prompt};
use crate::config::Config;
use crate::config::world_config;
use crate::config::{Cell, PlannedRun, name_info};
use crate::error::ExperimentError;
use crate::identity::hash_of;
use crate::run::episode::Episode;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use warehouse::PredictionFormat;

/// Steps that are played to see how long observations are.
const STEPS_PLAYED: u64 = 40;
/// Bytes of a token: English with numbers in it, in byte-pair vocabularies of 100,000.
const BYTES_A_TOKEN: f64 = 3.2;
/// What a chat template adds to a message, in tokens.
const TEMPLATE_TOKENS: f64 = 5.0;

/// What hours are reckoned with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostRates {
    /// Of a GPU.
    pub gpu_memory_gb: f64,
    /// Of a GPU, in GB/s.
    pub gpu_bandwidth_gb_s: f64,
    /// Of a GPU, dense in 16 bits, in TFLOP/s.
    pub gpu_tflops: f64,
    /// Share of bandwidth and arithmetic that is really reached.
    pub reached: f64,
    /// Runs in flight on a model: a pass over the weights serves them all.
    pub runs_in_flight: f64,
    /// Bytes of a parameter.
    pub parameter_bytes: f64,
}

impl Default for CostRates {
    /// An 80 GB A100.
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

/// The cost of one model's runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ModelEstimate {
    /// Runs.
    pub runs: usize,
    /// Steps of these, at most.
    pub steps: u64,
    /// Tokens of all prompts, as they are counted in rows.
    pub prompt_tokens: f64,
    /// Of these, what no prefix cache holds: what must be computed.
    pub new_prompt_tokens: f64,
    /// Tokens of all replies.
    pub reply_tokens: f64,
    /// Parameters in billions, by the model's name; none where it does not say.
    pub parameters_b: Option<f64>,
    /// GPUs that hold it.
    pub gpus: Option<u64>,
    /// Hours on these, with all runs in flight that the rates assume.
    pub hours: Option<f64>,
    /// Hours times GPUs.
    pub gpu_hours: Option<f64>,
}

/// The cost of a grid.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// By model.
    pub models: BTreeMap<String, ModelEstimate>,
    /// Over all models.
    pub prompt_tokens: f64,
    /// Over all models.
    pub reply_tokens: f64,
    /// Over the models whose size is known.
    pub hours: f64,
    /// Over the models whose size is known.
    pub gpu_hours: f64,
    /// Models whose names do not say their size, and whose hours are missing.
    pub unknown: Vec<String>,
    /// What hours were reckoned with.
    pub rates: CostRates,
}

/// Tokens of one run.
#[derive(Debug, Clone, Copy, Default)]
struct RunTokens {
    prompt: f64,
    new: f64,
    reply: f64,
}

/// Estimates all runs of a configuration, as if none were done and each took its horizon.
///
/// # Errors
/// A configuration that contradicts itself.
pub fn estimate(config: &Config, rates: &CostRates) -> Result<Estimate, ExperimentError> {
    config.check()?;
    let runs = match config.runs(|name| Ok::<_, std::convert::Infallible>(name_info(name))) {
        Ok(runs) => runs,
        Err(never) => match never {},
    };
    let (mut models, mut cells): (BTreeMap<String, ModelEstimate>, BTreeMap<String, RunTokens>) =
        Default::default();
    for run in runs.iter().filter(|run| run.cell.needs_model()) {
        let tokens = match cells.get(&hash_of(&shape(&run.cell))) {
            Some(known) => *known,
            None => {
                let tokens = of_run(run)?;
                cells.insert(hash_of(&shape(&run.cell)), tokens);
                tokens
            }
        };
        let model = models.entry(run.cell.text("model.name").to_string()).or_default();
        model.runs += 1;
        model.steps += run.cell.steps_max();
        model.prompt_tokens += tokens.prompt;
        model.new_prompt_tokens += tokens.new;
        model.reply_tokens += tokens.reply;
    }
    for (name, model) in &mut models {
        model.reckon(name, rates);
    }
    // Not `sum`, which gives -0 for nothing.
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

/// What decides how many tokens a run takes: not the model, and hardly the shocks.
fn shape(cell: &Cell) -> BTreeMap<&'static str, Value> {
    let counts = |key: &&'static str| {
        !["model.name", "model.temperature", "model.top_p"].contains(key) && !key.starts_with("pe_")
    };
    cell.values
        .iter()
        .filter(|(key, _)| counts(key))
        .map(|(key, value)| (*key, value.clone()))
        .collect()
}

fn of_run(run: &PlannedRun) -> Result<RunTokens, ExperimentError> {
    let cell = &run.cell;
    let (system, first, later, call) = lengths(run)?;
    let reply = (call + card_tokens(cell))
        .min(cell.whole("model.max_tokens_per_call").unwrap_or(u64::MAX) as f64);
    let context = cell.whole("model.context_length").unwrap_or(u64::MAX) as f64;
    let room = (context - reply).max(system + first);
    let exchange = reply + later;
    let (mut tokens, mut held) = (RunTokens::default(), system + first);
    for step in 0..cell.steps_max() {
        let window = cell.whole("agent.history_window").unwrap_or(0) as f64;
        let most = match cell.text("agent.history") {
            // Prices stay when the past goes: the first observation is as long as what then begins
            // a prompt.
            "none" => system + first,
            "window" => (system + first + window * exchange).min(room),
            _ => room,
        };
        // What slides out goes in blocks, and what stays behind the system prompt is computed anew.
        let new = match (step, held > most) {
            (0, _) => held,
            (_, true) => {
                held = if cell.text("agent.history") == "none" {
                    most
                } else {
                    (system + first).max(most * 0.6)
                };
                held - system
            }
            _ => later,
        };
        tokens.prompt += held;
        tokens.new += new.max(0.0);
        tokens.reply += reply;
        held += exchange;
    }
    Ok(tokens)
}

/// Tokens of the system prompt, of the first and of a later observation, and of a call without its
/// card.
fn lengths(run: &PlannedRun) -> Result<(f64, f64, f64, f64), ExperimentError> {
    let mode =
        if run.cell.text("agent.reply_mode") == "text" { ReplyMode::Text } else { ReplyMode::Json };
    let system = prompt::system_prompt(&world_config(&run.cell), mode).len();
    let mut cell = run.cell.clone();
    cell.values.insert("agent.policy", Value::from("careful"));
    let mut episode = Episode::new("estimate", &cell, run.seed)?;
    let (mut first, mut later, mut steps, mut calls) = (0, 0, 0_u64, 0);
    while episode.ending().is_none() && steps < STEPS_PLAYED {
        let Some(answer) = episode.scripted_answer() else { break };
        let row = episode.take(answer);
        let length = row
            .prompt
            .iter()
            .filter(|message| message.role == "user")
            .map(|message| message.content.len());
        let length = length.sum::<usize>();
        (first, later) = if steps == 0 { (length, later) } else { (first, later + length) };
        calls += row.action.map_or(0, |action| results::RawJson::of(&action).text().len());
        steps += 1;
    }
    let tokens = |bytes: usize, messages: u64| {
        bytes as f64 / messages.max(1) as f64 / BYTES_A_TOKEN + TEMPLATE_TOKENS
    };
    Ok((
        tokens(system, 1),
        tokens(first, 1),
        tokens(later, steps.saturating_sub(1)),
        tokens(calls, steps),
    ))
}

/// Tokens of a card: keys and values of its fields; texts half as long as they may be.
fn card_tokens(cell: &Cell) -> f64 {
    let config = world_config(cell);
    let extras = match config.prediction_mode.label() {
        "required+confidence" => 8.0,
        "required+uncertainty" => 20.0,
        "required+full" => 60.0,
        _ => 0.0,
    };
    extras
        + match config.prediction_format {
            PredictionFormat::Minimal => 10.0,
            PredictionFormat::Structured => 50.0,
            PredictionFormat::Rich => 140.0,
        }
}

impl ModelEstimate {
    fn reckon(&mut self, name: &str, rates: &CostRates) {
        let Some((total_b, active_b)) = parameters_b(name) else { return };
        let bytes = total_b * 1e9 * rates.parameter_bytes;
        // Weights and a third of their size for keys, values and activations.
        let gpus = (bytes * 1.33 / (rates.gpu_memory_gb * 1e9)).ceil().max(1.0);
        let read_s = bytes / (gpus * rates.gpu_bandwidth_gb_s * 1e9 * rates.reached);
        let decode_s = self.reply_tokens / rates.runs_in_flight * read_s;
        let flops = 2.0 * active_b * 1e9 * (self.new_prompt_tokens + self.reply_tokens);
        let prefill_s = flops / (gpus * rates.gpu_tflops * 1e12 * rates.reached);
        let hours = (decode_s + prefill_s) / 3600.0;
        self.parameters_b = Some(total_b);
        (self.gpus, self.hours, self.gpu_hours) =
            (Some(gpus as u64), Some(hours), Some(hours * gpus));
    }
}

/// Parameters in billions, all and active, by a model's name: `...-70B`, `...-30B-A3B`, `...-135M`.
fn parameters_b(name: &str) -> Option<(f64, f64)> {
    let words: Vec<String> = name.split(['/', '-', '_', ':']).map(str::to_lowercase).collect();
    let size = |word: &str| {
        let (number, unit) =
            word.split_at(word.len().checked_sub(1).filter(|at| word.is_char_boundary(*at))?);
        let scale = match unit {
            "b" => 1.0,
            "m" => 1e-3,
            _ => return None,
        };
        number.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0).map(|n| n * scale)
    };
    let total = words.iter().find_map(|word| size(word))?;
    let active = words.iter().find_map(|word| size(word.strip_prefix('a')?));
    Some((total, active.unwrap_or(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_sizes() {
        assert_eq!(parameters_b("meta-llama/Llama-3.3-70B-Instruct"), Some((70.0, 70.0)));
        assert_eq!(parameters_b("Qwen/Qwen3-30B-A3B"), Some((30.0, 3.0)));
        assert_eq!(parameters_b("smollm2-135m-instruct"), Some((0.135, 0.135)));
        assert_eq!(parameters_b("openai/gpt-oss-20b"), Some((20.0, 20.0)));
        assert_eq!(
            (parameters_b("a-folder"), parameters_b("é"), parameters_b("b")),
            (None, None, None)
        );
    }
}
