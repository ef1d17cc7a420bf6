//! Tokens that the files of a folder declare beside the vocabulary. Which of them are added, and
//! which of their flags count, is as in transformers 5 (`PreTrainedTokenizerBase._from_pretrained`
//! and `TokenizersBackend.__init__`).
use super::settings_token::SettingsToken;
use super::special_names::SpecialNames;
use crate::{TextError, json};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokenizers::{AddedToken, Tokenizer};

/// A token with the id that a file gives it.
pub(super) struct DeclaredToken {
    pub id: u32,
    pub token: SettingsToken,
    /// The file, and the key in it.
    pub place: (&'static str, &'static str),
}

/// The tokens that the files of a folder declare.
pub(super) struct DeclaredTokens {
    root: PathBuf,
    /// Tokens with ids, in the order of the files.
    with_ids: Vec<DeclaredToken>,
    /// The tokens to add before the named ones, by id.
    by_id: BTreeMap<u32, SettingsToken>,
    names: SpecialNames,
    /// Whether special tokens in a text are text.
    split_special_tokens: bool,
    adds_bos: bool,
    adds_eos: bool,
}

impl DeclaredTokens {
    /// Reads `tokenizer_config.json`, and if that does not list the added tokens, also
    /// `special_tokens_map.json` and `added_tokens.json`. `own` are the added tokens of
    /// `tokenizer.json`.
    pub fn read(root: &Path, own: Vec<DeclaredToken>) -> Result<DeclaredTokens, TextError> {
        let config = object(root, "tokenizer_config.json")?;
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let (split_special_tokens, adds_bos, adds_eos) =
            (flag("split_special_tokens"), flag("add_bos_token"), flag("add_eos_token"));
        let listed = config.get("added_tokens_decoder").filter(|list| !list.is_null()).cloned();
        let map = match &listed {
            Some(_) => Map::new(),
            None => object(root, "special_tokens_map.json")?,
        };
        let mut names = SpecialNames::of(root, config, map)?;
        let mut with_ids = match &listed {
            Some(list) => listed_tokens(root, list)?,
            None => added_tokens(root, &names)?,
        };
        // The list of the configuration stands in the place of that of tokenizer.json.
        let counted = with_ids.len() + if listed.is_none() { own.len() } else { 0 };
        with_ids.extend(own);
        let by_id = with_ids[..counted].iter().map(|t| (t.id, t.token.clone())).collect();
        names.take_flags(with_ids[..counted].iter().map(|t| &t.token));
        Ok(DeclaredTokens {
            root: root.to_owned(),
            with_ids,
            by_id,
            names,
            split_special_tokens,
            adds_bos,
            adds_eos,
        })
    }

    /// Whether a file declares a token with this text.
    pub fn has(&self, text: &str) -> bool {
        let with_ids = self.with_ids.iter().map(|declared| &declared.token);
        with_ids.chain(self.names.tokens()).any(|token| token.text() == text)
    }

    /// Adds the tokens to a tokenizer, which assigns an id to each that it does not have.
    pub fn add_to(&self, tokenizer: &mut Tokenizer) {
        let present = tokenizer.get_added_tokens_decoder();
        let present = present.values().map(|token| token.content.as_str());
        let present: BTreeSet<&str> =
            present.chain(self.by_id.values().map(SettingsToken::text)).collect();
        let missing = self.names.tokens().filter(|token| !present.contains(token.text()));
        let tokens: Vec<AddedToken> = self
            .by_id
            .values()
            .chain(missing)
            .map(|token| token.added(self.names.has(token.text())))
            .collect();
        if !tokens.is_empty() {
            // The returned count excludes tokens that are already in the vocabulary.
            let _count = tokenizer.add_tokens(&tokens);
        }
        tokenizer.set_encode_special_tokens(self.split_special_tokens);
    }

    /// Checks that each token has the id that its file gives it. The library assigns ids in order,
    /// and would silently change any other id.
    pub fn check_ids(&self, tokenizer: &Tokenizer) -> Result<(), TextError> {
        for DeclaredToken { id, token, place: (file, key) } in &self.with_ids {
            let content = token.text();
            let why = match tokenizer.token_to_id(content) {
                // The library ignores empty tokens.
                _ if content.is_empty() => continue,
                Some(given) if given == *id => continue,
                Some(given) => format!("id {id} of {content:?}, where {given} was expected"),
                None => format!("id {id} of {content:?}, which is the id of another token"),
            };
            return Err(TextError::tokenizer(&self.root.join(file), format!("{key}{why}")));
        }
        Ok(())
    }

    /// The ids that the configuration adds before and after a text. They count without a
    /// `tokenizer.json` only, which has a post-processor.
    pub fn around(&self, tokenizer: &Tokenizer) -> (Vec<u32>, Vec<u32>) {
        let id = |adds: bool, name: &str| {
            let token = self.names.named(name).filter(|_| adds);
            token.and_then(|token| tokenizer.token_to_id(token.text())).into_iter().collect()
        };
        (id(self.adds_bos, "bos_token"), id(self.adds_eos, "eos_token"))
    }
}

/// The tokens of `added_tokens_decoder`: id to token.
fn listed_tokens(root: &Path, list: &Value) -> Result<Vec<DeclaredToken>, TextError> {
    const PLACE: (&str, &str) = ("tokenizer_config.json", "added_tokens_decoder: ");
    let wrong =
        |what: String| TextError::tokenizer(&root.join(PLACE.0), format!("{}{what}", PLACE.1));
    let list = list.as_object().ok_or_else(|| wrong(format!("{list}, where ids were expected")))?;
    let mut tokens = Vec::new();
    for (id, value) in list {
        let token = value.as_object().and_then(|object| SettingsToken::of_object(object, false));
        match (id.parse(), token) {
            (Ok(id), Some(token)) => tokens.push(DeclaredToken { id, token, place: PLACE }),
            _ => return Err(wrong(format!("{id}: {value}"))),
        }
    }
    Ok(tokens)
}

/// The tokens of `added_tokens.json`: text to id. Those that have a name are special.
fn added_tokens(root: &Path, names: &SpecialNames) -> Result<Vec<DeclaredToken>, TextError> {
    const PLACE: (&str, &str) = ("added_tokens.json", "");
    let mut tokens = Vec::new();
    for (text, id) in object(root, PLACE.0)? {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let number = number.ok_or_else(|| {
            TextError::tokenizer(&root.join(PLACE.0), format!("{text:?}: {id}, which is no id"))
        })?;
        let token = AddedToken::from(text.clone(), names.makes_special(&text));
        let token = SettingsToken::complete(token);
        tokens.push(DeclaredToken { id: number, token, place: PLACE });
    }
    Ok(tokens)
}

fn object(root: &Path, name: &str) -> Result<Map<String, Value>, TextError> {
    match json::read(&root.join(name))? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}
