//! The agent's side of a step: what it is shown, what may be replied, how a reply is read.

pub(crate) mod conversation;
pub(crate) mod history;
mod json_scan;
pub(crate) mod prompt;
pub(crate) mod reply;
pub(crate) mod words;

pub use history::History;
pub use reply::{Call, ReplyMode, read_reply};
