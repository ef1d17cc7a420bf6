//! Short names for the models of the study.

/// Pairs of alias and hub name, in the order of the help text.
pub const ALIASES: [(&str, &str); 22] = [
    ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct"),
    ("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct"),
    ("llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct"),
    ("llama-3.3-70b-instruct", "meta-llama/Llama-3.3-70B-Instruct"),
    ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
    ("deepseek-llm-7b", "deepseek-ai/deepseek-llm-7b-chat"),
    ("deepseek-v2.5", "deepseek-ai/DeepSeek-V2.5"),
    ("qwen2.5-72b", "Qwen/Qwen2.5-72B-Instruct"),
    ("qwen2.5-72b-instruct", "Qwen/Qwen2.5-72B-Instruct"),
    ("qwen3-32b", "Qwen/Qwen3-32B"),
    ("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B"),
    ("qwen3-30b-a3b-instruct-2507", "Qwen/Qwen3-30B-A3B-Instruct-2507"),
    ("olmo-2-13b", "allenai/OLMo-2-1124-13B-Instruct"),
    ("gpt-oss-20b", "openai/gpt-oss-20b"),
    ("gpt-oss-120b", "openai/gpt-oss-120b"),
    ("phi-2", "microsoft/phi-2"),
    ("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct"),
    ("phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct"),
];

/// The hub name for an alias; any other text is returned unchanged.
pub fn hub_name(model: &str) -> &str {
    resolve_alias(model).unwrap_or(model)
}

/// The hub name for an alias, ignoring case; `None` if there is no such alias.
pub fn resolve_alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, hub)| *hub)
}
