//! Tests of the program as users run it: exit codes, messages, and results compared with those of
//! transformers.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// A folder that is removed after the test.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> TestFolder {
        let path =
            std::env::temp_dir().join(format!("vendomini-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        TestFolder(path)
    }

    /// A folder with a copy of the golden checkpoint, which a test may change.
    fn of_golden(name: &str) -> TestFolder {
        let folder = TestFolder::new(name);
        for entry in std::fs::read_dir(golden("llama-gqa")).expect("golden data") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), folder.0.join(entry.file_name())).expect("a copy");
        }
        folder
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn vendomini(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vendomini"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program; asserts its exit code and that stderr contains these texts.
fn assert_exit(arguments: &[&str], code: i32, texts: &[&str]) {
    let output = vendomini(arguments);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for text in texts {
        assert!(stderr.contains(text), "{arguments:?} should print {text:?}: {stderr}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?}: stdout stays clean on an error");
}

#[test]
fn a_missing_file_or_model_exits_with_66_and_is_named() {
    assert_exit(&["plan", "/no/such/model"], 66, &["/no/such/model", "fetch"]);
    let folder = TestFolder::new("empty");
    assert_exit(&["load", folder.0.to_str().expect("UTF-8")], 66, &["config.json"]);
    assert_exit(&["run", "--config", "/no/such.yaml"], 66, &["/no/such.yaml"]);
    assert_exit(&["fetch", "nobody/nothing", "--source", "pip"], 66, &["nobody/nothing"]);
}

#[test]
fn an_invalid_argument_exits_with_2_and_names_what_is_expected() {
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    assert_exit(&["score", model, "--tokens", "1,x"], 2, &["1,2,3", "x"]);
    assert_exit(&["plan", model, "--dtype", "int9"], 2, &["int8", "int9"]);
    assert_exit(&["plan", model, "--max-memory", "0=lots"], 2, &["GiB", "0=lots"]);
    assert_exit(&["plan", model, "--context", "0"], 2, &["--context"]);
    assert_exit(&["nonsense"], 2, &["nonsense"]);
}

#[test]
fn a_damaged_checkpoint_exits_with_65_and_names_the_file() {
    let truncated = TestFolder::of_golden("truncated");
    let file = truncated.0.join("model.safetensors");
    let bytes = std::fs::read(&file).expect("weights");
    std::fs::write(&file, &bytes[..bytes.len() - 10]).expect("a shorter file");
    assert_exit(
        &["load", truncated.0.to_str().expect("UTF-8")],
        65,
        &["model.safetensors", "truncated"],
    );
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        .expect("a pointer");
    assert_exit(&["load", truncated.0.to_str().expect("UTF-8")], 65, &["LFS"]);
    let config = truncated.0.join("config.json");
    let text = std::fs::read_to_string(&config)
        .expect("a configuration")
        .replace("LlamaForCausalLM", "WhaleForCausalLM");
    std::fs::write(&config, text).expect("another class");
    assert_exit(
        &["load", truncated.0.to_str().expect("UTF-8")],
        65,
        &["WhaleForCausalLM", "LlamaForCausalLM"],
    );
}

#[test]
fn an_unknown_configuration_key_exits_with_2_and_is_named() {
    let folder = TestFolder::new("config");
    let file = folder.0.join("x.yaml");
    std::fs::write(&file, "experiment:\n  name: x\n  replicatoins: 2\n").expect("a file");
    assert_exit(
        &["run", "--config", file.to_str().expect("UTF-8")],
        2,
        &["replicatoins", "replications"],
    );
}

#[test]
fn scores_agree_with_transformers() {
    let model = golden("llama-gqa");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(model.join("expected.json")).expect("expectations"))
            .expect("JSON");
    let tokens: Vec<String> =
        expected["tokens"].as_array().expect("tokens").iter().map(Value::to_string).collect();
    let model = model.to_str().expect("UTF-8");
    let output =
        vendomini(&["score", model, "--tokens", &tokens.join(","), "--dtype", "f32", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let score: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(score["schema_version"], 2);
    let (ours, theirs) = (
        score["logprobs"].as_array().expect("a list"),
        expected["logprobs"].as_array().expect("a list"),
    );
    assert_eq!(ours.len(), theirs.len());
    assert!(ours[0].is_null());
    for (a, b) in ours.iter().zip(theirs).skip(1) {
        let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
        assert!((a - b).abs() < 1e-3, "{a} against {b}");
    }
}

#[test]
fn plan_and_load_report_the_same_device_map() {
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    for command in ["plan", "load"] {
        let output = vendomini(&[command, model, "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let map = document["device_map"].as_object().expect("a map");
        assert_eq!(map["model.embed_tokens"], "cpu");
        assert!(
            map.contains_key("model.layers.0")
                && map.contains_key("model.norm")
                && map.contains_key("lm_head")
        );
    }
}

#[test]
fn a_model_that_does_not_fit_exits_with_71_and_names_the_shortage() {
    let folder = TestFolder::new("small");
    let file = folder.0.join("machine.yaml");
    std::fs::write(&file, "host: { memory: 100MiB }\n").expect("a file");
    let (model, machine) = (golden("llama-gqa"), file.to_str().expect("UTF-8").to_owned());
    assert_exit(
        &["plan", model.to_str().expect("UTF-8"), "--machine", &machine],
        71,
        &["short", "cpu"],
    );
}

#[test]
fn a_plan_is_printed_once_and_device_maps_are_checked() {
    let folder = TestFolder::new("maps");
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    let file = folder.0.join("map.json");
    let file = file.to_str().expect("UTF-8").to_owned();
    std::fs::write(&file, r#"{"": "cpu", "model.layer.0": "disk"}"#).expect("a file");
    assert_exit(
        &["plan", model, "--device-map", &file],
        2,
        &["model.layer.0", "did you mean model.layers.0?"],
    );
    assert_exit(&["plan", model, "--device-map", "balance"], 2, &["did you mean balanced?"]);
    assert_exit(&["plan", model, "--device-map", "/no/such.json"], 2, &["/no/such.json"]);
    std::fs::write(&file, r#"{"": "cpu", "model.layers.0": "disk"}"#).expect("a file");
    let output = vendomini(&["plan", model, "--device-map", &file, "--max-memory", "cpu=1GB"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    for text in [
        "max_memory: cpu=1GB is 1000000000 bytes (1.00 GB, 0.93 GiB)",
        "weights may take",
        "device map (explicit):",
        "disk: model.layers.0 (1 module",
    ] {
        assert_eq!(stdout.matches(text).count(), 1, "{text:?} in {stdout}");
    }
    assert!(!stderr(&output).contains("device map"), "{}", stderr(&output));
}

/// A load prints the lines that users on a cluster rely on, in this order, and few others.
#[test]
fn a_load_fits_on_one_screen_and_verbose_shows_bytes() {
    let model = golden("llama-gqa");
    let model = model.to_str().expect("UTF-8");
    let output = vendomini(&["load", model]);
    let brief = stderr(&output);
    assert!(output.status.success() && output.stdout.is_empty(), "{brief}");
    let mut from = 0;
    for text in [
        "limit of cpu: ",
        "device map (auto): all ",
        "Loading checkpoint shards 1/1",
        "load returned",
        "model class LlamaForCausalLM",
        "cpu: weights ",
        "smoke test: ",
    ] {
        let at = brief[from..].find(text).unwrap_or_else(|| panic!("{text:?} in {brief}"));
        from += at + text.len();
    }
    assert!(brief.lines().count() <= 24, "{brief}");
    assert!(
        brief.lines().all(|line| line.chars().count() <= 100 || line.contains(model)),
        "{brief}"
    );
    assert!(!brief.contains('\x1b'), "colors without a terminal: {brief}");
    let verbose = stderr(&vendomini(&["load", model, "-v"]));
    for text in ["probe ...", "read: done in", " bytes (", "weights may take", "peak memory"] {
        assert!(verbose.contains(text), "{text:?} in {verbose}");
    }
}

#[test]
fn an_experiment_runs_resumes_replays_and_writes_nothing_when_finished() {
    let folder = TestFolder::new("run");
    let out = folder.0.to_str().expect("UTF-8");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/local_test.yaml");
    let config = config.to_str().expect("UTF-8");
    let run = ["run", "--config", config, "--set", "agent.policy=careful", "--out", out];
    let messages = |output: Output| {
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let limited: Vec<&str> = run.into_iter().chain(["--max-runs", "1", "--accept-mixed"]).collect();
    assert!(messages(vendomini(&limited)).contains("1 of 4 runs are done"));
    assert!(messages(vendomini(&run)).contains("all 4 runs are done (3 now, 1 before)"));
    let root = folder.0.join("local_test");
    let files = files_below(&root);
    assert!(messages(vendomini(&run)).contains("all 4 runs are done (0 now, 4 before)"));
    assert_eq!(files_below(&root), files);
    let replayed = vendomini(&["replay", root.to_str().expect("UTF-8")]);
    assert_eq!(String::from_utf8_lossy(&replayed.stdout).lines().count(), 4);
}

/// All files below a folder with their sizes and modification times.
fn files_below(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = path.metadata().expect("metadata");
        if metadata.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push((path, metadata.len(), metadata.modified().expect("a time")));
        }
    }
    files.sort();
    files
}

#[test]
fn an_audit_with_a_dead_factor_exits_with_2_and_names_it() {
    let folder = TestFolder::new("audit");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("dead.yaml");
    let text = "agent: {policy: careful}\nenv: {max_steps: 30}\ngrid:\n  model.temperature: [0.1, 0.9]\n  env.complexity_level: [0, 1]\n";
    std::fs::write(&file, text).expect("a file");
    let line = ["audit", "--force", "--config", file.to_str().expect("UTF-8")];
    let refused = vendomini(&line[..1].iter().chain(&line[2..]).copied().collect::<Vec<_>>());
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("expected 10 worlds or more"), "{}", stderr(&refused));
    let audit = vendomini(&line);
    assert_eq!(audit.status.code(), Some(2), "{}", stderr(&audit));
    let stdout = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(
        stdout.contains("dead: model.temperature") && !stdout.contains("dead: env"),
        "{stdout}"
    );
    std::fs::write(
        &file,
        text.replace("model.temperature: [0.1, 0.9]", "env.pressure_level: [low, high]"),
    )
    .expect("a file");
    assert_eq!(vendomini(&line).status.code(), Some(0));
}

#[test]
fn the_power_of_a_configuration_is_printed_with_the_cheapest_design() {
    let folder = TestFolder::new("power");
    let file = folder.0.join("power.yaml");
    let text = "experiment: {name: small, replications: 10}\nenv: {max_steps: 100}\n\
                agent: {policy: careful}\npe_induction: {pe_mag: high}\n\
                grid:\n  pe_induction.p_shock: [0.0, 0.15, 0.3]\n";
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let power = ["power", "--config", file, "--hr", "6", "--simulations", "50"];
    let output = vendomini(&power);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for text in [
        "small: 30 runs in 10 worlds",
        "30.0% of the runs at p_shock 0 crash (default)",
        "assigned dose",
        "Schoenfeld's formula needs",
        "30 runs, at most 3000 steps of scripted operators",
        "  grid.pe_induction.p_shock: [0.0, ",
    ] {
        assert!(stdout.contains(text), "{text:?} in {stdout}");
    }
    let json = vendomini(&[&power[..], &["--json"]].concat());
    let document: Value = serde_json::from_slice(&json.stdout).expect("a document");
    assert_eq!(document["baseline"], serde_json::json!({"value": 0.3, "source": "default"}));
    assert_eq!(document["analyses"][0]["power"]["total"], 50);
    assert_eq!(vendomini(&power).stdout, output.stdout, "the same seed, the same numbers");
    let without = |flag: &[&str], code, text: &str| {
        assert_exit(&[&power[..3], flag].concat(), code, &[text]);
    };
    without(&["--hr", "0"], 2, "--hr: expected a hazard ratio above 0");
    without(&["--baseline", "1"], 2, "--baseline: expected a share of runs");
    without(&["--world-sd", "11"], 2, "--world-sd: expected a standard deviation");
    without(&["--set", "pe_induction.p_shock=0"], 2, "no run has shocks");
    without(&["--set", "experiment.replications=1"], 2, "all runs are of one world");
    let absent = folder.0.join("absent");
    without(&["--pilot", absent.to_str().expect("UTF-8")], 66, "absent");
    let grid = vendomini(&["grid", "--config", file]);
    let stdout = String::from_utf8_lossy(&grid.stdout).into_owned();
    assert!(stdout.contains("vendomini power --config"), "{stdout}");
}

#[test]
fn a_plan_of_many_runs_warns_of_a_model_that_is_not_qualified() {
    let folder = TestFolder::new("qualify");
    let file = folder.0.join("grid.yaml");
    let text = |replications: u64| {
        format!(
            "experiment: {{replications: {replications}, output_dir: {0}}}\nmodel: {{name: some/7b}}\n",
            folder.0.display()
        )
    };
    std::fs::write(&file, text(20)).expect("a file");
    let grid = ["grid", "--config", file.to_str().expect("UTF-8")];
    let warning = "some/7b is not qualified; first try `vendomini qualify some/7b`";
    assert!(stderr(&vendomini(&grid)).contains(warning));
    std::fs::write(&file, text(19)).expect("a file");
    assert!(!stderr(&vendomini(&grid)).contains("qualif"), "few runs need no qualification");
    let audit = vendomini(&[&["audit"], &grid[1..]].concat());
    assert!(String::from_utf8_lossy(&audit.stdout).contains("no factors: the grid has one cell"));
}

#[test]
fn columns_are_described_as_text_and_as_json() {
    let text =
        String::from_utf8_lossy(&vendomini(&["columns", "--table", "runs"]).stdout).into_owned();
    let document = vendomini(&["columns", "--table", "runs", "--json"]).stdout;
    let document: Value = serde_json::from_slice(&document).expect("JSON");
    let columns = document["tables"][0]["columns"].as_array().expect("columns");
    assert_eq!(text.lines().count(), columns.len() + 1, "a head and a line for each column");
    for (line, column) in text.lines().skip(1).zip(columns) {
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        let shown = ["name", "type"].map(|key| column[key].as_str().expect("a text"));
        assert_eq!(words, ["runs", shown[0], shown[1]], "{line}");
        assert!(line.contains(column["meaning"].as_str().expect("a text")), "{line}");
    }
}

#[test]
fn a_folder_of_the_earlier_design_is_refused_with_the_key_that_continues_it() {
    let folder = TestFolder::new("design");
    let out = folder.0.to_str().expect("UTF-8");
    let config = folder.0.join("s.yaml");
    let text =
        "experiment: {name: s, replications: 1}\nagent: {policy: careful}\nenv: {max_steps: 5}\n";
    std::fs::write(&config, text).expect("a file");
    let run = ["run", "--config", config.to_str().expect("UTF-8"), "--out", out];
    let earlier = [&run[..], &["--set", "experiment.design=v1"]].concat();
    assert_eq!(vendomini(&earlier).status.code(), Some(0));
    let hint = "The folder holds design v1: experiment.design: v1 continues it";
    assert_exit(&run, 2, &[hint]);
    assert_eq!(vendomini(&earlier).status.code(), Some(0));
}

#[test]
fn a_pipe_in_place_of_a_shard_never_hangs() {
    let folder = TestFolder::of_golden("fifo");
    let file = folder.0.join("model.safetensors");
    std::fs::remove_file(&file).expect("the shard is removed");
    let made = Command::new("mkfifo").arg(&file).status().expect("mkfifo");
    assert!(made.success());
    let since = Instant::now();
    assert_exit(&["load", folder.0.to_str().expect("UTF-8")], 65, &["model.safetensors"]);
    assert!(since.elapsed() < Duration::from_secs(10));
}
