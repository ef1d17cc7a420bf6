//! Dead factors: those whose levels change nothing in prompts, schemas, requests or the world.

use crate::agent::{HistoryPolicy, prompt};
use crate::config::{AgentPolicy, Cell, CellConfig, Config};
use crate::error::ExperimentError;
use crate::identity::{hash_of, world_seed};
use crate::run::episode::Episode;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Maximum number of steps of a trace: enough for deliveries, expired orders and most shocks.
const TRACE_STEPS_MAX: u64 = 300;
/// Number of worlds, with different seeds, in which each cell is traced.
const SEEDS: u64 = 2;
/// Maximum number of contexts in which the levels of a factor are compared.
const CONTEXTS_MAX: usize = 24;
/// Scripted operators that play the traces. Together they call every tool, with valid and invalid
/// arguments.
const OPERATORS: [AgentPolicy; 2] = [AgentPolicy::Careful, AgentPolicy::Random];

/// A combination of levels of all other factors: key and level of each.
type Context = Vec<(&'static str, Value)>;

/// A set of levels of one factor between which no difference in effect was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadFactor {
    /// Dotted key of the factor.
    pub factor: String,
    /// Levels with the same effect in every context that was compared.
    pub levels: Vec<Value>,
    /// Whether `levels` contains all levels of the factor.
    pub entirely: bool,
}

/// Compares the effects of the levels of each factor. Returns the number of cells that were
/// compared, and the dead factors.
///
/// # Errors
/// A cell has settings that contradict each other.
pub(super) fn dead_factors(config: &Config) -> Result<(usize, Vec<DeadFactor>), ExperimentError> {
    let mut fingerprints: BTreeMap<String, String> = BTreeMap::new();
    let mut dead = Vec::new();
    for (factor, levels) in config.grid().iter().filter(|(_, levels)| levels.len() > 1) {
        // The fingerprints of each level: one for each context.
        let mut effects: Vec<Vec<String>> = vec![Vec::new(); levels.len()];
        for context in contexts(config, factor) {
            for (level, effects) in levels.iter().zip(&mut effects) {
                let level = (*factor, level.clone());
                let cell = config.cell_at(context.iter().cloned().chain([level]))?;
                let key = hash_of(cell.values());
                if !fingerprints.contains_key(&key) {
                    fingerprints.insert(key.clone(), fingerprint(config, &cell)?);
                }
                effects.push(fingerprints[&key].clone());
            }
        }
        dead.extend(equal_levels(factor, levels, &effects));
    }
    Ok((fingerprints.len(), dead))
}

/// Combinations of the levels of all other factors; an evenly spaced sample if there are more than
/// `CONTEXTS_MAX`.
fn contexts(config: &Config, factor: &str) -> Vec<Context> {
    let mut contexts: Vec<Context> = vec![Vec::new()];
    for (key, levels) in config.grid().iter().filter(|(key, _)| *key != factor) {
        let with = |context: &Context, level: &Value| {
            let mut context = context.clone();
            context.push((*key, level.clone()));
            context
        };
        contexts = contexts
            .iter()
            .flat_map(|context| levels.iter().map(move |level| with(context, level)))
            .collect();
    }
    // The stride is odd: with an even stride, the sample would not contain every level of a last
    // factor with an even number of levels.
    let stride = contexts.len().div_ceil(CONTEXTS_MAX) | 1;
    contexts.into_iter().step_by(stride).collect()
}

/// Groups of two or more levels that have equal effects in every context.
fn equal_levels(factor: &str, levels: &[Value], effects: &[Vec<String>]) -> Vec<DeadFactor> {
    let mut groups: Vec<(&Vec<String>, Vec<Value>)> = Vec::new();
    for (level, effects) in levels.iter().zip(effects) {
        match groups.iter_mut().find(|(known, _)| *known == effects) {
            Some((_, members)) => members.push(level.clone()),
            None => groups.push((effects, vec![level.clone()])),
        }
    }
    let dead = groups.into_iter().map(|(_, members)| members).filter(|members| members.len() > 1);
    dead.map(|members| DeadFactor {
        factor: factor.to_string(),
        entirely: members.len() == levels.len(),
        levels: members,
    })
    .collect()
}

/// Hash of everything that a cell determines: the prompt, the schema, the tools, the settings in
/// requests, and the traces of its worlds.
fn fingerprint(config: &Config, cell: &Cell) -> Result<String, ExperimentError> {
    let settings = cell.config();
    let world = settings.world();
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    let in_requests = |key: &str| {
        ["model.", "agent."].iter().any(|prefix| key.starts_with(prefix))
            && !key.starts_with("agent.history")
    };
    for (key, value) in cell.values().iter().filter(|(key, _)| in_requests(key)) {
        parts.insert(format!("request {key}"), value.clone());
    }
    if settings.model.is_some() {
        let exchanges = exchanges_sent(settings.agent.history, world.max_steps);
        parts.insert("exchanges".into(), json!(exchanges));
    }
    let system = prompt::system_prompt(&world, settings.agent.reply_mode);
    parts.insert("prompt".into(), json!(system));
    parts.insert("schema".into(), prompt::reply_schema(&world));
    parts.insert("tools".into(), prompt::template_tools(&world));
    parts.insert("horizon".into(), json!(world.max_steps));
    for replicate in 0..SEEDS {
        for operator in OPERATORS {
            let seed = world_seed(config.study().seed, replicate, None);
            let trace = trace(&settings.played_by(operator), seed)?;
            parts.insert(format!("trace {} {replicate}", operator.name()), json!(trace));
        }
    }
    Ok(hash_of(&parts))
}

/// Number of past exchanges in the prompt of each step according to the history policy, without a
/// limit on the context length.
fn exchanges_sent(history: HistoryPolicy, steps: u64) -> Vec<u64> {
    let mut dropped = 0;
    let sent = |past: u64| {
        dropped = history.leave_out(past, dropped);
        past - dropped
    };
    (0..steps).map(sent).collect()
}

/// Hash of a scripted operator's observations and of the effects of its actions.
fn trace(cell: &CellConfig, seed: u64) -> Result<String, ExperimentError> {
    let mut episode = Episode::of_cell("audit", cell, seed)?;
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    while episode.ending().is_none() && episode.step() < TRACE_STEPS_MAX {
        let Some(input) = episode.scripted_input() else { break };
        let row = episode.take(input);
        let step = format!("{:06}", row.step);
        rows.insert(
            step,
            json!([row.prompt, row.result, row.pe, row.shocks, row.crashes, row.state, row.ending]),
        );
    }
    rows.insert("crashes".into(), json!(episode.crashes()));
    Ok(hash_of(&rows))
}
