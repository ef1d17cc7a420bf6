//! Options of an engine.

use text::Tokenizer;
use watch::Watch;

use crate::grammar::GrammarSettings;

/// Options of an engine. Only `tokenizer`, `eos` and `grammar` can change a response.
#[derive(Clone)]
pub struct EngineOptions {
    /// Turns tokens into text; needed for stop strings and constraints.
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that end a response.
    pub eos: Vec<u32>,
    pub grammar: GrammarSettings,
    /// Requests that may wait; further ones are refused.
    pub queue_limit: usize,
    /// Requests that may hold KV blocks at a time.
    pub running_max: usize,
    /// Token budget of a step. A longer prompt is computed in chunks, so that other requests
    /// progress beside it. The model's limit bounds it.
    pub step_tokens: usize,
    /// Threads that compute grammar masks beside the forward pass; with 0 they are computed before
    /// it.
    pub mask_threads: usize,
    /// Whether requests with equal prefixes share KV blocks, also with requests that ended.
    pub prefix_cache: bool,
    /// Whether draft tokens are proposed from a sequence's own tokens, and verified many at a
    /// time.
    pub prompt_lookup: bool,
    /// Receives progress, and may cancel everything.
    pub watch: Watch,
}

impl EngineOptions {
    pub fn new(watch: Watch) -> Self {
        EngineOptions {
            tokenizer: None,
            eos: Vec::new(),
            grammar: GrammarSettings::default(),
            queue_limit: 4096,
            running_max: 256,
            step_tokens: 512,
            mask_threads: 1,
            prefix_cache: true,
            prompt_lookup: true,
            watch,
        }
    }
}
