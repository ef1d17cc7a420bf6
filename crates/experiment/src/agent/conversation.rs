//! The conversation of a run, and the choice of past exchanges that fit into the next prompt.

use super::history::HistoryPolicy;
use crate::provider::ModelThinking;
use crate::provider::{Provider, ProviderError};
use results::PromptMessage;
use serde_json::Value;
use std::borrow::Cow;

/// Text between the market description and the first observation of a prompt that omits earlier
/// exchanges.
const LEFT_OUT: &str = "(What was said before is left out.)\n";

/// All messages of a run: the system prompt, then alternating observations and replies. The last
/// message is an observation.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    messages: Vec<PromptMessage>,
    /// Text with prices and suppliers, without which an agent cannot trade. It precedes the first
    /// observation of each prompt, also after earlier exchanges are left out.
    market: String,
    /// Whether later prompts contain past messages; scripted operators need none.
    keeps_past: bool,
    /// Index of the first message after the last reply.
    news_from: usize,
    /// Number of past exchanges that are left out of prompts.
    dropped: u64,
    history: HistoryPolicy,
}

/// Limits on the length of a prompt, and the provider whose tokenizer measures it.
pub(crate) struct PromptBudget<'a> {
    pub provider: &'a dyn Provider,
    pub tools: Option<&'a Value>,
    pub thinking: ModelThinking,
    /// Maximum number of tokens of prompt and reply together.
    pub context: u64,
    /// Tokens reserved for the reply, thinking included.
    pub reply: u64,
}

impl Conversation {
    pub fn new(
        system: String,
        market: String,
        observation: &str,
        history: HistoryPolicy,
        keeps_past: bool,
    ) -> Self {
        let messages =
            vec![message("system", system), message("user", market.clone() + observation)];
        Conversation { messages, market, keeps_past, news_from: 0, dropped: 0, history }
    }

    /// Messages after the last reply. If past messages are not kept, they are moved out of the
    /// conversation.
    pub fn take_news(&mut self) -> Vec<PromptMessage> {
        if self.keeps_past {
            self.messages[self.news_from..].to_vec()
        } else {
            std::mem::take(&mut self.messages)
        }
    }

    /// Number of complete exchanges, which precede the current observation.
    fn past(&self) -> u64 {
        (self.messages.len() as u64).saturating_sub(2) / 2
    }

    /// Number of exchanges that the history policy leaves out, irrespective of the context length.
    pub fn left_out_by_policy(&self) -> u64 {
        self.history.leave_out(self.past(), self.dropped)
    }

    /// Number of exchanges to leave out so that the prompt fits the budget. It depends only on the
    /// conversation and the model, so that a replay leaves out the same exchanges.
    ///
    /// # Errors
    /// The system prompt and one observation do not fit, or the provider fails to count tokens.
    pub fn fit(&self, budget: &PromptBudget<'_>) -> Result<u64, ProviderError> {
        let mut dropped = self.left_out_by_policy();
        let available = budget.context.saturating_sub(budget.reply);
        let mut limit = available;
        loop {
            let messages = self.request(dropped);
            // Each token of a byte-level vocabulary has at least one byte, so a prompt with no more
            // bytes than the limit of tokens fits without being tokenized.
            let bytes: usize = messages.iter().map(|message| message.content.len() + 32).sum();
            if budget.tools.is_none() && bytes as u64 <= limit {
                return Ok(dropped);
            }
            let tokens = budget.provider.count_tokens(&messages, budget.tools, budget.thinking)?;
            if tokens <= limit {
                return Ok(dropped);
            }
            // If exchanges must be left out, enough of them are dropped to free a quarter of the
            // available tokens. The next prompts then fit too, and extend this one, so that the
            // prefix cache hits.
            limit = limit.min(available * 3 / 4).max(1);
            dropped = match HistoryPolicy::leave_out_more(self.past(), dropped) {
                Some(more) => more,
                None if tokens <= available => return Ok(dropped),
                None => return Err(does_not_fit(tokens, budget)),
            };
        }
    }

    /// The messages of a prompt that leaves out the first `dropped` exchanges.
    pub fn request(&self, dropped: u64) -> Cow<'_, [PromptMessage]> {
        if dropped == 0 {
            return Cow::Borrowed(&self.messages);
        }
        let from = (1 + 2 * dropped as usize).min(self.messages.len());
        let mut request: Vec<PromptMessage> =
            self.messages[..1].iter().chain(&self.messages[from..]).cloned().collect();
        if let Some(first) = request.get_mut(1) {
            first.content = format!("{}{}", self.gap_text(), first.content);
        }
        Cow::Owned(request)
    }

    /// The text that precedes the first kept message of a prompt that leaves out exchanges.
    pub fn gap_text(&self) -> String {
        format!("{}{LEFT_OUT}", self.market)
    }

    /// Text with prices and suppliers, which begins the first observation.
    pub fn market(&self) -> &str {
        &self.market
    }

    /// Leaves out all past exchanges from the next prompt on, because the agent called
    /// `reset_beliefs`.
    pub fn forget(&mut self) {
        self.dropped = self.past();
    }

    /// Adds a reply and the observation that follows it. The prompt of that reply left out the
    /// first `dropped` exchanges.
    pub fn add(&mut self, reply: &str, observation: String, dropped: u64) {
        // Exchanges that were left out are never sent again, so their texts are freed.
        let dropped_end = (1 + 2 * dropped as usize).min(self.messages.len());
        let freed_end = (1 + 2 * self.dropped as usize).min(dropped_end);
        self.messages[freed_end..dropped_end]
            .iter_mut()
            .for_each(|message| message.content = String::new());
        self.dropped = dropped;
        if self.keeps_past {
            self.messages.push(message("assistant", reply.to_string()));
        }
        self.news_from = self.messages.len();
        self.messages.push(message("user", observation));
    }
}

fn does_not_fit(tokens: u64, budget: &PromptBudget<'_>) -> ProviderError {
    let remedy = format!(
        "the system prompt and one observation must fit beside a reply of {} tokens: raise \
         model.context_length, lower model.max_tokens_per_call, or take a model with a longer context",
        budget.reply
    );
    ProviderError::Context { tokens, limit: budget.context, remedy }
}

fn message(role: &'static str, content: String) -> PromptMessage {
    PromptMessage { role: role.into(), content }
}
