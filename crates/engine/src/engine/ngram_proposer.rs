//! DraftStats: how a reply may go on, guessed from what its sequence holds already, so that one pass
//! checks many tokens.
//!
//! Prompt lookup (Saxena 2023): what followed the last few tokens where they stood before will
//! follow them again. Agents repeat themselves: names, JSON, whole GPUs of the step before. A pass
//! computes the drafted tokens as further rows of their sequence; a token is chosen from each row
//! as if there were no draft, and the rows behind the first wrong guess are forgotten. Rows are
//! batch-invariant and a draw depends on (seed, position), so a reply has the same bits with drafts
//! and without.

use super::forward::Forward;
use super::plan::ScheduledSequence;
use super::reply::Reply;
use super::scheduler::Scheduler;
use super::sequence::{Sequence, Task};
use super::step::SampleTarget;
use crate::grammar::{DraftPath, GrammarMatcher};

/// Choices that a draft guesses at most, at first and at last.
const AHEAD_FIRST: usize = 4;
const AHEAD_MAX: usize = 16;

/// Tokens that must have stood there before for a guess to be worth a row.
const MATCH_MIN: usize = 2;

/// Tokens that are compared at most to find the place that is most like the end.
const MATCH_MAX: usize = 64;

/// A guess at a sequence's next tokens.
#[derive(Default)]
pub(super) struct Draft {
    /// SampledToken after choice: the token that is guessed, and those that the form forces after it.
    pub parts: Vec<Vec<u32>>,
    /// The same way for the masks, if the reply has a form.
    pub path: Option<DraftPath>,
}

/// What may be spent on drafts.
#[derive(Clone, Copy)]
struct DraftBudget {
    rows: usize,
    /// Rows with logits: one for each guess.
    guesses: usize,
}

/// How many choices a reply's drafts guess: more after those that were right, fewer after those
/// that were not.
#[derive(Clone, Copy)]
pub(super) struct DraftLength(usize);

impl<F: Forward> Scheduler<F> {
    /// Those of the shares that get tokens in this step, with the drafts that there is room for.
    pub fn picks(&mut self, shares: &[ScheduledSequence]) -> Vec<SampleTarget> {
        let complete = |share: &&ScheduledSequence| {
            let sequence = self.running_index(share.seq_id).map(|index| &self.running[index]);
            sequence.is_some_and(|sequence| sequence.remaining() == share.rows)
        };
        let mut picks: Vec<SampleTarget> =
            shares.iter().filter(complete).map(|share| SampleTarget::new(share.seq_id)).collect();
        if self.prompt_lookup {
            let mut room = DraftBudget {
                rows: self.step_tokens - shares.iter().map(|share| share.rows).sum::<usize>(),
                guesses: self.limits.logits_rows_max - picks.len(),
            };
            for left in (1..=picks.len()).rev() {
                let pick = &mut picks[left - 1];
                let part = DraftBudget { rows: room.rows / left, guesses: room.guesses / left };
                pick.draft = self.draft(pick.seq_id, part);
                room.rows -= pick.draft.rows();
                room.guesses -= pick.draft.parts.len();
            }
        }
        picks
    }

    /// A draft for a running reply, with blocks for its rows. No other sequence loses its blocks to
    /// a guess.
    fn draft(&mut self, seq_id: u64, room: DraftBudget) -> Draft {
        let Some(index) = self.running_index(seq_id) else { return Draft::default() };
        let Sequence { tokens, work: Task::Reply(reply), table, .. } = &mut self.running[index]
        else {
            return Draft::default();
        };
        let draft = Draft::of(reply, tokens, room);
        if self.memory.reserve(table, tokens.len() + draft.rows()) {
            draft
        } else {
            Draft::default()
        }
    }
}

impl Draft {
    /// A draft for a reply that is at the end of `tokens`; empty where nothing is worth a guess.
    fn of(reply: &Reply, tokens: &[u32], room: DraftBudget) -> Draft {
        // What is chosen behind the draft is a token of the reply too.
        let (mut rows, guesses) =
            (room.rows.min(reply.room().saturating_sub(1)), room.guesses.min(reply.ahead.0));
        let place = if rows.min(guesses) > 0 { likeness(tokens) } else { None };
        let Some(mut at) = place else { return Draft::default() };
        let mut text = tokens.to_vec();
        let mut way = reply
            .guide
            .as_ref()
            .map(|guide| MatcherFork { guide: Box::new(guide.fork()), tokens: 0 });
        let mut parts = Vec::new();
        while parts.len() < guesses {
            let mut part = vec![text[at]];
            if reply.end(part[0]).is_some() {
                break;
            }
            if let Some(way) = &mut way {
                let Some(forced) = way.go(part[0]) else { break };
                part.extend(forced);
            }
            if part.len() > rows {
                break;
            }
            rows -= part.len();
            text.extend(&part);
            let next =
                if text[at..].starts_with(&part) { Some(at + part.len()) } else { likeness(&text) };
            parts.push(part);
            let Some(next) = next else { break };
            at = next;
        }
        match way {
            _ if parts.is_empty() => Draft::default(),
            None => Draft { parts, path: None },
            Some(way) => match way.back() {
                Some(guide) => {
                    Draft { path: Some(DraftPath { guide, parts: parts.clone() }), parts }
                }
                None => Draft::default(),
            },
        }
    }

    /// Rows that it takes.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// How many of its tokens, from the first, are those that came.
    pub fn right(&self, came: &[u32]) -> usize {
        self.parts.iter().flatten().zip(came).take_while(|(guessed, came)| guessed == came).count()
    }
}

impl DraftLength {
    pub fn new() -> Self {
        DraftLength(AHEAD_FIRST)
    }

    /// Learns that the first `right` of `guesses` guesses were right.
    pub fn learn(&mut self, guesses: usize, right: usize) {
        if right < guesses {
            self.0 = right + 1;
        } else {
            self.0 = self.0.max(2 * guesses).min(AHEAD_MAX);
        }
    }
}

/// A guide's fork that goes ahead, and how far it is.
struct MatcherFork {
    guide: Box<GrammarMatcher>,
    tokens: usize,
}

impl MatcherFork {
    /// Takes a guess, and gives what is forced after it. `None` if the form does not have it there
    /// or ends with it: then there is no row behind it that would be asked.
    fn go(&mut self, guess: u32) -> Option<Vec<u32>> {
        if !self.guide.advance_if_allowed(guess).ok()? {
            return None;
        }
        self.tokens += 1;
        let forced = self.guide.forced().ok()?;
        self.tokens += forced.len();
        (!self.guide.finished()).then_some(forced)
    }

    /// The guide where it was at first.
    fn back(mut self) -> Option<Box<GrammarMatcher>> {
        self.guide.go_back(self.tokens).ok()?;
        Some(self.guide)
    }
}

/// The place in a text before which it is most like its end, the last of equals: what stands there
/// may follow the end.
fn likeness(text: &[u32]) -> Option<usize> {
    let last = *text.last()?;
    let (mut place, mut longest) = (None, MATCH_MIN - 1);
    for end in (1..text.len()).rev().filter(|end| text[end - 1] == last) {
        let pairs = text[..end].iter().rev().zip(text.iter().rev());
        let alike = pairs.take(MATCH_MAX).take_while(|(a, b)| a == b).count();
        if alike > longest {
            (place, longest) = (Some(end), alike);
        }
        if alike == MATCH_MAX {
            break;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_looked_for_where_it_stood_before() {
        assert_eq!(likeness(&[]), None);
        assert_eq!(likeness(&[5]), None);
        assert_eq!(likeness(&[7, 5, 9, 5]), None, "one token says too little");
        assert_eq!(likeness(&[1, 2, 3, 4, 1, 2]), Some(2));
        assert_eq!(likeness(&[1, 2, 3, 8, 2, 3, 9, 1, 2, 3]), Some(3), "the longer likeness");
        assert_eq!(likeness(&[1, 2, 7, 1, 2, 8, 1, 2]), Some(5), "the later of equals");
        assert_eq!(likeness(&[4; 200]), Some(199));
    }

    #[test]
    fn a_draft_is_as_right_as_its_beginning() {
        let draft = Draft { parts: vec![vec![1, 2], vec![3], vec![4, 5]], path: None };
        assert_eq!(draft.rows(), 5);
        for (came, right) in [(&[1, 2, 3, 4, 5, 6][..], 5), (&[1, 2, 9], 2), (&[2], 0), (&[], 0)] {
            assert_eq!(draft.right(came), right);
        }
    }

    #[test]
    fn guesses_reach_further_while_they_are_right() {
        let mut ahead = DraftLength::new();
        for expected in [8, 16, 16] {
            ahead.learn(ahead.0, ahead.0);
            assert_eq!(ahead.0, expected);
        }
        ahead.learn(16, 5);
        assert_eq!(ahead.0, 6);
        // There was nothing to guess, or no room: that teaches nothing.
        ahead.learn(0, 0);
        assert_eq!(ahead.0, 6);
        ahead.learn(6, 0);
        assert_eq!(ahead.0, 1);
    }
}
