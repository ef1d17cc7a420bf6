//! Tool calls in a model's reply: one parser for the dialects that models' chat templates teach.
//!
//! | dialect | form |
//! |---|---|
//! | Qwen, Hermes, SmolLM2 | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` |
//! | Llama 3.1 | `{"name": ..., "parameters": {...}}`, or `<function=NAME>{...}</function>` |
//! | gpt-oss | `to=functions.NAME json{...}` |
//! | DeepSeek | `function NAME`, then the arguments in a fence |
//! | Mistral | a list of calls |
//! | OpenAI | `{"function": {"name": ..., "arguments": "{...}"}}` |
//!
//! [`parse`] takes a complete reply, [`ContentStream`] a growing one. [`CallSyntax`] lists every
//! point in which callers differ. Nothing here does I/O, and the work is linear in the reply's
//! length (times [`DEAD_ENDS_MAX`] for a reply of broken JSON).

mod envelope;
mod json;
mod marks;
mod parse;
mod reasoning;
mod stream;
mod syntax;

pub use envelope::{CallDefect, ParsedCall, read_call};
pub use json::{DEAD_ENDS_MAX, without_objects};
pub use parse::{FoundCall, ParsedReply, parse};
pub use reasoning::answer;
pub use stream::ContentStream;
pub use syntax::{CallSearch, CallSyntax};
