//! The defaults of the configuration classes of transformers 5.x, for keys that are absent from
//! `config.json`.
use crate::family::Family;

/// The defaults of one configuration class.
pub(super) struct ConfigDefaults {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    /// `None`: the number of attention heads, which is also the meaning of null in the file.
    pub kv_heads: Option<usize>,
    /// `None`: `hidden_size / heads`.
    pub head_dim: Option<usize>,
    pub max_positions: usize,
    pub norm_eps: f64,
    pub rope_theta: f64,
    pub sliding_window: Option<usize>,
    pub activation: &'static str,
    pub bos: &'static [u32],
    pub eos: &'static [u32],
    pub pad: &'static [u32],
}

const LLAMA: ConfigDefaults = ConfigDefaults {
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 11008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    head_dim: None,
    max_positions: 2048,
    norm_eps: 1e-6,
    rope_theta: 10_000.0,
    sliding_window: None,
    activation: "silu",
    bos: &[1],
    eos: &[2],
    pad: &[],
};

const QWEN2: ConfigDefaults = ConfigDefaults {
    vocab_size: 151_936,
    intermediate_size: 22016,
    kv_heads: Some(32),
    max_positions: 32768,
    sliding_window: Some(4096),
    bos: &[],
    eos: &[],
    ..LLAMA
};

/// The defaults of a family's class.
pub(super) fn of(family: Family) -> ConfigDefaults {
    match family {
        Family::Llama => LLAMA,
        Family::Mistral => ConfigDefaults {
            intermediate_size: 14336,
            kv_heads: Some(8),
            max_positions: 131_072,
            sliding_window: Some(4096),
            ..LLAMA
        },
        Family::Mixtral => ConfigDefaults {
            intermediate_size: 14336,
            kv_heads: Some(8),
            max_positions: 131_072,
            norm_eps: 1e-5,
            rope_theta: 1_000_000.0,
            ..LLAMA
        },
        Family::Qwen2 => QWEN2,
        Family::Qwen2Moe => ConfigDefaults {
            hidden_size: 2048,
            intermediate_size: 5632,
            layers: 24,
            heads: 16,
            kv_heads: Some(16),
            ..QWEN2
        },
        Family::Olmoe => ConfigDefaults {
            vocab_size: 50304,
            hidden_size: 2048,
            intermediate_size: 2048,
            layers: 16,
            heads: 16,
            max_positions: 4096,
            norm_eps: 1e-5,
            bos: &[],
            eos: &[50279],
            pad: &[1],
            ..LLAMA
        },
        Family::Qwen3 => ConfigDefaults { head_dim: Some(128), ..QWEN2 },
        Family::Qwen3Moe => ConfigDefaults {
            hidden_size: 2048,
            intermediate_size: 6144,
            layers: 24,
            kv_heads: Some(4),
            ..QWEN2
        },
        Family::Olmo2 => ConfigDefaults {
            vocab_size: 50304,
            norm_eps: 1e-5,
            bos: &[],
            eos: &[50279],
            pad: &[1],
            ..LLAMA
        },
        Family::Phi => ConfigDefaults {
            vocab_size: 51200,
            hidden_size: 2048,
            intermediate_size: 8192,
            layers: 24,
            norm_eps: 1e-5,
            activation: "gelu_new",
            ..LLAMA
        },
        Family::Phi3 => ConfigDefaults {
            vocab_size: 32064,
            hidden_size: 3072,
            intermediate_size: 8192,
            max_positions: 4096,
            norm_eps: 1e-5,
            eos: &[32000],
            pad: &[32000],
            ..LLAMA
        },
        Family::GptOss => ConfigDefaults {
            vocab_size: 201_088,
            hidden_size: 2880,
            intermediate_size: 2880,
            layers: 36,
            heads: 64,
            kv_heads: Some(8),
            head_dim: Some(64),
            max_positions: 131_072,
            norm_eps: 1e-5,
            rope_theta: 150_000.0,
            sliding_window: Some(128),
            bos: &[],
            eos: &[],
            ..LLAMA
        },
        Family::DeepseekV2 => ConfigDefaults { vocab_size: 102_400, ..LLAMA },
    }
}
