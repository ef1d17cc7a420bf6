//! Tests of configurations: strict keys with locations and suggestions, inheritance, keys of the
//! predecessor, grids, cost estimates.
#![allow(clippy::print_stderr, reason = "a test")]

use error_kind::{ErrorKind, HasKind};
use experiment::{Config, ConfigProblem, ExperimentError, ProviderInfo};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn parse(text: &str) -> Config {
    Config::parse(text, "test.yaml", &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    let error = Config::parse(text, "test.yaml", &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    error.to_string()
}

fn set(text: &str, sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Config::parse(text, "test.yaml", &sets).unwrap_or_else(|error| panic!("{error}"))
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn any_model(name: &str) -> Result<ProviderInfo, ExperimentError> {
    Ok(ProviderInfo {
        identity: name.into(),
        dtype: "bf16".into(),
        rung: String::new(),
        kernel_set: "k".into(),
        context_length: None,
    })
}

#[test]
fn unknown_keys_are_errors_with_line_and_suggestion() {
    let error = refused("experiment:\n  name: x\npe_induction:\n  p_shok: 0.2\n");
    assert!(
        error.contains("test.yaml line 4") && error.contains("did you mean pe_induction.p_shock?"),
        "{error}"
    );
    let error = refused("grid:\n  pe_induction.pe_mga: [low]\n");
    assert!(
        error.contains("line 2") && error.contains("did you mean pe_induction.pe_mag?"),
        "{error}"
    );
    let error = refused("modle:\n  name: x\n");
    assert!(error.contains("line 1") && error.contains("unknown key modle"), "{error}");
    let error = refused("max_step: 10\n");
    assert!(error.contains("did you mean max_steps?"), "{error}");
    assert!(refused("zzzzqqq: 1\n").ends_with("unknown key zzzzqqq"));
}

#[test]
fn wrong_types_and_ranges_name_key_expected_and_found() {
    for (text, parts) in [
        (
            "pe_induction:\n  p_shock: 1.5\n",
            ["line 2", "pe_induction.p_shock", "a number from 0 to 1", "the number 1.5"],
        ),
        (
            "pe_induction:\n  p_shock: often\n",
            ["line 2", "pe_induction.p_shock", "a number", "the text \"often\""],
        ),
        (
            "env:\n  max_steps: 2.5\n",
            ["line 2", "env.max_steps", "a whole number from 1 to 1000000", "the number 2.5"],
        ),
        (
            "env:\n  complexity_level: -1\n",
            ["line 2", "env.complexity_level", "from 0 to 4", "the number -1"],
        ),
        ("env: 3\n", ["line 1", "env", "a mapping", "the number 3"]),
        (
            "interface:\n  prediction_mode: requird\n",
            ["line 2", "prediction_mode", "required, optional", "\"requird\""],
        ),
        (
            "grid:\n  model.temperature: 0.5\n",
            ["line 2", "model.temperature", "a list of levels", "the number 0.5"],
        ),
        (
            "env:\n  max_steps_by_level: {7: 10}\n",
            ["line 2", "max_steps_by_level", "level (0-4)", "a mapping"],
        ),
        ("- a\n- b\n", ["line 1", "the document", "a mapping", "a list of 2"]),
    ] {
        let error = refused(text);
        parts.iter().for_each(|part| assert!(error.contains(part), "{part:?} is not in: {error}"));
    }
    let error = refused("env: {max_steps: 1\n");
    assert!(error.contains("not YAML") && error.contains("line"), "{error}");
    assert!(refused("env:\n  max_steps: 1\nenv:\n  max_steps: 2\n").contains("uplicate"));
    assert!(refused("max_steps: 1\nenv:\n  max_steps: 2\n").contains("two spellings"));
    assert!(refused("experiment:\n  name: ../../etc\n").contains("names a folder"));
    assert!(refused("grid:\n  env.max_steps: []\n").contains("no levels"));
    assert!(refused("grid:\n  env.max_steps: [5, 5]\n").contains("twice"));
    assert!(refused("grid:\n  experiment.seed: [1, 2]\n").contains("cannot be a factor"));
    assert!(
        refused("grid:\n  env.max_steps: [5]\nfixed:\n  env.max_steps: 5\n")
            .contains("both in grid and in fixed")
    );
    assert!(
        refused("demand:\n  due_days: 30\n  expire_after_days: 5\n").contains("expire_after_days")
    );
    assert!(
        refused("model:\n  max_tokens_per_call: 4000\n  context_length: 4000\n")
            .contains("no room for a prompt")
    );
}

#[test]
fn the_command_line_overrides_and_is_checked() {
    let config =
        set("pe_induction:\n  p_shock: 0.1\n", &["pe_induction.p_shock=0.7", "model.name=org/x"]);
    assert_eq!(config.values()["pe_induction.p_shock"], json!(0.7));
    assert_eq!(config.values()["model.name"], json!("org/x"));
    let config = set("grid:\n  pe_induction.p_shock: [0.1, 0.2]\n", &["pe_induction.p_shock=0.7"]);
    assert!(config.grid().is_empty(), "--set replaces the factor");
    let config = set("", &["grid.pe_induction.p_shock=[0, 0.5]"]);
    assert_eq!(config.cells().len(), 2);
    for bad in ["p_shock", "pe_induction.p_shok=1", "pe_induction.p_shock=7"] {
        let error = Config::parse("", "x", &[bad.to_string()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("--set"), "{error}");
    }
}

#[test]
fn files_inherit_and_later_ones_win() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "base.yaml",
        "env:\n  max_steps: 10\n  complexity_level: 2\nfixed:\n  pe_induction.pe_mag: low\n",
    );
    write(
        "mid.yaml",
        "inherit: base.yaml\nenv:\n  max_steps: 20\ngrid:\n  pe_induction.p_shock: [0.1, 0.2]\n",
    );
    write(
        "top.yaml",
        "inherit: mid.yaml\npe_induction:\n  pe_mag: high\ngrid:\n  pe_induction.p_shock: [0.5]\n",
    );
    let config = Config::load(&folder.path().join("top.yaml"), &[]).unwrap();
    assert_eq!(config.values()["env.max_steps"], json!(20));
    assert_eq!(config.values()["env.complexity_level"], json!(2));
    assert_eq!(config.values()["pe_induction.pe_mag"], json!("low"), "fixed takes precedence");
    assert_eq!(config.grid(), [("pe_induction.p_shock", vec![json!(0.5)])]);
    write("base.yaml", "inherit: top.yaml\n");
    let error = Config::load(&folder.path().join("top.yaml"), &[]).unwrap_err();
    assert!(matches!(error, ExperimentError::Config(ConfigProblem::Circle { .. })), "{error}");
    let error = Config::load(&folder.path().join("absent.yaml"), &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("absent.yaml"), "{error}");
}

#[test]
fn keys_of_the_predecessor_are_mapped_with_a_note() {
    let config = parse(
        "experiment:\n  name: old\n  seed: null\n  run_id: x\nsimulation:\n  max_steps: 50\n  initial_storage:\n    sku_1: 5\n  \
         shock_config:\n    frequency: 0.2\n    types:\n      demand_spike: 0.5\n    intensity_range: [0.5, 1.5]\nagent:\n  model:\n    \
         name: TinyLlama/TinyLlama-1.1B-Chat-v1.0\n    temperature: 0.7\n    max_tokens_per_call: 500\n    offload_folder: /tmp/x\n    \
         offload_state_dict: true\n  interface:\n    prediction_mode: optional\n    recovery_tools: none\ncrash_detection:\n  enabled: true\n  \
         thresholds:\n    pe_explosion: 3\npe_tracking:\n  pe_types: [temporal]\n  ewma:\n    enabled: true\nmeasurement:\n  pe_windows: \
         [10, 100, 500]\nlogging:\n  save_step_logs: true\npaths:\n  logs_dir: logs\n  results_dir: out\ngrid:\n  runs_per_config: 3\n  \
         agent.model.temperature: [0.1, 0.7]\n",
    );
    let value = |key: &str| config.values()[key].clone();
    assert_eq!(value("env.max_steps"), json!(50));
    assert_eq!(value("pe_induction.p_shock"), json!(0.2));
    assert_eq!(value("model.name"), json!("TinyLlama/TinyLlama-1.1B-Chat-v1.0"));
    assert_eq!(value("interface.prediction_mode"), json!("optional"));
    assert_eq!(value("experiment.replications"), json!(3));
    assert_eq!(value("experiment.output_dir"), json!("out"));
    assert_eq!(config.grid(), [("model.temperature", vec![json!(0.1), json!(0.7)])]);
    let notes = config.notes().join("\n");
    for part in [
        "simulation.max_steps is now env.max_steps",
        "simulation.shock_config.frequency is now pe_induction.p_shock",
        "agent.model.offload_folder has no effect: nothing is copied to a folder",
        "agent.model.offload_state_dict has no effect",
        "experiment.run_id has no effect: a run's id is the hash",
        "crash_detection.thresholds.pe_explosion has no effect",
        "pe_tracking.pe_types has no effect",
        "measurement.pe_windows has no effect",
        "agent.interface.prediction_mode is now interface.prediction_mode",
        "line 6: simulation.max_steps",
    ] {
        assert!(notes.contains(part), "{part:?} is not in:\n{notes}");
    }
    let off = parse("env:\n  shock_config:\n    enabled: false\n    frequency: 0.4\n");
    assert_eq!(off.values()["pe_induction.p_shock"], json!(0.0));
    assert_eq!(parse("model: some/model\n").values()["model.name"], json!("some/model"));
}

/// Defect 4 of the predecessor: `fixed` was never applied, the key of the horizon was never read,
/// and configurations set `env` while the program read `simulation`.
#[test]
fn defect_04_fixed_horizon_and_sections_reach_the_cells() {
    let config = parse(
        "env:\n  max_steps: 10\nfixed:\n  env.max_steps: 77\n  simulation.complexity_level: 3\n",
    );
    let cell = &config.cells()[0];
    assert_eq!((cell.steps_max(), &cell.values()["env.complexity_level"]), (77, &json!(3)));
    let by_level = parse(
        "max_steps: 9\nmax_steps_by_level: {1: 500, 2: 1000}\ngrid:\n  env.complexity_level: [1, 2, 3]\n",
    );
    assert_eq!(
        by_level.cells().iter().map(experiment::Cell::steps_max).collect::<Vec<_>>(),
        [500, 1000, 9]
    );
}

/// Defect 7 of the predecessor: run ids were times with a resolution of one second, so they
/// collided.
#[test]
fn defect_07_run_ids_are_content_and_never_collide() {
    let text = "experiment:\n  replications: 4\ngrid:\n  pe_induction.p_shock: [0.1, 0.2, 0.3]\n  interface.prediction_mode: [required, optional]\n";
    let runs = parse(text).runs(any_model).unwrap();
    assert_eq!(runs.len(), 24);
    assert_eq!(runs.iter().map(|run| &run.run_id).collect::<BTreeSet<_>>().len(), 24);
    assert_eq!(runs, parse(text).runs(any_model).unwrap(), "ids are reproducible");
    // Neither the study's name nor the order of its levels affects run ids.
    let other = "experiment:\n  name: other\n  replications: 4\ngrid:\n  interface.prediction_mode: [optional, required]\n  pe_induction.p_shock: [0.3, 0.2, 0.1]\n";
    let ids = |runs: &[experiment::PlannedRun]| {
        runs.iter().map(|run| run.run_id.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&runs), ids(&parse(other).runs(any_model).unwrap()));
    // The model and the seed affect run ids.
    let bf16 = |_: &str| any_model("other weights");
    assert!(ids(&runs).is_disjoint(&ids(&parse(text).runs(bf16).unwrap())));
    assert!(
        ids(&runs).is_disjoint(&ids(&set(text, &["experiment.seed=1"]).runs(any_model).unwrap()))
    );
}

/// Defect 8 of the predecessor: the world ignored its seed, and seed 0 meant "no seed".
#[test]
fn defect_08_cells_share_seeds_and_replicates_do_not() {
    let text =
        "experiment:\n  seed: 0\n  replications: 3\ngrid:\n  pe_induction.p_shock: [0.1, 0.2]\n";
    let runs = parse(text).runs(any_model).unwrap();
    let seeds = |replicate| {
        runs.iter()
            .filter(move |run| run.replicate == replicate)
            .map(|run| run.seed)
            .collect::<BTreeSet<_>>()
    };
    for replicate in 0..3 {
        assert_eq!(seeds(replicate).len(), 1, "cells share the seed of a replicate");
    }
    assert_eq!(
        runs.iter().map(|run| run.seed).collect::<BTreeSet<_>>().len(),
        3,
        "replicates differ"
    );
    let other = set(text, &["experiment.seed=1"]).runs(any_model).unwrap();
    assert_ne!(runs[0].seed, other[0].seed, "0 is a seed like any other");
    let apart = set(text, &["experiment.paired=false"]).runs(any_model).unwrap();
    assert_eq!(apart.iter().map(|run| run.seed).collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn cells_that_are_equal_in_effect_are_run_once() {
    let text = "grid:\n  pe_induction.p_shock: [0.0, 0.5]\n  pe_induction.pe_mag: [low, high]\n  pe_induction.observability: [full, hidden]\n";
    let counts = parse(text).counts();
    assert_eq!((counts.combinations, counts.cells, counts.runs), (8, 5, 5));
    let scripted = "agent:\n  policy: careful\ngrid:\n  model.temperature: [0.1, 0.9]\n  agent.reply_mode: [json, text]\n";
    assert_eq!(parse(scripted).counts().runs, 1);
    assert_eq!(parse("grid:\n  agent.history_window: [5, 9]\n").counts().runs, 1);
    assert_eq!(
        parse("agent:\n  history: window\ngrid:\n  agent.history_window: [5, 9]\n").counts().runs,
        2
    );
    assert_eq!(parse("grid:\n  pe_induction.p_shock: [0, 0.0001]\n").counts().runs, 2);
    assert!(refused("grid:\n  pe_induction.p_shock: [0, 0.0]\n").contains("twice"));
}

#[test]
fn the_studys_phases_have_twenty_worlds_four_doses_and_seeds_of_their_own() {
    let (mut runs, mut distinct) = (0, BTreeSet::new());
    for phase in 1..=5 {
        for size in ["small", "large"] {
            let path = configs().join(format!("phases/phase{phase}_{size}.yaml"));
            let config = Config::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert!(config.notes().is_empty(), "{:?}", config.notes());
            runs += config.counts().runs;
            distinct.extend(config.runs(any_model).unwrap().into_iter().map(|run| run.run_id));
            check_phase(phase, &config);
        }
    }
    assert_eq!((runs, distinct.len()), (13_720, 13_720), "no run belongs to two phases");
}

fn check_phase(phase: usize, config: &Config) {
    let cell = |key: &str| {
        config.cells().iter().map(|cell| cell.values()[key].to_string()).collect::<BTreeSet<_>>()
    };
    let set =
        |values: &[&str]| values.iter().map(|value| value.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(cell("pe_induction.p_shock"), set(&["0.0", "0.1", "0.2", "0.3"]));
    let (mode, steps, levels): (&[&str], &[&str], &[&str]) = match phase {
        1 => (&["\"required\"", "\"optional\""], &["500"], &["1"]),
        2 => (&["\"required+confidence\""], &["1000"], &["1"]),
        3 => (&["\"required+full\""], &["500", "2500"], &["1", "3"]),
        4 => (&["\"required+full\""], &["1000"], &["2"]),
        _ => (&["\"required\""], &["5000"], &["4"]),
    };
    assert_eq!(cell("interface.prediction_mode"), set(mode), "phase {phase}");
    assert_eq!(cell("env.max_steps"), set(steps), "phase {phase}");
    assert_eq!(cell("env.complexity_level"), set(levels), "phase {phase}");
    assert_eq!((config.worlds_min(), config.design()), (20, "v2"), "phase {phase}");
    assert_eq!(config.values()["experiment.seed"], json!(20261100 + phase));
    assert_eq!(config.values()["experiment.phase"], json!(phase.to_string()));
}

#[test]
fn families_of_tests_are_declared_and_recorded_only_where_they_are_set() {
    let text = "agent: {policy: careful}\ngrid: {pe_induction.p_shock: [0.0, 0.5]}\n";
    assert!(!parse(text).identity().contains_key("analysis.families"));
    // Version 0.1 recorded design v1 without a key for it.
    let v1 = parse(&format!("experiment: {{design: v1}}\n{text}")).identity();
    for key in ["experiment.design", "experiment.draws", "agent.beta", "analysis.families"] {
        assert!(!v1.contains_key(key), "{key}");
    }
    let declared = "analysis: {families: {main: [doses, causes], rest: [factors]}}\n";
    let config = parse(&format!("{declared}{text}"));
    let expected = json!({"main": ["doses", "causes"], "rest": ["factors"]});
    assert_eq!(config.identity()["analysis.families"], expected);
    for (families, why) in [
        ("{main: [dosis]}", "(not \"dosis\")"),
        ("{main: [doses], rest: [doses]}", "(not doses twice)"),
        ("{main: []}", "(not main: [])"),
        ("{main: doses}", "(not main: \"doses\")"),
        ("[doses]", "a mapping of names to lists of doses"),
        ("{causes: [doses]}", "not a family called causes without that group"),
    ] {
        let error = refused(&format!("analysis: {{families: {families}}}\n"));
        assert!(error.contains(why), "{families}: {error}");
    }
}

#[test]
fn worlds_can_be_set_by_level_and_draws_are_further_runs_of_a_world() {
    let text = "experiment: {replications: 2, replications_by: {pe_induction.p_shock: {0: 5}}, draws: 3}\n\
                agent: {policy: careful}\ngrid: {pe_induction.p_shock: [0.0, 0.5]}\n";
    let config = parse(text);
    assert_eq!((config.counts().runs, config.worlds_min()), ((5 + 2) * 3, 2));
    let runs = config.runs(any_model).unwrap();
    let worlds = |p_shock: f64| {
        let of =
            runs.iter().filter(|run| run.cell.values()["pe_induction.p_shock"] == json!(p_shock));
        of.map(|run| run.seed).collect::<BTreeSet<_>>()
    };
    assert_eq!((worlds(0.0).len(), worlds(0.5).len()), (5, 2));
    assert!(worlds(0.5).is_subset(&worlds(0.0)), "cells share worlds");
    let error = refused("experiment: {replications_by: {pe_induction.p_shok: {0: 5}}}\n");
    assert!(error.contains("(not pe_induction.p_shok)"), "{error}");
    let error = refused("experiment: {replications_by: {pe_induction.p_shock: {0: none}}}\n");
    assert!(error.contains("counts"), "{error}");
    let error = refused("experiment: {replications_by: {pe_induction.p_shock: {0.7: 4}}}\n");
    assert!(error.contains("no cell has pe_induction.p_shock: 0.7"), "{error}");
    let operators = "experiment: {replications: 2, replications_by: {agent.policy: {\"null\": 4}}}\n\
                     grid: {agent.policy: [careful, \"null\"]}\n";
    assert_eq!(parse(operators).counts().runs, 6);
    assert!(
        refused("agent: {policy: }\n").contains("one of model"),
        "an empty value is no operator"
    );
}

#[test]
fn the_design_sets_its_keys_and_defaults_and_is_no_factor() {
    let cell = |text: &str| parse(text).cells()[0].values().clone();
    let (v1, v2) = (cell("experiment: {design: v1}\n"), cell(""));
    assert_eq!(v2["experiment.design"], json!("v2"));
    assert_eq!(v2["pe_induction.observability"], json!("hidden"));
    assert_eq!(
        (&v2["demand.max_failures"], &v2["demand.max_lost_share"]),
        (&json!(null), &json!(0.5))
    );
    assert!(!v1.contains_key("experiment.design") && !v1.contains_key("demand.max_lost_share"));
    assert_eq!(v1["pe_induction.observability"], json!("full"));
    assert_eq!(v1["crash_detector.continue_after_crash"], json!(50));
    assert!(refused("grid: {experiment.design: [v1, v2]}\n").contains("two designs"));
    let error = refused("experiment: {design: v1}\nagent: {policy: fragile}\n");
    assert!(error.contains("needs experiment.design v2"), "{error}");
    let notes = parse("demand: {max_failures: 30}\n");
    assert!(notes.notes()[0].contains("no effect in design v2"), "{:?}", notes.notes());
}

#[test]
fn the_studys_phases_expand_within_seconds() {
    let begun = std::time::Instant::now();
    for phase in 1..=5 {
        for size in ["small", "large"] {
            let config =
                Config::load(&configs().join(format!("phases/phase{phase}_{size}.yaml")), &[])
                    .unwrap();
            config.runs(any_model).unwrap();
        }
    }
    // An optimized build needs about one second; a debug build on shared cores needs longer.
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    eprintln!("all runs expanded in {:?}", begun.elapsed());
}

/// Defect 11 of the predecessor: loading `local_test.yaml` raised a TypeError.
#[test]
fn defect_11_local_test_is_a_valid_configuration() {
    let config = Config::load(&configs().join("local_test.yaml"), &[])
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (config.counts().runs, config.model_names()),
        (4, vec!["smollm2-135m-instruct".to_string()])
    );
    assert_eq!(config.values()["model.temperature"], json!(1.0));
    assert_eq!(config.values()["agent.reply_mode"], Value::from("json"));
}

/// Defect 11 of the predecessor: 880 tasks were submitted for a grid of 660 runs.
#[test]
fn defect_11_counts_agree_with_the_runs() {
    for size in ["small", "large"] {
        let config =
            Config::load(&configs().join(format!("phases/phase1_{size}.yaml")), &[]).unwrap();
        let counts = config.counts();
        assert_eq!((counts.nominal_runs, counts.runs), (1200, 960));
        assert_eq!(counts.runs, config.runs(any_model).unwrap().len());
        assert_eq!(counts.models.values().sum::<usize>(), counts.runs);
    }
}

#[test]
fn an_estimate_has_the_right_magnitude_and_follows_its_settings() {
    let of = |sets: &[&str]| {
        let text = "env: {max_steps: 100, complexity_level: 1}\nmodel: {name: some/model-8B}\n";
        experiment::estimate(&set(text, sets), &experiment::CostRates::default()).unwrap()
    };
    let plain = of(&[]);
    let (prompt, reply) = (plain.prompt_tokens / 100.0, plain.reply_tokens / 100.0);
    assert!(
        (2_000.0..40_000.0).contains(&prompt) && (40.0..200.0).contains(&reply),
        "{prompt} {reply}"
    );
    assert_eq!((plain.models["some/model-8B"].gpus, plain.unknown.len()), (Some(1), 0));
    let none = of(&["agent.history=none"]);
    assert!(
        (300.0..1_500.0).contains(&(none.prompt_tokens / 100.0)),
        "{}",
        none.prompt_tokens / 100.0
    );
    assert!(of(&["experiment.replications=3"]).prompt_tokens / plain.prompt_tokens > 2.9);
    assert!(of(&["env.max_steps=200"]).prompt_tokens / plain.prompt_tokens > 2.0, "prompts grow");
    assert!(of(&["interface.prediction_format=rich"]).reply_tokens > 1.5 * plain.reply_tokens);
    assert!(of(&["model.context_length=4000"]).prompt_tokens < 0.7 * plain.prompt_tokens);
    let seventy = of(&["model.name=some/model-70B"]);
    assert!(
        seventy.hours > plain.hours && seventy.gpu_hours > 5.0 * plain.gpu_hours,
        "{seventy:?}"
    );
    assert_eq!(of(&["model.name=a folder"]).unknown, ["a folder"]);
    assert_eq!(of(&["agent.policy=careful"]).models.len(), 0);
}

#[test]
fn every_default_is_valid() {
    parse("");
    for [name, expected, default, about] in experiment::describe_keys() {
        assert!(!expected.is_empty() && !about.is_empty(), "{name}");
        let set = format!("{name}={default}");
        if !matches!(default.as_str(), "null" | "{}" | "\"\"") {
            Config::parse("", "x", &[set]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn every_key_of_the_predecessor_is_accepted() {
    let tables = [
        "experiment: {name: a, description: b, replications: 1, seed: null, run_id: x, output_dir: out}",
        "max_steps: 10",
        "max_steps_by_level: {1: 10, 2: 20}",
        "demand: {p_customer_order: 0.3, due_days: 3, sale_markup: 1.6, late_penalty: 0, expire_after_days: 10, max_failures: 25}",
        "agent: {model: {name: a/b, temperature: 0.3, max_tokens_per_call: 2000, context_length: 32000}}",
        "agent: {interface: {prediction_mode: required, prediction_format: structured, memory_tools: full, recovery_tools: none}}",
        "model: {name: a/b, temperature: 0.3, max_tokens_per_call: 2000, context_length: 32000}",
        "interface: {prediction_mode: required, prediction_format: structured, memory_tools: full, recovery_tools: none}",
        "pe_induction: {p_shock: 0.1, pe_mag: medium, pe_type_mix: realistic, observability: full}",
        "crash_detector: {threshold: moderate, window_size: 20, continue_after_crash: 50}",
        "crash_detection: {enabled: true, thresholds: {budget_depletion: 1, inventory_depletion: 1, excessive_ordering: 1, \
         tool_failure_rate: 0.5, repeated_errors: 3, pe_explosion: 2}}",
        "pe_tracking: {enabled: true, pe_types: [temporal], ewma: {enabled: true, alpha: 0.3, scales: [1, 2]}, prediction_horizon: 5}",
        "measurement: {crash_threshold: moderate, pe_windows: [10, 100, 500], success_metric: profit, log_every_n_steps: 1, \
         checkpoint_every_n_steps: 100}",
        "logging: {save_step_logs: true, save_summary: true, save_interval: 10}",
        "paths: {logs_dir: a, checkpoints_dir: b, results_dir: c}",
        "grid: {pe_induction.p_shock: [0.1, 0.2], runs_per_config: 2}",
        "fixed: {agent.interface.recovery_tools: all}",
    ];
    for text in tables {
        Config::parse(text, "old.yaml", &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for section in ["env", "simulation", "environment"] {
        let text = format!(
            "{section}: {{max_steps: 1000, complexity_level: 1, initial_budget: 10000, pressure_level: medium, initial_storage_per_sku: 5, \
             initial_storage: {{sku_1: 5}}, storage_capacity: 500, delivery_cost: 1, delivery_delay: 2, tool_costs: {{order: 1}}, shock_config: \
             {{enabled: true, frequency: 0.1, types: {{demand_spike: 0.3, supply_delay: 0.4, budget_cut: 0.3}}, intensity_range: [0.5, 1.5]}}}}"
        );
        let config =
            Config::parse(&text, "old.yaml", &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(config.values()["pe_induction.p_shock"], json!(0.1));
        assert!(
            config.notes().iter().any(|note| note.contains("tool_costs")),
            "{:?}",
            config.notes()
        );
    }
}
