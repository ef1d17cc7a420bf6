//! Constraints compiled for one tokenizer.

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use text::Tokenizer;
use toktrie::{InferenceCapabilities, TokEnv};

use super::vocabulary::Vocabulary;
use super::{Constraint, GrammarError, GrammarMatcher, GrammarSettings};

/// CompiledGrammar schemas kept. An experiment has a few; a server may see many.
const COMPILED_MAX: usize = 64;

/// Compiles constraints for a tokenizer. Build it once and share it.
pub struct GrammarCompiler {
    factory: ParserFactory,
    settings: GrammarSettings,
    /// By their schema's text, the latest used last.
    compiled: Mutex<Vec<(String, CompiledGrammar)>>,
}

impl GrammarCompiler {
    /// GrammarCompiler over a tokenizer whose replies end with any of `end`. Takes a fraction of a second.
    ///
    /// # Errors
    /// [`GrammarError::Tokenizer`] or [`GrammarError::End`] for a tokenizer that cannot be used
    /// so.
    pub fn new(
        tokenizer: &Tokenizer,
        end: &[u32],
        settings: GrammarSettings,
    ) -> Result<Self, GrammarError> {
        let vocabulary: TokEnv =
            Arc::new(Vocabulary::new(tokenizer, end, settings.canonical_tokens)?);
        let abilities =
            InferenceCapabilities { ff_tokens: settings.canonical_tokens, ..Default::default() };
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&vocabulary, abilities, &slices)
            .map_err(|cause| GrammarError::Tokenizer { cause: cause.to_string() })?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(GrammarCompiler { factory, settings, compiled: Mutex::default() })
    }

    /// The settings, for the provenance.
    pub fn settings(&self) -> GrammarSettings {
        self.settings
    }

    /// Compiles a constraint. The first time takes milliseconds; a known one is looked up.
    ///
    /// # Errors
    /// [`GrammarError::Schema`] with llguidance's words if it cannot be met.
    pub fn compile(&self, constraint: &Constraint) -> Result<CompiledGrammar, GrammarError> {
        let schema = constraint.schema(self.settings.whitespace);
        let key = schema.to_string();
        if let Some(compiled) = self.known(&key) {
            return Ok(compiled);
        }
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let mut matcher = Matcher::new(parser).into_cancellable();
        if let Some(cause) = matcher.get_error() {
            return Err(GrammarError::Schema { cause });
        }
        // What llguidance would not enforce must not pass for enforced, unless the schema asks for
        // leniency itself.
        let warning = matcher.grammar_warnings().into_iter().next();
        if let Some(cause) = warning.filter(|_| !constraint.is_lenient()) {
            return Err(GrammarError::Schema { cause });
        }
        let compiled = CompiledGrammar(Arc::new(Mutex::new(matcher)));
        self.keep(key, compiled.clone());
        Ok(compiled)
    }

    fn known(&self, key: &str) -> Option<CompiledGrammar> {
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let index = known.iter().position(|(schema, _)| schema == key)?;
        let entry = known.remove(index);
        let compiled = entry.1.clone();
        known.push(entry);
        Some(compiled)
    }

    fn keep(&self, key: String, compiled: CompiledGrammar) {
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        known.push((key, compiled));
        if known.len() > COMPILED_MAX {
            known.remove(0);
        }
    }
}

/// A constraint at the beginning of a reply. Clones share it and take no memory; a guide takes tens
/// of kilobytes.
#[derive(Clone)]
pub struct CompiledGrammar(Arc<Mutex<Matcher>>);

impl CompiledGrammar {
    /// A guide for a new reply. It shares no caches: a reply does not depend on what the schema was
    /// used for before.
    pub fn guide(&self) -> GrammarMatcher {
        GrammarMatcher::new(self.0.lock().unwrap_or_else(PoisonError::into_inner).deep_clone())
    }
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrammarCompiler({:?})", self.settings)
    }
}
