//! Tokenizers of model folders: `tokenizer.json`, or `vocab.json` with `merges.txt`.
use super::BuiltTokenizer;
use super::bpe::{ByteLevelBpe, added, pairs};
use super::declared::{DeclaredToken, DeclaredTokens};
use super::pre_tokenizer::PreTokenizer;
use super::settings_token::SettingsToken;
use crate::TextError;
use checkpoint::{Family, read_text};
use serde::Deserialize;
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
        let declared = DeclaredTokens::read(root, own_tokens(&file, &text)?)?;
        let tokenizer = from_json(&file, &text, &declared)?;
        declared.check_ids(&tokenizer)?;
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
    let declared = DeclaredTokens::read(root, Vec::new())?;
    // What the files say about a token counts more than its look.
    let mut added = unmerged(&vocab, &merges);
    added.retain(|token| !declared.has(&token.content));
    let tokenizer = ByteLevelBpe {
        file: &vocab_file,
        vocab,
        merges,
        ignore_merges: false,
        pre_tokenizer: pre_tokenizer(family)
            .build()
            .map_err(|e| TextError::tokenizer(&vocab_file, e))?,
        added,
    };
    let mut tokenizer = tokenizer.build()?;
    declared.add_to(&mut tokenizer);
    declared.check_ids(&tokenizer)?;
    let (before, after) = declared.around(&tokenizer);
    Ok(Some(BuiltTokenizer { tokenizer, file: vocab_file, before, after }))
}

/// The part of a `tokenizer.json` that the library does not give back.
#[derive(Deserialize)]
struct OwnTokens {
    #[serde(default)]
    added_tokens: Vec<OwnToken>,
}

#[derive(Deserialize)]
struct OwnToken {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// The added tokens of a `tokenizer.json`. This validates the JSON, see [`from_json`].
fn own_tokens(file: &Path, text: &str) -> Result<Vec<DeclaredToken>, TextError> {
    let own: OwnTokens = serde_json::from_str(text).map_err(|e| TextError::tokenizer(file, e))?;
    let declared = |OwnToken { id, token }| DeclaredToken {
        id,
        token: SettingsToken::complete(token),
        place: ("tokenizer.json", "added_tokens: "),
    };
    Ok(own.added_tokens.into_iter().map(declared).collect())
}

/// Parses a `tokenizer.json`. The tokenizers library panics on malformed JSON within some of its
/// objects, and at the first use if a post-processor names an undefined token. So the JSON is
/// validated before, and one text is encoded as a trial.
fn from_json(file: &Path, text: &str, declared: &DeclaredTokens) -> Result<Tokenizer, TextError> {
    let read = || {
        let mut tokenizer = Tokenizer::from_bytes(text)?;
        // Settings of the program that saved the file, which transformers does not apply.
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        declared.add_to(&mut tokenizer);
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
        Family::Qwen2 | Family::Qwen2Moe | Family::Qwen3 | Family::Qwen3Moe => PreTokenizer::Qwen2,
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
