//! Dead factors: those whose levels change nothing in prompts, schemas, requests or the world's
//! traces.

use crate::agent::{HistoryPolicy, ReplyMode, prompt};
use crate::config::Cell;
use crate::config::Config;
use crate::config::world_config;
use crate::error::ExperimentError;
use crate::identity::{hash_of, world_seed};
use crate::run::episode::Episode;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Steps of a trace: long enough for deliveries, expiry and most shocks.
const TRACE_STEPS_MAX: u64 = 300;
/// Worlds that are traced.
const SEEDS: u64 = 2;
/// Contexts (levels of the other factors) in which a factor is looked at.
const CONTEXTS_MAX: usize = 24;
/// Operators that leave traces. Between them they call every tool, well and badly.
const OPERATORS: [&str; 2] = ["careful", "random"];

/// A factor, or two of its levels, without effect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadFactor {
    /// Dotted key.
    pub factor: String,
    /// Levels between which nothing changes, in any context that was looked at.
    pub levels: Vec<Value>,
    /// Whether these are all levels of the factor.
    pub entirely: bool,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Factors that were looked at.
    pub factors: Vec<String>,
    /// Cells whose prompts, schemas and traces were compared.
    pub cells: usize,
    /// What has no effect.
    pub dead: Vec<DeadFactor>,
}

impl AuditReport {
    /// 2 where a factor is dead: the configuration varies nothing with it.
    pub fn exit_code(&self) -> u8 {
        if self.dead.is_empty() { 0 } else { 2 }
    }
}

/// Compares what the levels of each factor do.
pub fn audit(config: &Config) -> Result<AuditReport, ExperimentError> {
    config.check()?;
    let mut prints: BTreeMap<String, String> = BTreeMap::new();
    let mut dead = Vec::new();
    for (factor, levels) in config.grid.iter().filter(|(_, levels)| levels.len() > 1) {
        // Level -> what it does in each context.
        let mut effects: Vec<Vec<String>> = vec![Vec::new(); levels.len()];
        for context in contexts(config, factor) {
            for (level, effects) in levels.iter().zip(&mut effects) {
                let cell = config.cell_at(&context, factor, level);
                let key = hash_of(&cell.values);
                if !prints.contains_key(&key) {
                    prints.insert(key.clone(), fingerprint(config, &cell)?);
                }
                effects.push(prints[&key].clone());
            }
        }
        dead.extend(same_levels(factor, levels, &effects));
    }
    Ok(AuditReport { factors: config.factors(), cells: prints.len(), dead })
}

/// Combinations of the other factors' levels, evenly taken where there are many.
fn contexts(config: &Config, factor: &str) -> Vec<Vec<(&'static str, Value)>> {
    let mut contexts: Vec<Vec<(&'static str, Value)>> = vec![Vec::new()];
    for (key, levels) in config.grid.iter().filter(|(key, _)| *key != factor) {
        let with = |context: &Vec<(&'static str, Value)>, level: &Value| {
            let mut context = context.clone();
            context.push((*key, level.clone()));
            context
        };
        contexts = contexts
            .iter()
            .flat_map(|context| levels.iter().map(move |level| with(context, level)))
            .collect();
    }
    // An odd stride, so that no level of a neighbor is always skipped.
    let stride = contexts.len().div_ceil(CONTEXTS_MAX) | 1;
    contexts.into_iter().step_by(stride).collect()
}

/// Groups of levels that do the same in every context.
fn same_levels(factor: &str, levels: &[Value], effects: &[Vec<String>]) -> Vec<DeadFactor> {
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

/// Everything that a cell does, as one hash: prompt, schema, tools, what requests carry, and what
/// the world answers.
fn fingerprint(config: &Config, cell: &Cell) -> Result<String, ExperimentError> {
    let world = world_config(cell);
    let mode =
        if cell.text("agent.reply_mode") == "text" { ReplyMode::Text } else { ReplyMode::Json };
    let mut parts: BTreeMap<String, Value> = BTreeMap::new();
    let carried = ["model.", "agent."];
    let carries = |key: &str| {
        carried.iter().any(|prefix| key.starts_with(prefix)) && !key.starts_with("agent.history")
    };
    for (key, value) in cell.values.iter().filter(|(key, _)| carries(key)) {
        parts.insert(format!("request {key}"), value.clone());
    }
    if cell.needs_model() {
        parts.insert("exchanges".into(), json!(exchanges(cell.history(), world.max_steps)));
    }
    parts.insert("prompt".into(), json!(prompt::system_prompt(&world, mode)));
    parts.insert("schema".into(), prompt::reply_schema(&world));
    parts.insert("tools".into(), prompt::template_tools(&world));
    parts.insert("horizon".into(), json!(world.max_steps));
    for replicate in 0..SEEDS {
        for operator in OPERATORS {
            let seed = world_seed(config.whole("experiment.seed"), replicate, None);
            parts.insert(
                format!("trace {operator} {replicate}"),
                json!(trace(cell, operator, seed)?),
            );
        }
    }
    Ok(hash_of(&parts))
}

/// How many exchanges of the past each prompt of a run holds, as far as the history policy decides.
fn exchanges(history: HistoryPolicy, steps: u64) -> Vec<u64> {
    let mut dropped = 0;
    let sent = |past: u64| {
        dropped = history.leave_out(past, dropped);
        past - dropped
    };
    (0..steps).map(sent).collect()
}

/// What an operator sees and causes, as a hash.
fn trace(cell: &Cell, operator: &str, seed: u64) -> Result<String, ExperimentError> {
    let mut cell = cell.clone();
    cell.values.insert("agent.policy", Value::from(operator));
    let mut episode = Episode::new("audit", &cell, seed)?;
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    while episode.ending().is_none() && episode.step() < TRACE_STEPS_MAX {
        let Some(answer) = episode.scripted_answer() else { break };
        let row = episode.take(answer);
        let step = format!("{:06}", row.step);
        rows.insert(
            step,
            json!([row.prompt, row.result, row.pe, row.shocks, row.crashes, row.state, row.ending]),
        );
    }
    rows.insert("crashes".into(), json!(episode.crashes()));
    Ok(hash_of(&rows))
}
