//! Separates reasoning (`<think>...</think>`) from the answer. A call within reasoning is not a
//! call: the model only considered it.
use super::syntax::CallSyntax;
use std::ops::Range;

pub(super) const REASONING_END: &str = "</think>";
const REASONING_BEGIN: &str = "<think>";

/// The reply after its last `</think>`. Without any `</think>`: the part before the first `<think>`
/// if [`CallSyntax::unclosed_reasoning`] is set, else the whole reply.
pub fn answer<'a>(reply: &'a str, syntax: &CallSyntax) -> &'a str {
    &reply[answer_range(reply, syntax)]
}

pub(super) fn answer_range(reply: &str, syntax: &CallSyntax) -> Range<usize> {
    let end = match reply.rfind(REASONING_END) {
        Some(at) => return at + REASONING_END.len()..reply.len(),
        None if syntax.unclosed_reasoning => reply.find(REASONING_BEGIN),
        None => None,
    };
    0..end.unwrap_or(reply.len())
}
