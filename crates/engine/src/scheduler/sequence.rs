//! A request in the scheduler: its tokens, its KV blocks and its progress.

use std::time::Instant;

use super::{FinishReason, GenerationState, ReplySection};
use crate::kv::BlockTable;

/// Receives the output of a sequence. The engine implements it with a detokenizer and a channel.
pub(crate) trait SequenceOutput {
    /// Whether the client has dropped or canceled the request.
    fn is_canceled(&self) -> bool;

    /// Appends an output token; a token that was forced has no `logprob`.
    fn push(&mut self, token: u32, logprob: Option<f32>);

    /// Appends the text of an output token, in the order of the tokens. Returns why the sequence
    /// ends with this token, if it does: a stop string or an undecodable token.
    fn push_text(&mut self, token: u32, section: ReplySection) -> Option<FinishReason>;

    /// Sends the tokens appended since the last call to the client.
    fn deliver(&mut self);
}

/// A request's tokens and its state in the scheduler.
pub(crate) struct Sequence<O> {
    /// Unique; a later request has a higher id.
    pub seq_id: u64,
    /// Prompt and output tokens.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    /// Number of tokens whose keys and values are in the blocks of `table`.
    pub computed: usize,
    pub table: BlockTable,
    pub task: Task,
    /// Whether a token has been sampled since the sequence was last admitted: its prompt is
    /// computed, and it decodes.
    pub decoding: bool,
    /// When the sequence left the waiting queue for the first time.
    pub started: Option<Instant>,
    /// Number of the last step that computed tokens of this sequence.
    pub last_step: u64,
    /// Number of prompt tokens whose blocks were found in the prefix cache, before any preemption.
    pub cached_prompt_tokens: usize,
    /// Whether the sequence has been preempted at least once.
    pub preempted: bool,
    pub deadline: Option<Instant>,
    pub output: O,
}

/// The result that a request computes: a response or an embedding.
pub(crate) enum Task {
    Generate(Box<GenerationState>),
    /// Sum of the hidden states so far, `[hidden]`.
    Embed(Vec<f64>),
}

impl<O> Sequence<O> {
    /// A sequence that waits for its first step.
    pub fn new(seq_id: u64, tokens: Vec<u32>, task: Task, output: O) -> Self {
        Sequence {
            seq_id,
            prompt_tokens: tokens.len(),
            tokens,
            computed: 0,
            table: BlockTable::default(),
            task,
            decoding: false,
            started: None,
            last_step: 0,
            cached_prompt_tokens: 0,
            preempted: false,
            deadline: None,
            output,
        }
    }

    /// Number of tokens to compute before the next token can be sampled.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    pub fn generation(&self) -> Option<&GenerationState> {
        match &self.task {
            Task::Generate(generation) => Some(generation),
            Task::Embed(_) => None,
        }
    }

    /// Records that the blocks of the first `computed` tokens are in the table after a match in the
    /// prefix cache. Returns the number of tokens that therefore need not be computed.
    pub fn prefix_matched(&mut self, computed: usize) -> u64 {
        let saved = computed - self.computed;
        if !self.preempted {
            self.cached_prompt_tokens +=
                computed.min(self.prompt_tokens) - self.computed.min(self.prompt_tokens);
        }
        self.computed = computed;
        saved as u64
    }

    /// Records that the sequence was preempted: it has lost its blocks and must be computed again.
    pub fn reset(&mut self) {
        (self.computed, self.decoding, self.preempted) = (0, false, true);
        if let Task::Embed(sum) = &mut self.task {
            sum.clear();
        }
    }
}

impl<O: SequenceOutput> Sequence<O> {
    /// Why the sequence must end before its next step, if it must.
    pub fn abort_reason(&self, now: Instant) -> Option<FinishReason> {
        if self.output.is_canceled() {
            return Some(FinishReason::Canceled);
        }
        self.deadline.is_some_and(|deadline| now >= deadline).then_some(FinishReason::Deadline)
    }

    /// Appends the tokens that are forced at the beginning, and creates the grammar's matcher
    /// unless the response thinks first. Returns why the sequence ends, if these tokens complete
    /// the response. Later calls do nothing.
    pub fn start(&mut self) -> Option<FinishReason> {
        let Task::Generate(generation) = &mut self.task else { return None };
        generation.start(&mut self.tokens, &mut self.output)
    }
}
