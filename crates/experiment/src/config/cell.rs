//! One cell of the grid: its values as a map, for hashing and storage, and the same settings as
//! typed fields.

use super::design::{design_of, remove_other_keys};
use super::keys;
use super::person::{PLAYER_KEY, check_player, remove_unless_named};
use super::settings::Settings;
use super::thinking::{THINKING_KEY, remove_if_off};
use super::value_kind::describe;
use crate::agent::{HistoryPolicy, ReplyMode};
use crate::error::ConfigProblem;
use crate::provider::ModelThinking;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use warehouse::{
    DemandConfig, Design, DetectorConfig, Magnitude, MemoryTools, Observability, PredictionFormat,
    PredictionMode, Pressure, RecoveryTools, ShockConfig, TypeMix, WorldConfig,
};

/// The values of all keys of a cell, by dotted key.
pub(crate) type CellValues = BTreeMap<&'static str, Value>;

/// One combination of the factors' levels, reduced to its *effective* configuration: the value of a
/// key without effect is null, so that cells with the same behavior are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    values: CellValues,
    config: CellConfig,
}

/// The settings of a cell, typed and validated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellConfig {
    pub design: Design,
    pub env: EnvConfig,
    pub demand: DemandConfig,
    pub shocks: ShockConfig,
    pub interface: InterfaceConfig,
    pub agent: AgentConfig,
    /// `None` for a scripted operator and for a person.
    pub model: Option<AgentModelConfig>,
    pub detectors: DetectorConfig,
}

/// Settings of the keys `env.*`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EnvConfig {
    pub max_steps: u64,
    pub complexity_level: u8,
    pub initial_budget: f64,
    pub pressure_level: Pressure,
    pub actions_per_day: Option<u32>,
    pub initial_storage_per_sku: Option<u32>,
    pub storage_capacity: u32,
    pub storage_fee: f64,
    pub delivery_cost: f64,
}

/// Settings of the keys `interface.*`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InterfaceConfig {
    pub prediction_mode: PredictionMode,
    pub prediction_format: PredictionFormat,
    pub reasoning_min_chars: u32,
    pub memory_tools: MemoryTools,
    pub recovery_tools: RecoveryTools,
}

/// Settings of the keys `agent.*`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentConfig {
    pub policy: AgentPolicy,
    /// Pseudonym of the person who plays; `None` if none is given, and without a person.
    pub player: Option<String>,
    /// Hazard of the operators `null` and `fragile`; see [`warehouse::OperatorSettings`].
    pub hazard: f64,
    pub beta: f64,
    pub reply_mode: ReplyMode,
    pub history: HistoryPolicy,
}

/// The agent of a run: a model, one of the scripted operators, or a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AgentPolicy {
    Model,
    Careful,
    Adaptive,
    Greedy,
    Random,
    Looping,
    Null,
    Fragile,
    /// A person, by `vendomini play`.
    Human,
}

/// The model of a cell and its sampling settings: keys `model.*` that are part of a run's identity.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AgentModelConfig {
    pub name: String,
    pub temperature: f64,
    pub top_p: f64,
    pub max_tokens_per_call: u64,
    pub thinking: ModelThinking,
    /// Maximum number of tokens of prompt and reply together.
    pub context_length: u64,
}

impl Cell {
    /// Resolves a combination of levels: takes the horizon from `env.max_steps_by_level` where it
    /// has the cell's level, and sets keys without effect to null.
    ///
    /// # Errors
    /// A setting of the wrong type, or settings that contradict each other.
    pub(super) fn resolve(mut values: CellValues) -> Result<Cell, ConfigProblem> {
        resolve_horizon(&mut values);
        clear_dead_keys(&mut values);
        remove_other_keys(&mut values);
        remove_if_off(&mut values);
        remove_unless_named(&mut values);
        let config = CellConfig::read(&values)?;
        config.validate()?;
        Ok(Cell { values, config })
    }

    /// Reads the cell of a stored run, with its values unchanged.
    ///
    /// # Errors
    /// A key that is not in the key table, or a value of the wrong type.
    pub(crate) fn from_stored(stored: &BTreeMap<String, Value>) -> Result<Cell, String> {
        let mut values = CellValues::new();
        for (name, value) in stored {
            let key = keys::find(name).filter(|key| key.scope == keys::Scope::Cell);
            let key = key.ok_or_else(|| format!("unknown key {name}"))?;
            values.insert(key.name, value.clone());
        }
        let config = CellConfig::read(&values).map_err(|problem| problem.to_string())?;
        Ok(Cell { values, config })
    }

    /// The values of all keys, by dotted key; null for a key without effect.
    pub fn values(&self) -> &BTreeMap<&'static str, Value> {
        &self.values
    }

    pub(crate) fn config(&self) -> &CellConfig {
        &self.config
    }

    /// The model's name; `None` for a scripted operator and for a person.
    pub fn model_name(&self) -> Option<&str> {
        self.config.model.as_ref().map(|model| model.name.as_str())
    }

    /// Whether a person plays the cell.
    pub fn is_human(&self) -> bool {
        self.config.agent.policy == AgentPolicy::Human
    }

    /// The model's name, the name of the scripted operator, or "human".
    pub fn actor_name(&self) -> &str {
        self.model_name().unwrap_or(self.config.agent.policy.name())
    }

    /// The horizon in steps.
    pub fn steps_max(&self) -> u64 {
        self.config.env.max_steps
    }
}

/// Replaces `env.max_steps_by_level` by `env.max_steps`, with the horizon of the cell's complexity
/// level if the map has one.
fn resolve_horizon(values: &mut CellValues) {
    let level = values.get("env.complexity_level").map(Value::to_string).unwrap_or_default();
    let by_level = values.remove("env.max_steps_by_level");
    if let Some(steps) = by_level.as_ref().and_then(|map| map.get(&level)) {
        values.insert("env.max_steps", steps.clone());
    }
}

/// Sets keys to null that have no effect because of the values of other keys.
fn clear_dead_keys(values: &mut CellValues) {
    let is = |values: &CellValues, key: &str, value: Value| values.get(key) == Some(&value);
    let mut dead: Vec<&str> = Vec::new();
    if is(values, "pe_induction.p_shock", Value::from(0.0)) {
        dead.extend([
            "pe_induction.pe_mag",
            "pe_induction.pe_type_mix",
            "pe_induction.observability",
        ]);
    }
    if design_of(values) != Design::V1 {
        dead.push("demand.max_failures");
    }
    if !is(values, "agent.policy", Value::from("fragile")) {
        dead.push("agent.beta");
        if !is(values, "agent.policy", Value::from("null")) {
            dead.push("agent.hazard");
        }
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

impl CellConfig {
    fn read(values: &CellValues) -> Result<CellConfig, ConfigProblem> {
        let settings = Settings::new(values);
        let policy: AgentPolicy = settings.get("agent.policy")?;
        Ok(CellConfig {
            design: design_of(values),
            env: EnvConfig::read(&settings)?,
            demand: demand(&settings)?,
            shocks: shocks(&settings)?,
            interface: InterfaceConfig::read(&settings)?,
            agent: AgentConfig {
                policy,
                player: settings.get_unless_dead(PLAYER_KEY, None)?,
                hazard: settings.get_unless_dead("agent.hazard", 0.0)?,
                beta: settings.get_unless_dead("agent.beta", 0.0)?,
                reply_mode: settings.get_unless_dead("agent.reply_mode", ReplyMode::Json)?,
                history: history(&settings)?,
            },
            model: match policy {
                AgentPolicy::Model => Some(AgentModelConfig::read(&settings)?),
                _ => None,
            },
            detectors: DetectorConfig {
                threshold: settings.get("crash_detector.threshold")?,
                window_size: settings.get("crash_detector.window_size")?,
                continue_after_crash: settings.get("crash_detector.continue_after_crash")?,
                divergence_below: settings.get("crash_detector.divergence_below")?,
            },
        })
    }

    /// Fails if settings contradict each other although each is within its range.
    fn validate(&self) -> Result<(), ConfigProblem> {
        self.world().validate().map_err(|error| ConfigProblem::Contradiction {
            key: error.key.to_string(),
            why: format!("expected {}, found {}", error.expected, error.found),
        })?;
        self.check_v1()?;
        check_player(self.agent.player.as_deref())?;
        let Some(model) = &self.model else { return Ok(()) };
        let (tokens, context) = (model.max_tokens_per_call, model.context_length);
        if let ModelThinking::Budget(budget) = model.thinking
            && budget >= tokens
        {
            return Err(ConfigProblem::Contradiction {
                key: THINKING_KEY.into(),
                why: format!(
                    "thinking of {budget} tokens leaves no room for an answer in a reply of \
                     {tokens} (model.max_tokens_per_call)"
                ),
            });
        }
        if tokens < context {
            return Ok(());
        }
        Err(ConfigProblem::Contradiction {
            key: "model.max_tokens_per_call".into(),
            why: format!(
                "a reply of {tokens} tokens leaves no room for a prompt in a context of {context} (model.context_length)"
            ),
        })
    }

    /// Fails if a setting needs a later design than v1.
    fn check_v1(&self) -> Result<(), ConfigProblem> {
        let policy = self.agent.policy;
        let later = [AgentPolicy::Adaptive, AgentPolicy::Null, AgentPolicy::Fragile];
        let found = match self.shocks.observability {
            Observability::Sham => ("pe_induction.observability", "sham"),
            _ if later.contains(&policy) => ("agent.policy", policy.name()),
            _ => return Ok(()),
        };
        if self.design != Design::V1 {
            return Ok(());
        }
        let (key, level) = found;
        let why = format!("{level} needs experiment.design v2, found v1");
        Err(ConfigProblem::Contradiction { key: key.into(), why })
    }

    /// The configuration of the cell's world.
    pub fn world(&self) -> WorldConfig {
        WorldConfig {
            design: self.design,
            complexity_level: self.env.complexity_level,
            max_steps: self.env.max_steps,
            actions_per_day: self.env.actions_per_day,
            initial_budget: self.env.initial_budget,
            pressure_level: self.env.pressure_level,
            initial_storage_per_sku: self.env.initial_storage_per_sku,
            storage_capacity: self.env.storage_capacity,
            storage_fee: self.env.storage_fee,
            delivery_cost: self.env.delivery_cost,
            demand: self.demand.clone(),
            shocks: self.shocks.clone(),
            memory_tools: self.interface.memory_tools,
            recovery_tools: self.interface.recovery_tools,
            prediction_mode: self.interface.prediction_mode,
            prediction_format: self.interface.prediction_format,
            reasoning_min_chars: self.interface.reasoning_min_chars,
            crash_detector: self.detectors.clone(),
        }
    }

    /// The same cell with a scripted operator as its agent. Audits and estimates use it to play in
    /// the cell's world without loading a model.
    pub fn played_by(&self, policy: AgentPolicy) -> CellConfig {
        let agent = AgentConfig { policy, ..self.agent.clone() };
        CellConfig { agent, ..self.clone() }
    }
}

impl EnvConfig {
    fn read(settings: &Settings<'_>) -> Result<EnvConfig, ConfigProblem> {
        Ok(EnvConfig {
            max_steps: settings.get("env.max_steps")?,
            complexity_level: settings.get("env.complexity_level")?,
            initial_budget: settings.get("env.initial_budget")?,
            pressure_level: settings.get("env.pressure_level")?,
            actions_per_day: settings.get("env.actions_per_day")?,
            initial_storage_per_sku: settings.get("env.initial_storage_per_sku")?,
            storage_capacity: settings.get("env.storage_capacity")?,
            storage_fee: settings.get("env.storage_fee")?,
            delivery_cost: settings.get("env.delivery_cost")?,
        })
    }
}

fn demand(settings: &Settings<'_>) -> Result<DemandConfig, ConfigProblem> {
    Ok(DemandConfig {
        p_customer_order: settings.get("demand.p_customer_order")?,
        due_days: settings.get("demand.due_days")?,
        sale_markup: settings.get("demand.sale_markup")?,
        late_penalty: settings.get("demand.late_penalty")?,
        expire_after_days: settings.get("demand.expire_after_days")?,
        max_failures: settings.get_unless_dead("demand.max_failures", 1)?,
        max_lost_share: settings.get("demand.max_lost_share")?,
    })
}

/// If shocks have probability 0, the other shock settings have no effect and get arbitrary values.
fn shocks(settings: &Settings<'_>) -> Result<ShockConfig, ConfigProblem> {
    Ok(ShockConfig {
        p_shock: settings.get("pe_induction.p_shock")?,
        pe_mag: settings.get_unless_dead("pe_induction.pe_mag", Magnitude::Low)?,
        pe_type_mix: settings.get_unless_dead("pe_induction.pe_type_mix", TypeMix::Realistic)?,
        observability: settings
            .get_unless_dead("pe_induction.observability", Observability::Full)?,
    })
}

impl InterfaceConfig {
    fn read(settings: &Settings<'_>) -> Result<InterfaceConfig, ConfigProblem> {
        Ok(InterfaceConfig {
            prediction_mode: settings.get("interface.prediction_mode")?,
            prediction_format: settings.get("interface.prediction_format")?,
            reasoning_min_chars: settings.get("interface.reasoning_min_chars")?,
            memory_tools: settings.get("interface.memory_tools")?,
            recovery_tools: settings.get("interface.recovery_tools")?,
        })
    }
}

/// The history policy of `agent.history` and `agent.history_window`. It has no effect for scripted
/// operators.
fn history(settings: &Settings<'_>) -> Result<HistoryPolicy, ConfigProblem> {
    let policy: String = settings.get_unless_dead("agent.history", "full".to_string())?;
    match policy.as_str() {
        "full" => Ok(HistoryPolicy::Full),
        "window" => Ok(HistoryPolicy::Window(settings.get("agent.history_window")?)),
        "none" => Ok(HistoryPolicy::None),
        other => Err(ConfigProblem::Contradiction {
            key: "agent.history".into(),
            why: format!("expected full, window or none, found {}", describe(&other.into())),
        }),
    }
}

impl AgentPolicy {
    /// The policy's name in configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            AgentPolicy::Model => "model",
            AgentPolicy::Careful => "careful",
            AgentPolicy::Adaptive => "adaptive",
            AgentPolicy::Greedy => "greedy",
            AgentPolicy::Random => "random",
            AgentPolicy::Looping => "looping",
            AgentPolicy::Null => "null",
            AgentPolicy::Fragile => "fragile",
            AgentPolicy::Human => "human",
        }
    }
}

impl AgentModelConfig {
    /// At temperature 0 `model.top_p` has no effect; it is then 1, which excludes no token.
    fn read(settings: &Settings<'_>) -> Result<AgentModelConfig, ConfigProblem> {
        Ok(AgentModelConfig {
            name: settings.get("model.name")?,
            temperature: settings.get("model.temperature")?,
            top_p: settings.get_unless_dead("model.top_p", 1.0)?,
            max_tokens_per_call: settings.get("model.max_tokens_per_call")?,
            thinking: settings.get_unless_dead(THINKING_KEY, ModelThinking::Off)?,
            context_length: settings.get("model.context_length")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    fn stored(sets: &[&str]) -> BTreeMap<String, Value> {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let config = Config::parse("", "test", &sets).unwrap();
        let values = config.cells()[0].values().iter();
        values.map(|(key, value)| (key.to_string(), value.clone())).collect()
    }

    #[test]
    fn a_stored_cell_is_typed_like_the_configured_one() {
        let stored = stored(&["agent.history=window", "model.temperature=0"]);
        let cell = Cell::from_stored(&stored).unwrap();
        assert_eq!(cell.config().agent.history, HistoryPolicy::Window(20));
        let model = cell.config().model.as_ref().unwrap();
        assert_eq!((model.temperature, model.top_p), (0.0, 1.0), "top_p is dead at temperature 0");
        let kept: BTreeMap<_, _> =
            cell.values().iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        assert_eq!(kept, stored);
    }

    #[test]
    fn dead_keys_of_scripted_operators_are_null_and_their_model_is_none() {
        let cell = Cell::from_stored(&stored(&["agent.policy=careful"])).unwrap();
        assert_eq!(cell.values()["model.name"], json!(null));
        assert_eq!((cell.model_name(), cell.actor_name()), (None, "careful"));
    }

    #[test]
    fn a_key_missing_in_an_older_stored_cell_has_its_default() {
        let mut stored = stored(&[]);
        stored.remove("interface.reasoning_min_chars");
        let cell = Cell::from_stored(&stored).unwrap();
        assert_eq!(cell.config().interface.reasoning_min_chars, 0);
        assert!(!cell.values().contains_key("interface.reasoning_min_chars"));
    }

    #[test]
    fn a_stored_cell_with_an_unknown_key_or_a_wrong_type_is_refused() {
        let mut unknown = stored(&[]);
        unknown.insert("env.color".into(), json!(1));
        assert_eq!(Cell::from_stored(&unknown).unwrap_err(), "unknown key env.color");
        let mut wrong = stored(&[]);
        wrong.insert("env.max_steps".into(), json!("many"));
        let error = Cell::from_stored(&wrong).unwrap_err();
        assert!(error.starts_with("env.max_steps: expected a whole number"), "{error}");
    }
}
