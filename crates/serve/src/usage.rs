//! Token counts as OpenAI's `usage` object.

use engine::Completion;
use serde_json::{Value, json};

pub(crate) fn usage(completion: &Completion) -> Value {
    let (prompt, reply) = (completion.prompt_tokens, completion.reply.tokens.len());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": reply,
        "total_tokens": prompt + reply,
        "prompt_tokens_details": {"cached_tokens": completion.cached_prompt_tokens},
        "completion_tokens_details": {"reasoning_tokens": completion.reasoning_tokens},
    })
}
