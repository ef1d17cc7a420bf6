//! Tests of models on fake GPUs (`crates/device/fake_driver`), which run the sources of the CUDA
//! kernels on the CPU.

mod common;
#[path = "../../../tests/fake_driver/library.rs"]
mod library;

use error_kind::{ErrorKind, HasKind};
use std::path::{Path, PathBuf};

use checkpoint::{Checkpoint, ModelConfig, ModuleKind};
use common::expected::Expected;
use common::{TINY_LLAMA, TestLoad, TinyModel, bits, logits_in_chunks, tokens};
use engine::{BLOCK_TOKENS, Batch, Loaded, SequenceSpan};
use engine::{Engine, EngineOptions, Request};
use library::{on_fake_gpus, without_a_driver};
use placement::{DeviceMapMode, DtypeChoice, GpuSpec, KvDtype, Machine, Tier, without_gpu_kernel};
use std::time::Duration;
use watch::Watch;

/// Two GPUs with enough memory for these tests.
const GPUS: [(&str, &str); 1] = [("FAKE_GPUS", "2GiB,2GiB")];

/// Limit on the wait for a reply.
const LIMIT: Duration = Duration::from_secs(60);

/// A load with an explicit device map, on a machine with two GPUs.
fn test_load(map: &[(&str, &str)]) -> TestLoad {
    let of = TestLoad::default();
    let gpu =
        || GpuSpec { name: "Fake GPU".to_owned(), total_bytes: 2 << 30, ..GpuSpec::default() };
    let machine = Machine { gpus: vec![gpu(), gpu()], ..of.machine.clone() };
    TestLoad {
        mode: DeviceMapMode::explicit(map.iter().copied()).expect("parse the device map"),
        machine,
        ..of
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// The device map of a model whose layers are on GPU 0 and whose routed experts are on the CPU.
fn layers_on_gpu(config: &ModelConfig) -> Vec<(String, &'static str)> {
    let experts = |module: checkpoint::Module| match module.kind {
        ModuleKind::Experts(_) => Some((module.name, "cpu")),
        _ => None,
    };
    let all = std::iter::once((String::new(), "0"));
    all.chain(checkpoint::modules(config).into_iter().filter_map(experts)).collect()
}

/// As [`test_load`].
fn mapped(map: &[(String, &str)]) -> TestLoad {
    let map: Vec<(&str, &str)> = map.iter().map(|(name, tier)| (name.as_str(), *tier)).collect();
    test_load(&map)
}

/// The golden models that GPUs compute, and those that stay on the CPU.
fn golden_models() -> (Vec<String>, Vec<String>) {
    let entries = std::fs::read_dir(golden("")).expect("list tests/golden").flatten();
    let with_numbers = entries.filter(|entry| entry.path().join("expected.json").is_file());
    let mut names: Vec<String> =
        with_numbers.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.into_iter().partition(|name| {
        let checkpoint = Checkpoint::open(&golden(name)).expect("open the checkpoint");
        without_gpu_kernel(&checkpoint.config).is_none()
    })
}

/// The largest absolute difference between the logits of two models.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, next| if next.is_nan() { f32::INFINITY } else { max.max(next) })
}

#[test]
fn every_family_matches_transformers_on_a_gpu() {
    on_fake_gpus("every_family_matches_transformers_on_a_gpu", &GPUS, || {
        let (names, _) = golden_models();
        assert!(names.len() >= 20, "{names:?}");
        for name in names {
            let expected = Expected::read(&golden(&name).join("expected.json"), None);
            let config = Checkpoint::open(&golden(&name)).expect("open the checkpoint").config;
            let map = layers_on_gpu(&config);
            let distance = |dtype| {
                let test_load =
                    TestLoad { dtype, context: expected.context(), concurrency: 1, ..mapped(&map) };
                let mut loaded = test_load.load(&golden(&name)).expect("load the model");
                assert!(
                    loaded.model.kernel_set().starts_with("cuda-sm80+"),
                    "{}",
                    loaded.model.kernel_set()
                );
                expected.distance(&mut loaded)
            };
            let exact = distance(DtypeChoice::F32);
            assert!(exact.max_abs_error <= 1e-3 && exact.mean_kl.abs() < 1e-5, "{name}: {exact:?}");
            let native = distance(DtypeChoice::Auto);
            assert!(native.mean_kl < 5e-4, "{name}: {native:?}");
        }
    });
}

#[test]
fn models_without_gpu_kernels_stay_on_the_cpu() {
    on_fake_gpus("models_without_gpu_kernels_stay_on_the_cpu", &GPUS, || {
        let (_, names) = golden_models();
        assert!(names.len() >= 8, "{names:?}");
        for name in names {
            let test_load = TestLoad { mode: DeviceMapMode::Auto, ..test_load(&[("", "cpu")]) };
            let loaded = test_load.load(&golden(&name)).expect("load the model");
            let kernel_set = loaded.model.kernel_set();
            assert!(!kernel_set.contains("cuda"), "{name}: {kernel_set}");
        }
    });
}

#[test]
fn a_model_split_over_all_tiers_has_the_same_logits() {
    on_fake_gpus("a_model_split_over_all_tiers_has_the_same_logits", &GPUS, || {
        let six = TINY_LLAMA.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 6");
        let model = TinyModel::new(&six, 2);
        let text = tokens(90, 3);
        let on = |layers: [&str; 6], [embedding, norm, head]: [&str; 3]| {
            let mut map =
                vec![("model.embed_tokens", embedding), ("model.norm", norm), ("lm_head", head)];
            let names: Vec<String> = (0..6).map(|layer| format!("model.layers.{layer}")).collect();
            map.extend(names.iter().map(String::as_str).zip(layers));
            test_load(&map)
        };
        for dtype in [DtypeChoice::F32, DtypeChoice::Auto, DtypeChoice::F16, DtypeChoice::Int8] {
            let limit = if dtype == DtypeChoice::F32 { 1e-5 } else { 0.03 };
            let alone = TestLoad { dtype, ..TestLoad::default() };
            let expected = logits_in_chunks(
                &mut alone.load(&model.path()).expect("load the model"),
                &text,
                &[40, 1],
            );
            for (layers, ends) in [
                (["0"; 6], ["0"; 3]),
                (["0"; 6], ["cpu", "0", "0"]),
                (["0", "0", "1", "1", "cpu", "cpu"], ["0", "cpu", "disk"]),
                (["cpu", "disk", "1", "0", "cpu", "1"], ["disk", "1", "0"]),
                (["0", "1", "0", "1", "0", "1"], ["1", "0", "cpu"]),
            ] {
                let mut loaded = TestLoad { dtype, ..on(layers, ends) }
                    .load(&model.path())
                    .expect("load the model");
                let found = logits_in_chunks(&mut loaded, &text, &[40, 1]);
                let difference = difference(&found, &expected);
                assert!(difference <= limit, "{dtype:?} {layers:?} {ends:?}: {difference}");
                for tier in
                    loaded.report.tiers.iter().filter(|tier| matches!(tier.tier, Tier::Gpu(_)))
                {
                    assert_eq!(tier.gpu.is_some(), tier.weights_bytes > 0, "{tier:?}");
                }
            }
        }
    });
}

/// Dtypes of weights and of the KV cache.
const DTYPES: [(DtypeChoice, Option<KvDtype>); 5] = [
    (DtypeChoice::Auto, None),
    (DtypeChoice::F32, None),
    (DtypeChoice::F16, None),
    (DtypeChoice::Int8, None),
    (DtypeChoice::Auto, Some(KvDtype::Int8)),
];

#[test]
fn logits_on_a_gpu_do_not_depend_on_batch_or_chunks() {
    on_fake_gpus("logits_on_a_gpu_do_not_depend_on_batch_or_chunks", &GPUS, || {
        let model = TinyModel::new(TINY_LLAMA, 1);
        for (dtype, kv_dtype) in DTYPES {
            let half = [("", "0"), ("model.layers.2", "1"), ("model.norm", "1"), ("lm_head", "1")];
            let mut loaded = TestLoad { dtype, kv_dtype, concurrency: 8, ..test_load(&half) }
                .load(&model.path())
                .expect("load the model");
            let texts: Vec<Vec<u32>> =
                (0..5).map(|i| tokens(30 + (i * 31) % 80, i as u64 + 1)).collect();
            let alone = |loaded: &mut Loaded, text: &[u32]| {
                bits(&logits_in_chunks(loaded, text, &[text.len()]))
            };
            let expected: Vec<Vec<u32>> =
                texts.iter().map(|text| alone(&mut loaded, text)).collect();
            for chunks in [&[1usize][..], &[7, 33]] {
                let cut = bits(&logits_in_chunks(&mut loaded, &texts[1], chunks));
                assert!(
                    cut == expected[1],
                    "{dtype:?}, {kv_dtype:?}: chunks of {chunks:?} give other bits"
                );
            }
            assert!(
                together(&mut loaded, &texts) == expected,
                "{dtype:?}, {kv_dtype:?}: other sequences of the batch change bits"
            );
        }
    });
}

/// Golden mixtures of experts that GPUs compute all but the routed experts of: with and without
/// shared experts, a gate of those, biases, and experts in MXFP4.
const MIXTURES: [&str; 5] = ["qwen3-moe", "qwen2-moe", "mixtral", "olmoe", "gpt-oss"];

/// Attention, routers and shared experts are on two GPUs, the routed experts on the CPU or on disk.
#[test]
fn logits_with_experts_on_the_cpu_do_not_depend_on_batch_or_chunks() {
    on_fake_gpus("logits_with_experts_on_the_cpu_do_not_depend_on_batch_or_chunks", &GPUS, || {
        for name in MIXTURES {
            let config = Checkpoint::open(&golden(name)).expect("open the checkpoint").config;
            let mut map = layers_on_gpu(&config);
            map.push(("model.layers.1".to_owned(), "1"));
            let texts: Vec<Vec<u32>> = (0..4)
                .map(|i| tokens(20 + (i * 31) % 50, i as u64 + 1))
                .map(|text| text.into_iter().map(|token| token % 128).collect())
                .collect();
            for dtype in [DtypeChoice::F32, DtypeChoice::Auto, DtypeChoice::Int8] {
                let load = |map| TestLoad { dtype, concurrency: 8, context: 96, ..map };
                let mut loaded = load(mapped(&map)).load(&golden(name)).expect("load the model");
                let expected: Vec<Vec<u32>> = texts
                    .iter()
                    .map(|text| bits(&logits_in_chunks(&mut loaded, text, &[text.len()])))
                    .collect();
                for chunks in [&[1usize][..], &[7, 33]] {
                    let cut = bits(&logits_in_chunks(&mut loaded, &texts[1], chunks));
                    assert!(cut == expected[1], "{name}, {dtype:?}: chunks of {chunks:?}");
                }
                assert!(
                    together(&mut loaded, &texts) == expected,
                    "{name}, {dtype:?}: other sequences of the batch change bits"
                );
                assert!(loaded.scratch.experts_read() > 0, "{name}");
                for tier in &loaded.report.tiers {
                    let slack = tier.activations_planned_bytes / 20;
                    assert!(
                        tier.weights_bytes >= tier.weights_planned_bytes
                            && tier.kv_bytes == tier.kv_planned_bytes
                            && tier.activations_bytes <= tier.activations_planned_bytes + slack,
                        "{name}, {dtype:?}: {tier:?}"
                    );
                }
                // Experts on disk give the same bits.
                let mut on_disk = map.clone();
                on_disk.iter_mut().filter(|(_, tier)| *tier == "cpu").for_each(|(_, tier)| {
                    *tier = "disk";
                });
                let mut on_disk = load(mapped(&on_disk)).load(&golden(name)).expect("load");
                assert!(
                    bits(&logits_in_chunks(&mut on_disk, &texts[1], &[7, 33])) == expected[1],
                    "{name}, {dtype:?}: experts on disk give other bits"
                );
                assert!(on_disk.model.expert_cache().is_some_and(|stats| stats.read_bytes > 0));
                // In other dtypes than f32 rounding may choose other experts.
                if dtype == DtypeChoice::F32 {
                    let mut on_cpu = load(TestLoad::default()).load(&golden(name)).expect("load");
                    let alone = logits_in_chunks(&mut on_cpu, &texts[1], &[texts[1].len()]);
                    let found = logits_in_chunks(&mut loaded, &texts[1], &[texts[1].len()]);
                    let difference = difference(&found, &alone);
                    assert!(difference <= 1e-4, "{name}: {difference}");
                }
            }
        }
    });
}

/// Computes all texts in shared passes, with up to seven rows of each text per pass; returns the
/// bits of each text's logits.
fn together(loaded: &mut Loaded, texts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let blocks = |text: &Vec<u32>| text.len().div_ceil(BLOCK_TOKENS);
    let tables: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| loaded.kv.alloc_many(blocks(text)).expect("allocate blocks"))
        .collect();
    let mut found = vec![Vec::new(); texts.len()];
    for first in (0..texts.iter().map(Vec::len).max().unwrap_or(0)).step_by(7) {
        let (mut rows, mut spans, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (index, text) in texts.iter().enumerate().filter(|(_, text)| text.len() > first) {
            let part = &text[first..text.len().min(first + 7)];
            let span = rows.len()..rows.len() + part.len();
            spans.push(SequenceSpan {
                rows: span,
                first_position: first,
                block_table: &tables[index],
            });
            rows.extend_from_slice(part);
            owners.extend(std::iter::repeat_n(index, part.len()));
        }
        let logits_for: Vec<usize> = (0..rows.len()).collect();
        let batch = Batch { tokens: &rows, sequences: &spans, logits_for: &logits_for };
        let logits = loaded
            .model
            .forward(&batch, &mut loaded.kv, &mut loaded.scratch)
            .expect("compute a pass");
        owners
            .iter()
            .enumerate()
            .for_each(|(row, &owner)| found[owner].extend(bits(logits.row(row))));
    }
    tables.into_iter().flatten().for_each(|block| assert!(loaded.kv.release(block)));
    found
}

#[test]
fn a_failed_pass_is_an_error_and_the_next_pass_works() {
    // The 700th kernel launch, in a pass after the load, fails with CUDA error 2 (out of memory).
    let variables = [GPUS[0], ("FAKE_GPU_FAULT", "cuLaunchKernel:700:2")];
    on_fake_gpus("a_failed_pass_is_an_error_and_the_next_pass_works", &variables, || {
        let model = TinyModel::new(TINY_LLAMA, 1);
        let mut loaded = test_load(&[("", "0")]).load(&model.path()).expect("load the model");
        let text = tokens(20, 3);
        let table = loaded.kv.alloc_many(1).expect("allocate a block");
        let span = SequenceSpan { rows: 0..20, first_position: 0, block_table: &table };
        let batch = Batch { tokens: &text, sequences: &[span], logits_for: &[19] };
        let mut results: Vec<Result<Vec<u32>, ErrorKind>> = Vec::new();
        for _ in 0..30 {
            let pass = loaded.model.forward(&batch, &mut loaded.kv, &mut loaded.scratch);
            results.push(pass.map(|logits| bits(logits.row(0))).map_err(|error| error.kind()));
        }
        let failed: Vec<usize> = (0..30).filter(|&pass| results[pass].is_err()).collect();
        assert!(failed.len() == 1 && failed[0] > 0 && failed[0] < 29, "{failed:?}");
        assert_eq!(results[failed[0]], Err(ErrorKind::OutOfMemory));
        let first = results[0].clone();
        assert!(results.iter().filter(|result| result.is_ok()).all(|result| *result == first));
    });
}

#[test]
fn a_split_model_embeds_and_replies_as_on_the_cpu() {
    on_fake_gpus("a_split_model_embeds_and_replies_as_on_the_cpu", &GPUS, || {
        let model = TinyModel::new(TINY_LLAMA, 1);
        let split =
            [("", "0"), ("model.layers.1", "cpu"), ("model.layers.2", "1"), ("model.norm", "1")];
        let engine = |test_load: TestLoad| {
            let test_load = TestLoad { dtype: DtypeChoice::F32, concurrency: 4, ..test_load };
            let loaded = test_load.load(&model.path()).expect("load the model");
            Engine::start_loaded(loaded, EngineOptions::new(Watch::silent())).expect("an engine")
        };
        let (on_gpus, on_cpu) = (engine(test_load(&split)), engine(TestLoad::default()));
        let embedded = |engine: &Engine| engine.embed(tokens(70, 5), LIMIT).expect("an embedding");
        assert!(difference(&embedded(&on_gpus), &embedded(&on_cpu)) < 1e-5);
        let requests = || {
            (0..6).map(|seed| Request {
                ignore_eos: true,
                ..Request::new(tokens(20 + seed, seed as u64), 12)
            })
        };
        let replies = |engine: &Engine| -> Vec<Vec<u32>> {
            let handles: Vec<_> =
                requests().map(|request| engine.submit(request).expect("taken")).collect();
            handles.iter().map(|handle| handle.wait(LIMIT).expect("a reply").reply.tokens).collect()
        };
        let together = replies(&on_gpus);
        assert_eq!(together, replies(&on_cpu), "f32 replies on GPUs and CPU");
        for (request, tokens) in requests().zip(together) {
            let alone =
                on_gpus.submit(request).expect("taken").wait(LIMIT).expect("a reply").reply.tokens;
            assert_eq!(alone, tokens);
        }
    });
}

#[test]
fn without_a_driver_the_error_names_the_module_and_the_library() {
    without_a_driver("without_a_driver_the_error_names_the_module_and_the_library", || {
        let model = TinyModel::new(TINY_LLAMA, 1);
        let error = test_load(&[("", "0")]).load(&model.path()).expect_err("no driver");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let message = error.to_string();
        assert!(
            message.contains("model.embed_tokens is planned for GPU 0")
                && message.contains("libcuda.so.1"),
            "{message}"
        );
    });
}
