//! Tool calls in a model's reply: one parser for the dialects that models' chat templates teach.
//!
//! | dialect | form |
//! |---|---|
//! | Qwen, Hermes, SmolLM2 | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` |
//! | Llama 3.1 | `{"name": ..., "parameters": {...}}`, or `<function=NAME>{...}</function>` |
//! | gpt-oss | `to=functions.NAME json{...}` |
//! | DeepSeek | `function NAME`, then the arguments in a code fence |
//! | Mistral | a JSON list of calls |
//! | OpenAI | `{"function": {"name": ..., "arguments": "{...}"}}` |
//!
//! [`parse`] reads a complete reply, [`ContentStream`] a reply that is still growing.
//! [`CallSyntax`] has the options in which callers differ. This module does no I/O, and its work is
//! linear in the length of the reply (times [`DEAD_ENDS_MAX`] for a reply of malformed JSON).

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
