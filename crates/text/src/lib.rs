//! Conversion between text and tokens: tokenizers, chat templates, decoding of token streams, and
//! the tool calls in replies.

mod build;
mod codec;
mod error;
mod json;
mod stream;
mod template;
pub mod thinking;
mod tokenizer;
pub mod tool_calls;

pub use error::TextError;
pub use stream::StreamDecoder;
pub use template::{ChatTemplate, TemplateFeatures, TemplateMessage, TemplateSource};
pub use tokenizer::Tokenizer;
