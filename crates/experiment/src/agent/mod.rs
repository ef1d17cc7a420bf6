//! The agent's side of a step: prompts, the conversation and its history policy, and parsing of
//! replies.

pub(crate) mod conversation;
mod history;
pub(crate) mod prompt;
mod reply;
pub(crate) mod summary;

pub use history::HistoryPolicy;
pub use reply::{AgentAction, ReplyMode, read_reply};
