//! Submission: checks a request, compiles its grammar and queues a sequence for it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use std::time::Instant;

use super::lifecycle::ShutdownMode;
use super::response::{ResponseOutput, channel};
use super::thread::EngineCommand;
use super::{EmbedRequest, Engine, Notify, Request, RequestError, ResponseHandle, SubmitError};
use crate::grammar::{CompiledGrammar, Constraint, GrammarCompiler, GrammarError};
use crate::sampling::SeenTokens;
use crate::scheduler::{GenerationState, Sequence, StopConditions, Task, ThinkingPhase};

/// The parameters of a sequence, of a generation or an embedding request.
struct NewSequence {
    tokens: Vec<u32>,
    task: Task,
    deadline: Option<Instant>,
    notify: Option<Notify>,
}

impl Engine {
    /// Queues a request without waiting for the engine's thread. The request's grammar is compiled
    /// on the caller's thread.
    ///
    /// # Errors
    /// [`SubmitError`] if the request is invalid, the queue is full, or the engine is shutting down
    /// or has failed.
    pub fn submit(&self, request: Request) -> Result<ResponseHandle, SubmitError> {
        self.check(&request)?;
        let grammar =
            request.constraint.as_ref().map(|constraint| self.compile(constraint)).transpose()?;
        let mut seen = SeenTokens::default();
        if request.sampling.repetition_penalty != 1.0 {
            seen.extend(&request.prompt);
        }
        // A grammar's text may end with an end token, so a constrained response cannot ignore end
        // tokens.
        let ignore_eos = request.ignore_eos && grammar.is_none();
        let stop = StopConditions {
            max_new_tokens: request.max_new_tokens.min(self.capacity_tokens - request.prompt.len()),
            eos: if ignore_eos { Vec::new() } else { self.eos.clone() },
            stop_tokens: request.stop_tokens,
        };
        let thinks = request.thinking.is_some();
        let is_constrained = grammar.is_some();
        let phase = |thinking| ThinkingPhase::new(thinking, is_constrained);
        let mut generation = GenerationState::new(request.sampling, seen, stop, grammar);
        generation.logprobs = request.logprobs;
        generation.thinking = request.thinking.map(phase);
        let new = NewSequence {
            tokens: request.prompt,
            task: Task::Generate(Box::new(generation)),
            deadline: request.deadline,
            notify: request.notify,
        };
        self.send(new, |output| {
            let output =
                output.with_text(self.tokenizer.as_ref(), request.stop_strings, request.logprobs);
            if thinks { output.with_reasoning(self.tokenizer.as_ref()) } else { output }
        })
    }

    /// Queues an embedding request, whose result is the mean of the text's hidden states after the
    /// final norm.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit_embedding(&self, request: EmbedRequest) -> Result<ResponseHandle, SubmitError> {
        self.check_tokens(&request.tokens, self.capacity_tokens)?;
        let new = NewSequence {
            tokens: request.tokens,
            task: Task::Embed(Vec::new()),
            deadline: request.deadline,
            notify: request.notify,
        };
        self.send(new, |output| output)
    }

    fn check(&self, request: &Request) -> Result<(), RequestError> {
        // One position is left for the first new token.
        self.check_tokens(&request.prompt, self.capacity_tokens - 1)?;
        request.sampling.check()?;
        if let Some(thinking) = &request.thinking {
            let vocab = self.limits.vocab;
            let mut marks = thinking.marks.tokens();
            if let Some(token) = marks.find(|&token| token as usize >= vocab) {
                return Err(RequestError::ThinkingMark { token, vocab });
            }
        }
        if request.max_new_tokens == 0 {
            return Err(RequestError::NoTokens);
        }
        if request.stop_strings.iter().any(String::is_empty) {
            return Err(RequestError::EmptyStop);
        }
        if !request.stop_strings.is_empty() && self.tokenizer.is_none() {
            return Err(RequestError::NoTokenizer);
        }
        Ok(())
    }

    fn check_tokens(&self, tokens: &[u32], capacity: usize) -> Result<(), RequestError> {
        let vocab = self.limits.vocab;
        if tokens.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if tokens.len() > capacity {
            return Err(RequestError::PromptTooLong { tokens: tokens.len(), capacity });
        }
        match tokens.iter().position(|&token| token as usize >= vocab) {
            Some(position) => Err(RequestError::Token { token: tokens[position], position, vocab }),
            None => Ok(()),
        }
    }

    fn compile(&self, constraint: &Constraint) -> Result<CompiledGrammar, RequestError> {
        let tokenizer = self.tokenizer.as_ref().ok_or(GrammarError::NoTokenizer)?;
        let build = || GrammarCompiler::new(tokenizer, &self.eos, self.grammar);
        let compiler = self.grammar_compiler.get_or_init(build);
        Ok(compiler.as_ref().map_err(Clone::clone)?.compile(constraint)?)
    }

    fn send(
        &self,
        new: NewSequence,
        configure: impl FnOnce(ResponseOutput) -> ResponseOutput,
    ) -> Result<ResponseHandle, SubmitError> {
        self.reserve_queue_slot()?;
        let NewSequence { tokens, task, deadline, notify } = new;
        let (sender, handle) = channel(notify);
        let seq_id = self.next_seq_id.fetch_add(1, Ordering::SeqCst);
        let output = configure(ResponseOutput::new(sender));
        let sequence = Sequence { deadline, ..Sequence::new(seq_id, tokens, task, output) };
        match self.commands.try_send(EngineCommand::Submit(Box::new(sequence))) {
            Ok(()) => Ok(handle),
            Err(cause) => {
                self.release_queue_slot();
                Err(self.send_error(&cause))
            }
        }
    }

    fn reserve_queue_slot(&self) -> Result<(), SubmitError> {
        if let Some(error) = self.state.fatal_error() {
            return Err(SubmitError::Died(error));
        }
        if self.state.shutdown() != ShutdownMode::None {
            return Err(SubmitError::Closed);
        }
        if self.state.queued.fetch_add(1, Ordering::SeqCst) >= self.queue_limit {
            self.release_queue_slot();
            return Err(SubmitError::QueueFull { limit: self.queue_limit });
        }
        Ok(())
    }

    fn release_queue_slot(&self) {
        self.state.queued.fetch_sub(1, Ordering::SeqCst);
    }

    fn send_error(&self, cause: &TrySendError<EngineCommand>) -> SubmitError {
        match (cause, self.state.fatal_error()) {
            (TrySendError::Full(_), _) => SubmitError::QueueFull { limit: self.queue_limit },
            (TrySendError::Disconnected(_), Some(error)) => SubmitError::Died(error),
            (TrySendError::Disconnected(_), None) => SubmitError::Closed,
        }
    }
}
