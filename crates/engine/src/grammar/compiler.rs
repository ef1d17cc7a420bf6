//! Compiles constraints for one tokenizer, with a cache, as XGrammar's `GrammarCompiler` does.

use base::unpoisoned;
use std::sync::{Arc, Mutex, MutexGuard};

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use text::Tokenizer;
use toktrie::{InferenceCapabilities, TokEnv};

use super::vocabulary::Vocabulary;
use super::{Constraint, GrammarError, GrammarMatcher, GrammarSettings};

/// Maximum number of compiled grammars in the cache. An experiment uses a few schemas; a server may
/// receive many.
const CACHE_ENTRIES_MAX: usize = 64;

/// Compiles constraints for one tokenizer. All requests share one compiler.
pub struct GrammarCompiler {
    factory: ParserFactory,
    settings: GrammarSettings,
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
        Ok(GrammarCompiler { factory, settings, cache: Mutex::default() })
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
    /// satisfied, or has features that llguidance would not enforce.
    pub fn compile(&self, constraint: &Constraint) -> Result<CompiledGrammar, GrammarError> {
        let schema = constraint.schema(self.settings.whitespace);
        let key = schema.to_string();
        if let Some(compiled) = self.cached(&key) {
            return Ok(compiled);
        }
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let mut matcher = Matcher::new(parser).into_cancellable();
        if let Some(cause) = matcher.get_error() {
            return Err(GrammarError::Schema { cause });
        }
        // llguidance warns of schema features that it does not enforce. They are an error, unless
        // the schema has its own `x-guidance` options.
        let warning = matcher.grammar_warnings().into_iter().next();
        if let Some(cause) = warning.filter(|_| !constraint.has_guidance_options()) {
            return Err(GrammarError::Schema { cause });
        }
        let compiled = CompiledGrammar(Arc::new(Mutex::new(matcher)));
        self.insert(key, compiled.clone());
        Ok(compiled)
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
