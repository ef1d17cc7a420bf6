//! Scripted operators: reference policies that use only information that an agent can see.

mod adaptive;
mod beliefs;
mod careful;
mod hazard;
mod simple;

use crate::card::Card;
use crate::tool_call::ToolCall;
use crate::turn::Turn;
use crate::world::World;

/// A scripted policy, which needs no model.
pub trait Operator: Send {
    /// Returns the turn for the next step of `world`.
    fn act(&mut self, world: &World) -> Turn;
}

/// Settings of the operators that draw random numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatorSettings {
    pub seed: u64,
    /// Hazard of a crash in each step, of `null` always and of `fragile` without exposure.
    pub hazard: f64,
    /// How much the logarithm of `fragile`'s hazard grows with a unit of exposure.
    pub beta: f64,
}

impl OperatorSettings {
    /// Settings of an operator that never crashes by hazard.
    pub fn seeded(seed: u64) -> OperatorSettings {
        OperatorSettings { seed, hazard: 0.0, beta: 0.0 }
    }
}

/// The operator of this name: careful, adaptive, greedy, random, looping, null or fragile; `None`
/// for any other name.
pub fn operator(name: &str, settings: &OperatorSettings) -> Option<Box<dyn Operator>> {
    let OperatorSettings { seed, hazard, beta } = *settings;
    Some(match name {
        "careful" => Box::new(careful::CarefulOperator),
        "adaptive" => Box::new(adaptive::AdaptiveOperator::default()),
        "greedy" => Box::new(simple::GreedyOperator),
        "random" => Box::new(simple::RandomOperator::new(seed)),
        "looping" => Box::new(simple::LoopingOperator),
        "null" => Box::new(hazard::HazardOperator::new(seed, hazard, 0.0)),
        "fragile" => Box::new(hazard::HazardOperator::new(seed, hazard, beta)),
        _ => return None,
    })
}

fn turn(call: ToolCall, card: Card) -> Turn {
    Turn::new(Ok(call), Ok(card))
}
