//! Text to tokens and back: tokenizers, chat templates, and streams of tokens as text.

mod build;
mod codec;
mod error;
mod json;
mod stream;
mod template;
mod tokenizer;
pub mod tool_calls;

pub use error::TextError;
pub use stream::StreamDecoder;
pub use template::{ChatMessage, ChatTemplate, TemplateSource};
pub use tokenizer::Tokenizer;
