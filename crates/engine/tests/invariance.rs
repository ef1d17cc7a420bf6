//! Tests that the bits of a token's logits do not depend on the other sequences of the batch, on
//! the division of its sequence into passes, on the tier of the weights, or on the number of
//! threads.

mod common;

use common::{TINY_DEEPSEEK, TINY_LLAMA, TestLoad, TinyModel, bits, logits_in_chunks, tokens};
use engine::{BLOCK_TOKENS, Batch, BlockId, Loaded, SequenceSpan};
use placement::{DeviceMapMode, DtypeChoice, KvDtype};

const LENGTH: usize = 150;

/// Configurations that together have grouped queries, sliding windows, QK norms, norms after
/// attention, latent attention, and mixtures of experts with and without shared ones.
fn configs() -> Vec<(&'static str, String)> {
    let with = |model: &str, class: &str, more: &str| {
        let base = TINY_LLAMA
            .replace("\"llama\"", &format!("\"{model}\""))
            .replace("LlamaForCausalLM", class);
        base.replace("\"bos_token_id\": 1", &format!("{more} \"bos_token_id\": 1"))
    };
    vec![
        ("llama", TINY_LLAMA.to_owned()),
        ("mistral", with("mistral", "MistralForCausalLM", "\"sliding_window\": 37,")),
        ("qwen3", with("qwen3", "Qwen3ForCausalLM", "\"head_dim\": 32,")),
        ("olmo2", with("olmo2", "Olmo2ForCausalLM", "")),
        ("deepseek2", TINY_DEEPSEEK.to_owned()),
        (
            "llama-fp8",
            with(
                "llama",
                "LlamaForCausalLM",
                "\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]},",
            ),
        ),
    ]
    .into_iter()
    .chain(expert_configs())
    .collect()
}

/// Configurations with a mixture of experts.
fn expert_configs() -> Vec<(&'static str, String)> {
    let with = |model: &str, class: &str, more: &str| {
        let base = TINY_LLAMA
            .replace("\"llama\"", &format!("\"{model}\""))
            .replace("LlamaForCausalLM", class);
        base.replace("\"bos_token_id\": 1", &format!("{more} \"bos_token_id\": 1"))
    };
    let experts = "\"num_experts\": 12, \"num_experts_per_tok\": 3, \"moe_intermediate_size\": 32,";
    let shared = format!("{experts} \"shared_expert_intermediate_size\": 64,");
    vec![
        (
            "qwen3-moe",
            with(
                "qwen3_moe",
                "Qwen3MoeForCausalLM",
                &format!("\"head_dim\": 32, \"norm_topk_prob\": true, {experts}"),
            ),
        ),
        (
            "qwen2-moe",
            with(
                "qwen2_moe",
                "Qwen2MoeForCausalLM",
                &format!("\"mlp_only_layers\": [1], {shared}"),
            ),
        ),
        (
            "mixtral",
            with(
                "mixtral",
                "MixtralForCausalLM",
                "\"num_local_experts\": 5, \"num_experts_per_tok\": 2,",
            ),
        ),
        ("olmoe", with("olmoe", "OlmoeForCausalLM", experts)),
        (
            "deepseek2-moe",
            TINY_DEEPSEEK
                .replace("\"first_k_dense_replace\": 2", "\"first_k_dense_replace\": 1")
                .replace(
                    "\"n_routed_experts\": 4",
                    "\"n_routed_experts\": 12, \"n_group\": 4, \"topk_group\": 2, \
                     \"topk_method\": \"group_limited_greedy\", \"n_shared_experts\": 2",
                ),
        ),
    ]
}

/// Dtypes of weights and of the KV cache.
fn dtypes() -> [(DtypeChoice, Option<KvDtype>); 6] {
    [
        (DtypeChoice::Auto, None),
        (DtypeChoice::F32, None),
        (DtypeChoice::F16, None),
        (DtypeChoice::Int8, None),
        (DtypeChoice::Auto, Some(KvDtype::Int8)),
        (DtypeChoice::F32, Some(KvDtype::Int8)),
    ]
}

#[test]
fn logits_do_not_depend_on_the_chunks_of_a_prompt() {
    for (name, config) in configs() {
        let model = TinyModel::new(&config, 1);
        for (dtype, kv_dtype) in dtypes() {
            let mut loaded = TestLoad { dtype, kv_dtype, ..TestLoad::default() }
                .load(&model.path())
                .expect("load the model");
            let text = tokens(LENGTH, 3);
            let whole = bits(&logits_in_chunks(&mut loaded, &text, &[LENGTH]));
            for chunks in [&[1usize][..], &[7], &[64], &[33, 1, 5, 90], &[2, 31, 1]] {
                let cut = bits(&logits_in_chunks(&mut loaded, &text, chunks));
                assert!(
                    cut == whole,
                    "{name} {dtype:?}, {kv_dtype:?} keys: chunks of {chunks:?} give other bits than one pass"
                );
            }
            assert_eq!(loaded.kv.free_blocks(), loaded.kv.blocks());
            loaded.kv.check().expect("consistent reference counts");
        }
    }
}

#[test]
fn logits_do_not_depend_on_other_sequences_of_the_batch() {
    compare_with_batches(TINY_LLAMA, &dtypes());
    compare_with_batches(TINY_DEEPSEEK, &dtypes());
    for (_, config) in expert_configs() {
        compare_with_batches(&config, &dtypes()[..4]);
    }
}

fn compare_with_batches(config: &str, dtypes: &[(DtypeChoice, Option<KvDtype>)]) {
    let model = TinyModel::new(config, 2);
    for &(dtype, kv_dtype) in dtypes {
        let mut loaded = TestLoad { dtype, kv_dtype, concurrency: 40, ..TestLoad::default() }
            .load(&model.path())
            .expect("load the model");
        let texts: Vec<Vec<u32>> =
            (0..32).map(|i| tokens(40 + (i * 13) % 90, i as u64 + 1)).collect();
        let alone: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| bits(&logits_in_chunks(&mut loaded, text, &[text.len()])))
            .collect();
        for size in [2, 7, 32] {
            for (group, expected) in texts.chunks(size).zip(alone.chunks(size)) {
                let found = together(&mut loaded, group);
                for (sequence, (found, expected)) in found.iter().zip(expected).enumerate() {
                    assert!(
                        found == expected,
                        "{dtype:?}: sequence {sequence} of {size} in a batch has other bits than alone"
                    );
                }
            }
        }
    }
}

/// Computes sequences together, some decoding and some prefilling chunks of varying lengths;
/// returns the bits of each sequence's logits.
fn together(loaded: &mut Loaded, texts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let table = |text: &Vec<u32>| {
        loaded.kv.alloc_many(text.len().div_ceil(BLOCK_TOKENS)).expect("allocate blocks")
    };
    let tables: Vec<Vec<BlockId>> = texts.iter().map(table).collect();
    let mut done = vec![0; texts.len()];
    let mut found = vec![Vec::new(); texts.len()];
    let mut round = 0;
    while done.iter().zip(texts).any(|(&done, text)| done < text.len()) {
        let (mut rows, mut owners, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            // In every third pass a sequence decodes one token; in the others it prefills a chunk.
            let count = if (index + round) % 3 == 0 { 1 } else { 1 + (index * 5 + round) % 14 };
            let part = &text[done[index]..text.len().min(done[index] + count)];
            if !part.is_empty() && rows.len() + part.len() <= loaded.scratch.logits_rows_max() {
                let span = rows.len()..rows.len() + part.len();
                sequences.push(SequenceSpan {
                    rows: span,
                    first_position: done[index],
                    block_table: &tables[index],
                });
                rows.extend_from_slice(part);
                owners.extend(std::iter::repeat_n(index, part.len()));
                done[index] += part.len();
            }
        }
        let logits_for: Vec<usize> = (0..rows.len()).collect();
        let batch = Batch { tokens: &rows, sequences: &sequences, logits_for: &logits_for };
        let logits = loaded
            .model
            .forward(&batch, &mut loaded.kv, &mut loaded.scratch)
            .expect("compute a pass");
        owners
            .iter()
            .enumerate()
            .for_each(|(row, &owner)| found[owner].extend(bits(logits.row(row))));
        round += 1;
    }
    for block in tables.into_iter().flatten() {
        loaded.kv.release(block);
    }
    found
}

#[test]
fn logits_after_a_shared_prefix_are_those_after_an_own_one() {
    for (_, config) in configs() {
        compare_with_prefix(&config);
    }
}

fn compare_with_prefix(config: &str) {
    let model = TinyModel::new(config, 1);
    let mut loaded = TestLoad::default().load(&model.path()).expect("load the model");
    let (prefix, tail) = (tokens(2 * BLOCK_TOKENS, 5), tokens(20, 6));
    let text: Vec<u32> = prefix.iter().chain(&tail).copied().collect();
    let whole = bits(&logits_in_chunks(&mut loaded, &text, &[text.len()]));
    // One sequence computes the prefix; a second one reuses its blocks and computes the tail.
    let mut table = loaded.kv.alloc_many(2).expect("allocate blocks");
    common::chunk(&mut loaded, &prefix, 0, &table);
    table.iter().for_each(|&block| loaded.kv.retain(block));
    table.push(loaded.kv.alloc().expect("allocate a block"));
    let found = bits(&common::chunk(&mut loaded, &tail, prefix.len(), &table));
    assert!(found == whole[whole.len() - found.len()..], "a prefix hit gives other bits");
}

#[test]
fn logits_do_not_depend_on_threads_or_tiers() {
    compare_threads_and_tiers(TINY_LLAMA);
    compare_threads_and_tiers(TINY_DEEPSEEK);
    for (_, config) in expert_configs() {
        compare_threads_and_tiers(&config);
    }
}

fn compare_threads_and_tiers(config: &str) {
    let model = TinyModel::new(config, 3);
    let text = tokens(LENGTH, 9);
    for dtype in [DtypeChoice::Auto, DtypeChoice::Int8] {
        let mut one = TestLoad { dtype, threads: 1, ..TestLoad::default() }
            .load(&model.path())
            .expect("load the model");
        let expected = bits(&logits_in_chunks(&mut one, &text, &[LENGTH]));
        let mut three = TestLoad { dtype, threads: 3, ..TestLoad::default() }
            .load(&model.path())
            .expect("load the model");
        assert!(
            bits(&logits_in_chunks(&mut three, &text, &[60, 1])) == expected,
            "{dtype:?}: three threads"
        );
        let disk = TestLoad { dtype, mode: DeviceMapMode::Disk, ..TestLoad::default() };
        let mut streamed = disk.load(&model.path()).expect("load the model");
        assert!(
            bits(&logits_in_chunks(&mut streamed, &text, &[60, 1])) == expected,
            "{dtype:?}: the disk tier"
        );
        let mapped = TestLoad { dtype, ..TestLoad::default() };
        let mut mapped = mapped.load_with(&model.path(), |request| request.file_maps = true);
        let mapped = mapped.as_mut().expect("load the model");
        assert!(
            bits(&logits_in_chunks(mapped, &text, &[60, 1])) == expected,
            "{dtype:?}: file maps"
        );
    }
}
