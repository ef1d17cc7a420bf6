//! The state of a response during generation: accepts tokens and decides when the response ends.

use llguidance::CancellationHandle;

use super::{
    DraftLength, DraftStats, FinishReason, ReplySection, RequestError, SequenceOutput,
    ThinkingPhase, ThinkingStep,
};
use crate::grammar::{CompiledGrammar, GrammarMatcher};
use crate::sampling::{SampledToken, SamplingParams, SeenTokens};

/// The length limit and the tokens that end a response. Its grammar and stop strings are kept
/// elsewhere.
pub(crate) struct StopConditions {
    pub max_new_tokens: usize,
    pub eos: Vec<u32>,
    pub stop_tokens: Vec<u32>,
}

/// Sampling settings, grammar and progress of a response.
pub(crate) struct GenerationState {
    pub sampling: SamplingParams,
    /// Tokens to which the repetition penalty applies; empty without a penalty.
    pub seen: SeenTokens,
    pub stop: StopConditions,
    /// Whether log-probabilities are returned.
    pub logprobs: bool,
    /// The thinking before the answer; `None` if the response is the answer alone.
    pub thinking: Option<ThinkingPhase>,
    /// The compiled grammar, until the answer starts and its matcher is created. A matcher takes
    /// tens of kilobytes, too much for each of thousands of waiting sequences.
    pub grammar: Option<CompiledGrammar>,
    /// `None` without a grammar, before the answer starts, and while a mask thread has the
    /// matcher.
    pub matcher: Option<Box<GrammarMatcher>>,
    /// Handle that stops the mask computation while a mask thread has the matcher.
    pub mask_cancellation: Option<CancellationHandle>,
    /// Output tokens so far.
    pub new_tokens: usize,
    /// Output tokens that were not sampled: the grammar or the end of the thinking forced them.
    pub forced_tokens: usize,
    pub draft_length: DraftLength,
    pub drafts: DraftStats,
    /// The end or stop token that ended the response; it is not part of the output.
    pub stop_token: Option<u32>,
}

impl GenerationState {
    pub fn new(
        sampling: SamplingParams,
        seen: SeenTokens,
        stop: StopConditions,
        grammar: Option<CompiledGrammar>,
    ) -> Self {
        GenerationState {
            sampling,
            seen,
            stop,
            logprobs: false,
            thinking: None,
            grammar,
            matcher: None,
            mask_cancellation: None,
            new_tokens: 0,
            forced_tokens: 0,
            draft_length: DraftLength::new(),
            drafts: DraftStats::default(),
            stop_token: None,
        }
    }

    /// Appends the tokens that are forced at the beginning, which are computed together with the
    /// prompt. Returns why the response ends, if it does. Later calls do nothing.
    pub fn start<O: SequenceOutput>(
        &mut self,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        let marks = self.thinking.as_mut().map(ThinkingPhase::start).unwrap_or_default();
        self.append_marks(marks, tokens, output).or_else(|| self.start_grammar(tokens, output))
    }

    /// Creates the matcher where the answer begins, and appends the tokens that the grammar forces
    /// there. Returns why the response ends, if it does.
    fn start_grammar<O: SequenceOutput>(
        &mut self,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        if self.is_thinking() {
            return None;
        }
        self.matcher = Some(Box::new(self.grammar.take()?.matcher()));
        self.append_forced(tokens, output)
    }

    fn is_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(|phase| !phase.is_over())
    }

    /// Accepts the tokens sampled after the sequence's last token and after each draft segment, up
    /// to and including the first token that differs from the draft. Returns why the response ends,
    /// if it does.
    pub fn accept<O: SequenceOutput>(
        &mut self,
        sampled: Vec<Result<SampledToken, RequestError>>,
        draft: &[Vec<u32>],
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        let mut accepted = 0;
        let is_masked = self.matcher.is_some();
        for (index, sampled) in sampled.into_iter().enumerate() {
            let before = tokens.len();
            let reason = match sampled {
                Ok(sampled) => self.accept_token(sampled, tokens, output),
                Err(cause) => Some(FinishReason::Error(cause)),
            };
            if reason.is_some() {
                return reason;
            }
            if draft.get(index).is_none_or(|segment| tokens[before..] != segment[..]) {
                break;
            }
            accepted += 1;
            if self.matcher.is_some() != is_masked {
                // The grammar begins here, and the tokens behind were sampled without it.
                break;
            }
        }
        self.draft_length.update(draft.len(), accepted);
        None
    }

    /// Appends a sampled token and the tokens that the grammar forces after it.
    fn accept_token<O: SequenceOutput>(
        &mut self,
        sampled: SampledToken,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        let SampledToken { token, logprob } = sampled;
        if self.is_thinking() {
            return self.accept_thinking(sampled, tokens, output);
        }
        if let Some(reason) = self.append(token, logprob, tokens, output) {
            return Some(reason);
        }
        match self.matcher.as_mut().map(|matcher| matcher.accept(token)) {
            None => self.is_full().then_some(FinishReason::Length),
            Some(Ok(())) => self.append_forced(tokens, output),
            Some(Err(cause)) => Some(FinishReason::Error(cause.into())),
        }
    }

    /// Appends a token that was sampled before the answer, and the marks that are forced after it.
    fn accept_thinking<O: SequenceOutput>(
        &mut self,
        sampled: SampledToken,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        let SampledToken { token, logprob } = sampled;
        let stop_reason = self.stop_reason(token);
        let ThinkingStep { keeps_token, decided, forced } =
            self.thinking.as_mut()?.accept(token, stop_reason.is_some());
        if keeps_token {
            self.record(token, logprob, tokens, output);
        } else if forced.is_empty() {
            self.stop_token = Some(token);
            return stop_reason;
        }
        for (token, section) in decided {
            if let Some(reason) = output.push_text(token, section) {
                return Some(reason);
            }
        }
        let reason = self
            .append_marks(forced, tokens, output)
            .or_else(|| self.start_grammar(tokens, output));
        reason.or_else(|| self.is_full().then_some(FinishReason::Length))
    }

    /// Appends marks of the thinking without sampling them.
    fn append_marks<O: SequenceOutput>(
        &mut self,
        marks: Vec<u32>,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        for token in marks {
            if self.is_full() {
                return Some(FinishReason::Length);
            }
            self.record(token, None, tokens, output);
            self.forced_tokens += 1;
            output.push_text(token, ReplySection::Mark);
        }
        None
    }

    /// Appends the tokens that the grammar forces next. Returns why the response ends, if it does:
    /// if the grammar is complete exactly at the length limit, the reason is
    /// [`FinishReason::Grammar`].
    fn append_forced<O: SequenceOutput>(
        &mut self,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        if self.grammar_is_complete() {
            return Some(FinishReason::Grammar);
        }
        if self.is_full() {
            return Some(FinishReason::Length);
        }
        let forced = match self.matcher.as_mut()?.take_forced() {
            Ok(forced) => forced,
            Err(cause) => return Some(FinishReason::Error(cause.into())),
        };
        for token in forced {
            if self.is_full() {
                return Some(FinishReason::Length);
            }
            if let Some(reason) = self.append(token, None, tokens, output) {
                return Some(reason);
            }
            self.forced_tokens += 1;
        }
        if self.grammar_is_complete() {
            return Some(FinishReason::Grammar);
        }
        self.is_full().then_some(FinishReason::Length)
    }

    /// Appends one token, unless it is an end or stop token.
    fn append<O: SequenceOutput>(
        &mut self,
        token: u32,
        logprob: Option<f32>,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) -> Option<FinishReason> {
        if let Some(reason) = self.stop_reason(token) {
            self.stop_token = Some(token);
            return Some(reason);
        }
        self.record(token, logprob, tokens, output);
        output.push_text(token, ReplySection::Answer)
    }

    fn record<O: SequenceOutput>(
        &mut self,
        token: u32,
        logprob: Option<f32>,
        tokens: &mut Vec<u32>,
        output: &mut O,
    ) {
        tokens.push(token);
        self.new_tokens += 1;
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.extend(&[token]);
        }
        output.push(token, logprob);
    }

    fn grammar_is_complete(&self) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| matcher.is_complete())
    }

    fn is_full(&self) -> bool {
        self.new_tokens_left() == 0
    }

    /// Number of output tokens left until the length limit.
    pub fn new_tokens_left(&self) -> usize {
        self.stop.max_new_tokens.saturating_sub(self.new_tokens)
    }

    /// Why the response ends at `token`, if it is an end or stop token. Such a token is not part of
    /// the output.
    pub fn stop_reason(&self, token: u32) -> Option<FinishReason> {
        if self.stop.eos.contains(&token) {
            return Some(FinishReason::Eos);
        }
        self.stop.stop_tokens.contains(&token).then_some(FinishReason::Stop)
    }
}
