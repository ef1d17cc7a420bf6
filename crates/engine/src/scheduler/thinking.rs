//! The thinking before an answer: which tokens belong to it, and when it ends.
//!
//! While a model thinks, no grammar constrains its tokens. The thinking ends with the model's mark
//! (`</think>`). The mark is appended without sampling when the budget is used up. It also takes
//! the place of a token that would leave the thinking in another way although a grammar waits for
//! the answer: an end token, or the header of another message. All of this depends on the
//! response's own tokens alone, so that neither drafts nor preemption nor other requests change it.

use std::sync::Arc;

use text::thinking::{ThinkingMarks, ThinkingStage, ThinkingStart};

/// How a response thinks before it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking {
    pub marks: Arc<ThinkingMarks>,
    pub start: ThinkingStart,
    /// Maximum number of tokens of thinking, without marks; then its end is forced. `None`: until
    /// the model ends it.
    pub budget: Option<usize>,
}

/// The part of a response to which a token belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplySection {
    Reasoning,
    /// A mark between the parts, which has no text.
    Mark,
    Answer,
}

/// What a sampled token leads to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ThinkingStep {
    /// Whether the sampled token is part of the response. If it is not and nothing is forced, it
    /// ends the response.
    pub keeps_token: bool,
    /// Tokens whose section is known now, in order. A token that may begin a mark is decided later.
    pub decided: Vec<(u32, ReplySection)>,
    /// Tokens of marks to append without sampling.
    pub forced: Vec<u32>,
}

/// Progress of a response's thinking.
#[derive(Debug)]
pub(crate) struct ThinkingPhase {
    thinking: Thinking,
    /// Whether a grammar constrains the answer.
    is_constrained: bool,
    is_started: bool,
    stage: ThinkingStage,
    /// The last tokens of the response, if they may begin a mark.
    pending: Vec<u32>,
    /// Tokens of thinking so far, without marks.
    tokens: usize,
}

impl ThinkingPhase {
    pub fn new(thinking: Thinking, is_constrained: bool) -> Self {
        let stage = match thinking.start {
            ThinkingStart::Opened => ThinkingStage::Thinking,
            ThinkingStart::ByModel => ThinkingStage::Start,
        };
        ThinkingPhase {
            thinking,
            is_constrained,
            is_started: false,
            stage,
            pending: Vec::new(),
            tokens: 0,
        }
    }

    /// Whether the answer has begun.
    pub fn is_over(&self) -> bool {
        self.stage == ThinkingStage::Answer
    }

    /// Tokens of thinking so far, without marks.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of thinking until its end is forced; `None` without a limit.
    pub fn tokens_left(&self) -> Option<usize> {
        let budget = self.thinking.budget.filter(|_| self.stage == ThinkingStage::Thinking)?;
        Some(budget.saturating_sub(self.tokens))
    }

    /// The marks to append before the first token is sampled: a constrained response always begins
    /// with thinking, and a budget of 0 ends it at once. Later calls return nothing.
    pub fn start(&mut self) -> Vec<u32> {
        let mut forced = Vec::new();
        if std::mem::replace(&mut self.is_started, true) {
            return forced;
        }
        if self.stage == ThinkingStage::Start && self.is_constrained {
            forced.extend(&self.thinking.marks.begin);
            self.stage = ThinkingStage::Thinking;
        }
        if self.is_used_up() {
            forced.extend(self.end());
        }
        forced
    }

    /// Applies a sampled token. `ends_reply`: whether it is an end or stop token.
    pub fn accept(&mut self, token: u32, ends_reply: bool) -> ThinkingStep {
        let mut step = ThinkingStep::default();
        self.pending.push(token);
        let in_mark = self.marks().any(|(mark, _)| mark.starts_with(&self.pending));
        // Tokens of marks come first: GGUF files count harmony's <|end|> among the end tokens.
        let leaves = !in_mark && (ends_reply || self.leaves_harmony());
        if leaves {
            self.pending.pop();
            if self.is_constrained {
                step.forced = self.end();
            }
            return step;
        }
        step.keeps_token = true;
        self.resolve(&mut step.decided);
        if self.is_over() && self.is_constrained {
            step.forced = self.thinking.marks.behind_end.clone();
        } else if self.is_used_up() {
            step.forced = self.end();
        }
        step
    }

    /// Whether the last token, after a part of the mark of the end, leads elsewhere although a
    /// grammar waits for the answer.
    fn leaves_harmony(&self) -> bool {
        let before = &self.pending[..self.pending.len() - 1];
        self.is_constrained && self.is_within_end(before)
    }

    fn is_within_end(&self, tokens: &[u32]) -> bool {
        !tokens.is_empty() && self.thinking.marks.end.starts_with(tokens)
    }

    /// Whether the budget is used up, and the end can be forced after the last token.
    fn is_used_up(&self) -> bool {
        self.tokens_left() == Some(0)
            && (self.pending.is_empty() || self.is_within_end(&self.pending))
    }

    /// Ends the thinking; returns the tokens that complete its mark.
    fn end(&mut self) -> Vec<u32> {
        let ThinkingMarks { end, before_end, behind_end, .. } = &*self.thinking.marks;
        let mark = if self.is_within_end(&self.pending) {
            [&end[self.pending.len()..], behind_end].concat()
        } else {
            [&before_end[..], end, behind_end].concat()
        };
        self.pending.clear();
        self.stage = ThinkingStage::Answer;
        mark
    }

    /// Decides the sections of the pending tokens, except of those that may begin a mark.
    fn resolve(&mut self, decided: &mut Vec<(u32, ReplySection)>) {
        while !self.pending.is_empty() && !self.is_over() {
            let is_begun = |(mark, _): (&[u32], _)| {
                mark.len() > self.pending.len() && mark.starts_with(&self.pending)
            };
            if self.marks().any(is_begun) {
                return;
            }
            let complete = self.marks().filter(|(mark, _)| self.pending.starts_with(mark));
            let longest = complete.max_by_key(|(mark, _)| mark.len());
            match longest.map(|(mark, leads_to)| (mark.len(), leads_to)) {
                Some((length, leads_to)) => {
                    let mark = self.pending.drain(..length);
                    decided.extend(mark.map(|token| (token, ReplySection::Mark)));
                    self.stage = leads_to;
                }
                None if self.stage == ThinkingStage::Start => self.stage = ThinkingStage::Answer,
                None => {
                    decided.push((self.pending.remove(0), ReplySection::Reasoning));
                    self.tokens += 1;
                }
            }
        }
        if self.is_over() {
            let answer = self.pending.drain(..);
            decided.extend(answer.map(|token| (token, ReplySection::Answer)));
        }
    }

    /// The marks that may follow, and the part of the response to which each leads.
    fn marks(&self) -> impl Iterator<Item = (&[u32], ThinkingStage)> {
        let ThinkingMarks { begin, end, at_start, within, .. } = &*self.thinking.marks;
        let (first, others) = match self.stage {
            ThinkingStage::Start => ((begin, ThinkingStage::Thinking), &at_start[..]),
            ThinkingStage::Thinking => ((end, ThinkingStage::Answer), &within[..]),
            ThinkingStage::Answer => ((end, ThinkingStage::Answer), &[][..]),
        };
        let allowed = |leads_to| !self.is_constrained || leads_to != ThinkingStage::Answer;
        let others = others.iter().filter(move |mark| allowed(mark.leads_to));
        std::iter::once((&first.0[..], first.1))
            .chain(others.map(|mark| (&mark.tokens[..], mark.leads_to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::thinking::ThinkingMark;

    const END: u32 = 99;

    fn tags() -> ThinkingMarks {
        ThinkingMarks {
            begin: vec![1],
            end: vec![2],
            at_start: Vec::new(),
            within: Vec::new(),
            before_end: vec![8],
            behind_end: vec![9],
        }
    }

    /// `<|channel|>` 10, `<|message|>` 11, `<|end|>` 12, `<|start|>` 13, assistant 14, analysis 15,
    /// final 16, commentary 17.
    fn harmony() -> ThinkingMarks {
        let mark = |tokens: &[u32], leads_to| ThinkingMark { tokens: tokens.to_vec(), leads_to };
        ThinkingMarks {
            begin: vec![10, 15, 11],
            end: vec![12, 13, 14, 10, 16, 11],
            at_start: vec![mark(&[10, 16, 11], ThinkingStage::Answer)],
            within: vec![
                mark(&[12, 13, 14, 10, 15, 11], ThinkingStage::Thinking),
                mark(&[12, 13, 14, 10, 17], ThinkingStage::Answer),
                mark(&[12, 13, 14], ThinkingStage::Answer),
                mark(&[12], ThinkingStage::Answer),
            ],
            before_end: Vec::new(),
            behind_end: Vec::new(),
        }
    }

    /// The reasoning, the answer and the whole response to sampled tokens; the answer stops at the
    /// first token that ends the response.
    fn run(
        marks: ThinkingMarks,
        start: ThinkingStart,
        budget: Option<usize>,
        is_constrained: bool,
        sampled: &[u32],
    ) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let thinking = Thinking { marks: Arc::new(marks), start, budget };
        let mut phase = ThinkingPhase::new(thinking, is_constrained);
        let mut response = phase.start();
        assert!(phase.start().is_empty(), "the start is forced once");
        let mut parts = [Vec::new(), Vec::new()];
        for &token in sampled {
            if phase.is_over() {
                parts[1].push(token);
                response.push(token);
                continue;
            }
            let step = phase.accept(token, token == END || token == 12);
            if !step.keeps_token && step.forced.is_empty() {
                break;
            }
            response.extend(step.keeps_token.then_some(token));
            response.extend(step.forced);
            for (token, section) in step.decided {
                match section {
                    ReplySection::Reasoning => parts[0].push(token),
                    ReplySection::Answer => parts[1].push(token),
                    ReplySection::Mark => {}
                }
            }
        }
        assert_eq!(phase.tokens(), parts[0].len());
        let [reasoning, answer] = parts;
        (reasoning, answer, response)
    }

    use ThinkingStart::{ByModel, Opened};

    #[test]
    fn thinking_ends_at_its_mark() {
        let found = run(tags(), Opened, None, false, &[5, 6, 2, 7, END]);
        assert_eq!(found, (vec![5, 6], vec![7, END], vec![5, 6, 2, 7, END]));
        let found = run(tags(), Opened, Some(9), true, &[5, 2, 7]);
        assert_eq!(found, (vec![5], vec![7], vec![5, 2, 9, 7]), "the separator is forced");
    }

    #[test]
    fn a_budget_ends_thinking_after_that_many_tokens() {
        for is_constrained in [false, true] {
            let found = run(tags(), Opened, Some(2), is_constrained, &[5, 6, 7]);
            assert_eq!(found, (vec![5, 6], vec![7], vec![5, 6, 8, 2, 9, 7]));
            let found = run(tags(), Opened, Some(0), is_constrained, &[7]);
            assert_eq!(found, (vec![], vec![7], vec![8, 2, 9, 7]));
        }
        let found = run(harmony(), Opened, Some(1), false, &[5, 7]);
        assert_eq!(found, (vec![5], vec![7], vec![5, 12, 13, 14, 10, 16, 11, 7]));
    }

    #[test]
    fn the_model_begins_to_think_or_answers() {
        let found = run(tags(), ByModel, None, false, &[1, 5, 2, 7]);
        assert_eq!(found, (vec![5], vec![7], vec![1, 5, 2, 7]));
        let found = run(tags(), ByModel, Some(0), false, &[5, 1, 7]);
        assert_eq!(found, (vec![], vec![5, 1, 7], vec![5, 1, 7]), "a later mark is text");
        let found = run(harmony(), ByModel, None, false, &[10, 16, 11, 7]);
        assert_eq!(found, (vec![], vec![7], vec![10, 16, 11, 7]));
        let found = run(harmony(), ByModel, None, false, &[10, 7]);
        assert_eq!(found, (vec![], vec![10, 7], vec![10, 7]), "no header is text");
        let found = run(tags(), ByModel, Some(0), true, &[7]);
        assert_eq!(found, (vec![], vec![7], vec![1, 8, 2, 9, 7]), "a constrained one thinks");
    }

    #[test]
    fn an_end_token_ends_a_free_response_and_the_thinking_of_a_constrained_one() {
        let found = run(tags(), Opened, None, false, &[5, END, 7]);
        assert_eq!(found, (vec![5], vec![], vec![5]));
        let found = run(tags(), Opened, None, true, &[5, END, 7]);
        assert_eq!(found, (vec![5], vec![7], vec![5, 8, 2, 9, 7]));
    }

    #[test]
    fn channels_follow_one_another() {
        let again = [12, 13, 14, 10, 15, 11];
        let last = [12, 13, 14, 10, 16, 11];
        let sampled = [&[5], &again[..], &[6], &last, &[7]].concat();
        for is_constrained in [false, true] {
            let found = run(harmony(), Opened, None, is_constrained, &sampled);
            assert_eq!(found, (vec![5, 6], vec![7], sampled.clone()));
        }
        let call = [5, 12, 13, 14, 10, 17, 30, 31];
        let found = run(harmony(), Opened, None, false, &call);
        assert_eq!(found, (vec![5], vec![30, 31], call.to_vec()), "a call is the answer");
        let role = [5, 12, 13, 14, 30, 10, 31];
        let found = run(harmony(), Opened, None, false, &role);
        assert_eq!(found, (vec![5], vec![30, 10, 31], role.to_vec()));
        let found = run(harmony(), Opened, None, true, &[5, 12, 13, 14, 10, 17, 7]);
        let replaced = [&[5], &last[..], &[7]].concat();
        assert_eq!(found, (vec![5], vec![7], replaced), "no call where a schema waits");
    }

    #[test]
    fn a_budget_that_ends_within_a_mark_completes_the_mark() {
        let found = run(harmony(), Opened, Some(1), true, &[5, 7]);
        assert_eq!(found.2, [5, 12, 13, 14, 10, 16, 11, 7]);
        let mut marks = tags();
        marks.end = vec![2, 3];
        let found = run(marks, Opened, Some(2), false, &[5, 2, 6, 7]);
        assert_eq!(found, (vec![5, 2, 6], vec![7], vec![5, 2, 6, 8, 2, 3, 9, 7]));
    }
}
