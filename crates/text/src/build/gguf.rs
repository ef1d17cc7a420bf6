//! Tokenizers in GGUF metadata: `gpt2` (byte-level BPE) and `llama` (SentencePiece).
use super::bpe::{ByteLevelBpe, added, pairs};
use super::pre_tokenizer::PreTokenizer;
use super::{BuiltTokenizer, sentencepiece};
use crate::TextError;
use checkpoint::{GgufMetadata, GgufValue};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::AddedToken;

/// A token's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The values of the keys under `tokenizer.ggml.` of a GGUF file.
pub(super) struct GgufTokenizerFields<'a> {
    pub file: &'a Path,
    metadata: &'a GgufMetadata,
    /// Tokens by id.
    pub tokens: &'a [String],
    /// Types of the tokens, by id. Well-known tokens that end a reply are control tokens, whatever
    /// the file says, as in llama.cpp.
    pub types: Vec<TokenType>,
}

/// Reads the tokenizer of a GGUF file; `None` if the file has none.
pub(crate) fn from_gguf(
    file: &Path,
    metadata: &GgufMetadata,
) -> Result<Option<BuiltTokenizer>, TextError> {
    let model = match metadata.get("tokenizer.ggml.model") {
        None => return Ok(None),
        Some(GgufValue::String(model)) => model.as_str(),
        Some(other) => return Err(wrong(file, "model", "a name", other.type_label())),
    };
    match model {
        "none" | "no_vocab" => Ok(None),
        "gpt2" => byte_level(&GgufTokenizerFields::read(file, metadata)?).map(Some),
        "llama" => sentencepiece::build(&GgufTokenizerFields::read(file, metadata)?).map(Some),
        _ => Err(wrong(file, "model", "gpt2 or llama", model)),
    }
}

fn wrong(
    file: &Path,
    key: &str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> TextError {
    TextError::tokenizer(
        file,
        format!("tokenizer.ggml.{key}: {found} where {expected} was expected"),
    )
}

fn byte_level(fields: &GgufTokenizerFields) -> Result<BuiltTokenizer, TextError> {
    let file = fields.file;
    let pre = fields.text("pre")?.unwrap_or("default");
    let pre_tokenizer = PreTokenizer::of_gguf(pre).ok_or_else(|| {
        wrong(file, "pre", "gpt-2, smollm, llama-bpe, qwen2 or an equivalent pre-tokenizer", pre)
    })?;
    let merges = fields.metadata.get_str_array("tokenizer.ggml.merges");
    let merges = merges.ok_or_else(|| fields.not_a_list("merges", "a list of strings"))?;
    let is_llama3 = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    let tokenizer = ByteLevelBpe {
        file,
        vocab: fields.vocab(),
        merges: pairs(file, merges.iter().map(String::as_str))?,
        ignore_merges: is_llama3,
        pre_tokenizer: pre_tokenizer.build().map_err(|e| TextError::tokenizer(file, e))?,
        added: fields.added(),
    };
    let (before, after) = (fields.wrap("bos", is_llama3)?, fields.wrap("eos", false)?);
    Ok(BuiltTokenizer { tokenizer: tokenizer.build()?, file: file.to_owned(), before, after })
}

impl<'a> GgufTokenizerFields<'a> {
    fn read(file: &'a Path, metadata: &'a GgufMetadata) -> Result<Self, TextError> {
        let mut fields = GgufTokenizerFields { file, metadata, tokens: &[], types: Vec::new() };
        let tokens = metadata.get_str_array("tokenizer.ggml.tokens");
        fields.tokens = tokens.ok_or_else(|| fields.not_a_list("tokens", "a list of strings"))?;
        fields.types = match fields.get("token_type") {
            None => vec![TokenType::Normal; fields.tokens.len()],
            Some(_) => {
                let types = metadata.get_i32_array("tokenizer.ggml.token_type");
                let types =
                    types.ok_or_else(|| fields.not_a_list("token_type", "a list of integers"))?;
                types.into_iter().map(|t| TokenType::of(file, t)).collect::<Result<_, _>>()?
            }
        };
        let (count, types) = (fields.tokens.len(), fields.types.len());
        if count != types || count == 0 {
            return Err(wrong(
                file,
                "token_type",
                "one type for each token",
                format!("{count} tokens with {types} types"),
            ));
        }
        for id in metadata.well_known_end_tokens() {
            if let Some(kind) = fields.types.get_mut(id as usize) {
                *kind = TokenType::Control;
            }
        }
        Ok(fields)
    }

    /// The value of a key under `tokenizer.ggml.`.
    fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn not_a_list(&self, key: &str, expected: &str) -> TextError {
        wrong(self.file, key, expected, self.get(key).map_or("nothing", GgufValue::type_label))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, TextError> {
        match self.get(key) {
            None => Ok(None),
            Some(GgufValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(self.file, key, "a string", other.type_label())),
        }
    }

    /// A boolean; `default`, which is llama.cpp's, if the key is missing.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, TextError> {
        match self.get(key) {
            None => Ok(default),
            Some(GgufValue::Bool(yes)) => Ok(*yes),
            Some(other) => Err(wrong(self.file, key, "true or false", other.type_label())),
        }
    }

    /// The score of each token. NaN is an error.
    pub fn scores(&self) -> Result<&'a [f32], TextError> {
        let scores = self.metadata.get_f32_array("tokenizer.ggml.scores");
        let scores = scores.ok_or_else(|| self.not_a_list("scores", "a list of floats"))?;
        if scores.len() != self.tokens.len() || scores.iter().any(|s| s.is_nan()) {
            let found = format!(
                "{} scores for {} tokens, or NaN among them",
                scores.len(),
                self.tokens.len()
            );
            return Err(wrong(self.file, "scores", "one number for each token", found));
        }
        Ok(scores)
    }

    /// The token id under `key`, checked against the vocabulary.
    pub fn id(&self, key: &str) -> Result<Option<u32>, TextError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let id = self.metadata.get_u32(&format!("tokenizer.ggml.{key}"));
        match id.filter(|id| (*id as usize) < self.tokens.len()) {
            Some(id) => Ok(Some(id)),
            None => {
                let found = format!("{key} {value:?} with {} tokens", self.tokens.len());
                Err(wrong(self.file, key, "an id of a token", found))
            }
        }
    }

    /// The ids to add before (`which` is `bos`) or after (`eos`) a text. `default` applies if the
    /// file does not say whether to add one.
    pub fn wrap(&self, which: &str, default: bool) -> Result<Vec<u32>, TextError> {
        if !self.flag(&format!("add_{which}_token"), default)? {
            return Ok(Vec::new());
        }
        let key = format!("{which}_token_id");
        match (self.id(&key)?, self.get(&format!("add_{which}_token"))) {
            (Some(id), _) => Ok(vec![id]),
            // The flag is llama.cpp's default and not from the file: without an id nothing is
            // added.
            (None, None) => Ok(Vec::new()),
            (None, Some(_)) => Err(wrong(
                self.file,
                &key,
                "an id, which add_bos_token or add_eos_token requires",
                "nothing",
            )),
        }
    }

    pub fn vocab(&self) -> BTreeMap<String, u32> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect()
    }

    /// Tokens that are matched before pre-tokenization.
    pub fn added(&self) -> Vec<AddedToken> {
        let of_type = |(token, kind): (&String, &TokenType)| match kind {
            // The library ignores empty tokens.
            _ if token.is_empty() => None,
            TokenType::Control | TokenType::Unknown => Some(added(token, true)),
            TokenType::UserDefined => Some(added(token, false)),
            TokenType::Normal | TokenType::Unused | TokenType::Byte => None,
        };
        self.tokens.iter().zip(&self.types).filter_map(of_type).collect()
    }
}

impl TokenType {
    fn of(file: &Path, number: i32) -> Result<TokenType, TextError> {
        Ok(match number {
            1 => TokenType::Normal,
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            other => return Err(wrong(file, "token_type", "1 to 6", other)),
        })
    }
}
