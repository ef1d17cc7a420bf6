//! The output of a sequence: detokenizes tokens and sends them through the response channel.

use std::time::Instant;

use text::{TextError, Tokenizer};

use super::{Completion, Delta, ResponseSender};
use crate::engine::detokenizer::Detokenizer;
use crate::engine::lifecycle::FatalError;
use crate::engine::{DraftStats, FinishReason, RequestError};
use crate::scheduler::{ReplySection, Sequence, SequenceOutput, Task, ThinkingPhase};

/// The output of a sequence: a detokenizer and the engine's end of a response channel.
pub(in crate::engine) struct ResponseOutput {
    sender: ResponseSender,
    submitted: Instant,
    first_token: Option<Instant>,
    /// `None` for an embedding request.
    text: Option<Box<ResponseText>>,
}

struct ResponseText {
    /// Of the answer.
    detokenizer: Detokenizer,
    /// Of the thinking; `None` if the response has none.
    reasoning: Option<Detokenizer>,
    /// Whether a mark followed the last text of the thinking.
    is_marked: bool,
    /// Whether log-probabilities are returned.
    logprobs: bool,
    /// All tokens and text of the reply so far.
    reply: Delta,
    /// Tokens and text that were not sent yet.
    delta: Delta,
}

impl ResponseOutput {
    pub fn new(sender: ResponseSender) -> Self {
        ResponseOutput { sender, submitted: Instant::now(), first_token: None, text: None }
    }

    /// Configures the output of a sequence that generates a response. Without a tokenizer, the
    /// response's text stays empty.
    pub fn with_text(
        self,
        tokenizer: Option<&Tokenizer>,
        stop_strings: Vec<String>,
        logprobs: bool,
    ) -> Self {
        let text = ResponseText {
            detokenizer: Detokenizer::new(tokenizer, stop_strings),
            reasoning: None,
            is_marked: false,
            logprobs,
            reply: Delta::default(),
            delta: Delta::default(),
        };
        ResponseOutput { text: Some(Box::new(text)), ..self }
    }

    /// Configures the output of a response that may think.
    pub fn with_reasoning(mut self, tokenizer: Option<&Tokenizer>) -> Self {
        if let Some(text) = &mut self.text {
            text.reasoning = Some(Detokenizer::trimming(tokenizer));
        }
        self
    }

    pub fn fail(self, error: &FatalError) {
        self.sender.fail(error);
    }

    /// Sends the completion of a sequence that ended. The sequence must not hold KV blocks.
    pub fn complete(sequence: Sequence<ResponseOutput>, reason: FinishReason) {
        let Sequence { mut output, task, started, prompt_tokens, .. } = sequence;
        debug_assert!(sequence.table.blocks.is_empty(), "an ended sequence holds blocks");
        let stopped_by_text = reason == FinishReason::Stop
            && !matches!(&task, Task::Generate(generation) if generation.stop_token.is_some());
        if !stopped_by_text {
            output.flush_text();
        }
        output.deliver();
        let ResponseOutput { sender, submitted, first_token, text } = output;
        let since = |later: Instant| later.duration_since(submitted).as_secs_f64();
        let now = Instant::now();
        let mut completion = Completion {
            reason,
            reply: text.map(|text| text.reply).unwrap_or_default(),
            stop_token: None,
            prompt_tokens,
            cached_prompt_tokens: sequence.cached_prompt_tokens,
            reasoning_tokens: 0,
            forced_tokens: 0,
            drafts: DraftStats::default(),
            seconds: since(now),
            queued_s: since(started.unwrap_or(now)),
            first_token_s: first_token.map(since),
            embedding: None,
        };
        match task {
            Task::Generate(generation) => {
                completion.stop_token = generation.stop_token;
                completion.reasoning_tokens =
                    generation.thinking.as_ref().map_or(0, ThinkingPhase::tokens);
                completion.forced_tokens = generation.forced_tokens;
                completion.drafts = generation.drafts;
            }
            Task::Embed(sum) if completion.reason == FinishReason::Embedded => {
                completion.embedding = Some(mean(&sum, prompt_tokens));
            }
            Task::Embed(_) => {}
        }
        sender.complete(completion);
    }

    /// Appends the text that was held back as the possible beginning of a stop string or as an
    /// incomplete character.
    fn flush_text(&mut self) {
        if let Some(text) = &mut self.text {
            text.flush_reasoning();
            let rest = text.detokenizer.finish().text;
            text.reply.text.push_str(&rest);
            text.delta.text.push_str(&rest);
        }
    }
}

impl SequenceOutput for ResponseOutput {
    fn is_canceled(&self) -> bool {
        self.sender.is_canceled()
    }

    fn push(&mut self, token: u32, logprob: Option<f32>) {
        let Some(text) = &mut self.text else { return };
        for delta in [&mut text.reply, &mut text.delta] {
            delta.tokens.push(token);
            if text.logprobs {
                delta.logprobs.push(logprob);
            }
        }
    }

    fn push_text(&mut self, token: u32, section: ReplySection) -> Option<FinishReason> {
        match self.text.as_mut()?.push(token, section) {
            Ok(stopped) => stopped.then_some(FinishReason::Stop),
            Err(cause) => {
                let cause = cause.to_string();
                Some(FinishReason::Error(RequestError::Text { token, cause }))
            }
        }
    }

    fn deliver(&mut self) {
        let Some(text) = &mut self.text else { return };
        if !text.delta.is_empty() {
            self.first_token.get_or_insert_with(Instant::now);
            self.sender.send(std::mem::take(&mut text.delta));
        }
    }
}

impl ResponseText {
    /// Appends a token's text. Returns whether the answer has a stop string now.
    fn push(&mut self, token: u32, section: ReplySection) -> Result<bool, TextError> {
        match section {
            ReplySection::Reasoning => {
                if let Some(reasoning) = &mut self.reasoning {
                    let more = reasoning.push(token)?.text;
                    // Two messages of thinking are two lines.
                    let is_next = std::mem::take(&mut self.is_marked);
                    if is_next && !self.reply.reasoning.is_empty() {
                        self.append_reasoning("\n");
                    }
                    self.append_reasoning(&more);
                }
                Ok(false)
            }
            ReplySection::Mark => {
                self.flush_reasoning();
                self.detokenizer.trim_start();
                self.is_marked = true;
                Ok(false)
            }
            ReplySection::Answer => {
                let more = self.detokenizer.push(token)?;
                self.reply.text.push_str(&more.text);
                self.delta.text.push_str(&more.text);
                Ok(more.stopped)
            }
        }
    }

    /// Appends the text of the thinking that was held back as an incomplete character.
    fn flush_reasoning(&mut self) {
        if let Some(reasoning) = &mut self.reasoning {
            let rest = reasoning.finish().text;
            self.append_reasoning(&rest);
        }
    }

    fn append_reasoning(&mut self, more: &str) {
        self.reply.reasoning.push_str(more);
        self.delta.reasoning.push_str(more);
    }
}

fn mean(sum: &[f64], tokens: usize) -> Vec<f32> {
    sum.iter().map(|&x| (x / tokens as f64) as f32).collect()
}
