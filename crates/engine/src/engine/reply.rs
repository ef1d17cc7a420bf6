//! A reply in the making: what a new token means to it.

use llguidance::CancellationHandle;

use super::detokenizer::Detokenizer;
use super::ngram_proposer::DraftLength;
use super::{Delta, DraftStats, FinishReason, RequestError};
use crate::grammar::{CompiledGrammar, GrammarMatcher};
use crate::sampling::{SampledToken, SamplingParams, SeenTokens};

/// What bounds and ends a reply.
pub(super) struct Limits {
    pub max_new_tokens: usize,
    pub eos: Vec<u32>,
    pub stop_tokens: Vec<u32>,
    pub logprobs: bool,
}

/// A reply as far as it is.
pub(super) struct Reply {
    pub sampling: SamplingParams,
    pub seen: SeenTokens,
    pub limits: Limits,
    pub text: Detokenizer,
    /// Its form, until the reply begins: what waits takes little memory.
    pub form: Option<CompiledGrammar>,
    /// Away while its mask is computed.
    pub guide: Option<Box<GrammarMatcher>>,
    pub constrained: bool,
    /// Stops the guide while it is away.
    pub cancellation: Option<CancellationHandle>,
    pub whole: Delta,
    /// What the ticket has not got yet.
    pub news: Delta,
    pub forced_tokens: usize,
    /// How far its drafts guess.
    pub ahead: DraftLength,
    pub drafts: DraftStats,
    pub stop_token: Option<u32>,
}

impl Reply {
    /// Begins under its form: what that forces before the first choice is computed with the prompt.
    /// Gives the reason if that is all there is.
    pub fn begin(&mut self, tokens: &mut Vec<u32>) -> Option<FinishReason> {
        self.guide = Some(Box::new(self.form.take()?.guide()));
        self.force(tokens)
    }

    /// Takes what was chosen behind its end and behind the parts of a draft, as far as they came
    /// true: a choice stands behind all that was guessed before it. Gives the reason if that
    /// ends the reply.
    pub fn accept_all(
        &mut self,
        choices: Vec<Result<SampledToken, RequestError>>,
        parts: &[Vec<u32>],
        tokens: &mut Vec<u32>,
    ) -> Option<FinishReason> {
        let mut right = 0;
        for (place, choice) in choices.into_iter().enumerate() {
            let before = tokens.len();
            let reason = match choice {
                Ok(choice) => self.accept(choice.token, choice.logprob, tokens),
                Err(cause) => Some(FinishReason::Error(cause)),
            };
            if reason.is_some() {
                return reason;
            }
            if parts.get(place).is_none_or(|part| tokens[before..] != part[..]) {
                break;
            }
            right += 1;
        }
        self.ahead.learn(parts.len(), right);
        None
    }

    /// Takes a token that was chosen and those that are forced after it: they are added to
    /// `tokens`. Gives the reason if that ends the reply.
    fn accept(
        &mut self,
        token: u32,
        logprob: Option<f32>,
        tokens: &mut Vec<u32>,
    ) -> Option<FinishReason> {
        if let Some(reason) = self.push(token, logprob, tokens) {
            return Some(reason);
        }
        match self.guide.as_mut().map(|guide| guide.advance(token)) {
            None => self.is_full().then_some(FinishReason::Length),
            Some(Ok(())) => self.force(tokens),
            Some(Err(cause)) => Some(FinishReason::Error(cause.into())),
        }
    }

    /// Takes the tokens that must come next. A form that is complete ends the reply, also with its
    /// last token.
    fn force(&mut self, tokens: &mut Vec<u32>) -> Option<FinishReason> {
        let finished = |guide: &Option<Box<GrammarMatcher>>| {
            guide.as_ref().is_some_and(|guide| guide.finished())
        };
        if finished(&self.guide) {
            return Some(FinishReason::Grammar);
        }
        if self.is_full() {
            return Some(FinishReason::Length);
        }
        let forced = match self.guide.as_mut()?.forced() {
            Ok(forced) => forced,
            Err(cause) => return Some(FinishReason::Error(cause.into())),
        };
        for token in forced {
            if self.is_full() {
                return Some(FinishReason::Length);
            }
            if let Some(reason) = self.push(token, None, tokens) {
                return Some(reason);
            }
            self.forced_tokens += 1;
        }
        if finished(&self.guide) {
            return Some(FinishReason::Grammar);
        }
        self.is_full().then_some(FinishReason::Length)
    }

    fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Tokens that it may still get.
    pub fn room(&self) -> usize {
        self.limits.max_new_tokens.saturating_sub(self.whole.tokens.len())
    }

    /// The last of the text, once the reason is known.
    pub fn finish(&mut self, reason: &FinishReason) {
        // A stop string took its text out already; what is held back after an error is still the
        // model's.
        if *reason == FinishReason::Stop && self.stop_token.is_none() {
            return;
        }
        let rest = self.text.finish().text;
        self.whole.text.push_str(&rest);
        self.news.text.push_str(&rest);
    }

    fn push(
        &mut self,
        token: u32,
        logprob: Option<f32>,
        tokens: &mut Vec<u32>,
    ) -> Option<FinishReason> {
        if let Some(reason) = self.end(token) {
            self.stop_token = Some(token);
            return Some(reason);
        }
        tokens.push(token);
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.extend(&[token]);
        }
        let added = match self.text.push(token) {
            Ok(added) => added,
            Err(cause) => {
                return Some(FinishReason::Error(RequestError::Text {
                    token,
                    cause: cause.to_string(),
                }));
            }
        };
        for piece in [&mut self.whole, &mut self.news] {
            piece.tokens.push(token);
            piece.text.push_str(&added.text);
            if self.limits.logprobs {
                piece.logprobs.push(logprob);
            }
        }
        added.stopped.then_some(FinishReason::Stop)
    }

    /// The reason if a token ends the reply.
    pub fn end(&self, token: u32) -> Option<FinishReason> {
        if self.limits.eos.contains(&token) {
            return Some(FinishReason::Eos);
        }
        self.limits.stop_tokens.contains(&token).then_some(FinishReason::Stop)
    }
}
