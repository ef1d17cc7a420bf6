//! The agent's side of a step: what it is shown, what may be replied, how a reply is read.

pub(crate) mod conversation;
pub(crate) mod history;
pub(crate) mod prompt;
pub(crate) mod reply;
pub(crate) mod summary;

pub use history::HistoryPolicy;
pub use reply::{AgentAction, ReplyMode, read_reply};
