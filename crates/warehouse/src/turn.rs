//! An agent's turn in one step: a tool call and its prediction card.

use crate::card::{Card, CardProblem};
use crate::tool_call::ToolCall;
use crate::tool_specs::ToolName;

/// A tool call with its prediction card. A reply without a valid call is a turn too: the world
/// records it as a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The call, or the kind of parse failure (`invalid_json`, `cut_off`, ...).
    pub call: Result<ToolCall, String>,
    pub card: Result<Card, CardProblem>,
    /// The tool that the agent's text announced; `None` if it announced none.
    pub plan: Option<String>,
    /// Cosine similarity of the agent's summary of the state to its first summaries; `None` for
    /// those first summaries, and if no embeddings are available.
    pub similarity: Option<f64>,
}

impl Turn {
    /// A turn without plan and similarity.
    pub fn new(call: Result<ToolCall, String>, card: Result<Card, CardProblem>) -> Turn {
        Turn { call, card, plan: None, similarity: None }
    }

    /// Whether the call contradicts the card or the plan; `None` if neither determines it. A card
    /// contradicts a call that it expects to fail, an order that it expects to cost or deliver
    /// nothing, and a read-only call that it expects to cost something.
    pub fn contradicts(&self) -> Option<bool> {
        let call = self.call.as_ref().ok()?;
        let planned = self.plan.as_ref().map(|plan| *plan != call.tool);
        let card = self.card.as_ref().ok();
        let fails = card.and_then(|card| card.success).map(|expects| !expects);
        let costs = card.and_then(|card| match ToolName::parse(&call.tool)? {
            ToolName::Order if card.cost == Some(0.0) || card.quantity == Some(0.0) => Some(true),
            tool if tool.only_reads() && card.cost.is_some_and(|cost| cost > 0.0) => Some(true),
            _ => None,
        });
        [planned, fails, costs].into_iter().flatten().reduce(|a, b| a || b)
    }
}
