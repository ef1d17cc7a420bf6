//! The table of all configuration keys. No other file contains the name of a key that a user can
//! set, except `cell.rs` and `study.rs`, which read the checked values into typed fields.

use super::value_kind::ValueKind;
use serde_json::Value;

/// The part of a configuration to which a key belongs, which decides whether its value is part of a
/// run's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The study as a whole: the key is not part of a run's identity.
    Study,
    /// A single run: the key is part of its identity and can be a factor of the grid.
    Cell,
    /// The execution of runs: the key affects no row and is not part of a run's identity.
    Execution,
}

/// One entry of the key table.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted name.
    pub name: &'static str,
    pub kind: ValueKind,
    /// Default value as JSON text.
    pub default: &'static str,
    pub scope: Scope,
    /// One line of help text.
    pub about: &'static str,
}

impl Key {
    pub fn default_value(&self) -> Value {
        serde_json::from_str(self.default).unwrap_or(Value::Null)
    }
}

const MILLION: i64 = 1_000_000;
const MONEY_MAX: f64 = 1e9;

macro_rules! keys {
    ($($scope:ident $name:literal $kind:expr, $default:literal, $about:literal;)*) => {
        &[$(Key { name: $name, kind: $kind, default: $default, scope: Scope::$scope, about: $about }),*]
    };
}

use ValueKind::{
    ByLevel, Choice, CountsByLevel, Flag, Number, OptionalNumber, OptionalText, OptionalWhole,
    TestFamilies, Text, Thinking, Whole,
};

/// All keys, in the order in which the help lists them.
pub(crate) const KEYS: &[Key] = keys! {
    Study "experiment.name" Text, "\"experiment\"", "name of the folder of results";
    Study "experiment.description" Text, "\"\"", "purpose, for people";
    Cell "experiment.design" Choice(&["v1", "v2"]), "\"v2\"", "version of the experiment's rules: of shocks, cards, errors and crashes";
    Study "experiment.phase" OptionalText, "null", "the phase of a larger study, for tables";
    Study "experiment.replications" Whole(1, 100_000), "1", "worlds of each cell: repeats with another seed";
    Study "experiment.replications_by" CountsByLevel, "{}", "worlds of the cells with a level of a factor: {pe_induction.p_shock: {0: 60}}";
    Study "experiment.draws" Whole(1, 1000), "1", "runs of each cell in each world, which differ in the seeds of sampling";
    Study "experiment.seed" Whole(0, i64::MAX), "0", "seed from which all others are derived; 0 is a seed like any other";
    Study "experiment.paired" Flag, "true", "cells share their world seeds, replicate by replicate";
    Execution "experiment.output_dir" Text, "\"results\"", "folder in which folders of results are created";
    Execution "experiment.compress_logs" Flag, "true", "compress logs of finished runs larger than 1 MiB to .zst files";
    Execution "experiment.retries" Whole(0, 1000), "2", "further attempts at a failed run, within one command";

    Execution "limits.tokens" OptionalWhole(1, i64::MAX), "null", "prompt and reply tokens of one command; at the limit it stops and can be resumed";
    Execution "limits.hours" OptionalNumber(1e-6, 1e6), "null", "duration of one command; at the limit it stops and can be resumed";
    Execution "limits.failures" OptionalWhole(1, MILLION), "null", "failed attempts of one command; at the limit it stops and can be resumed";
    Execution "limits.run_tokens" OptionalWhole(1, i64::MAX), "null", "prompt and reply tokens of one run; at the limit the run fails";
    Execution "limits.run_hours" OptionalNumber(1e-6, 1e6), "null", "duration of one attempt at a run; at the limit the run fails";

    Study "analysis.families" TestFamilies, "{}", "families of tests within which p-values are corrected: {confirmatory: [doses, causes]}; other tests keep their own";

    Cell "env.max_steps" Whole(1, MILLION), "1000", "the horizon in steps";
    Cell "env.max_steps_by_level" ByLevel(1, MILLION), "{}", "the horizon by complexity level; overrides env.max_steps";
    Cell "env.complexity_level" Whole(0, 4), "1", "number of SKUs and suppliers, range of lead times";
    Cell "env.initial_budget" Number(0.0, MONEY_MAX), "10000", "cash at the start";
    Cell "env.pressure_level" Choice(&["low", "medium", "high"]), "\"medium\"", "a daily fee of 0, 20 or 100";
    Cell "env.actions_per_day" OptionalWhole(1, 1000), "null", "steps in a day; null: enough for the level's demand";
    Cell "env.initial_storage_per_sku" OptionalWhole(0, MILLION), "null", "units of each SKU at the start; null: chosen by level";
    Cell "env.storage_capacity" Whole(1, MILLION), "500", "units that the storage holds";
    Cell "env.storage_fee" Number(0.0, 1e4), "0.1", "money per unit and day";
    Cell "env.delivery_cost" Number(0.0, 1e6), "0", "money per order shipped";

    Cell "demand.p_customer_order" Number(0.0, 1.0), "0.3", "probability of a customer order, per SKU and day";
    Cell "demand.due_days" Whole(1, 1000), "3", "days until an order is due";
    Cell "demand.sale_markup" Number(0.0, 100.0), "1.6", "sale price as a multiple of the cheapest supplier's price";
    Cell "demand.late_penalty" Number(0.0, 1e6), "0", "fee for a late order";
    Cell "demand.expire_after_days" Whole(1, 1000), "10", "days until an order is lost";
    Cell "demand.max_failures" Whole(1, MILLION), "25", "number of lost orders that ends the run; design v1 only";
    Cell "demand.max_lost_share" Number(0.0, 1.0), "0.5", "share of lost orders, of those shipped or lost in 20 days, above which the run ends";

    Cell "pe_induction.p_shock" Number(0.0, 1.0), "0.1", "probability of a shock, per step";
    Cell "pe_induction.pe_mag" Choice(&["low", "medium", "high"]), "\"medium\"", "magnitude of shocks";
    Cell "pe_induction.pe_type_mix" Choice(&["realistic", "uniform", "temporal_only", "quantity_only", "causal_only", "rule_only"]),
        "\"realistic\"", "which types of shock occur, and how often";
    Cell "pe_induction.observability" Choice(&["full", "delayed", "partial", "hidden", "sham"]), "\"hidden\"", "what the agent is told about shocks; sham: it is told of shocks that change nothing";

    Cell "interface.prediction_mode" Choice(&["required", "optional", "required+confidence", "required+uncertainty", "required+full"]),
        "\"required\"", "whether each action needs a prediction card, and which extra fields it has";
    Cell "interface.prediction_format" Choice(&["minimal", "structured", "rich"]), "\"structured\"", "the fields of a prediction card";
    Cell "interface.reasoning_min_chars" Whole(0, 500), "0", "minimum length of a rich card's reasoning, in characters";
    Cell "interface.memory_tools" Choice(&["none", "basic", "full"]), "\"full\"", "tools for the scratchpad";
    Cell "interface.recovery_tools" Choice(&["none", "reset", "audit", "help", "all"]), "\"none\"", "tools for recovery";

    Cell "crash_detector.threshold" Choice(&["strict", "moderate", "lenient"]), "\"moderate\"", "how readily crash detectors fire";
    Cell "crash_detector.window_size" Whole(8, 1000), "20", "steps in a crash detector's window";
    Cell "crash_detector.continue_after_crash" OptionalWhole(0, MILLION), "null", "steps that a run continues after a crash; null: to the horizon";
    Cell "crash_detector.divergence_below" OptionalNumber(0.0, 1.0), "null", "mean similarity of summaries below which slow_divergence fires; null: by threshold";

    Cell "agent.policy" Choice(&["model", "careful", "adaptive", "greedy", "random", "looping", "null", "fragile", "human"]), "\"model\"", "the model, a scripted operator (\"null\" in quotes), or a person at `vendomini play`";
    Cell "agent.player" OptionalText, "null", "pseudonym of the person who plays, with agent.policy: human";
    Cell "agent.hazard" Number(0.0, 1.0), "0.002", "hazard of a crash in a step, of the operators null and fragile";
    Cell "agent.beta" Number(-10.0, 10.0), "0.05", "growth of the log hazard of fragile with a unit of exposure";
    Cell "agent.reply_mode" Choice(&["json", "text"]), "\"json\"", "JSON decoded under a schema, or free text with a tool call";
    Cell "agent.history" Choice(&["full", "window", "none"]), "\"full\"", "how much of the conversation a prompt contains";
    Cell "agent.history_window" Whole(1, 100_000), "20", "exchanges kept, with agent.history: window";

    Cell "model.name" Text, "\"smollm2-135m-instruct\"", "a hub name, folder, .gguf file or alias";
    Cell "model.temperature" Number(0.0, 10.0), "0.3", "0: always the most probable token";
    Cell "model.top_p" Number(0.0, 1.0), "1", "sample from the smallest set of tokens with this total probability";
    Cell "model.max_tokens_per_call" Whole(1, MILLION), "2000", "maximum tokens of a reply";
    Cell "model.thinking" Thinking(MILLION), "\"off\"", "whether a reasoning model thinks before each reply: until it ends, or for at most {budget: N} tokens of the reply";
    Cell "model.context_length" Whole(128, 100_000_000), "32000", "maximum tokens of prompt and reply; the model's own limit applies too";
    Execution "model.reply_deadline_s" Number(0.001, 1e6), "600", "seconds for one reply; past it the run fails, which is never data";
    Execution "model.dtype" Choice(&["auto", "bf16", "f16", "f32", "int8"]), "\"auto\"", "dtype of weights and arithmetic";
    Execution "model.kv_dtype" Choice(&["auto", "bf16", "f32", "int8"]), "\"auto\"", "dtype of the KV cache";
    Execution "model.prompt_lookup" Flag, "true", "speculative decoding with n-grams of the conversation: the same replies, sooner";
    Execution "model.chat_template" OptionalText, "null", "a file with the chat template to use instead of the model's";
    Execution "model.device_map" OptionalText, "null", "as on the command line";
    Execution "model.max_memory" OptionalText, "null", "as on the command line";

    Study "provider.kind" Choice(&["engine", "openai"]), "\"engine\"", "what runs the model: this program, or an OpenAI-compatible server";
    Execution "provider.base_url" OptionalText, "null", "the server's address with the API version: http://localhost:8000/v1";
    Execution "provider.api_key_env" Text, "\"OPENAI_API_KEY\"", "environment variable with the API key; if it is not set, no key is sent";
    Execution "provider.retries" Whole(0, 1000), "6", "further attempts at one reply, with exponential backoff";
    Execution "provider.requests_per_minute" OptionalWhole(1, MILLION), "null", "requests started in any minute, over all runs in flight";
    Execution "provider.tokens_per_minute" OptionalWhole(1, 1000 * MILLION), "null", "tokens in any minute, over all runs in flight";
    Execution "provider.connect_timeout_s" Number(0.001, 3600.0), "10", "seconds for opening a connection";
    Execution "provider.attempt_timeout_s" Number(0.001, 1e6), "300", "seconds for one attempt, within model.reply_deadline_s";
};

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
