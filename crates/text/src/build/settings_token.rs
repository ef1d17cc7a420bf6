//! A token in a settings file, such as `tokenizer_config.json`.
use serde_json::{Map, Value};
use tokenizers::AddedToken;

/// A token as transformers reads it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SettingsToken {
    token: AddedToken,
    /// Whether the file says if the token is normalized. If not, it is if it is not special, which
    /// another file can change.
    says_normalized: bool,
}

impl SettingsToken {
    /// A token with all flags.
    pub fn complete(token: AddedToken) -> SettingsToken {
        SettingsToken { token, says_normalized: true }
    }

    /// Parses an object; `special` counts if it does not say that. `None` if it is not a token.
    pub fn of_object(object: &Map<String, Value>, special: bool) -> Option<SettingsToken> {
        let flag = |name: &str, default: bool| match object.get(name) {
            None => Some(default),
            Some(value) => value.as_bool(),
        };
        let content = object.get("content")?.as_str()?;
        let token = AddedToken::from(content.to_owned(), flag("special", special)?);
        let normalized = flag("normalized", token.normalized)?;
        let (lstrip, rstrip) = (flag("lstrip", false)?, flag("rstrip", false)?);
        let token = token.normalized(normalized).lstrip(lstrip).rstrip(rstrip);
        let token = token.single_word(flag("single_word", false)?);
        Some(SettingsToken { token, says_normalized: object.contains_key("normalized") })
    }

    pub fn text(&self) -> &str {
        &self.token.content
    }

    /// The token for the tokenizers library; special if it is so or `special` is set.
    pub fn added(&self, special: bool) -> AddedToken {
        let mut token = self.token.clone();
        token.special |= special;
        if !self.says_normalized {
            token.normalized = !token.special;
        }
        token
    }
}
