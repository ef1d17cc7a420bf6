//! The handle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use text::Tokenizer;

use super::FatalError;
use super::detokenizer::Detokenizer;
use super::forward::{Forward, ForwardLimits, ModelRunner};
use super::lifecycle::{EngineState, ShutdownMode};
use super::mailbox::mailbox;
use super::memory::BlockTable;
use super::ngram_proposer::DraftLength;
use super::reply::{Limits, Reply};
use super::scheduler::Scheduler;
use super::sequence::{Sequence, Task};
use super::worker::{Command, work};
use super::{
    Completion, Delta, DraftStats, EmbedError, EmbedRequest, EngineError, EngineOptions,
    FinishReason, Notify, SubmitError,
};
use super::{EngineStats, Request, RequestError, ResponseHandle, WaitError};
use crate::grammar::{CompiledGrammar, Constraint, GrammarCompiler, GrammarError, GrammarSettings};
use crate::kv::{BLOCK_TOKENS, KvPool};
use crate::load::Loaded;
use crate::sampling::SeenTokens;

/// How long a dropped engine waits for its thread.
const DROP_LIMIT: Duration = Duration::from_secs(10);
/// How often an ending thread is looked at.
const POLL: Duration = Duration::from_millis(2);

/// A model at work on its own thread. ScheduledSequence it by reference or in an `Arc`; dropping it ends all
/// requests.
pub struct Engine {
    commands: SyncSender<Command>,
    thread: JoinHandle<()>,
    life: Arc<EngineState>,
    arrivals: AtomicU64,
    limits: ForwardLimits,
    /// Tokens that the KV cache has room for.
    room_tokens: usize,
    queue_limit: usize,
    tokenizer: Option<Tokenizer>,
    eos: Vec<u32>,
    grammar: GrammarSettings,
    grammars: OnceLock<Result<GrammarCompiler, GrammarError>>,
}

impl Engine {
    /// Starts an engine over a model and its KV cache.
    ///
    /// # Errors
    /// If the system gives no threads, or the cache no room.
    pub fn start<F: Forward>(
        model: F,
        kv: KvPool,
        options: EngineOptions,
    ) -> Result<Engine, EngineError> {
        let limits = model.limits();
        if kv.free_blocks() == 0 || limits.rows_max == 0 || limits.logits_rows_max == 0 {
            return Err(EngineError::NoRoom {
                blocks: kv.free_blocks(),
                rows: limits.rows_max.min(limits.logits_rows_max),
            });
        }
        let room_tokens = limits.context.min(kv.free_blocks() * BLOCK_TOKENS);
        let life = Arc::new(EngineState::default());
        // Each that is queued has its place; a few more for wake-ups.
        let (commands, receiver) = sync_channel(options.queue_limit + 16);
        let mut scheduler = Scheduler::new(model, kv, &options, Arc::clone(&life))?;
        scheduler.publish(true);
        let watch = options.watch;
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || work(scheduler, receiver, watch))
            .map_err(|cause| EngineError::Thread { cause: cause.to_string() })?;
        Ok(Engine {
            commands,
            thread,
            life,
            arrivals: AtomicU64::new(0),
            limits,
            room_tokens,
            queue_limit: options.queue_limit,
            tokenizer: options.tokenizer,
            eos: options.eos,
            grammar: options.grammar,
            grammars: OnceLock::new(),
        })
    }

    /// Starts an engine over what a load gave.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_loaded(loaded: Loaded, options: EngineOptions) -> Result<Engine, EngineError> {
        let Loaded { model, kv, scratch, .. } = loaded;
        Engine::start(ModelRunner { model, scratch }, kv, options)
    }

    /// Puts a request into the queue. Never waits.
    ///
    /// # Errors
    /// A wrong request, a full queue, an engine that is ending or dead: see [`SubmitError`].
    pub fn submit(&self, request: Request) -> Result<ResponseHandle, SubmitError> {
        self.check(&request)?;
        let form =
            request.constraint.as_ref().map(|constraint| self.compile(constraint)).transpose()?;
        let mut seen = SeenTokens::default();
        if request.sampling.repetition_penalty != 1.0 {
            seen.extend(&request.prompt);
        }
        // A form's end ends the reply, whether the model may go on or not.
        let eos = if request.ignore_eos && form.is_none() { Vec::new() } else { self.eos.clone() };
        let reply = Reply {
            sampling: request.sampling,
            seen,
            limits: Limits {
                max_new_tokens: request.max_new_tokens.min(self.room_tokens - request.prompt.len()),
                eos,
                stop_tokens: request.stop_tokens,
                logprobs: request.logprobs,
            },
            text: Detokenizer::new(self.tokenizer.as_ref(), request.stop_strings),
            constrained: form.is_some(),
            form,
            guide: None,
            cancellation: None,
            whole: Delta::default(),
            news: Delta::default(),
            forced_tokens: 0,
            ahead: DraftLength::new(),
            drafts: DraftStats::default(),
            stop_token: None,
        };
        self.send(request.prompt, Task::Reply(Box::new(reply)), request.deadline, request.notify)
    }

    /// Asks for the embedding of a text, through the same queue: the mean of its last hidden
    /// states.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit_embedding(&self, request: EmbedRequest) -> Result<ResponseHandle, SubmitError> {
        self.check_tokens(&request.tokens, self.room_tokens)?;
        self.send(request.tokens, Task::Embed(Vec::new()), request.deadline, request.notify)
    }

    /// The embedding of a text, `[hidden_size]`: the mean over all its positions of the hidden
    /// states after the final norm, not scaled to a length. Waits for at most `limit`; the bits
    /// do not depend on what else the engine does.
    ///
    /// # Errors
    /// [`EmbedError`]: a wrong text, a full queue, NaN in the hidden states, the limit.
    pub fn embed(&self, tokens: Vec<u32>, limit: Duration) -> Result<Vec<f32>, EmbedError> {
        let late = EmbedError::Late { limit_s: limit.as_secs_f64() };
        let ticket =
            self.submit_embedding(EmbedRequest { tokens, deadline: None, notify: None })?;
        // Dropped at the limit, the ticket takes the request with it.
        match ticket.wait(limit) {
            Err(WaitError::Timeout { .. }) => Err(late),
            Err(gone) => Err(gone.into()),
            Ok(Completion { embedding: Some(embedding), .. }) => Ok(embedding),
            Ok(Completion { reason: FinishReason::Error(cause), .. }) => Err(cause.into()),
            Ok(_) => Err(EmbedError::Canceled),
        }
    }

    /// The figures of a moment ago.
    pub fn stats(&self) -> EngineStats {
        EngineStats { queued: self.life.queued.load(Ordering::SeqCst), ..self.life.stats() }
    }

    /// Tokens that a prompt and its reply may have together.
    pub fn context(&self) -> usize {
        self.room_tokens
    }

    /// Settings of constrained decoding, for the provenance.
    pub fn grammar_settings(&self) -> GrammarSettings {
        self.grammar
    }

    /// Why the thread died; `None` while it lives.
    pub fn fatal_error(&self) -> Option<FatalError> {
        self.life.fatal_error()
    }

    /// Takes no more requests and finishes those it has; after `limit` the rest are canceled.
    ///
    /// # Errors
    /// [`EngineError::NotEnding`] if the thread does not end in a further ten seconds,
    /// [`EngineError::Died`] if it had died.
    pub fn shutdown(self, limit: Duration) -> Result<(), EngineError> {
        self.ask(ShutdownMode::Drain);
        if !self.ended_within(limit) {
            self.ask(ShutdownMode::Stop);
            if !self.ended_within(DROP_LIMIT) {
                return Err(EngineError::NotEnding { limit_s: (limit + DROP_LIMIT).as_secs_f64() });
            }
        }
        self.life.fatal_error().map_or(Ok(()), |death| Err(EngineError::Died(death)))
    }

    fn ask(&self, wish: ShutdownMode) {
        self.life.ask(wish);
        // A full channel wakes the thread as well.
        let _woken = self.commands.try_send(Command::Wake);
    }

    fn ended_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    fn check(&self, request: &Request) -> Result<(), RequestError> {
        // One place is left for the first new token.
        self.check_tokens(&request.prompt, self.room_tokens - 1)?;
        request.sampling.check()?;
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

    fn check_tokens(&self, tokens: &[u32], room: usize) -> Result<(), RequestError> {
        let vocab = self.limits.vocab;
        if tokens.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if tokens.len() > room {
            return Err(RequestError::PromptTooLong { tokens: tokens.len(), room });
        }
        match tokens.iter().position(|&token| token as usize >= vocab) {
            Some(position) => Err(RequestError::Token { token: tokens[position], position, vocab }),
            None => Ok(()),
        }
    }

    /// Compiles on the caller's thread: the engine's has better things to do.
    fn compile(&self, constraint: &Constraint) -> Result<CompiledGrammar, RequestError> {
        let tokenizer = self.tokenizer.as_ref().ok_or(GrammarError::NoTokenizer)?;
        let grammars =
            self.grammars.get_or_init(|| GrammarCompiler::new(tokenizer, &self.eos, self.grammar));
        Ok(grammars.as_ref().map_err(Clone::clone)?.compile(constraint)?)
    }

    fn send(
        &self,
        tokens: Vec<u32>,
        work: Task,
        deadline: Option<Instant>,
        notify: Option<Notify>,
    ) -> Result<ResponseHandle, SubmitError> {
        self.take_place()?;
        let (outbox, ticket) = mailbox(notify);
        let sequence = Sequence {
            seq_id: self.arrivals.fetch_add(1, Ordering::SeqCst),
            prompt_tokens: tokens.len(),
            tokens,
            computed: 0,
            table: BlockTable::default(),
            work,
            decoding: false,
            started: None,
            last_step: 0,
            cached_prompt_tokens: 0,
            preempted: false,
            outbox,
            submitted: Instant::now(),
            first_token: None,
            deadline,
        };
        match self.commands.try_send(Command::Take(Box::new(sequence))) {
            Ok(()) => Ok(ticket),
            Err(cause) => {
                self.give_place_back();
                Err(self.refused(&cause))
            }
        }
    }

    /// Takes a place in the queue.
    fn take_place(&self) -> Result<(), SubmitError> {
        if let Some(death) = self.life.fatal_error() {
            return Err(SubmitError::Died(death));
        }
        if self.life.wish() != ShutdownMode::Open {
            return Err(SubmitError::Closed);
        }
        if self.life.queued.fetch_add(1, Ordering::SeqCst) >= self.queue_limit {
            self.give_place_back();
            return Err(SubmitError::QueueFull { limit: self.queue_limit });
        }
        Ok(())
    }

    fn give_place_back(&self) {
        self.life.queued.fetch_sub(1, Ordering::SeqCst);
    }

    fn refused(&self, cause: &TrySendError<Command>) -> SubmitError {
        match (cause, self.life.fatal_error()) {
            (TrySendError::Full(_), _) => SubmitError::QueueFull { limit: self.queue_limit },
            (TrySendError::Disconnected(_), Some(death)) => SubmitError::Died(death),
            (TrySendError::Disconnected(_), None) => SubmitError::Closed,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ask(ShutdownMode::Stop);
        // KvCacheManager should be free again when this returns; a pass that does not come back is the
        // supervisor's to judge.
        self.ended_within(DROP_LIMIT);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?}, {:?})", self.limits, self.life.wish())
    }
}
