//! [`ThinkingMarks`]: the tokens that begin and end the thinking.
use crate::{TextError, Tokenizer};

/// A part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingStage {
    /// Before the first token, where the model may begin to think.
    Start,
    Thinking,
    Answer,
}

/// Tokens that lead to another part of the reply. They belong to neither text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingMark {
    pub tokens: Vec<u32>,
    pub leads_to: ThinkingStage,
}

/// The marks of a model. The longest mark that matches is the one that the model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkingMarks {
    /// Begins the thinking, at the start of a reply.
    pub begin: Vec<u32>,
    /// Ends the thinking. A constrained reply ends it in no other way.
    pub end: Vec<u32>,
    /// Further marks at the start of a reply.
    pub at_start: Vec<ThinkingMark>,
    /// Further marks within the thinking.
    pub within: Vec<ThinkingMark>,
    /// Text between the thinking and `end`, where the end is forced.
    pub before_end: Vec<u32>,
    /// Text between `end` and the answer, where the end is forced or the answer is constrained.
    pub behind_end: Vec<u32>,
}

/// The tags of the thinking in most models.
pub(super) const TAGS: [&str; 2] = ["<think>", "</think>"];
/// Tokens of the harmony format: a message is `START role CHANNEL name MESSAGE text END`.
const HARMONY: [&str; 4] = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>"];

impl ThinkingMarks {
    /// All tokens of the marks.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        let own = [&self.begin, &self.end, &self.before_end, &self.behind_end];
        let further = self.at_start.iter().chain(&self.within).map(|mark| &mark.tokens);
        own.into_iter().chain(further).flatten().copied()
    }

    /// The tags `<think>` and `</think>`.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] if the tokenizer has no token for a tag.
    pub(super) fn tags(tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let [begin, end] = tokens(tokenizer, TAGS)?;
        Ok(ThinkingMarks {
            begin: vec![begin],
            end: vec![end],
            at_start: Vec::new(),
            within: Vec::new(),
            before_end: tokenizer.encode("\n", false)?,
            behind_end: tokenizer.encode("\n\n", false)?,
        })
    }

    /// The channels of gpt-oss. A reply is the rest of a message that the prompt began, and further
    /// messages: of the channel `analysis`, which is thinking, then one of the channel `final`, or
    /// a call of a tool in the channel `commentary`.
    ///
    /// # Errors
    /// As [`ThinkingMarks::tags`].
    pub(super) fn harmony(tokenizer: &Tokenizer) -> Result<Self, TextError> {
        use ThinkingStage::{Answer, Thinking};
        let [start, channel, message, end] = tokens(tokenizer, HARMONY)?;
        let word = |word: &str| tokenizer.encode(word, false);
        let (assistant, commentary) = (word("assistant")?, word("commentary")?);
        let opened = |name: &str| {
            let name = word(name)?;
            Ok::<_, TextError>([&[channel], &name[..], &[message]].concat())
        };
        let next_role = [&[end, start], &assistant[..]].concat();
        let next = |header: &[u32]| [&next_role[..], header].concat();
        let mark = |tokens: Vec<u32>, leads_to| ThinkingMark { tokens, leads_to };
        let (analysis, last) = (opened("analysis")?, opened("final")?);
        let call = [&[channel], &commentary[..]].concat();
        Ok(ThinkingMarks {
            end: next(&last),
            at_start: vec![mark(last, Answer), mark(call.clone(), Answer)],
            within: vec![
                mark(next(&analysis), Thinking),
                mark(next(&call), Answer),
                // The header of another message, as of `assistant to=functions.ship`.
                mark(next_role, Answer),
                mark(vec![end], Answer),
            ],
            begin: analysis,
            before_end: Vec::new(),
            behind_end: Vec::new(),
        })
    }
}

/// The ids of tokens that the vocabulary must have.
fn tokens<const N: usize>(tokenizer: &Tokenizer, names: [&str; N]) -> Result<[u32; N], TextError> {
    let mut ids = [0; N];
    for (id, name) in ids.iter_mut().zip(names) {
        *id = tokenizer.token_to_id(name).ok_or_else(|| {
            let why = format!("no token {name}, by which the chat template marks the thinking");
            TextError::tokenizer(tokenizer.file(), why)
        })?;
    }
    Ok(ids)
}
