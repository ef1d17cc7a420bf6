//! Finds the chat template of a checkpoint in the places where transformers looks for it.
use crate::{TextError, json};
use checkpoint::{Checkpoint, GgufMetadata, read_text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Maximum bytes of a template. Real templates have up to 20 KB.
const BYTES_MAX: u64 = 4 << 20;

/// The text of a chat template, and its variables other than the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateSource {
    /// The template of conversations without tools.
    pub default: String,
    /// The template of conversations with tools, if it is a separate one.
    pub tool_use: Option<String>,
    /// The model's special tokens by name: `bos_token`, `eos_token`.
    pub special: BTreeMap<String, String>,
}

/// The template in a GGUF file's metadata.
pub(super) fn of_gguf(metadata: &GgufMetadata) -> Option<TemplateSource> {
    let default = metadata.get_str("tokenizer.chat_template")?.to_owned();
    let tool_use = metadata.get_str("tokenizer.chat_template.tool_use").map(str::to_owned);
    Some(TemplateSource { default, tool_use, special: special_of_gguf(metadata) })
}

fn special_of_gguf(metadata: &GgufMetadata) -> BTreeMap<String, String> {
    let tokens = metadata.get_str_array("tokenizer.ggml.tokens").unwrap_or_default();
    let mut special = BTreeMap::new();
    for (name, key) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ] {
        let id = metadata.get_u32(&format!("tokenizer.ggml.{key}_token_id"));
        if let Some(token) = id.and_then(|id| tokens.get(id as usize)) {
            special.insert(name.to_owned(), token.clone());
        }
    }
    special
}

/// The template of a folder, and the file that contains it.
pub(super) fn of_folder(root: &Path) -> Result<Option<(PathBuf, TemplateSource)>, TextError> {
    let config = root.join("tokenizer_config.json");
    let settings = json::read(&config)?;
    let special = special_of_folder(root, &settings)?;
    let file = root.join("chat_template.jinja");
    if let Some(default) = read_text(&file, BYTES_MAX)? {
        let tool_use =
            read_text(&root.join("additional_chat_templates/tool_use.jinja"), BYTES_MAX)?;
        return Ok(Some((file, TemplateSource { default, tool_use, special })));
    }
    let (default, tool_use) = match settings.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => (Some(text.clone()), None),
        Some(Value::Array(named)) => (find(named, "default"), find(named, "tool_use")),
        Some(_) => (None, None),
    };
    let why = "a chat_template that is neither a string nor a list with a template named default";
    let default = default.ok_or_else(|| TextError::template(&config, why))?;
    Ok(Some((config, TemplateSource { default, tool_use, special })))
}

/// The template in a file that does not belong to the checkpoint, with the checkpoint's special
/// tokens.
pub(super) fn of_file(file: &Path, checkpoint: &Checkpoint) -> Result<TemplateSource, TextError> {
    let default =
        read_text(file, BYTES_MAX)?.ok_or_else(|| TextError::NoFile { file: file.to_owned() })?;
    let special = match &checkpoint.gguf {
        Some(metadata) => special_of_gguf(metadata),
        None => {
            let root = &checkpoint.root;
            special_of_folder(root, &json::read(&root.join("tokenizer_config.json"))?)?
        }
    };
    Ok(TemplateSource { default, tool_use: None, special })
}

fn find(named: &[Value], name: &str) -> Option<String> {
    let entry = named.iter().find(|t| t.get("name").and_then(Value::as_str) == Some(name))?;
    entry.get("template")?.as_str().map(str::to_owned)
}

/// Special tokens by name, as in transformers 5: `special_tokens_map.json` overrides
/// `tokenizer_config.json`, unless that lists the added tokens, and does not count then.
fn special_of_folder(root: &Path, settings: &Value) -> Result<BTreeMap<String, String>, TextError> {
    let map = match settings.get("added_tokens_decoder") {
        None | Some(Value::Null) => json::read(&root.join("special_tokens_map.json"))?,
        Some(_) => Value::Null,
    };
    let text = |value: &Value| {
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        text.map(str::to_owned)
    };
    let objects = [settings, &map].into_iter().filter_map(Value::as_object);
    let tokens = objects.flatten().filter(|(name, _)| name.ends_with("_token"));
    Ok(tokens.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect())
}
