//! Tests that mixtures of experts whose routed experts are on the disk tier give the bits that they
//! give in memory, for any size of the cache and any division of a text into passes.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::ModuleKind;
use common::{TestLoad, bits, logits_in_chunks, tokens};
use engine::{
    BLOCK_TOKENS, Batch, ExpertCacheStats, ForwardError, LoadError, Loaded, SequenceSpan,
};
use placement::{DeviceMapMode, DtypeChoice, Tier};

/// Golden checkpoints of all families, and of all forms of experts in safetensors files;
/// `gguf_experts` tests GGUF files.
const MODELS: [&str; 8] = [
    "qwen3-moe",
    "qwen2-moe",
    "mixtral",
    "olmoe",
    "deepseek2",
    "deepseek2-fp8",
    "qwen3-moe-fused",
    "gpt-oss",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Tokens of the vocabularies of all these models.
fn text_of(count: usize, seed: u64) -> Vec<u32> {
    tokens(count, seed).into_iter().map(|token| token % 128).collect()
}

fn on_disk(dtype: DtypeChoice, expert_cache_bytes: u64) -> TestLoad {
    let expert_cache_bytes = Some(expert_cache_bytes);
    TestLoad { dtype, mode: DeviceMapMode::Disk, expert_cache_bytes, ..TestLoad::default() }
}

fn load(model: &Path, dtype: DtypeChoice, expert_cache_bytes: u64) -> Loaded {
    on_disk(dtype, expert_cache_bytes).load(model).expect("load the model")
}

fn stats(loaded: &Loaded) -> ExpertCacheStats {
    loaded.model.expert_cache().expect("experts on disk")
}

/// Bytes of the smallest cache: it holds the largest part of one expert.
fn smallest(model: &Path, dtype: DtypeChoice) -> u64 {
    match on_disk(dtype, 1).load(model) {
        Err(LoadError::ExpertCache { needed_bytes, planned_bytes: 1 }) => needed_bytes,
        Err(other) => panic!("{}: {other}", model.display()),
        Ok(_) => panic!("{}: no cache was needed", model.display()),
    }
}

#[test]
fn bits_are_those_of_experts_in_memory_for_any_cache() {
    for name in MODELS {
        let model = golden(name);
        for dtype in [DtypeChoice::Auto, DtypeChoice::F32, DtypeChoice::Int8] {
            let text = text_of(90, 4);
            let mut resident =
                TestLoad { dtype, ..TestLoad::default() }.load(&model).expect("load the model");
            assert_eq!(resident.model.expert_cache(), None);
            let expected = bits(&logits_in_chunks(&mut resident, &text, &[90]));
            let least = smallest(&model, dtype);
            for cache in [least, 3 * least + 1, 1 << 30] {
                let mut loaded = load(&model, dtype, cache);
                for chunks in [&[90][..], &[1, 40, 17]] {
                    assert!(
                        bits(&logits_in_chunks(&mut loaded, &text, chunks)) == expected,
                        "{name} {dtype:?}: other bits with a cache of {cache} bytes, {chunks:?}"
                    );
                    let ExpertCacheStats { used_bytes, capacity_bytes, .. } = stats(&loaded);
                    assert!(0 < used_bytes && used_bytes <= cache && capacity_bytes == cache);
                }
            }
        }
    }
}

#[test]
fn a_cache_for_all_experts_reads_each_once() {
    let model = golden("qwen3-moe");
    let text = text_of(60, 5);
    let mut loaded = load(&model, DtypeChoice::Auto, 1 << 30);
    logits_in_chunks(&mut loaded, &text, &[60]);
    let first = stats(&loaded);
    assert!(first.read_bytes > 0 && first.tokens >= 60, "{first:?}");
    logits_in_chunks(&mut loaded, &text, &[60]);
    let second = stats(&loaded).since(&first);
    assert_eq!((second.read_bytes, second.tokens), (0, 60));
    assert_eq!(second.hit_rate(), Some(1.0));
    // A cache of one part of an expert holds nothing that the next pass could use.
    let mut least = load(&model, DtypeChoice::Auto, smallest(&model, DtypeChoice::Auto));
    let before = stats(&least);
    logits_in_chunks(&mut least, &text, &[60]);
    let all = stats(&least).since(&before);
    assert_eq!(
        (all.read_bytes, all.requested_bytes),
        (second.requested_bytes, second.requested_bytes)
    );
}

#[test]
fn what_is_read_depends_on_the_passes_alone() {
    let model = golden("olmoe");
    let least = smallest(&model, DtypeChoice::Auto);
    let run = |threads| {
        let load = TestLoad { threads, ..on_disk(DtypeChoice::Auto, 6 * least) };
        let mut loaded = load.load(&model).expect("load the model");
        logits_in_chunks(&mut loaded, &text_of(80, 6), &[9, 1, 1, 30]);
        stats(&loaded)
    };
    let first = run(1);
    assert!(first.hit_rate().is_some_and(|rate| rate > 0.0 && rate < 1.0), "{first:?}");
    assert_eq!(first, run(3));
}

/// A text's passes, and the error of the first that fails.
fn first_error(loaded: &mut Loaded, text: &[u32]) -> Option<ForwardError> {
    let table = loaded.kv.alloc_many(text.len().div_ceil(BLOCK_TOKENS)).expect("allocate blocks");
    let span = SequenceSpan { rows: 0..text.len(), first_position: 0, block_table: &table };
    let batch = Batch { tokens: text, sequences: &[span], logits_for: &[0] };
    let error = loaded.model.forward(&batch, &mut loaded.kv, &mut loaded.scratch).err();
    for block in table {
        loaded.kv.release(block);
    }
    error
}

/// A device map that keeps all in memory but the routed experts.
fn experts_alone(model: &Path) -> DeviceMapMode {
    experts_apart(model, [Tier::Cpu, Tier::Disk])
}

/// A device map with a tier for the routed experts, and one for all else.
fn experts_apart(model: &Path, [rest, of_experts]: [Tier; 2]) -> DeviceMapMode {
    let config = checkpoint::Checkpoint::open(model).expect("open the checkpoint").config;
    let experts = checkpoint::modules(&config).into_iter().filter_map(|module| {
        matches!(module.kind, ModuleKind::Experts(_)).then_some((module.name, of_experts))
    });
    DeviceMapMode::Explicit([(String::new(), rest)].into_iter().chain(experts).collect())
}

#[test]
fn experts_on_disk_of_layers_in_memory_give_the_same_bits() {
    for name in ["deepseek2", "gpt-oss"] {
        let (model, text) = (golden(name), text_of(70, 8));
        let mut resident = TestLoad::default().load(&model).expect("load the model");
        let expected = bits(&logits_in_chunks(&mut resident, &text, &[70]));
        let mode = experts_alone(&model);
        let mut loaded = TestLoad { mode, ..TestLoad::default() }.load(&model).expect("load");
        assert!(bits(&logits_in_chunks(&mut loaded, &text, &[31, 1])) == expected, "{name}");
        let report = loaded.report.expert_cache.expect("the smoke test used the cache");
        assert!(report.tokens >= 12 && report.read_bytes_per_token > 0.0, "{report:?}");
        let planned = loaded.report.tiers.iter().find(|tier| tier.tier == Tier::Disk);
        let disk = planned.expect("the disk tier");
        assert_eq!(disk.weights_bytes, disk.weights_planned_bytes, "{name}");
        let mode = experts_apart(&model, [Tier::Disk, Tier::Cpu]);
        let mut loaded = TestLoad { mode, ..TestLoad::default() }.load(&model).expect("load");
        assert_eq!(loaded.report.expert_cache, None);
        assert!(bits(&logits_in_chunks(&mut loaded, &text, &[31, 1])) == expected, "{name}");
    }
}

#[test]
fn a_file_that_is_cut_after_the_load_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("olmoe").join(file), folder.path().join(file)).expect("copy");
    }
    let expert_cache_bytes = Some(smallest(folder.path(), DtypeChoice::Auto));
    let mode = experts_alone(folder.path());
    let load = TestLoad { mode, expert_cache_bytes, ..TestLoad::default() };
    let mut loaded = load.load(folder.path()).expect("load the model");
    let text = text_of(40, 7);
    assert!(first_error(&mut loaded, &text).is_none());
    let shard = folder.path().join("model.safetensors");
    let whole = std::fs::read(&shard).expect("read the shard");
    let file = std::fs::OpenOptions::new().write(true).open(&shard).expect("open the shard");
    let modified = file.metadata().and_then(|metadata| metadata.modified()).expect("its time");
    file.set_len(4096).expect("cut the shard");
    let error = first_error(&mut loaded, &text).expect("a cut file").to_string();
    for word in ["the disk tier", "model.safetensors", "mlp.experts.", "truncated"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // The error was that of a pass, not of the cache: once the disk answers, passes go on.
    file.write_all_at(&whole, 0).and_then(|()| file.set_modified(modified)).expect("restore");
    assert!(first_error(&mut loaded, &text).is_none());
}

#[test]
fn a_disk_that_does_not_answer_in_time_is_named() {
    let model = golden("olmoe");
    let load = TestLoad { mode: experts_alone(&model), ..TestLoad::default() };
    let outcome = load.load_with(&model, |request| request.disk_limit = Duration::ZERO);
    match outcome {
        Err(LoadError::Smoke(ForwardError::DiskTimeout { module, limit_s: 0 })) => {
            assert_eq!(module, "an expert of layer 0");
        }
        other => panic!("{:?}", other.map(|_| "loaded")),
    }
}
