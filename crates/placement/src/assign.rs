//! Which module goes to which tier.
//!
//! `auto` is a dynamic programme over modules in the order in which a token visits them and cards in their order. A state
//! is the card in use and how full it is; of two states of one card, the one that is fuller *and* costlier is dropped. What
//! remains is small, because the blocks of a model are of few sizes, and the best of the last states is the optimum: the
//! fewest bytes off the cards, then the fewest cuts. Modules that are off the cards fill the host, then the disk.
use crate::{DeviceMapMode, Footprint, Limits, PlanError, Tier, bytes_text};
use checkpoint::{ModelConfig, ModuleKind, modules};

/// One tier and what may be put there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Room {
    pub tier: Tier,
    pub name: String,
    /// All that may be used.
    pub available: u64,
    /// Bytes of weights allowed.
    pub budget: u64,
    /// Taken by buffers before the first weight.
    pub reserve: u64,
}

/// A module's weights and what it needs beside them.
#[derive(Debug, Clone, Copy)]
struct Load {
    weights: u64,
    beside: u64,
}

/// A tier and the reason for it, for each module.
pub(crate) type Assigned = Vec<(Tier, String)>;

/// Puts every module on a tier.
pub(crate) fn assign(
    config: &ModelConfig,
    footprint: &Footprint,
    rooms: &[Room],
    limits: &Limits,
) -> Result<Assigned, PlanError> {
    let loads: Vec<Load> = modules(config)
        .iter()
        .zip(&footprint.module_weights)
        .map(|(module, weights)| {
            let is_block = matches!(module.kind, ModuleKind::Block(_));
            Load { weights: *weights, beside: if is_block { footprint.kv_per_layer } else { 0 } }
        })
        .collect();
    let gpus: Vec<&Room> = rooms.iter().filter(|r| matches!(r.tier, Tier::Gpu(_))).collect();
    let on_cards = match &limits.mode {
        DeviceMapMode::Explicit(map) => return explicit(config, map),
        DeviceMapMode::Cpu | DeviceMapMode::Disk => vec![None; loads.len()],
        DeviceMapMode::Auto => fewest_off(&loads, &gpus),
        DeviceMapMode::Sequential => in_sequence(&loads, &gpus, u64::MAX),
        DeviceMapMode::Balanced => balanced(&loads, &gpus, 0),
        DeviceMapMode::BalancedLow0 => balanced(&loads, &gpus, 1),
    };
    below(config, &loads, &gpus, rooms, on_cards, limits)
}

/// The best state so far on one card.
#[derive(Debug, Clone, Copy)]
struct State {
    card: usize,
    weights: u64,
    all: u64,
    off: u64,
    cuts: u32,
    on: Option<usize>,
    parent: usize,
}

fn fits(room: &Room, weights: u64, all: u64) -> bool {
    weights <= room.budget && room.reserve.saturating_add(all) <= room.available
}

fn fewest_off(loads: &[Load], gpus: &[&Room]) -> Vec<Option<usize>> {
    let start = State { card: 0, weights: 0, all: 0, off: 0, cuts: 0, on: None, parent: 0 };
    let mut layers: Vec<Vec<State>> = vec![vec![start]];
    for load in loads {
        let mut next = Vec::new();
        for (parent, state) in layers[layers.len() - 1].iter().enumerate() {
            let moved = |on| u32::from(layers.len() > 1 && state.on != on);
            next.push(State {
                off: state.off + load.weights,
                cuts: state.cuts + moved(None),
                on: None,
                parent,
                ..*state
            });
            for (card, room) in gpus.iter().enumerate().skip(state.card) {
                let (had, all) = if card == state.card { (state.weights, state.all) } else { (0, 0) };
                let (weights, all) = (had + load.weights, all + load.weights + load.beside);
                if fits(room, weights, all) {
                    let on = Some(card);
                    next.push(State { card, weights, all, cuts: state.cuts + moved(on), on, parent, ..*state });
                }
            }
        }
        layers.push(undominated(next));
    }
    trace(&layers)
}

/// Drops every state that another one of the same card and place beats in all that matters.
fn undominated(mut states: Vec<State>) -> Vec<State> {
    states.sort_by_key(|s| (s.card, s.on, s.off, s.cuts, s.all, s.weights));
    let mut kept: Vec<State> = Vec::new();
    for state in states {
        let beaten =
            kept.iter().rev().take_while(|k| k.card == state.card && k.on == state.on).any(|k| {
                k.off <= state.off && k.cuts <= state.cuts && k.all <= state.all && k.weights <= state.weights
            });
        if !beaten {
            kept.push(state);
        }
    }
    kept
}

fn trace(layers: &[Vec<State>]) -> Vec<Option<usize>> {
    let last = &layers[layers.len() - 1];
    let mut at = (0..last.len()).min_by_key(|&i| (last[i].off, last[i].cuts)).unwrap_or(0);
    let mut placed = Vec::new();
    for states in layers[1..].iter().rev() {
        placed.push(states[at].on);
        at = states[at].parent;
    }
    placed.reverse();
    placed
}

/// Fills each card before the next, with at most `share` bytes on each but the last.
fn in_sequence(loads: &[Load], gpus: &[&Room], share: u64) -> Vec<Option<usize>> {
    let (mut card, mut weights, mut all) = (0, 0, 0);
    let mut placed = Vec::new();
    for load in loads {
        while card < gpus.len() {
            let full = card + 1 < gpus.len() && weights > 0 && weights + load.weights > share;
            if !full && fits(gpus[card], weights + load.weights, all + load.weights + load.beside) {
                break;
            }
            (card, weights, all) = (card + 1, 0, 0);
        }
        (weights, all) = (weights + load.weights, all + load.weights + load.beside);
        placed.push((card < gpus.len()).then_some(card));
    }
    placed
}

/// The smallest equal share with which everything that fits in sequence still fits; the first `spare` cards stay as empty
/// as that allows.
fn balanced(loads: &[Load], gpus: &[&Room], spare: usize) -> Vec<Option<usize>> {
    let off = |placed: &[Option<usize>]| -> u64 {
        placed.iter().zip(loads).filter(|(on, _)| on.is_none()).map(|(_, load)| load.weights).sum()
    };
    let skip = spare.min(gpus.len().saturating_sub(1));
    let total: u64 = loads.iter().map(|l| l.weights).sum();
    for used in [&gpus[skip..], gpus] {
        let first = gpus.len() - used.len();
        let best = off(&fewest_off(loads, gpus));
        let (mut low, mut high) = (0, total);
        while low < high {
            let middle = low + (high - low) / 2;
            if off(&in_sequence(loads, used, middle)) <= best { high = middle } else { low = middle + 1 }
        }
        let placed = in_sequence(loads, used, low);
        if off(&placed) <= best || first == 0 {
            return placed.into_iter().map(|on| on.map(|card| card + first)).collect();
        }
    }
    fewest_off(loads, gpus)
}

/// Fills the host with what is off the cards, in order, then the disk.
fn below(
    config: &ModelConfig,
    loads: &[Load],
    gpus: &[&Room],
    rooms: &[Room],
    placed: Vec<Option<usize>>,
    limits: &Limits,
) -> Result<Assigned, PlanError> {
    let room = |tier: Tier| rooms.iter().find(|r| r.tier == tier);
    let (Some(host), Some(disk)) = (room(Tier::Cpu), room(Tier::Disk)) else { return Ok(Vec::new()) };
    let off: u64 = placed.iter().zip(loads).filter(|(on, _)| on.is_none()).map(|(_, l)| l.weights).sum();
    let beside: u64 = placed.iter().zip(loads).filter(|(on, _)| on.is_none()).map(|(_, l)| l.beside).sum();
    let all_fit = fits(host, off, off + beside);
    let largest = loads.iter().map(|l| l.weights).max().unwrap_or(0);
    // Blocks that stay on disk still have their keys and values on the host, and two of them are read ahead.
    let mut left = host.budget.min(host.available.saturating_sub(host.reserve + beside + 2 * largest));
    let mut assigned = Vec::new();
    for ((on, load), module) in placed.iter().zip(loads).zip(modules(config)) {
        let is_block = matches!(module.kind, ModuleKind::Block(_));
        let pick = match on {
            Some(card) => {
                (Tier::Gpu(*card), format!("fits the {} of {}", bytes_text(gpus[*card].budget), gpus[*card].name))
            }
            None if limits.mode == DeviceMapMode::Disk && is_block => (Tier::Disk, "asked for".to_owned()),
            None if all_fit => (Tier::Cpu, why_host(gpus, load)),
            None if load.weights <= left => {
                left -= load.weights;
                (Tier::Cpu, why_host(gpus, load))
            }
            None if is_block && disk.budget >= load.weights => {
                let short = load.weights - left;
                (
                    Tier::Disk,
                    format!(
                        "{} is full: {} short; with that much more it would be in memory",
                        host.name,
                        bytes_text(short)
                    ),
                )
            }
            None => {
                let (short_bytes, need_bytes, have_bytes) = (load.weights - left, load.weights, left);
                let change = format!(
                    "The smallest change that fits: {} more host memory, or --dtype int8",
                    bytes_text(short_bytes)
                );
                return Err(PlanError::DoesNotFit {
                    what: module.name,
                    tier: "cpu".into(),
                    short_bytes,
                    need_bytes,
                    have_bytes,
                    change,
                });
            }
        };
        assigned.push(pick);
    }
    Ok(assigned)
}

fn why_host(gpus: &[&Room], load: &Load) -> String {
    match gpus.iter().max_by_key(|g| g.budget) {
        None => "there is no card".to_owned(),
        Some(card) => {
            format!("the cards are full; the next alternative is {} more on {}", bytes_text(load.weights), card.name)
        }
    }
}

fn explicit(config: &ModelConfig, map: &[(String, Tier)]) -> Result<Assigned, PlanError> {
    let tier_of = |name: &str| {
        let covers =
            |key: &str| key.is_empty() || name == key || name.strip_prefix(key).is_some_and(|r| r.starts_with('.'));
        map.iter().filter(|(key, _)| covers(key)).max_by_key(|(key, _)| key.len()).map(|(_, tier)| *tier)
    };
    let place = |module: checkpoint::Module| {
        let setting = |found: String| PlanError::Setting {
            key: "--device-map",
            expected: "a tier for every module".into(),
            found,
        };
        let tier = tier_of(&module.name).ok_or_else(|| setting(format!("none for {}", module.name)))?;
        let block = matches!(module.kind, ModuleKind::Block(_));
        if tier == Tier::Disk && !block {
            return Err(setting(format!("disk for {}: only blocks can be computed from the disk", module.name)));
        }
        Ok((tier, "the map that was given".to_owned()))
    };
    modules(config).into_iter().map(place).collect()
}
