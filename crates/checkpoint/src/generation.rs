use crate::{CheckpointError, ModelConfig};
use serde_json::Value;
use std::path::Path;

/// What `generation_config.json` says, as data: nothing in it is ever fatal but a token id that is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a reply.
    pub eos: Vec<u32>,
    /// The first token of a prompt, where the model wants one.
    pub bos: Option<u32>,
    /// The padding token: what the file says, else the first of `eos`.
    pub pad: Option<u32>,
}

/// A token id, or a list of them; `None` if it is neither.
pub(crate) fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(id).collect(),
        // -1 stands for "none" in some files.
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => Some(Vec::new()),
        one => id(one).map(|id| vec![id]),
    }
}

impl GenerationConfig {
    /// What the model's own configuration says, for checkpoints without the file.
    pub fn from_model(config: &ModelConfig) -> Self {
        let pad = config.pad.or(config.eos.first().copied());
        GenerationConfig { eos: config.eos.clone(), bos: config.bos, pad }
    }

    /// Reads the file; odd flags become notes.
    ///
    /// # Errors
    /// 65 if it is no JSON object, or an id is none.
    pub fn parse(
        file: &Path,
        text: &str,
        model: &ModelConfig,
        notes: &mut Vec<String>,
    ) -> Result<Self, CheckpointError> {
        let root: Value = serde_json::from_str(text)
            .map_err(|e| CheckpointError::bad(file, "JSON", "a JSON object", e.to_string()))?;
        let get = |key: &str| match root.get(key) {
            None => Ok(Vec::new()),
            Some(value) => ids(value).ok_or_else(|| {
                CheckpointError::bad(file, format!("key {key}"), "a token id or a list of them", value.to_string())
            }),
        };
        let fallback = Self::from_model(model);
        let eos = Some(get("eos_token_id")?).filter(|ids| !ids.is_empty()).unwrap_or(fallback.eos);
        if root.get("do_sample") == Some(&Value::Bool(false)) {
            for flag in ["temperature", "top_p", "top_k"].iter().filter(|f| root.get(**f).is_some_and(|v| !v.is_null()))
            {
                notes.push(format!("{}: {flag} is set although do_sample is false; it is not used", file.display()));
            }
        }
        let pad = get("pad_token_id")?.first().copied().or(eos.first().copied());
        Ok(GenerationConfig { bos: get("bos_token_id")?.first().copied().or(fallback.bos), pad, eos })
    }
}
