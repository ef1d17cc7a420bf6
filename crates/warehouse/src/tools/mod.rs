//! Tool calls: dispatch and execution.

mod notes;
mod outcome;
mod shipping;
mod trading;

use crate::state::WorldState;
use crate::tool_call::{ToolCall, clip};
use crate::tool_specs::ToolName;
pub(crate) use outcome::CallOutcome;
use outcome::ToolResult;
use serde_json::json;

/// Executes a call; an unknown tool or an invalid argument gives a failed outcome.
pub(crate) fn execute(state: &mut WorldState, call: &ToolCall) -> CallOutcome {
    let Some(tool) = state.tools.iter().copied().find(|tool| tool.label() == call.tool) else {
        let names: Vec<&str> = state.tools.iter().map(|tool| tool.label()).collect();
        return CallOutcome::failed(format!(
            "there is no tool {:?}; the tools are {}",
            clip(&call.tool),
            names.join(", ")
        ));
    };
    let result = match tool {
        ToolName::ShipCustomerOrder => shipping::ship(state, call),
        ToolName::Order => trading::order(state, call),
        ToolName::Quote => trading::quote(state, call),
        ToolName::CheckInbox => Ok(CallOutcome::done(state.inbox())),
        ToolName::CheckStorage => Ok(CallOutcome::done(state.storage())),
        ToolName::CheckBudget => Ok(CallOutcome::done(state.budget())),
        ToolName::CancelOrder => trading::cancel(state, call),
        ToolName::Wait => {
            Ok(CallOutcome { ends_day: true, ..CallOutcome::done(json!({"waited": true})) })
        }
        ToolName::Expedite => trading::expedite(state, call),
        ToolName::WriteScratchpad => notes::write(state, call),
        ToolName::ReadScratchpad => Ok(CallOutcome::done(json!(state.scratchpad))),
        ToolName::DeleteScratchpad => notes::delete(state, call),
        ToolName::ResetBeliefs => Ok(reset_beliefs(state)),
        ToolName::AuditPredictions => Ok(CallOutcome::done(state.past_cards())),
        ToolName::AskHelp => Ok(CallOutcome::done(state.advice())),
    };
    result.unwrap_or_else(CallOutcome::failed)
}

/// Clears the past cards; the caller also drops the conversation's history before the next prompt.
fn reset_beliefs(state: &mut WorldState) -> CallOutcome {
    state.cards.clear();
    CallOutcome::done(
        json!({"present_state": {"budget": state.budget(), "storage": state.storage(), "inbox": state.inbox()}}),
    )
}
