//! The engine's handle: start, submit, embed, statistics, shutdown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use text::Tokenizer;

use super::core::EngineCore;
use super::lifecycle::{EngineState, FatalError, ShutdownMode};
use super::runner::{Forward, ForwardLimits, ModelRunner};
use super::thread::{EngineCommand, run_engine};
use super::{
    Completion, EmbedError, EmbedRequest, EngineError, EngineOptions, EngineStats, FinishReason,
    WaitError,
};
use crate::grammar::{GrammarCompiler, GrammarError, GrammarSettings};
use crate::kv::{BLOCK_TOKENS, KvPool};
use crate::load::Loaded;

/// How long a drop or a shutdown waits for the thread to end after all requests were canceled.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which a shutdown checks whether the thread has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Capacity of the command channel for wake-ups, in addition to that for waiting requests.
const WAKE_UPS_MAX: usize = 16;

/// Handle to a model that runs on its own thread. Shared by reference or in an `Arc`; dropping it
/// cancels all requests.
pub struct Engine {
    pub(super) commands: SyncSender<EngineCommand>,
    thread: JoinHandle<()>,
    pub(super) state: Arc<EngineState>,
    pub(super) next_seq_id: AtomicU64,
    pub(super) limits: ForwardLimits,
    /// Maximum number of tokens of a sequence: the context, or the capacity of the KV cache if that
    /// is smaller.
    pub(super) capacity_tokens: usize,
    pub(super) queue_limit: usize,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) eos: Vec<u32>,
    pub(super) grammar: GrammarSettings,
    /// Built by the first constrained request.
    pub(super) grammar_compiler: OnceLock<Result<GrammarCompiler, GrammarError>>,
}

impl Engine {
    /// Starts an engine with a model and its KV cache.
    ///
    /// # Errors
    /// If a thread cannot start, the KV cache has no blocks, or the model's limits allow no rows.
    pub fn start<F: Forward>(
        model: F,
        kv: KvPool,
        options: EngineOptions,
    ) -> Result<Engine, EngineError> {
        let limits = model.limits();
        if kv.free_blocks() == 0 || limits.rows_max == 0 || limits.logits_rows_max == 0 {
            return Err(EngineError::NoCapacity {
                blocks: kv.free_blocks(),
                rows: limits.rows_max.min(limits.logits_rows_max),
            });
        }
        let capacity_tokens = limits.context.min(kv.free_blocks() * BLOCK_TOKENS);
        let state = Arc::new(EngineState::default());
        let (commands, receiver) = sync_channel(options.queue_limit + WAKE_UPS_MAX);
        let mut core = EngineCore::new(model, kv, &options, Arc::clone(&state))?;
        core.publish(true);
        let watch = options.watch;
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || run_engine(core, receiver, watch))
            .map_err(|cause| EngineError::Thread { cause: cause.to_string() })?;
        Ok(Engine {
            commands,
            thread,
            state,
            next_seq_id: AtomicU64::new(0),
            limits,
            capacity_tokens,
            queue_limit: options.queue_limit,
            tokenizer: options.tokenizer,
            eos: options.eos,
            grammar: options.grammar,
            grammar_compiler: OnceLock::new(),
        })
    }

    /// Starts an engine with a loaded model.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_loaded(loaded: Loaded, options: EngineOptions) -> Result<Engine, EngineError> {
        let Loaded { model, kv, scratch, .. } = loaded;
        Engine::start(ModelRunner { model, scratch }, kv, options)
    }

    /// The embedding of a text, `[hidden_size]`: the mean over all positions of the hidden states
    /// after the final norm, not normalized. Waits for at most `limit`. The result is bit-identical
    /// whatever other requests are running.
    ///
    /// # Errors
    /// [`EmbedError`] if the text is invalid, the queue is full, a hidden state is not finite,
    /// `limit` passes, or the engine shuts down or fails.
    pub fn embed(&self, tokens: Vec<u32>, limit: Duration) -> Result<Vec<f32>, EmbedError> {
        let request = EmbedRequest { tokens, deadline: None, notify: None };
        // Dropping the handle at the limit cancels the request.
        match self.submit_embedding(request)?.wait(limit) {
            Err(WaitError::Timeout { .. }) => {
                Err(EmbedError::Late { limit_s: limit.as_secs_f64() })
            }
            Err(cause) => Err(cause.into()),
            Ok(Completion { embedding: Some(embedding), .. }) => Ok(embedding),
            Ok(Completion { reason: FinishReason::Error(cause), .. }) => Err(cause.into()),
            Ok(_) => Err(EmbedError::Canceled),
        }
    }

    /// The statistics published last; `queued` is current.
    pub fn stats(&self) -> EngineStats {
        EngineStats { queued: self.state.queued.load(Ordering::SeqCst), ..self.state.stats() }
    }

    /// Maximum number of tokens of a prompt and its response together.
    pub fn context(&self) -> usize {
        self.capacity_tokens
    }

    /// Settings of constrained decoding, to be recorded in the provenance of results.
    pub fn grammar_settings(&self) -> GrammarSettings {
        self.grammar
    }

    /// The fatal error that ended the engine's thread, if there was one.
    pub fn fatal_error(&self) -> Option<FatalError> {
        self.state.fatal_error()
    }

    /// Shuts the engine down: accepts no more requests, finishes the accepted ones, and cancels
    /// those that have not ended after `limit`.
    ///
    /// # Errors
    /// [`EngineError::NotEnding`] if the thread has not ended ten seconds after `limit`,
    /// [`EngineError::Died`] if a fatal error ended it.
    pub fn shutdown(self, limit: Duration) -> Result<(), EngineError> {
        self.request_shutdown(ShutdownMode::Drain);
        if !self.ended_within(limit) {
            self.request_shutdown(ShutdownMode::Abort);
            if !self.ended_within(ABORT_TIMEOUT) {
                let limit_s = (limit + ABORT_TIMEOUT).as_secs_f64();
                return Err(EngineError::NotEnding { limit_s });
            }
        }
        self.state.fatal_error().map_or(Ok(()), |error| Err(EngineError::Died(error)))
    }

    fn request_shutdown(&self, mode: ShutdownMode) {
        self.state.request_shutdown(mode);
        // If the channel is full, the thread is awake and needs no wake-up.
        let _woken = self.commands.try_send(EngineCommand::Wake);
    }

    fn ended_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.thread.is_finished() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.request_shutdown(ShutdownMode::Abort);
        // Waits, so that the memory is free when `drop` returns. If a forward pass does not return,
        // the supervisor has to end the process.
        self.ended_within(ABORT_TIMEOUT);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?}, {:?})", self.limits, self.state.shutdown())
    }
}
