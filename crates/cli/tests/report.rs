//! `vendomini report` and `vendomini compare` on studies of scripted operators: their files, their
//! bytes, and the commands that they show.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vendomini");

fn vendomini(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("the program starts")
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = vendomini(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Two strata of the operator `fragile` in short worlds.
const CONFIG: &str = "
experiment: {name: short, seed: 1, replications: 6, draws: 2}
analysis: {families: {confirmatory: [doses, causes]}}
env: {max_steps: 200}
pe_induction: {pe_mag: high}
agent: {policy: fragile, hazard: 0.01, beta: 0.05}
grid:
  pe_induction.p_shock: [0.0, 0.2, 0.4]
  env.pressure_level: [low, high]
";

/// Runs the study with a seed; returns its folder.
fn study(out: &Path, seed: u32) -> PathBuf {
    fs::create_dir_all(out).expect("a folder");
    let config = out.join("short.yaml");
    fs::write(&config, CONFIG).expect("a configuration");
    let (config, to) = (config.display().to_string(), out.display().to_string());
    let seed = format!("experiment.seed={seed}");
    succeeds(&["run", "--config", &config, "--out", &to, "--set", &seed]);
    out.join("short")
}

fn document(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("analysis.json")).expect("analysis.json");
    serde_json::from_str(&text).expect("JSON")
}

/// All files under a folder with their bytes, sorted by path.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    found.sort();
    found
}

fn figures(document: &Value) -> Vec<&Value> {
    let sections = document["sections"].as_array().expect("sections");
    sections.iter().flat_map(|section| section["figures"].as_array().expect("figures")).collect()
}

fn table<'a>(document: &'a Value, id: &str) -> &'a Value {
    let sections = document["sections"].as_array().expect("sections");
    let mut tables = sections.iter().flat_map(|s| s["tables"].as_array().expect("tables"));
    tables.find(|table| table["id"] == id).expect("the table")
}

#[test]
fn a_report_has_all_its_files_and_the_same_bytes_again() {
    let out = tempfile::tempdir().expect("a folder");
    // The shown commands must quote the folder.
    let folder = study(&out.path().join("it's a study"), 1);
    let path = folder.display().to_string();
    let printed = succeeds(&["report", &path, "--replicates", "200"]);
    assert_eq!(printed.lines().filter(|line| line.starts_with("  ")).count(), 3, "{printed}");
    let written = files(&folder.join("analysis"));
    let found = document(&folder.join("analysis"));
    let of_endings = |ending: &str| {
        written.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == ending)).count()
    };
    let tables = found["sections"].as_array().expect("sections").iter();
    let tables: usize = tables.map(|s| s["tables"].as_array().expect("tables").len()).sum();
    assert!(tables >= 10, "{tables} tables");
    for ending in ["csv", "parquet", "tex"] {
        assert_eq!(of_endings(ending), tables, "{ending}");
    }
    assert_eq!(of_endings("html"), 1);

    let json = succeeds(&["report", &path, "--replicates", "200", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON"), found);
    for ((path, before), (_, after)) in written.iter().zip(files(&folder.join("analysis"))) {
        // The page shows the command that wrote it.
        assert!(*before == after || path.ends_with("report.html"), "{}", path.display());
    }

    // Families are those of the configuration.
    let families = table(&found, "families")["rows"].as_array().expect("rows");
    let names: std::collections::BTreeSet<&str> =
        families.iter().map(|row| row[0].as_str().expect("a name")).collect();
    assert!(names.contains("confirmatory") && !names.contains("doses"), "{names:?}");
    assert!(names.contains("within_worlds"), "{names:?}");
}

#[test]
fn the_command_of_each_figure_runs() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = study(&out.path().join("it's a study"), 1);
    let path = folder.display().to_string();
    let programs = Path::new(PROGRAM).parent().expect("a folder");
    let search = std::env::var("PATH").unwrap_or_default();
    for lag in ["20", "7"] {
        succeeds(&["report", &path, "--replicates", "200", "--lag", lag]);
        let found = document(&folder.join("analysis"));
        let mut commands: Vec<&str> = figures(&found)
            .into_iter()
            .map(|figure| figure["command"].as_str().expect("a command"))
            .collect();
        commands.sort_unstable();
        commands.dedup();
        assert!(commands.len() >= 3, "{commands:?}");
        for command in commands {
            let output = Command::new("sh")
                .args(["-c", command])
                .current_dir(out.path())
                .env("PATH", format!("{}:{search}", programs.display()))
                .output()
                .expect("a shell");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command}: {stderr}");
        }
    }
}

/// The models that `survival` fits by the shown commands are those of the report's tables.
#[test]
fn the_commands_of_models_print_the_estimates_of_the_report() {
    let out = tempfile::tempdir().expect("a folder");
    let path = study(out.path(), 1).display().to_string();
    succeeds(&["report", &path, "--replicates", "200"]);
    let found = document(&Path::new(&path).join("analysis"));
    let programs = Path::new(PROGRAM).parent().expect("a folder");
    let search = std::env::var("PATH").unwrap_or_default();
    // The table has the log hazard ratio of a tenth of p(shock).
    for (figure, id, unit) in [("forest", "t4_cox", 10.0), ("hazard_curve", "t5_time_varying", 1.0)]
    {
        let figure = figures(&found).into_iter().find(|f| f["id"] == figure).expect("the figure");
        let command = format!("{} --json", figure["command"].as_str().expect("a command"));
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(out.path())
            .env("PATH", format!("{}:{search}", programs.display()))
            .output()
            .expect("a shell");
        let fit: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let table = table(&found, id);
        let columns = table["columns"].as_array().expect("columns");
        for name in ["coef", "robust_se"] {
            let column = columns.iter().position(|c| c["name"] == name).expect("the column");
            let of_report = table["rows"][0][column].as_f64().expect("a number") * unit;
            let of_command = fit["coefficients"][0][name].as_f64().expect("a number");
            assert!(
                (of_report / of_command - 1.0).abs() < 1e-8,
                "{id} {name}: {of_report} {of_command}"
            );
        }
    }
}

#[test]
fn a_corrupt_log_is_named_and_left_out() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = study(out.path(), 2);
    let path = folder.display().to_string();
    succeeds(&["report", &path, "--replicates", "200"]);
    let whole = document(&folder.join("analysis"));
    let log = files(&folder)
        .into_iter()
        .find(|(path, _)| path.to_string_lossy().contains("/steps"))
        .expect("a log");
    let mut bytes = log.1;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log.0, bytes).expect("the log");
    let printed = succeeds(&["report", &path, "--replicates", "200"]);
    assert!(printed.contains("1 runs cannot be read"), "{printed}");
    let rest = document(&folder.join("analysis"));
    let runs = |document: &Value| -> f64 {
        let rows = table(document, "t1_flow")["rows"].as_array().expect("rows").clone();
        rows.iter().map(|row| row[2].as_f64().expect("runs")).sum()
    };
    assert_eq!(runs(&whole), runs(&rest) + 1.0);
}

#[test]
fn studies_of_the_same_worlds_are_compared_in_pairs() {
    let out = tempfile::tempdir().expect("a folder");
    let a = study(&out.path().join("a"), 3).display().to_string();
    let b = study(&out.path().join("b"), 3).display().to_string();
    let other = study(&out.path().join("c"), 4).display().to_string();
    let result = out.path().join("result");
    let to = result.display().to_string();
    succeeds(&["compare", &a, &b, "--replicates", "200", "--out", &to]);
    let same = document(&result);
    let pairs = table(&same, "compare_pairs");
    // Equal studies: every difference is zero.
    let column = |name: &str| {
        let columns = pairs["columns"].as_array().expect("columns");
        columns.iter().position(|c| c["name"] == name).expect("the column")
    };
    for row in pairs["rows"].as_array().expect("rows") {
        assert_eq!(row[column("estimate")].as_f64(), Some(0.0), "{row}");
        assert_eq!(row[column("worlds")].as_f64(), Some(6.0), "{row}");
    }
    let printed = succeeds(&["report", &a, &b, &a, "--replicates", "200", "--out", &to]);
    assert!(printed.contains("144 runs have the id of a run in an earlier folder"), "{printed}");
    assert!(printed.contains(" in 6 worlds"), "{printed}");
    let printed = succeeds(&["compare", &a, &other, "--replicates", "200", "--out", &to]);
    assert!(printed.contains("share no world"), "{printed}");
    let refused = vendomini(&["compare", &a, &a]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && stderr.contains("--model-a"), "{stderr}");
}

#[test]
fn what_is_no_study_is_refused() {
    let out = tempfile::tempdir().expect("a folder");
    let path = out.path().display().to_string();
    for arguments in [vec!["report", &path], vec!["report", "/no/such/folder"]] {
        let output = vendomini(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(66), "{stderr}");
    }
    let folder = study(&out.path().join("study"), 5).display().to_string();
    let output = vendomini(&["report", &folder, "--replicates", "3"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_study_is_exported_as_a_log_of_inspect() {
    let out = tempfile::tempdir().expect("a folder");
    let folder = study(out.path(), 3).display().to_string();
    let path = |name: &str| out.path().join(name).display().to_string();
    let (one, logs) = (path("one.eval"), path("logs"));
    // The ending of the file stands for the format.
    succeeds(&["export", &folder, "--out", &one]);
    succeeds(&["export", &folder, "--format", "inspect", "--out", &logs]);
    let in_folder: Vec<PathBuf> = fs::read_dir(&logs)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(in_folder.len(), 1, "{in_folder:?}");
    let bytes = |path: &Path| fs::read(path).expect("a log");
    assert!(bytes(Path::new(&one)) == bytes(&in_folder[0]), "the same study, the same bytes");
    assert!(bytes(&in_folder[0]).starts_with(b"PK"));
    for (options, reason) in [
        (["--out", "-", "--table", "runs"].as_slice(), "--table is for tables"),
        (&["--out", &logs, "--with-text"], "--with-text is for tables"),
        (&["--out", &logs, "--expand-controls"], "--expand-controls is for tables"),
        (&["--out", "-"], "found stdout: a log is a zip file"),
        (&[], "found stdout: a log is a zip file"),
    ] {
        let refused = vendomini(&[&["export", &folder, "--format", "inspect"], options].concat());
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {stderr}");
        assert!(stderr.contains(reason), "{options:?}: {stderr}");
    }
    let unknown = vendomini(&["export", &folder, "--format", "xlsx"]);
    let stderr = String::from_utf8_lossy(&unknown.stderr);
    assert!(stderr.contains("jsonl, csv, parquet, inspect"), "{stderr}");
}
