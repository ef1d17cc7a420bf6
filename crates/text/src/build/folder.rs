//! Tokenizers of model folders: `tokenizer.json`, or `vocab.json` with `merges.txt`.
use super::BuiltTokenizer;
use super::bpe::{ByteLevelBpe, added, pairs};
use super::pre_tokenizer::PreTokenizer;
use crate::{TextError, json};
use checkpoint::{Family, read_text};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::Path;
use tokenizers::{AddedToken, Tokenizer};

/// Maximum bytes of a file. The largest known `tokenizer.json` has 35 MB (256,000 tokens).
const BYTES_MAX: u64 = 256 << 20;

/// Reads the tokenizer of a folder; `None` if the folder has none.
pub(crate) fn from_folder(
    root: &Path,
    family: Family,
) -> Result<Option<BuiltTokenizer>, TextError> {
    let file = root.join("tokenizer.json");
    if let Some(text) = read_text(&file, BYTES_MAX)? {
        let tokenizer = from_json(&file, &text)?;
        return Ok(Some(BuiltTokenizer { tokenizer, file, before: Vec::new(), after: Vec::new() }));
    }
    let (vocab_file, merges_file) = (root.join("vocab.json"), root.join("merges.txt"));
    let (vocab, merges) =
        match (read_text(&vocab_file, BYTES_MAX)?, read_text(&merges_file, BYTES_MAX)?) {
            (None, None) => return Ok(None),
            (Some(vocab), Some(merges)) => (vocab, merges),
            (Some(_), None) => {
                return Err(TextError::tokenizer(&vocab_file, "it without merges.txt beside it"));
            }
            (None, Some(_)) => {
                return Err(TextError::tokenizer(&merges_file, "it without vocab.json beside it"));
            }
        };
    let vocab: BTreeMap<String, u32> =
        serde_json::from_str(&vocab).map_err(|e| TextError::tokenizer(&vocab_file, e))?;
    let merges = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty());
    let merges = pairs(&merges_file, merges)?;
    let mut tokens = unmerged(&vocab, &merges);
    tokens.extend(declared(root, &vocab)?);
    let tokenizer = ByteLevelBpe {
        file: &vocab_file,
        vocab,
        merges,
        ignore_merges: false,
        pre_tokenizer: pre_tokenizer(family)
            .build()
            .map_err(|e| TextError::tokenizer(&vocab_file, e))?,
        added: tokens,
    };
    let tokenizer = tokenizer.build()?;
    Ok(Some(BuiltTokenizer { tokenizer, file: vocab_file, before: Vec::new(), after: Vec::new() }))
}

/// Parses a `tokenizer.json`. The tokenizers library panics on malformed JSON within some of its
/// objects, and at the first use if a post-processor names an undefined token. So the JSON is
/// validated first, and one text is encoded as a trial.
fn from_json(file: &Path, text: &str) -> Result<Tokenizer, TextError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|e| TextError::tokenizer(file, e))?;
    let read = || {
        let tokenizer = Tokenizer::from_bytes(text)?;
        tokenizer.encode_fast("a", true)?;
        Ok(tokenizer)
    };
    match catch_unwind(read) {
        Ok(read) => read.map_err(|e: tokenizers::Error| TextError::tokenizer(file, e)),
        Err(_) => {
            Err(TextError::tokenizer(file, "a tokenizer that makes the tokenizers library panic"))
        }
    }
}

/// The pre-tokenizer of a family, which `vocab.json` and `merges.txt` do not define. SmolLM2
/// belongs to the Llama family.
fn pre_tokenizer(family: Family) -> PreTokenizer {
    match family {
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => PreTokenizer::Qwen2,
        Family::Phi => PreTokenizer::Gpt2,
        _ => PreTokenizer::Digits,
    }
}

/// Tokens like `<|im_end|>` that no merge produces: they are special tokens.
fn unmerged(vocab: &BTreeMap<String, u32>, merges: &[(String, String)]) -> Vec<AddedToken> {
    let made: BTreeSet<String> = merges.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut found: Vec<_> =
        vocab.iter().filter(|(token, _)| looks_special(token) && !made.contains(*token)).collect();
    found.sort_by_key(|(_, id)| **id);
    found.into_iter().map(|(token, _)| added(token, true)).collect()
}

fn looks_special(token: &str) -> bool {
    let inner = token.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    inner.is_some_and(|inner| !inner.is_empty() && !inner.contains(['<', '>', ' ']))
}

/// The added tokens of `tokenizer_config.json`, whose ids must follow those of the vocabulary.
fn declared(root: &Path, vocab: &BTreeMap<String, u32>) -> Result<Vec<AddedToken>, TextError> {
    let file = root.join("tokenizer_config.json");
    let settings = json::read(&file)?;
    let Some(Value::Object(list)) = settings.get("added_tokens_decoder") else {
        return Ok(Vec::new());
    };
    let mut tokens = BTreeMap::new();
    for (id, value) in list {
        let wrong = || TextError::tokenizer(&file, format!("added_tokens_decoder: {id}: {value}"));
        let number: u32 = id.parse().map_err(|_| wrong())?;
        tokens.insert(
            number,
            serde_json::from_value::<AddedToken>(value.clone()).map_err(|_| wrong())?,
        );
    }
    let mut next = vocab.len() as u32;
    for (id, token) in &tokens {
        // The library assigns ids in order, and would silently change any other id.
        let given = vocab.get(&token.content).copied().unwrap_or(next);
        if given != *id {
            let why = format!(
                "added_tokens_decoder: id {id} of {:?}, where {given} was expected",
                token.content
            );
            return Err(TextError::tokenizer(&file, why));
        }
        next += u32::from(!vocab.contains_key(&token.content));
    }
    Ok(tokens.into_values().collect())
}
