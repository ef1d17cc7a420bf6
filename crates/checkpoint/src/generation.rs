//! `generation_config.json`: the tokens that end a reply, and recommended sampling parameters.
use crate::error::{CheckpointError, Defect, DefectKind};
use crate::{ModelConfig, json};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The content of `generation_config.json`. Only an invalid JSON object or token id is an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GenerationConfig {
    /// Tokens that end a reply (end of sequence).
    pub eos: Vec<u32>,
    /// The token at the start of every prompt (beginning of sequence), for models that have one.
    pub bos: Option<u32>,
    /// The padding token: from this file, else from `config.json`, else the first of `eos`; `None`
    /// if that is outside the vocabulary.
    pub pad: Option<u32>,
    // Recommended sampling parameters; they are used only if the user requests it.
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub repetition_penalty: Option<f64>,
}

/// One token id or a list of token ids; `None` if the value is neither. Null, and -1 in some files,
/// mean that there is no token.
pub(crate) fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(id).collect(),
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => Some(Vec::new()),
        one => id(one).map(|id| vec![id]),
    }
}

impl GenerationConfig {
    /// The token ids of `config.json`, for checkpoints without a `generation_config.json`.
    pub fn from_model(config: &ModelConfig) -> Self {
        let pad = config.pad.or(config.eos.first().copied());
        GenerationConfig {
            eos: config.eos.clone(),
            bos: config.bos,
            pad: in_vocabulary(pad, config),
            ..Self::default()
        }
    }

    /// Parses the text of the file. Sampling parameters that have no effect are reported in
    /// `notes`.
    ///
    /// # Errors
    /// A [`Defect`] if the text is not a JSON object, or a token id is invalid.
    pub fn parse(
        file: &Path,
        text: &str,
        model: &ModelConfig,
        notes: &mut Vec<String>,
    ) -> Result<Self, CheckpointError> {
        let map = json::object(file, text)?;
        let get = |key: &str| match map.get(key) {
            None => Ok(Vec::new()),
            Some(value) => ids(value).ok_or_else(|| {
                let expected = "a token id, a list of them, or null";
                CheckpointError::from(
                    Defect::new(DefectKind::ConfigValue, file, expected, value).key(key),
                )
            }),
        };
        let fallback = Self::from_model(model);
        let eos = Some(get("eos_token_id")?).filter(|ids| !ids.is_empty()).unwrap_or(fallback.eos);
        let pad = get("pad_token_id")?.first().copied().or(model.pad).or(eos.first().copied());
        note_ignored_flags(file, &map, notes);
        Ok(GenerationConfig {
            bos: get("bos_token_id")?.first().copied().or(fallback.bos),
            pad: in_vocabulary(pad, model),
            eos,
            temperature: map.get("temperature").and_then(Value::as_f64),
            top_p: map.get("top_p").and_then(Value::as_f64),
            top_k: map.get("top_k").and_then(Value::as_u64),
            repetition_penalty: map.get("repetition_penalty").and_then(Value::as_f64),
        })
    }
}

fn in_vocabulary(id: Option<u32>, config: &ModelConfig) -> Option<u32> {
    id.filter(|id| (*id as usize) < config.vocab_size)
}

/// Adds a note for each sampling parameter that is set without `do_sample`: transformers ignores
/// these. Such files are common.
fn note_ignored_flags(file: &Path, map: &Map<String, Value>, notes: &mut Vec<String>) {
    if map.get("do_sample").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let set = |flag: &str| map.get(flag).is_some_and(|v| !v.is_null());
    for flag in
        ["temperature", "top_p", "top_k", "min_p", "typical_p"].into_iter().filter(|flag| set(flag))
    {
        notes.push(format!(
            "{}: {flag} is set although do_sample is not; it is not used",
            file.display()
        ));
    }
}
