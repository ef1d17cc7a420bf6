//! The published configurations of the models of the study.
use crate::locate::hub_name;

/// Name and `config.json` of each model that `synth --like` accepts by name.
pub const PRESETS: [(&str, &str); 16] = [
    ("llama-3.3-70b", include_str!("presets/llama-3.3-70b.json")),
    ("llama-3.1-8b", include_str!("presets/llama-3.1-8b.json")),
    ("llama-3.2-1b", include_str!("presets/llama-3.2-1b.json")),
    ("tinyllama", include_str!("presets/tinyllama.json")),
    ("deepseek-llm-7b", include_str!("presets/deepseek-llm-7b.json")),
    ("qwen2.5-72b", include_str!("presets/qwen2.5-72b.json")),
    ("qwen3-32b", include_str!("presets/qwen3-32b.json")),
    ("qwen3-30b-a3b", include_str!("presets/qwen3-30b-a3b.json")),
    ("qwen3-30b-a3b-instruct-2507", include_str!("presets/qwen3-30b-a3b-instruct-2507.json")),
    ("olmo-2-13b", include_str!("presets/olmo-2-13b.json")),
    ("gpt-oss-20b", include_str!("presets/gpt-oss-20b.json")),
    ("gpt-oss-120b", include_str!("presets/gpt-oss-120b.json")),
    ("deepseek-v2.5", include_str!("presets/deepseek-v2.5.json")),
    ("phi-2", include_str!("presets/phi-2.json")),
    ("phi-3-mini", include_str!("presets/phi-3-mini.json")),
    ("smollm2-135m", include_str!("presets/smollm2-135m.json")),
];

/// The `config.json` text of a preset, given its name, alias or hub name.
pub fn preset(name: &str) -> Option<&'static str> {
    let requested = hub_name(name);
    let same = |known: &str| {
        known.eq_ignore_ascii_case(name) || hub_name(known).eq_ignore_ascii_case(requested)
    };
    PRESETS.iter().find(|(known, _)| same(known)).map(|(_, config)| *config)
}
