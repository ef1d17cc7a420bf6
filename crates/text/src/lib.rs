//! Text to tokens and back: tokenizers, chat templates, and streams of tokens as text.

mod build;
mod error;
mod json;
mod spelling;
mod stream;
mod template;
mod tokenizer;

pub use error::TextError;
pub use stream::StreamDecoder;
pub use template::{ChatTemplate, Message, TemplateSource};
pub use tokenizer::Tokenizer;
