//! The `prompt` of completions and the `input` of embeddings: one or several texts or lists of
//! token ids. Chat prompts are made in `chat.rs`.

use serde::Deserialize;

use crate::api_error::ApiError;
use crate::state::AppState;

#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text, a list of texts, a list of token ids, or a list of such lists"
)]
pub(crate) enum PromptInput {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl PromptInput {
    /// The token ids of each prompt.
    pub fn tokenize(self, app: &AppState) -> Result<Vec<Vec<u32>>, ApiError> {
        let encode = |text: &String| {
            app.model.tokenizer.encode(text, true).map_err(|e| ApiError::bad_request(e.to_string()))
        };
        match self {
            PromptInput::Text(text) => Ok(vec![encode(&text)?]),
            PromptInput::Tokens(tokens) => Ok(vec![tokens]),
            PromptInput::Texts(texts) => texts.iter().map(encode).collect(),
            PromptInput::TokenLists(lists) => Ok(lists),
        }
    }
}
