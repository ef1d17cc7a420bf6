//! Tests of the JSON Schema of configurations: it is committed, the shipped configurations name it
//! and are valid, and typing errors are not.

use experiment::config_schema;
use jsonschema::Validator;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn shipped() -> Vec<PathBuf> {
    let folders = ["", "phases", "controls"].map(|folder| configs().join(folder));
    let files = folders.iter().flat_map(|folder| folder.read_dir().expect("a folder").flatten());
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    files
}

fn validator() -> Validator {
    jsonschema::draft7::new(&config_schema()).expect("a schema of draft 7")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// `UPDATE_SCHEMA=1 cargo test -p experiment --test schema` writes the file.
#[test]
fn the_committed_schema_is_that_of_this_version() {
    let (file, schema) = (configs().join("schema.json"), format!("{:#}\n", config_schema()));
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&file, &schema).expect("write the schema");
    }
    let committed = std::fs::read_to_string(&file).expect("read the schema");
    assert!(committed == schema, "configs/schema.json is old: run with UPDATE_SCHEMA=1");
}

#[test]
fn shipped_configurations_name_the_schema_and_are_valid() {
    let validator = validator();
    for path in shipped() {
        let text = std::fs::read_to_string(&path).expect("read it");
        let line = text.lines().next().unwrap_or_default();
        let named = line.strip_prefix("# yaml-language-server: $schema=");
        let schema = named.map(|name| path.parent().expect("a folder").join(name));
        let schema = schema.unwrap_or_else(|| panic!("{}: {line}", path.display()));
        let found = schema.canonicalize().expect("the schema that it names");
        assert_eq!(found, configs().join("schema.json").canonicalize().expect("the schema"));
        let problems: Vec<String> = validator
            .iter_errors(&yaml(&text))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
    }
}

#[test]
fn every_way_to_write_a_key_is_valid() {
    let validator = validator();
    for text in [
        "env: {max_steps: 5}",
        "env.max_steps: 5",
        "env:",
        "fixed: {env: {max_steps: 5}, env.complexity_level: 1}",
        "grid: {env: {max_steps: [5, 6]}, pe_induction.p_shock: [0, 0.5]}",
        "model: smollm2",
        "model: {name: smollm2}",
        "grid: {model: [a, b]}",
        "inherit: ../base.yaml",
    ] {
        assert!(validator.is_valid(&yaml(text)), "{text}");
        experiment::Config::parse(&text.replace("inherit: ../base.yaml", ""), "test.yaml", &[])
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn typing_errors_are_not_valid() {
    let validator = validator();
    for text in [
        "env: {max_step: 5}",
        "enviroment: {max_steps: 5}",
        "env.max_steps: many",
        "env: {max_steps: 0}",
        "fixed: {env.max_step: 5}",
        "grid: {env.max_steps: 5}",
        "grid: {env.max_steps: []}",
        "grid: {env.max_steps: [5, 5]}",
        "grid: {experiment.name: [a, b]}",
        "grid: {model: a}",
        "model: [a, b]",
    ] {
        assert!(!validator.is_valid(&yaml(text)), "{text}");
        let parsed = experiment::Config::parse(text, "test.yaml", &[]);
        assert!(parsed.is_err(), "{text} is accepted by the program");
    }
}
