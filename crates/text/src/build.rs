//! Builds a tokenizer from what a checkpoint carries.
use crate::TextError;
use checkpoint::{Checkpoint, GgufMetadata};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, DecoderWrapper, SplitDelimiterBehavior, Tokenizer};

/// GGUF's token types: 3 is a control token, 4 one that a user defined.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The tokenizer of a checkpoint, if it has one.
pub(crate) fn tokenizer(checkpoint: &Checkpoint) -> Result<Option<Tokenizer>, TextError> {
    let root = &checkpoint.root;
    if let Some(metadata) = &checkpoint.gguf {
        return from_gguf(root, metadata);
    }
    let file = root.join("tokenizer.json");
    if let Some(bytes) = read(&file)? {
        return Tokenizer::from_bytes(bytes).map(Some).map_err(|e| TextError::tokenizer(&file, e));
    }
    let (vocab, merges) = (root.join("vocab.json"), root.join("merges.txt"));
    match (read(&vocab)?, read(&merges)?) {
        (Some(vocab_bytes), Some(merges_bytes)) => from_vocab(&vocab, &vocab_bytes, &merges_bytes).map(Some),
        _ => Ok(None),
    }
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, TextError> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Io { file: file.to_owned(), source }),
    }
}

/// `vocab.json` and `merges.txt` do not say how text is split. Those without a `tokenizer.json` beside them are
/// SmolLM2's here: single digits first, then byte-level.
fn from_vocab(file: &Path, vocab: &[u8], merges: &[u8]) -> Result<Tokenizer, TextError> {
    let vocab: BTreeMap<String, u32> = serde_json::from_slice(vocab).map_err(|e| TextError::tokenizer(file, e))?;
    let merges = String::from_utf8(merges.to_vec()).map_err(|e| TextError::tokenizer(file, e))?;
    let merges = merges.lines().filter(|l| !l.starts_with("#version") && !l.is_empty());
    let specials: Vec<(u32, String)> =
        vocab.iter().filter(|(token, _)| looks_special(token)).map(|(token, id)| (*id, token.clone())).collect();
    bpe(file, vocab, merges.map(str::to_owned), &specials, &[], "smollm")
}

fn looks_special(token: &str) -> bool {
    let bracketed = token.len() > 2 && token.starts_with('<') && token.ends_with('>');
    bracketed && !token[1..token.len() - 1].contains(['<', '>', ' '])
}

fn from_gguf(file: &Path, m: &GgufMetadata) -> Result<Option<Tokenizer>, TextError> {
    let model = match m.get_str("tokenizer.ggml.model") {
        None | Some("none") => return Ok(None),
        Some(model) => model,
    };
    if model != "gpt2" {
        let why = format!("the tokenizer model {model}, which is not built yet for GGUF files (gpt2 is)");
        return Err(TextError::tokenizer(file, why));
    }
    let (Some(tokens), Some(merges)) =
        (m.get_str_array("tokenizer.ggml.tokens"), m.get_str_array("tokenizer.ggml.merges"))
    else {
        return Err(TextError::tokenizer(file, "tokenizer.ggml.tokens or tokenizer.ggml.merges is missing"));
    };
    let kinds = m.get_i32_array("tokenizer.ggml.token_type").unwrap_or_default();
    let of_kind = |kind: i32| -> Vec<(u32, String)> {
        let named = tokens.iter().enumerate().filter(|(i, _)| kinds.get(*i) == Some(&kind));
        named.map(|(i, t)| (i as u32, t.clone())).collect()
    };
    let vocab = tokens.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect();
    let pre = m.get_str("tokenizer.ggml.pre").unwrap_or("default");
    bpe(file, vocab, merges.iter().cloned(), &of_kind(CONTROL), &of_kind(USER_DEFINED), pre).map(Some)
}

fn bpe(
    file: &Path,
    vocab: BTreeMap<String, u32>,
    merges: impl Iterator<Item = String>,
    special: &[(u32, String)],
    user: &[(u32, String)],
    pre: &str,
) -> Result<Tokenizer, TextError> {
    let bad = |e: tokenizers::Error| TextError::tokenizer(file, e);
    let mut pairs = Vec::new();
    for line in merges {
        match line.split_once(' ') {
            Some((a, b)) => pairs.push((a.to_owned(), b.to_owned())),
            None => return Err(TextError::tokenizer(file, format!("the merge {line:?}, which is not two tokens"))),
        }
    }
    let model = BPE::builder()
        .vocab_and_merges(
            vocab.into_iter().collect::<Vec<_>>().into_iter().collect::<tokenizers::models::bpe::Vocab>(),
            pairs,
        )
        .build()
        .map_err(bad)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(file, pre)?));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
    let added = |text: &String, special| AddedToken::from(text.clone(), special).normalized(false);
    let special: Vec<_> = special.iter().map(|(_, t)| added(t, true)).collect();
    tokenizer.add_special_tokens(&special);
    let user: Vec<_> = user.iter().map(|(_, t)| added(t, false)).collect();
    tokenizer.add_tokens(&user);
    Ok(tokenizer)
}

/// How text is split before merging, by llama.cpp's name for it (`llama-vocab.cpp`).
fn pre_tokenizer(file: &Path, name: &str) -> Result<PreTokenizerWrapper, TextError> {
    let pattern = match name {
        "smollm" | "starcoder" | "refact" | "command-r" => {
            let digits = PreTokenizerWrapper::Digits(Digits::new(true));
            let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
            return Ok(PreTokenizerWrapper::Sequence(Sequence::new(vec![digits, bytes])));
        }
        "gpt-2" | "gpt2" | "default" | "olmo" | "phi-2" => {
            return Ok(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)));
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        "qwen2" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        other => return Err(TextError::tokenizer(file, format!("the pre-tokenizer {other}, which is not built yet"))),
    };
    let pattern = SplitPattern::Regex(pattern.to_owned());
    let split =
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| TextError::tokenizer(file, e))?;
    let bytes = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false));
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(vec![PreTokenizerWrapper::Split(split), bytes])))
}

/// The bytes that a token's text stands for.
///
/// Byte-level tokenizers write each byte as one printable character (GPT-2's `bytes_to_unicode`); SentencePiece writes a
/// space as U+2581 and single bytes as `<0x0A>`.
pub(crate) fn token_bytes(tokenizer: &Tokenizer, token: &str) -> Vec<u8> {
    if is_byte_level(tokenizer) {
        if let Some(bytes) = token.chars().map(byte_of).collect() {
            return bytes;
        }
        return token.as_bytes().to_vec();
    }
    let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('\u{2581}', " ").into_bytes(),
    }
}

fn is_byte_level(tokenizer: &Tokenizer) -> bool {
    match tokenizer.get_decoder() {
        Some(DecoderWrapper::ByteLevel(_)) => true,
        Some(DecoderWrapper::Sequence(s)) => s.get_decoders().iter().any(|d| matches!(d, DecoderWrapper::ByteLevel(_))),
        _ => false,
    }
}

fn byte_of(c: char) -> Option<u8> {
    let n = c as u32;
    match n {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(n as u8),
        // The other 68 bytes, in order, are written as U+0100 and following.
        0x100..=0x120 => Some((n - 0x100) as u8),
        0x121..=0x142 => Some((n - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::byte_of;

    #[test]
    fn every_byte_is_written_as_one_character() {
        let mut bytes: Vec<u8> = (0x21..=0x143).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }
}
