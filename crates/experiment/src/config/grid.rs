//! Configuration -> cells -> runs.

use super::Config;
use super::world::world_config;
use crate::agent::HistoryPolicy;
use crate::error::ConfigProblem;
use crate::identity;
use crate::provider::{ModelSettings, ProviderInfo, ServerSettings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One combination of the factors' levels, reduced to what has an effect: its *effective*
/// configuration. A key that changes nothing here is null, so that cells which do the same are the
/// same.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Dotted key -> value.
    pub values: BTreeMap<&'static str, Value>,
}

/// One seeded repeat of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRun {
    /// Content hash of cell, model, dtype and seed.
    pub run_id: String,
    /// The cell.
    pub cell: Cell,
    /// From 0.
    pub replicate: u64,
    /// The world's seed.
    pub seed: u64,
}

/// What a configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCounts {
    /// Combinations of levels.
    pub combinations: usize,
    /// Combinations times replicates.
    pub nominal_runs: usize,
    /// Cells that differ in effect.
    pub cells: usize,
    /// Runs that differ in effect: those that are done.
    pub runs: usize,
    /// Steps of these, at most.
    pub steps_max: u64,
    /// Model names -> runs.
    pub models: BTreeMap<String, usize>,
}

impl Cell {
    fn new(mut values: BTreeMap<&'static str, Value>) -> Self {
        resolve_horizon(&mut values);
        drop_dead(&mut values);
        Cell { values }
    }

    /// From a stored run: keys that this program does not know are an error.
    pub fn from_stored(stored: &BTreeMap<String, Value>, config: &Config) -> Result<Cell, String> {
        let known = config.cell_values();
        let mut values = BTreeMap::new();
        for (key, value) in stored {
            let known = known
                .keys()
                .find(|name| **name == key)
                .ok_or_else(|| format!("unknown key {key}"))?;
            values.insert(*known, value.clone());
        }
        Ok(Cell { values })
    }

    /// A text; empty where the key has no effect.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// A whole number; `None` where the key is null.
    pub fn whole(&self, key: &str) -> Option<u64> {
        self.values.get(key).and_then(Value::as_u64)
    }

    /// A number; `None` where the key is null.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key).and_then(Value::as_f64)
    }

    /// What of the conversation its prompts hold.
    pub(crate) fn history(&self) -> HistoryPolicy {
        match self.text("agent.history") {
            "none" => HistoryPolicy::None,
            "window" => HistoryPolicy::Window(self.whole("agent.history_window").unwrap_or(1)),
            _ => HistoryPolicy::Full,
        }
    }

    /// Whether a model acts in it, and not a scripted operator.
    pub fn needs_model(&self) -> bool {
        self.text("agent.policy") == "model"
    }

    /// The horizon in steps.
    pub fn steps_max(&self) -> u64 {
        self.whole("env.max_steps").unwrap_or(0)
    }
}

/// `env.max_steps_by_level` becomes the cell's `env.max_steps`.
fn resolve_horizon(values: &mut BTreeMap<&'static str, Value>) {
    let level = values.get("env.complexity_level").map(Value::to_string).unwrap_or_default();
    let by_level = values.remove("env.max_steps_by_level");
    if let Some(steps) = by_level.as_ref().and_then(|map| map.get(&level)) {
        values.insert("env.max_steps", steps.clone());
    }
}

/// Keys that change nothing, given others.
fn drop_dead(values: &mut BTreeMap<&'static str, Value>) {
    let is = |values: &BTreeMap<&'static str, Value>, key: &str, value: Value| {
        values.get(key) == Some(&value)
    };
    let mut dead: Vec<&str> = Vec::new();
    if is(values, "pe_induction.p_shock", Value::from(0.0)) {
        dead.extend([
            "pe_induction.pe_mag",
            "pe_induction.pe_type_mix",
            "pe_induction.observability",
        ]);
    }
    if !is(values, "agent.history", Value::from("window")) {
        dead.push("agent.history_window");
    }
    if is(values, "model.temperature", Value::from(0.0)) {
        dead.push("model.top_p");
    }
    if !is(values, "agent.policy", Value::from("model")) {
        dead.extend([
            "agent.reply_mode",
            "agent.history",
            "agent.history_window",
            "model.name",
            "model.temperature",
        ]);
        dead.extend(["model.top_p", "model.max_tokens_per_call", "model.context_length"]);
    }
    for key in dead {
        if let Some(value) = values.get_mut(key) {
            *value = Value::Null;
        }
    }
}

impl Config {
    /// All combinations of the factors' levels, the last factor changing fastest; cells that do the
    /// same appear again.
    pub fn cells(&self) -> Vec<Cell> {
        let mut combinations = vec![self.cell_values()];
        for (key, levels) in &self.grid {
            let with = |values: &BTreeMap<&'static str, Value>, level: &Value| {
                let mut values = values.clone();
                values.insert(key, level.clone());
                values
            };
            combinations = combinations
                .iter()
                .flat_map(|values| levels.iter().map(move |level| with(values, level)))
                .collect();
        }
        combinations.into_iter().map(Cell::new).collect()
    }

    /// The cell of a combination of levels.
    pub(crate) fn cell_at(
        &self,
        context: &[(&'static str, Value)],
        factor: &'static str,
        level: &Value,
    ) -> Cell {
        let mut values = self.cell_values();
        values.extend(context.iter().cloned());
        values.insert(factor, level.clone());
        Cell::new(values)
    }

    /// All runs, each once, model by model in the order of first use, and within a model replicate
    /// by replicate: an interrupted study has whole replicates rather than whole cells.
    /// `identify` says what a model is.
    pub fn runs<E>(
        &self,
        mut identify: impl FnMut(&str) -> Result<ProviderInfo, E>,
    ) -> Result<Vec<PlannedRun>, E> {
        let cells = self.cells();
        let mut models: Vec<(String, ProviderInfo)> = Vec::new();
        for cell in &cells {
            let name = cell.text("model.name");
            if !models.iter().any(|(known, _)| known == name) {
                let info = if cell.needs_model() { identify(name)? } else { scripted_info() };
                models.push((name.to_string(), info));
            }
        }
        let mut seen = BTreeSet::new();
        let mut runs = Vec::new();
        for (name, info) in &models {
            for replicate in 0..self.whole("experiment.replications") {
                let ours = cells.iter().filter(|cell| cell.text("model.name") == name);
                let planned = ours.map(|cell| self.planned(cell, replicate, info));
                runs.extend(planned.filter(|run| seen.insert(run.run_id.clone())));
            }
        }
        Ok(runs)
    }

    fn planned(&self, cell: &Cell, replicate: u64, info: &ProviderInfo) -> PlannedRun {
        let apart = (!self.flag("experiment.paired")).then(|| identity::hash_of(&cell.values));
        let seed = identity::world_seed(self.whole("experiment.seed"), replicate, apart.as_deref());
        let run_id = identity::run_id(&cell.values, &info.identity, &info.dtype, seed);
        PlannedRun { run_id, cell: cell.clone(), replicate, seed }
    }

    /// Counts, without looking at any model: names stand for them.
    pub fn counts(&self) -> GridCounts {
        let runs = match self.runs(|name| Ok::<_, std::convert::Infallible>(name_info(name))) {
            Ok(runs) => runs,
            Err(never) => match never {},
        };
        let cells = self.cells();
        let mut models = BTreeMap::new();
        for run in &runs {
            let name = if run.cell.needs_model() {
                run.cell.text("model.name")
            } else {
                run.cell.text("agent.policy")
            };
            *models.entry(name.to_string()).or_default() += 1;
        }
        GridCounts {
            combinations: cells.len(),
            nominal_runs: cells.len() * self.whole("experiment.replications") as usize,
            cells: cells
                .iter()
                .map(|cell| identity::hash_of(&cell.values))
                .collect::<BTreeSet<_>>()
                .len(),
            steps_max: runs.iter().map(|run| run.cell.steps_max()).sum(),
            runs: runs.len(),
            models,
        }
    }

    /// What a model is opened with: the longest context that any of its cells asks for.
    pub fn model_settings(&self, name: &str, concurrency: usize) -> ModelSettings {
        let optional = |key: &str| self.values.get(key).and_then(Value::as_str).map(str::to_string);
        let cells = self.cells();
        let contexts = cells.iter().filter(|cell| cell.text("model.name") == name);
        ModelSettings {
            name: name.to_string(),
            dtype: self.text("model.dtype").to_string(),
            kv_dtype: self.text("model.kv_dtype").to_string(),
            prompt_lookup: self.flag("model.prompt_lookup"),
            device_map: optional("model.device_map"),
            max_memory: optional("model.max_memory"),
            context_length: contexts
                .filter_map(|cell| cell.whole("model.context_length"))
                .max()
                .unwrap_or(0),
            concurrency,
            server: (self.text("provider.kind") == "openai").then(|| self.server_settings()),
        }
    }

    fn server_settings(&self) -> ServerSettings {
        let number = |key: &str| self.values.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let optional = |key: &str| self.values.get(key).and_then(Value::as_u64);
        ServerSettings {
            base_url: self.text("provider.base_url").to_string(),
            api_key_env: self.text("provider.api_key_env").to_string(),
            retries: self.whole("provider.retries"),
            requests_per_minute: optional("provider.requests_per_minute"),
            tokens_per_minute: optional("provider.tokens_per_minute"),
            connect_timeout_s: number("provider.connect_timeout_s"),
            attempt_timeout_s: number("provider.attempt_timeout_s"),
        }
    }

    /// A server and its address go together.
    fn check_provider(&self) -> Result<(), ConfigProblem> {
        let (kind, url) = (self.text("provider.kind"), self.text("provider.base_url"));
        let why = match kind {
            "openai" if url.is_empty() => {
                "provider.kind is openai: expected the server's address, such as http://localhost:8000/v1"
            }
            "openai" if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) => {
                "expected an address that begins with http:// or https://"
            }
            "engine" if !url.is_empty() => {
                "an address is given, and provider.kind is engine: set it to openai, or remove one"
            }
            _ => return Ok(()),
        };
        Err(ConfigProblem::Contradiction { key: "provider.base_url".into(), why: why.into() })
    }

    /// Names of the models, in the order of first use.
    pub fn model_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for cell in self.cells().iter().filter(|cell| cell.needs_model()) {
            let name = cell.text("model.name").to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// What does not go together, found before anything is run.
    pub fn check(&self) -> Result<(), ConfigProblem> {
        self.check_provider()?;
        for cell in self.cells() {
            world_config(&cell).validate().map_err(|error| ConfigProblem::Contradiction {
                key: error.key.to_string(),
                why: format!("expected {}, found {}", error.expected, error.found),
            })?;
            let (tokens, context) =
                (cell.whole("model.max_tokens_per_call"), cell.whole("model.context_length"));
            if let (Some(tokens), Some(context)) = (tokens, context)
                && tokens >= context
            {
                let why = format!(
                    "a reply of {tokens} tokens leaves no room for a prompt in a context of {context} (model.context_length)"
                );
                return Err(ConfigProblem::Contradiction {
                    key: "model.max_tokens_per_call".into(),
                    why,
                });
            }
        }
        Ok(())
    }
}

/// A model of which only its name is known: enough to tell runs apart.
pub(crate) fn name_info(name: &str) -> ProviderInfo {
    let none = String::new;
    ProviderInfo {
        identity: name.to_string(),
        dtype: none(),
        rung: String::new(),
        kernel_set: none(),
        context_length: None,
    }
}

/// What a scripted operator is, in run ids.
pub(crate) fn scripted_info() -> ProviderInfo {
    let words = |text: &str| text.to_string();
    ProviderInfo {
        identity: words("scripted"),
        dtype: words("none"),
        rung: String::new(),
        kernel_set: words("none"),
        context_length: None,
    }
}
