//! How reasoning models think before they answer: in which form, what switches it, and which tokens
//! begin and end it.
//!
//! | form | models | thinking | answer |
//! |---|---|---|---|
//! | tags | Qwen3, QwQ, DeepSeek-R1 and V3.1, SmolLM3, GLM-4.5 | `<think>...` | behind `</think>` |
//! | harmony | gpt-oss | the channel `analysis` | the channel `final` |
//!
//! [`ThinkingSyntax`] is what a chat template tells, [`ThinkingMarks`] are the tokens.

mod marks;
mod syntax;

pub use marks::{ThinkingMark, ThinkingMarks, ThinkingStage};
pub use syntax::{PromptOptions, ThinkingChoice, ThinkingPrompt, ThinkingStart, ThinkingSyntax};
