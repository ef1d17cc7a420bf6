//! The special tokens that a folder's settings name: `eos_token`, `extra_special_tokens` and the
//! like, from `tokenizer_config.json` and `special_tokens_map.json`.
use super::settings_token::SettingsToken;
use crate::TextError;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::AddedToken;

/// The names that every model may have, in the order in which transformers adds their tokens.
const STANDARD: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const EXTRA: &str = "extra_special_tokens";
/// The name of [`EXTRA`] before transformers 5.
const ADDITIONAL: &str = "additional_special_tokens";
/// Marks an object as a token, where other objects are possible. The value is `true` for those of
/// `special_tokens_map.json`.
const TYPE: &str = "__type";

/// The special tokens that the settings name.
pub(super) struct SpecialNames {
    /// The standard names, then those of this model (`image_token`), with their tokens.
    named: Vec<(String, SettingsToken)>,
    /// Tokens without a name.
    extra: Vec<SettingsToken>,
    /// The texts by which tokens of `added_tokens.json` are special.
    special_texts: BTreeSet<String>,
}

impl SpecialNames {
    /// Merges `tokenizer_config.json` and `special_tokens_map.json`, which overrides it.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] for a value that is not a token.
    pub fn of(
        root: &Path,
        mut config: Map<String, Value>,
        map: Map<String, Value>,
    ) -> Result<SpecialNames, TextError> {
        let map_keys: BTreeSet<String> = map.keys().cloned().collect();
        let parse = |key: &str, value: &Value| {
            let file = match map_keys.contains(key) {
                true => "special_tokens_map.json",
                false => "tokenizer_config.json",
            };
            let why = || format!("{key}: {value}, where a token was expected");
            token(value).ok_or_else(|| TextError::tokenizer(&root.join(file), why()))
        };
        if config.get(EXTRA).is_none_or(is_empty) {
            rename_additional(&mut config);
        }
        let is_own = |name: &str| name.ends_with("_token") && !STANDARD.contains(&name);
        let texts: Vec<String> = config
            .iter()
            .filter(|(name, value)| is_own(name) && value.is_string())
            .map(|(name, _)| name.clone())
            .collect();
        let mut own = Map::new();
        for name in texts {
            own.extend(config.shift_remove(&name).map(|value| (name, value)));
        }
        take_named_extra(&mut config, &mut own);
        merge(&mut config, map);
        take_named_extra(&mut config, &mut own);
        let special_texts = special_texts(&config);
        if !config.contains_key(EXTRA) {
            rename_additional(&mut config);
            take_named_extra(&mut config, &mut own);
        }
        // Tokens of the model's own names that are objects come before those that are texts.
        let objects = config.iter().filter(|(name, value)| {
            is_own(name) && (value.is_string() || value.get(TYPE).is_some())
        });
        let mut all: Map<String, Value> =
            objects.map(|(name, value)| (name.clone(), value.clone())).collect();
        all.extend(own);
        let standard = STANDARD.iter().filter_map(|name| Some((*name, config.get(*name)?)));
        let named = standard
            .filter(|(_, value)| !value.is_null())
            .chain(all.iter().map(|(name, value)| (name.as_str(), value)))
            .map(|(name, value)| Ok((name.to_owned(), parse(name, value)?)))
            .collect::<Result<_, TextError>>()?;
        let extra = match config.get(EXTRA) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => {
                list.iter().map(|value| parse(EXTRA, value)).collect::<Result<_, _>>()?
            }
            Some(one) => vec![parse(EXTRA, one)?],
        };
        Ok(SpecialNames { named, extra, special_texts })
    }

    /// All tokens, in the order in which they are added.
    pub fn tokens(&self) -> impl Iterator<Item = &SettingsToken> {
        self.named.iter().map(|(_, token)| token).chain(&self.extra)
    }

    /// The token with a name.
    pub fn named(&self, name: &str) -> Option<&SettingsToken> {
        self.named.iter().find(|(n, _)| n == name).map(|(_, token)| token)
    }

    /// Whether a text is that of a token with a name.
    pub fn has(&self, text: &str) -> bool {
        self.named.iter().any(|(_, token)| token.text() == text)
    }

    /// Whether a token of `added_tokens.json` with this text is special.
    pub fn makes_special(&self, text: &str) -> bool {
        self.special_texts.contains(text)
    }

    /// Replaces the tokens with standard names by those of the same text, which have other flags.
    pub fn take_flags<'a>(&mut self, tokens: impl Iterator<Item = &'a SettingsToken> + Clone) {
        let standard = self.named.iter_mut().filter(|(name, _)| STANDARD.contains(&name.as_str()));
        for (_, token) in standard {
            if let Some(last) = tokens.clone().filter(|t| t.text() == token.text()).last() {
                *token = last.clone();
            }
        }
    }
}

/// Parses a token: a text, which is special, or an object.
fn token(value: &Value) -> Option<SettingsToken> {
    match value {
        Value::String(text) => Some(SettingsToken::complete(AddedToken::from(text.clone(), true))),
        Value::Object(object) => SettingsToken::of_object(object, !object.contains_key(TYPE)),
        _ => None,
    }
}

/// Merges the entries of `special_tokens_map.json` into the configuration.
fn merge(config: &mut Map<String, Value>, map: Map<String, Value>) {
    for (name, value) in map {
        let value = match value {
            Value::Object(token) if name != EXTRA => special_object(token),
            Value::Array(list) if name == EXTRA => {
                let mut all =
                    config.get(EXTRA).and_then(Value::as_array).cloned().unwrap_or_default();
                for token in list {
                    let token = match token {
                        Value::Object(token) => special_object(token),
                        other => other,
                    };
                    if !all.contains(&token) {
                        all.push(token);
                    }
                }
                Value::Array(all)
            }
            other => other,
        };
        config.insert(name, value);
    }
}

/// The texts of special tokens, without those that are objects in `tokenizer_config.json`:
/// transformers converts these after it has read `added_tokens.json`.
fn special_texts(config: &Map<String, Value>) -> BTreeSet<String> {
    let extra = config.get(EXTRA).and_then(Value::as_array).into_iter().flatten();
    let values = STANDARD.iter().filter_map(|name| config.get(*name)).chain(extra);
    let texts = values.filter_map(|value| match value {
        Value::Object(token) if token.get(TYPE) != Some(&Value::Bool(true)) => None,
        Value::Object(token) => token.get("content")?.as_str(),
        other => other.as_str(),
    });
    texts.map(str::to_owned).collect()
}

fn special_object(mut token: Map<String, Value>) -> Value {
    token.insert("special".to_owned(), true.into());
    token.insert(TYPE.to_owned(), true.into());
    Value::Object(token)
}

fn rename_additional(config: &mut Map<String, Value>) {
    if let Some(list) = config.shift_remove(ADDITIONAL) {
        config.insert(EXTRA.to_owned(), list);
    }
}

/// Moves `extra_special_tokens` to the model's own names if it is an object from name to token.
fn take_named_extra(config: &mut Map<String, Value>, own: &mut Map<String, Value>) {
    if let Some(Value::Object(tokens)) = config.get(EXTRA) {
        own.extend(tokens.clone());
        config.shift_remove(EXTRA);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
