//! Compiles constraints for one tokenizer, with a cache, as XGrammar's `GrammarCompiler` does.

use base::unpoisoned;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use text::Tokenizer;
use toktrie::{InferenceCapabilities, TokEnv};

use super::vocabulary::Vocabulary;
use super::{Constraint, GrammarError, GrammarMatcher, GrammarSettings, schema_limits};

/// Maximum number of compiled grammars in the cache. An experiment uses a few schemas; a server may
/// receive many.
const CACHE_ENTRIES_MAX: usize = 64;
/// llguidance's limit on the subschemas of a schema, references and combinations expanded.
const SUBSCHEMAS_MAX: usize = 50_000;
/// Stack of a thread that compiles. Nested schemas are compiled by recursion, with at most
/// [`LEVEL_BYTES_MAX`] for each. Only the pages that a compilation uses take memory.
const STACK_BYTES: usize = SUBSCHEMAS_MAX * LEVEL_BYTES_MAX;
/// Measured for chains of references through objects, arrays and combinations, in builds without
/// optimization.
const LEVEL_BYTES_MAX: usize = 16 << 10;
/// Time limit of one compilation. Large real schemas take a fraction of a second.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most compilations at the same time. One that has passed its time limit counts until it ends.
const COMPILING_MAX: usize = 8;

/// Compiles constraints for one tokenizer. All requests share one compiler.
pub struct GrammarCompiler {
    factory: Arc<ParserFactory>,
    settings: GrammarSettings,
    compiling: Arc<AtomicUsize>,
    /// Compiled grammars with the text of their schema, the most recently used last.
    cache: Mutex<Vec<(String, CompiledGrammar)>>,
}

impl GrammarCompiler {
    /// Builds a compiler for responses that end with any of the `end` tokens. This takes a fraction
    /// of a second.
    ///
    /// # Errors
    /// [`GrammarError::Tokenizer`] if constrained decoding cannot use the tokenizer,
    /// [`GrammarError::End`] if an end token is outside its vocabulary.
    pub fn new(
        tokenizer: &Tokenizer,
        end: &[u32],
        settings: GrammarSettings,
    ) -> Result<Self, GrammarError> {
        let vocabulary: TokEnv =
            Arc::new(Vocabulary::new(tokenizer, end, settings.canonical_tokens)?);
        let capabilities =
            InferenceCapabilities { ff_tokens: settings.canonical_tokens, ..Default::default() };
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&vocabulary, capabilities, &slices)
            .map_err(|cause| GrammarError::Tokenizer { cause: cause.to_string() })?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(GrammarCompiler {
            factory: Arc::new(factory),
            settings,
            compiling: Arc::default(),
            cache: Mutex::default(),
        })
    }

    /// The settings, to be recorded in the provenance of results.
    pub fn settings(&self) -> GrammarSettings {
        self.settings
    }

    /// Returns the compiled grammar of a constraint from the cache, or compiles it, which takes
    /// milliseconds.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] with llguidance's message if the schema is invalid, cannot be
    /// satisfied, or has features that llguidance would not enforce; [`GrammarError::Refs`],
    /// [`GrammarError::Members`], [`GrammarError::Subschemas`] and [`GrammarError::SlowCompile`]
    /// if it exceeds a limit; [`GrammarError::Busy`] if too many
    /// others are being compiled.
    pub fn compile(&self, constraint: &Constraint) -> Result<CompiledGrammar, GrammarError> {
        let schema = constraint.schema(self.settings.whitespace);
        let key = schema.to_string();
        if let Some(compiled) = self.cached(&key) {
            return Ok(compiled);
        }
        schema_limits::check(&schema)?;
        let matcher = self.compile_on_thread(schema, constraint.has_guidance_options())?;
        let compiled = CompiledGrammar(Arc::new(Mutex::new(matcher)));
        self.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// Compiles on a thread whose stack holds the deepest schema. If the time limit passes, the
    /// thread is left to end by itself: llguidance's limits on the size of grammars end it.
    fn compile_on_thread(&self, schema: Value, has_options: bool) -> Result<Matcher, GrammarError> {
        let slot = Slot::take(&self.compiling)?;
        let factory = Arc::clone(&self.factory);
        let (sender, result) = sync_channel(1);
        let compile = move || {
            let _slot = slot;
            // Sending fails after the time limit, when the receiver has been dropped.
            drop(sender.send(compile_schema(&factory, schema, has_options)));
        };
        std::thread::Builder::new()
            .name("grammar".into())
            .stack_size(STACK_BYTES)
            .spawn(compile)
            .map_err(|cause| GrammarError::Thread { what: format!("could not start: {cause}") })?;
        match result.recv_timeout(COMPILE_TIMEOUT) {
            Ok(compiled) => compiled,
            Err(RecvTimeoutError::Timeout) => {
                Err(GrammarError::SlowCompile { limit_s: COMPILE_TIMEOUT.as_secs() })
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(GrammarError::Schema { cause: "it makes the grammar compiler panic".into() })
            }
        }
    }

    fn cached(&self, key: &str) -> Option<CompiledGrammar> {
        let mut cache = self.lock_cache();
        let index = cache.iter().position(|(schema, _)| schema == key)?;
        let entry = cache.remove(index);
        let compiled = entry.1.clone();
        cache.push(entry);
        Some(compiled)
    }

    fn insert(&self, key: String, compiled: CompiledGrammar) {
        let mut cache = self.lock_cache();
        cache.push((key, compiled));
        if cache.len() > CACHE_ENTRIES_MAX {
            cache.remove(0);
        }
    }

    fn lock_cache(&self) -> MutexGuard<'_, Vec<(String, CompiledGrammar)>> {
        unpoisoned(self.cache.lock())
    }
}

/// Compiles a schema to a parser in its initial state.
fn compile_schema(
    factory: &ParserFactory,
    schema: Value,
    has_options: bool,
) -> Result<Matcher, GrammarError> {
    let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
    let mut matcher = Matcher::new(parser).into_cancellable();
    if let Some(cause) = matcher.get_error() {
        return Err(refused(&cause));
    }
    // llguidance warns of schema features that it does not enforce. They are an error, unless the
    // schema has its own `x-guidance` options.
    match matcher.grammar_warnings().into_iter().next().filter(|_| !has_options) {
        Some(cause) => Err(GrammarError::Schema { cause }),
        None => Ok(matcher),
    }
}

/// The error for llguidance's message, whose further lines are its internal state.
fn refused(message: &str) -> GrammarError {
    match message.lines().next().unwrap_or_default() {
        "schema too large" => GrammarError::Subschemas { limit: SUBSCHEMAS_MAX },
        cause => GrammarError::Schema { cause: cause.to_owned() },
    }
}

/// One of the [`COMPILING_MAX`] compilations; dropping it makes room for another.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(compiling: &Arc<AtomicUsize>) -> Result<Slot, GrammarError> {
        let slot = Slot(Arc::clone(compiling));
        match compiling.fetch_add(1, Ordering::SeqCst) < COMPILING_MAX {
            true => Ok(slot),
            false => Err(GrammarError::Busy { compiling: COMPILING_MAX }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A compiled grammar: a parser in its initial state. Clones share the parser; a matcher is a copy
/// of it, of tens of kilobytes.
#[derive(Clone)]
pub struct CompiledGrammar(Arc<Mutex<Matcher>>);

impl CompiledGrammar {
    /// A matcher for a new response. It shares no lazily filled caches with other matchers, so that
    /// a response does not depend on earlier uses of the schema.
    pub fn matcher(&self) -> GrammarMatcher {
        GrammarMatcher::new(unpoisoned(self.0.lock()).deep_clone())
    }
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrammarCompiler({:?})", self.settings)
    }
}
