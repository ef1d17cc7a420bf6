//! Synthetic models of any shape, and functions that load them in tests.
#![allow(dead_code)] // each test file uses a part of this module

pub mod expected;
pub mod smollm2;

use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, Fill, SynthRequest, SynthSource, synth};
use engine::{BLOCK_TOKENS, Batch, BlockId, LoadError, LoadRequest, Loaded, SequenceSpan, load};
use placement::{
    DeviceMapMode, DtypeChoice, Host, KvDtype, Limits, Machine, MaxMemory, Plan, Tier, plan,
};
use tempfile::TempDir;
use watch::Watch;

/// A Llama of about 60,000 weights, with grouped-query attention and an untied lm_head.
pub const TINY_LLAMA: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 259, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// A DeepSeek-V2 with latent attention and dense layers only.
pub const TINY_DEEPSEEK: &str = r#"{
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_act": "silu", "dtype": "bfloat16",
    "vocab_size": 259, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 20,
    "num_key_value_heads": 20, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "q_lora_rank": 32, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 24,
    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.707, "mscale_all_dim": 0.707},
    "first_k_dense_replace": 2, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}"#;

/// A checkpoint with random weights in a temporary folder.
pub struct TinyModel {
    folder: TempDir,
}

impl TinyModel {
    /// Writes a checkpoint with the shape of `config`, the text of a config.json.
    pub fn new(config: &str, shards: usize) -> Self {
        let folder = TempDir::new().expect("create a temporary folder");
        let file = folder.path().join("shape.json");
        std::fs::write(&file, config).expect("write the config");
        let like = SynthSource::Config(file);
        let request = SynthRequest {
            like,
            shards: Some(shards),
            fill: Fill::Random { seed: 7 },
            folder: folder.path().join("model"),
        };
        synth(&request, &|_| true).expect("write a synthetic checkpoint");
        TinyModel { folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    pub fn open(&self) -> Checkpoint {
        Checkpoint::open(&self.path()).expect("open the checkpoint")
    }
}

/// Options of a load, with defaults for tests.
pub struct TestLoad {
    pub dtype: DtypeChoice,
    pub kv_dtype: Option<KvDtype>,
    pub mode: DeviceMapMode,
    pub context: usize,
    pub concurrency: usize,
    pub threads: usize,
    pub machine: Machine,
    /// Bytes for the cache of routed experts on disk; `None`: those of the plan.
    pub expert_cache_bytes: Option<u64>,
}

impl Default for TestLoad {
    fn default() -> Self {
        TestLoad {
            dtype: DtypeChoice::Auto,
            kv_dtype: None,
            mode: DeviceMapMode::Cpu,
            context: 512,
            concurrency: 4,
            threads: 2,
            machine: Machine {
                host: Host { total_bytes: 8 << 30, ..Host::default() },
                ..Machine::default()
            },
            expert_cache_bytes: None,
        }
    }
}

impl TestLoad {
    pub fn plan(&self, checkpoint: &Checkpoint) -> Plan {
        let limits = Limits {
            max_memory: MaxMemory::default(),
            mode: self.mode.clone(),
            context: self.context,
            concurrency: self.concurrency,
            dtype: self.dtype,
            kv_dtype: self.kv_dtype,
            disk: false,
        };
        plan(&checkpoint.config, &checkpoint.inventory, &self.machine, &limits)
            .expect("plan the load")
    }

    /// Plans and loads a checkpoint.
    pub fn load(&self, path: &Path) -> Result<Loaded, LoadError> {
        self.load_with(path, |_| ())
    }

    /// As [`Self::load`], after `change` has modified the request.
    pub fn load_with(
        &self,
        path: &Path,
        change: impl FnOnce(&mut LoadRequest),
    ) -> Result<Loaded, LoadError> {
        let checkpoint = Checkpoint::open(path).expect("open the checkpoint");
        let mut plan = self.plan(&checkpoint);
        if let Some(bytes) = self.expert_cache_bytes {
            plan.tiers.iter_mut().filter(|tier| tier.tier == Tier::Cpu).for_each(|tier| {
                tier.expert_cache_bytes = bytes;
            });
        }
        let watch = Watch::silent();
        let mut request = LoadRequest {
            threads: Some(self.threads),
            ..LoadRequest::new(&checkpoint, &plan, &watch)
        };
        change(&mut request);
        load(request)
    }
}

/// Pseudorandom token ids below 250.
pub fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 250) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// Logits of all tokens of a sequence, `[tokens, vocab]`, computed in chunks of the sizes in
/// `chunks`, whose last entry is repeated.
pub fn logits_in_chunks(loaded: &mut Loaded, tokens: &[u32], chunks: &[usize]) -> Vec<f32> {
    let table = loaded.kv.alloc_many(tokens.len().div_ceil(BLOCK_TOKENS)).expect("allocate blocks");
    let mut all = Vec::new();
    let (mut first, mut turn) = (0, 0);
    while first < tokens.len() {
        let count = chunks[turn.min(chunks.len() - 1)].min(tokens.len() - first);
        all.extend(chunk(loaded, &tokens[first..first + count], first, &table));
        (first, turn) = (first + count, turn + 1);
    }
    for block in table {
        loaded.kv.release(block);
    }
    all
}

/// Logits of all tokens of one chunk, `[tokens, vocab]`. Repeats the pass if the scratch has fewer
/// rows of logits than the chunk has tokens.
pub fn chunk(
    loaded: &mut Loaded,
    tokens: &[u32],
    first_position: usize,
    table: &[BlockId],
) -> Vec<f32> {
    let mut all = Vec::new();
    let rows_max = loaded.scratch.logits_rows_max();
    for part in 0..tokens.len().div_ceil(rows_max) {
        // Every repetition computes the whole chunk, and the logits of other rows than before.
        let rows: Vec<usize> = (part * rows_max..tokens.len().min((part + 1) * rows_max)).collect();
        let span = SequenceSpan { rows: 0..tokens.len(), first_position, block_table: table };
        let batch = Batch { tokens, sequences: &[span], logits_for: &rows };
        let logits = loaded
            .model
            .forward(&batch, &mut loaded.kv, &mut loaded.scratch)
            .expect("compute a pass");
        (0..logits.rows()).for_each(|index| all.extend_from_slice(logits.row(index)));
    }
    all
}

/// The bits of floats, for exact comparisons: `-0.0 == 0.0`.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
