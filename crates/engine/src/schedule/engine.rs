use super::request::{Refused, Request, Ticket};
use super::sequence::Sequence;
use super::worker::Worker;
use crate::constrain::Grammars;
use crate::load::Loaded;
use crate::sample::Seen;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use watch::Watch;

/// How an engine works.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// Requests in flight at most.
    pub running_max: usize,
    /// Requests that may wait.
    pub waiting_max: usize,
}

/// What an engine has done so far.
#[derive(Debug, Default)]
pub struct Stats {
    /// Forward passes.
    pub passes: AtomicU64,
    /// Tokens computed, prompts included.
    pub tokens_computed: AtomicU64,
    /// Tokens chosen or forced.
    pub tokens_out: AtomicU64,
    /// Prompt tokens that came from the prefix cache.
    pub tokens_cached: AtomicU64,
    /// Requests in flight.
    pub running: AtomicUsize,
    /// Requests that wait.
    pub waiting: AtomicUsize,
}

/// A model that answers requests. Clones share it; it stops when the last is dropped.
#[derive(Clone)]
pub struct Engine {
    queue: SyncSender<Sequence>,
    grammars: Option<Grammars>,
    grammar_lock: Arc<Mutex<()>>,
    stats: Arc<Stats>,
    context: usize,
    vocab: usize,
    waiting_max: usize,
}

impl Engine {
    /// Starts the engine's thread. Without `grammars`, requests with a schema are refused.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        loaded: Loaded,
        grammars: Option<Grammars>,
        options: EngineOptions,
        watch: &Watch,
    ) -> std::io::Result<Engine> {
        let (queue, requests) = sync_channel(options.waiting_max.max(1));
        let stats = Arc::new(Stats::default());
        let (context, vocab) = (loaded.model.context(), loaded.model.config().vocab_size);
        let worker = Worker::new(loaded, requests, options.running_max.max(1), stats.clone(), watch.clone());
        std::thread::Builder::new().name("engine".into()).spawn(move || worker.run())?;
        let grammar_lock = Arc::default();
        Ok(Engine { queue, grammars, grammar_lock, stats, context, vocab, waiting_max: options.waiting_max })
    }

    /// Hands a request in.
    ///
    /// # Errors
    /// A request that cannot be served, or that there is no room for.
    pub fn submit(&self, mut request: Request) -> Result<Ticket, Refused> {
        self.check(&request)?;
        request.max_new_tokens = request.max_new_tokens.min(self.context - request.prompt.len());
        let constraint = match &request.schema {
            None => None,
            Some(schema) => {
                let grammars = self.grammars.as_ref();
                let grammars = grammars
                    .ok_or_else(|| Refused::Invalid("a schema needs a tokenizer, and the model has none".into()))?;
                // Compiling is quick, and one at a time keeps its memory bounded.
                let _one_at_a_time = self.grammar_lock.lock().unwrap_or_else(PoisonError::into_inner);
                Some(grammars.json_schema(schema).map_err(|e| Refused::Invalid(e.to_string()))?)
            }
        };
        let (events, receive) = sync_channel(request.max_new_tokens + 2);
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut seen = Seen::default();
        seen.extend(&request.prompt);
        let sequence = Sequence {
            tokens: request.prompt.clone(),
            request,
            events,
            cancelled: cancelled.clone(),
            since: Instant::now(),
            constraint,
            computed: 0,
            table: Vec::new(),
            cached: 0,
            seen,
            first_token: None,
        };
        self.stats.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(sequence).map_err(|e| {
            self.stats.waiting.fetch_sub(1, Ordering::Relaxed);
            match e {
                TrySendError::Full(_) => Refused::Busy { waiting: self.waiting_max },
                TrySendError::Disconnected(_) => Refused::Stopped,
            }
        })?;
        Ok(Ticket { events: receive, cancelled })
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        if request.prompt.is_empty() {
            return Err(Refused::Empty);
        }
        if request.prompt.len() >= self.context {
            return Err(Refused::TooLong { tokens: request.prompt.len(), context: self.context });
        }
        if let Some(id) = request.prompt.iter().find(|id| **id as usize >= self.vocab) {
            return Err(Refused::Invalid(format!("token {id} is outside the vocabulary of {}", self.vocab)));
        }
        request.sampling.check().map_err(|e| Refused::Invalid(e.to_string()))
    }

    /// What it has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Positions that a sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }
}
