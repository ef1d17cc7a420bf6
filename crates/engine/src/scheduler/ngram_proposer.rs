//! Draft tokens from the sequence's own tokens: prompt lookup decoding (Saxena 2023), as in vLLM's
//! n-gram proposer.
//!
//! If the last few tokens also occur earlier in the sequence, the tokens that followed that
//! occurrence are proposed as the continuation: agents repeat names, JSON keys and whole sections
//! of earlier steps. The draft tokens are computed in the same forward pass as the sequence's last
//! token. A token is sampled after each draft token as if there were no draft, and the rows after
//! the first wrong draft token are discarded. Because rows are batch-invariant and random numbers
//! depend on (seed, position) alone, drafts do not change the response.
//!
//! Unlike vLLM's proposer, this one takes the longest match instead of the first, adapts a draft's
//! length to how much of the previous drafts was accepted, and adds to the draft the tokens that a
//! grammar forces after a proposed token.

use super::{
    GenerationState, SampleTarget, ScheduledSequence, Scheduler, SequenceOutput, Task,
    ThinkingPhase,
};
use crate::grammar::{DraftPath, GrammarMatcher};
use crate::kv::KvCacheManager;

/// Number of proposed tokens in a sequence's first draft, and the maximum number in any draft.
const DRAFT_LENGTH_FIRST: usize = 4;
const DRAFT_LENGTH_MAX: usize = 16;

/// Minimum number of matching tokens, and the maximum number of tokens that are compared.
const MATCH_MIN: usize = 2;
const MATCH_MAX: usize = 64;

/// Proposed continuation of a sequence.
#[derive(Default)]
pub(crate) struct Draft {
    /// One entry for each proposed token: the token, followed by those that the grammar forces
    /// after it.
    pub segments: Vec<Vec<u32>>,
    /// The same segments for the mask thread, if the sequence has a grammar.
    pub path: Option<DraftPath>,
}

/// The part of the step's budget that a draft may use.
#[derive(Clone, Copy)]
struct DraftBudget {
    rows: usize,
    /// Rows with logits: one for each proposed token.
    logits: usize,
}

/// The number of tokens that a sequence's next draft proposes: it doubles after a draft that was
/// accepted completely; otherwise it becomes the number of accepted tokens plus one.
#[derive(Clone, Copy)]
pub(crate) struct DraftLength(usize);

impl<O: SequenceOutput> Scheduler<O> {
    /// The scheduled sequences whose last token is computed in this step, with drafts as far as the
    /// budget allows.
    pub(super) fn sample_targets(
        &mut self,
        scheduled: &[ScheduledSequence],
        kv: &mut KvCacheManager,
    ) -> Vec<SampleTarget> {
        let is_computed_to_end = |scheduled: &&ScheduledSequence| {
            let sequence = self.get(scheduled.seq_id);
            sequence.is_some_and(|sequence| sequence.remaining() == scheduled.rows)
        };
        let target = |scheduled: &ScheduledSequence| SampleTarget {
            seq_id: scheduled.seq_id,
            draft: Draft::default(),
        };
        let mut targets: Vec<SampleTarget> =
            scheduled.iter().filter(is_computed_to_end).map(target).collect();
        if self.config.prompt_lookup {
            let rows = scheduled.iter().map(|scheduled| scheduled.rows).sum::<usize>();
            let mut budget = DraftBudget {
                rows: self.config.step_tokens - rows,
                logits: self.config.logits_rows_max - targets.len(),
            };
            for left in (1..=targets.len()).rev() {
                let target = &mut targets[left - 1];
                let part = DraftBudget { rows: budget.rows / left, logits: budget.logits / left };
                target.draft = self.propose(target.seq_id, part, kv);
                budget.rows -= target.draft.rows();
                budget.logits -= target.draft.segments.len();
            }
        }
        targets
    }

    /// Proposes a draft for a running sequence and allocates KV blocks for it. The draft is empty
    /// if there are too few blocks; a draft never preempts another sequence.
    fn propose(&mut self, seq_id: u64, budget: DraftBudget, kv: &mut KvCacheManager) -> Draft {
        let Some(index) = self.running_index(seq_id) else { return Draft::default() };
        let sequence = &mut self.running[index];
        let Task::Generate(generation) = &sequence.task else { return Draft::default() };
        let draft = Draft::propose(generation, &sequence.tokens, budget);
        let end = sequence.tokens.len() + draft.rows();
        if kv.allocate(&mut sequence.table, end) { draft } else { Draft::default() }
    }
}

impl Draft {
    /// Proposes a continuation of `tokens`; empty if the last tokens do not occur earlier in
    /// `tokens`.
    fn propose(generation: &GenerationState, tokens: &[u32], budget: DraftBudget) -> Draft {
        // The token that is sampled after the draft also counts towards the length limit.
        let mut rows = budget.rows.min(generation.new_tokens_left().saturating_sub(1));
        // The end of the thinking is forced, whatever a draft proposes there.
        let thinking_left = generation.thinking.as_ref().and_then(ThinkingPhase::tokens_left);
        rows = rows.min(thinking_left.unwrap_or(usize::MAX));
        let length = budget.logits.min(generation.draft_length.0);
        let matched = if rows.min(length) > 0 { ngram_match(tokens) } else { None };
        let Some(mut next) = matched else { return Draft::default() };
        let mut text = tokens.to_vec();
        let mut fork = generation.matcher.as_deref().map(MatcherFork::new);
        let mut segments = Vec::new();
        while segments.len() < length {
            let mut segment = vec![text[next]];
            if generation.stop_reason(segment[0]).is_some() {
                break;
            }
            if let Some(fork) = &mut fork {
                let Some(forced) = fork.advance(segment[0]) else { break };
                segment.extend(forced);
            }
            if segment.len() > rows {
                break;
            }
            rows -= segment.len();
            text.extend(&segment);
            let following = if text[next..].starts_with(&segment) {
                Some(next + segment.len())
            } else {
                ngram_match(&text)
            };
            segments.push(segment);
            let Some(following) = following else { break };
            next = following;
        }
        match fork {
            _ if segments.is_empty() => Draft::default(),
            None => Draft { segments, path: None },
            Some(fork) => match fork.rewind() {
                Some(matcher) => {
                    let path = DraftPath { matcher, segments: segments.clone() };
                    Draft { segments, path: Some(path) }
                }
                None => Draft::default(),
            },
        }
    }

    /// Number of rows that the draft takes in the batch.
    pub fn rows(&self) -> usize {
        self.segments.iter().map(Vec::len).sum()
    }

    /// Number of the draft's leading tokens that equal the sequence's new tokens.
    pub fn accepted(&self, new_tokens: &[u32]) -> usize {
        let pairs = self.segments.iter().flatten().zip(new_tokens);
        pairs.take_while(|(proposed, new)| proposed == new).count()
    }
}

impl DraftLength {
    pub fn new() -> Self {
        DraftLength(DRAFT_LENGTH_FIRST)
    }

    /// Adapts the length after a draft of which the first `accepted` of `proposed` tokens were
    /// accepted.
    pub fn update(&mut self, proposed: usize, accepted: usize) {
        if accepted < proposed {
            self.0 = accepted + 1;
        } else {
            self.0 = self.0.max(2 * proposed).min(DRAFT_LENGTH_MAX);
        }
    }
}

/// A copy of a sequence's grammar matcher that accepts draft tokens.
struct MatcherFork {
    matcher: Box<GrammarMatcher>,
    /// Number of tokens accepted since the fork.
    tokens: usize,
}

impl MatcherFork {
    fn new(matcher: &GrammarMatcher) -> Self {
        MatcherFork { matcher: Box::new(matcher.fork()), tokens: 0 }
    }

    /// Accepts a proposed token and returns those that the grammar forces after it. `None` if the
    /// grammar does not allow the token, or if the token completes the grammar, so that logits
    /// after it would not be used.
    fn advance(&mut self, token: u32) -> Option<Vec<u32>> {
        if !self.matcher.try_accept(token).ok()? {
            return None;
        }
        self.tokens += 1;
        let forced = self.matcher.take_forced().ok()?;
        self.tokens += forced.len();
        (!self.matcher.is_complete()).then_some(forced)
    }

    /// Returns the matcher in the state in which it was forked.
    fn rewind(mut self) -> Option<Box<GrammarMatcher>> {
        self.matcher.rollback(self.tokens).ok()?;
        Some(self.matcher)
    }
}

/// The position whose preceding tokens have the longest match with the last tokens of `tokens`; the
/// last such position among equally long matches. The token at this position is the proposed
/// continuation.
fn ngram_match(tokens: &[u32]) -> Option<usize> {
    let last = *tokens.last()?;
    let (mut position, mut longest) = (None, MATCH_MIN - 1);
    for end in (1..tokens.len()).rev().filter(|end| tokens[end - 1] == last) {
        let pairs = tokens[..end].iter().rev().zip(tokens.iter().rev());
        let matched = pairs.take(MATCH_MAX).take_while(|(a, b)| a == b).count();
        if matched > longest {
            (position, longest) = (Some(end), matched);
        }
        if matched == MATCH_MAX {
            break;
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_with_the_end_wins() {
        assert_eq!(ngram_match(&[]), None);
        assert_eq!(ngram_match(&[5]), None);
        assert_eq!(ngram_match(&[7, 5, 9, 5]), None, "one token is no match");
        assert_eq!(ngram_match(&[1, 2, 3, 4, 1, 2]), Some(2));
        assert_eq!(ngram_match(&[1, 2, 3, 8, 2, 3, 9, 1, 2, 3]), Some(3), "the longer match");
        assert_eq!(ngram_match(&[1, 2, 7, 1, 2, 8, 1, 2]), Some(5), "the later of equals");
        assert_eq!(ngram_match(&[4; 200]), Some(199));
    }

    #[test]
    fn draft_tokens_are_accepted_up_to_the_first_difference() {
        let draft = Draft { segments: vec![vec![1, 2], vec![3], vec![4, 5]], path: None };
        assert_eq!(draft.rows(), 5);
        for (new, accepted) in [(&[1, 2, 3, 4, 5, 6][..], 5), (&[1, 2, 9], 2), (&[2], 0), (&[], 0)]
        {
            assert_eq!(draft.accepted(new), accepted);
        }
    }

    #[test]
    fn drafts_grow_while_they_are_accepted() {
        let mut length = DraftLength::new();
        for expected in [8, 16, 16] {
            length.update(length.0, length.0);
            assert_eq!(length.0, expected);
        }
        length.update(16, 5);
        assert_eq!(length.0, 6);
        // An empty draft does not change the length of the next one.
        length.update(0, 0);
        assert_eq!(length.0, 6);
        length.update(6, 0);
        assert_eq!(length.0, 1);
    }
}
