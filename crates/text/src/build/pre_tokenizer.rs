//! Pre-tokenization: how byte-level tokenizers split text before BPE.
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Error, PreTokenizerWrapper, SplitDelimiterBehavior};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The supported pre-tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// GPT-2's pattern.
    Gpt2,
    /// Splits into single digits and other text, then GPT-2's pattern.
    Digits,
    /// Llama 3's pattern: groups of up to three digits.
    Llama3,
    /// Qwen2's pattern: Llama 3's with single digits.
    Qwen2,
}

impl PreTokenizer {
    /// The pre-tokenizer with this name in llama.cpp (`tokenizer.ggml.pre`, `llama-vocab.cpp`).
    pub fn of_gguf(name: &str) -> Option<PreTokenizer> {
        Some(match name {
            "gpt-2" | "gpt2" | "default" | "olmo" | "phi-2" => PreTokenizer::Gpt2,
            "smollm" | "starcoder" | "refact" | "command-r" => PreTokenizer::Digits,
            "llama-bpe" | "llama3" | "llama-v3" | "dbrx" | "smaug-bpe" => PreTokenizer::Llama3,
            "qwen2" | "deepseek-r1-qwen" => PreTokenizer::Qwen2,
            _ => return None,
        })
    }

    /// Builds the pre-tokenizer of the tokenizers library.
    pub fn build(self) -> Result<PreTokenizerWrapper, Error> {
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map(PreTokenizerWrapper::Split)
        };
        let bytes = |regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, regex));
        let steps = match self {
            PreTokenizer::Gpt2 => return Ok(bytes(true)),
            PreTokenizer::Digits => {
                vec![PreTokenizerWrapper::Digits(Digits::new(true)), bytes(true)]
            }
            PreTokenizer::Llama3 => vec![split(LLAMA3)?, bytes(false)],
            PreTokenizer::Qwen2 => vec![split(QWEN2)?, bytes(false)],
        };
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
    }
}
