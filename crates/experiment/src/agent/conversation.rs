use super::history::HistoryPolicy;
use crate::provider::{Provider, ProviderError};
use results::PromptMessage;
use serde_json::Value;
use std::borrow::Cow;

/// What stands between the market and an observation where others came before it.
const LEFT_OUT: &str = "(What was said before is left out.)\n";

/// What was said: the system prompt, then observations and replies in turn; the last is an
/// observation.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    messages: Vec<PromptMessage>,
    /// Stands at the head of the first observation, and of whichever is the first that is still
    /// sent: what an agent needs to trade at all does not leave with the past.
    market: String,
    /// Whether the past is ever sent again; scripted operators need none.
    keeps_past: bool,
    /// Messages since the last reply begin here.
    news_from: usize,
    /// Exchanges that the history policy has left out so far.
    dropped: u64,
    history: HistoryPolicy,
}

/// How much a prompt may hold.
pub(crate) struct PromptBudget<'a> {
    pub provider: &'a dyn Provider,
    pub tools: Option<&'a Value>,
    /// Tokens of prompt and reply together.
    pub context: u64,
    /// Tokens that the reply may need.
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

    /// What was added since the last reply. Where the past is never sent again, it goes.
    pub fn take_news(&mut self) -> Vec<PromptMessage> {
        if self.keeps_past {
            self.messages[self.news_from..].to_vec()
        } else {
            std::mem::take(&mut self.messages)
        }
    }

    /// Exchanges before the present observation.
    fn past(&self) -> u64 {
        (self.messages.len() as u64).saturating_sub(2) / 2
    }

    /// Exchanges left out by the policy alone, before the context is looked at.
    pub fn left_out_by_policy(&self) -> u64 {
        self.history.leave_out(self.past(), self.dropped)
    }

    /// Decides what to leave out so that the prompt fits. Depends on the conversation and the model
    /// alone, not on the machine.
    pub fn fit(&self, room: &PromptBudget<'_>) -> Result<u64, ProviderError> {
        let mut dropped = self.left_out_by_policy();
        let mut limit = room.context.saturating_sub(room.reply);
        loop {
            let messages = self.request(dropped);
            // No token of a byte-level vocabulary holds less than a byte: short prompts need no
            // counting.
            let bytes: usize = messages.iter().map(|message| message.content.len() + 32).sum();
            if room.tools.is_none() && bytes as u64 <= limit {
                return Ok(dropped);
            }
            let tokens = room.provider.count_tokens(&messages, room.tools)?;
            if tokens <= limit {
                return Ok(dropped);
            }
            // Once something must go, enough goes that the next steps fit too, and their prompts
            // share a beginning.
            limit = limit.min(room.context.saturating_sub(room.reply) * 3 / 4).max(1);
            dropped = match HistoryPolicy::leave_out_more(self.past(), dropped) {
                Some(more) => more,
                None if tokens <= room.context.saturating_sub(room.reply) => return Ok(dropped),
                None => return Err(no_room(tokens, room)),
            };
        }
    }

    /// The request with so many exchanges left out.
    pub fn request(&self, dropped: u64) -> Cow<'_, [PromptMessage]> {
        if dropped == 0 {
            return Cow::Borrowed(&self.messages);
        }
        let from = (1 + 2 * dropped as usize).min(self.messages.len());
        let mut request: Vec<PromptMessage> =
            self.messages[..1].iter().chain(&self.messages[from..]).cloned().collect();
        if let Some(first) = request.get_mut(1) {
            first.content = format!("{}{LEFT_OUT}{}", self.market, first.content);
        }
        Cow::Owned(request)
    }

    /// From here on the past is left out: the agent asked to start afresh.
    pub fn forget(&mut self) {
        self.dropped = self.past();
    }

    /// Adds a reply and the observation that follows it.
    pub fn add(&mut self, reply: &str, observation: String, dropped: u64) {
        // What is left out is never sent again: of a long run only its length is kept.
        let gone = (1 + 2 * dropped as usize).min(self.messages.len());
        let past = (1 + 2 * self.dropped as usize).min(gone);
        self.messages[past..gone].iter_mut().for_each(|message| message.content = String::new());
        self.dropped = dropped;
        if self.keeps_past {
            self.messages.push(message("assistant", reply.to_string()));
        }
        self.news_from = self.messages.len();
        self.messages.push(message("user", observation));
    }
}

fn no_room(tokens: u64, room: &PromptBudget<'_>) -> ProviderError {
    let remedy = format!(
        "the system prompt and one observation must fit beside a reply of {} tokens: raise model.context_length, lower \
         model.max_tokens_per_call, or take a model with a longer context",
        room.reply
    );
    ProviderError::Context { tokens, limit: room.context, remedy }
}

fn message(role: &'static str, content: String) -> PromptMessage {
    PromptMessage { role: role.into(), content }
}
