//! Every key that a configuration can have. Nothing else reads names of keys out of files.

use super::value_kind::ValueKind;
use serde_json::Value;

/// What a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The study as a whole: not part of a run's identity.
    Study,
    /// The run: part of its identity, can be a factor.
    Cell,
    /// How it is carried out: changes no byte of a row, part of neither.
    Execution,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Dotted name.
    pub name: &'static str,
    pub kind: ValueKind,
    /// JSON.
    pub default: &'static str,
    pub scope: Scope,
    /// What it says, for people.
    pub about: &'static str,
}

impl Key {
    pub fn default_value(&self) -> Value {
        serde_json::from_str(self.default).unwrap_or(Value::Null)
    }
}

const MILLION: i64 = 1_000_000;
const MONEY: f64 = 1e9;

macro_rules! keys {
    ($($scope:ident $name:literal $kind:expr, $default:literal, $about:literal;)*) => {
        &[$(Key { name: $name, kind: $kind, default: $default, scope: Scope::$scope, about: $about }),*]
    };
}

use ValueKind::{
    ByLevel, Choice, Flag, Number, OptionalNumber, OptionalText, OptionalWhole, Text, Whole,
};

/// All keys, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = keys! {
    Study "experiment.name" Text, "\"experiment\"", "names the folder of results";
    Study "experiment.description" Text, "\"\"", "what it is for";
    Study "experiment.replications" Whole(1, 100_000), "1", "seeded repeats of each cell";
    Study "experiment.seed" Whole(0, i64::MAX), "0", "from which all seeds are derived; 0 is a seed like any other";
    Study "experiment.paired" Flag, "true", "cells share their world seeds, replicate by replicate";
    Execution "experiment.output_dir" Text, "\"results\"", "where folders of results go";
    Execution "experiment.compress_logs" Flag, "true", "logs of done runs that are longer than a MiB become .zst files";
    Execution "experiment.retries" Whole(0, 1000), "2", "further attempts at a run that failed, within one command";

    Execution "limits.tokens" OptionalWhole(1, i64::MAX), "null", "of prompts and replies, for one command; past it the runs stop and can go on";
    Execution "limits.hours" OptionalNumber(1e-6, 1e6), "null", "for one command; past it the runs stop and can go on";
    Execution "limits.failures" OptionalWhole(1, MILLION), "null", "failed attempts, for one command; past it the runs stop and can go on";
    Execution "limits.run_tokens" OptionalWhole(1, i64::MAX), "null", "of prompts and replies, for one run; past it the run has failed";
    Execution "limits.run_hours" OptionalNumber(1e-6, 1e6), "null", "for one attempt at a run; past it the run has failed";

    Cell "env.max_steps" Whole(1, MILLION), "1000", "the horizon in steps";
    Cell "env.max_steps_by_level" ByLevel(1, MILLION), "{}", "the horizon of each level, over env.max_steps";
    Cell "env.complexity_level" Whole(0, 4), "1", "SKUs, suppliers and lead times";
    Cell "env.initial_budget" Number(0.0, MONEY), "10000", "cash at the start";
    Cell "env.pressure_level" Choice(&["low", "medium", "high"]), "\"medium\"", "a daily fee of 0, 20 or 100";
    Cell "env.actions_per_day" OptionalWhole(1, 1000), "null", "steps in a day; null: enough for the level's demand";
    Cell "env.initial_storage_per_sku" OptionalWhole(0, MILLION), "null", "units of each SKU at the start; null: fits the level";
    Cell "env.storage_capacity" Whole(1, MILLION), "500", "units that the storage holds";
    Cell "env.storage_fee" Number(0.0, 1e4), "0.1", "money, a unit and day";
    Cell "env.delivery_cost" Number(0.0, 1e6), "0", "money that shipping an order costs";

    Cell "demand.p_customer_order" Number(0.0, 1.0), "0.3", "chance of a customer's order, per SKU and day";
    Cell "demand.due_days" Whole(1, 1000), "3", "days until an order is due";
    Cell "demand.sale_markup" Number(0.0, 100.0), "1.6", "on the cheapest supplier's price";
    Cell "demand.late_penalty" Number(0.0, 1e6), "0", "fee for a late order";
    Cell "demand.expire_after_days" Whole(1, 1000), "10", "days until an order is lost";
    Cell "demand.max_failures" Whole(1, MILLION), "25", "lost orders that end the run";

    Cell "pe_induction.p_shock" Number(0.0, 1.0), "0.1", "chance of a shock, a step";
    Cell "pe_induction.pe_mag" Choice(&["low", "medium", "high"]), "\"medium\"", "how strong shocks are";
    Cell "pe_induction.pe_type_mix" Choice(&["realistic", "uniform", "temporal_only", "quantity_only", "causal_only", "rule_only"]),
        "\"realistic\"", "which types, how often";
    Cell "pe_induction.observability" Choice(&["full", "delayed", "partial", "hidden"]), "\"full\"", "what the agent is told of shocks";

    Cell "interface.prediction_mode" Choice(&["required", "optional", "required+confidence", "required+uncertainty", "required+full"]),
        "\"required\"", "whether a card goes with an action, and what more it holds";
    Cell "interface.prediction_format" Choice(&["minimal", "structured", "rich"]), "\"structured\"", "the fields of a card";
    Cell "interface.reasoning_min_chars" Whole(0, 500), "0", "characters that a rich card's reasoning has at least";
    Cell "interface.memory_tools" Choice(&["none", "basic", "full"]), "\"full\"", "the scratchpad's tools";
    Cell "interface.recovery_tools" Choice(&["none", "reset", "audit", "help", "all"]), "\"none\"", "the tools of recovery";

    Cell "crash_detector.threshold" Choice(&["strict", "moderate", "lenient"]), "\"moderate\"", "how readily detectors fire";
    Cell "crash_detector.window_size" Whole(8, 1000), "20", "steps that detectors look at";
    Cell "crash_detector.continue_after_crash" Whole(0, MILLION), "50", "steps that a run goes on after a crash";

    Cell "agent.policy" Choice(&["model", "careful", "greedy", "random", "looping"]), "\"model\"", "the model, or a scripted operator";
    Cell "agent.reply_mode" Choice(&["json", "text"]), "\"json\"", "decoded under the schema, or free text with a tool call";
    Cell "agent.history" Choice(&["full", "window", "none"]), "\"full\"", "what of the conversation the agent sees";
    Cell "agent.history_window" Whole(1, 100_000), "20", "exchanges kept, with agent.history: window";

    Cell "model.name" Text, "\"smollm2-135m-instruct\"", "a hub name, folder, .gguf file or alias";
    Cell "model.temperature" Number(0.0, 10.0), "0.3", "0 takes the likeliest token each time";
    Cell "model.top_p" Number(0.0, 1.0), "1", "keep the smallest set of tokens of this probability";
    Cell "model.max_tokens_per_call" Whole(1, MILLION), "2000", "tokens of a reply";
    Cell "model.context_length" Whole(128, 100_000_000), "32000", "tokens of prompt and reply; the model's own limit holds too";
    Execution "model.reply_deadline_s" Number(0.001, 1e6), "600", "seconds for a reply; past it the run has failed, which is no data";
    Execution "model.dtype" Choice(&["auto", "bf16", "f16", "f32", "int8"]), "\"auto\"", "what it computes in";
    Execution "model.kv_dtype" Choice(&["auto", "bf16", "f32", "int8"]), "\"auto\"", "what keys and values are kept in";
    Execution "model.prompt_lookup" Flag, "true", "replies are guessed from their conversation and guesses checked many at a time: the same replies, sooner";
    Execution "model.device_map" OptionalText, "null", "as on the command line";
    Execution "model.max_memory" OptionalText, "null", "as on the command line";

    Study "provider.kind" Choice(&["engine", "openai"]), "\"engine\"", "who computes: this program, or an OpenAI-compatible server";
    Execution "provider.base_url" OptionalText, "null", "the server, version included: http://localhost:8000/v1";
    Execution "provider.api_key_env" Text, "\"OPENAI_API_KEY\"", "the environment variable that holds the key; not set: none is sent";
    Execution "provider.retries" Whole(0, 1000), "6", "further attempts at one reply, with growing pauses";
    Execution "provider.requests_per_minute" OptionalWhole(1, MILLION), "null", "begun in any minute, over all runs in flight";
    Execution "provider.tokens_per_minute" OptionalWhole(1, 1000 * MILLION), "null", "in any minute, over all runs in flight";
    Execution "provider.connect_timeout_s" Number(0.001, 3600.0), "10", "seconds until a connection stands";
    Execution "provider.attempt_timeout_s" Number(0.001, 1e6), "300", "seconds for one attempt, within model.reply_deadline_s";
};

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
