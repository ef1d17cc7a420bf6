//! Tokens, as Inspect counts them.

use results::StepRow;
use serde_json::{Value, json};

/// Tokens of a step, a run or a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TokenUsage {
    prompt: u64,
    /// With those of the thinking.
    reply: u64,
    thinking: u64,
}

impl TokenUsage {
    pub fn of_step(row: &StepRow) -> TokenUsage {
        TokenUsage {
            prompt: row.prompt_tokens,
            reply: row.reply_tokens,
            thinking: row.reasoning_tokens,
        }
    }

    pub fn add(&mut self, other: TokenUsage) {
        self.prompt += other.prompt;
        self.reply += other.reply;
        self.thinking += other.thinking;
    }

    pub fn document(self) -> Value {
        let mut usage = json!({
            "input_tokens": self.prompt,
            "output_tokens": self.reply,
            "total_tokens": self.prompt + self.reply,
        });
        if self.thinking > 0 {
            usage["reasoning_tokens"] = self.thinking.into();
        }
        usage
    }

    /// By model, as in samples and logs; empty if no model computed the replies.
    pub fn by_model(self, model: &str) -> Value {
        match self == TokenUsage::default() {
            true => json!({}),
            false => json!({model: self.document()}),
        }
    }
}
