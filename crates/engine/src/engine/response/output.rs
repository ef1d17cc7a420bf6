//! The output of a sequence: detokenizes tokens and sends them through the response channel.

use std::time::Instant;

use text::Tokenizer;

use super::{Completion, Delta, ResponseSender};
use crate::engine::detokenizer::Detokenizer;
use crate::engine::lifecycle::FatalError;
use crate::engine::{DraftStats, FinishReason, RequestError};
use crate::scheduler::{Sequence, SequenceOutput, Task};

/// The output of a sequence: a detokenizer and the engine's end of a response channel.
pub(in crate::engine) struct ResponseOutput {
    sender: ResponseSender,
    submitted: Instant,
    first_token: Option<Instant>,
    /// `None` for an embedding request.
    text: Option<Box<ResponseText>>,
}

struct ResponseText {
    detokenizer: Detokenizer,
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
            logprobs,
            reply: Delta::default(),
            delta: Delta::default(),
        };
        ResponseOutput { text: Some(Box::new(text)), ..self }
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

    fn push(&mut self, token: u32, logprob: Option<f32>) -> Option<FinishReason> {
        let text = self.text.as_mut()?;
        let detokenized = match text.detokenizer.push(token) {
            Ok(detokenized) => detokenized,
            Err(cause) => {
                let cause = cause.to_string();
                return Some(FinishReason::Error(RequestError::Text { token, cause }));
            }
        };
        for delta in [&mut text.reply, &mut text.delta] {
            delta.tokens.push(token);
            delta.text.push_str(&detokenized.text);
            if text.logprobs {
                delta.logprobs.push(logprob);
            }
        }
        detokenized.stopped.then_some(FinishReason::Stop)
    }

    fn deliver(&mut self) {
        let Some(text) = &mut self.text else { return };
        if !text.delta.is_empty() {
            self.first_token.get_or_insert_with(Instant::now);
            self.sender.send(std::mem::take(&mut text.delta));
        }
    }
}

fn mean(sum: &[f64], tokens: usize) -> Vec<f32> {
    sum.iter().map(|&x| (x / tokens as f64) as f32).collect()
}
