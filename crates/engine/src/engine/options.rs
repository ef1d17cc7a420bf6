//! How an engine works.

use text::Tokenizer;
use watch::Watch;

use crate::grammar::GrammarSettings;

/// Settings of an engine. None of them changes a reply, but for `tokenizer`, `eos` and `grammar`.
#[derive(Clone)]
pub struct EngineOptions {
    /// Turns tokens into text; needed for stop strings and constraints.
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that end a reply.
    pub eos: Vec<u32>,
    /// How constrained replies are made.
    pub grammar: GrammarSettings,
    /// Requests that may wait; more are refused.
    pub queue_limit: usize,
    /// Requests that may run at a time.
    pub running_max: usize,
    /// Rows of one pass: a long prompt is cut into chunks of this, so that others go on beside it.
    /// Bounded by the model's.
    pub step_tokens: usize,
    /// Threads that compute masks beside the forward pass; 0: none, they are computed before it.
    pub mask_threads: usize,
    /// Whether equal prefixes share their blocks, and a finished reply's blocks are kept for the
    /// next request.
    pub prefix_cache: bool,
    /// Whether replies are drafted from what their sequences hold already, and drafts checked many
    /// tokens in a pass.
    pub prompt_lookup: bool,
    /// Who is told of progress, and who may ask to stop.
    pub watch: Watch,
}

impl EngineOptions {
    /// Defaults, with a watch.
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
