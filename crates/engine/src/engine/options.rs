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
    /// Maximum number of waiting requests; further requests are refused.
    pub queue_limit: usize,
    /// Maximum number of running requests, which hold KV blocks.
    pub running_max: usize,
    /// Maximum number of tokens in one step, limited by the model's maximum. A longer prompt is
    /// computed in chunks, so that other requests progress at the same time.
    pub step_tokens: usize,
    /// Number of threads that compute grammar masks during the forward pass; with 0, the engine's
    /// thread computes the masks before the forward pass.
    pub mask_threads: usize,
    /// Whether requests with equal prefixes share KV blocks, including blocks of ended requests.
    pub prefix_cache: bool,
    /// Whether draft tokens are proposed from a sequence's own tokens, and verified together in one
    /// forward pass.
    pub prompt_lookup: bool,
    /// Receives the engine's progress. Canceling it cancels all requests and ends the engine.
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
