//! Site files: what they set, and what is said of mistakes in them.

use super::*;

fn problem(text: &str) -> String {
    Site::from_yaml("site.yaml", text).expect_err(text).to_string()
}

#[test]
fn mistakes_name_line_and_key_in_plain_words() {
    for (text, line, words) in [
        ("account: a\npartitoin: b\n", 2, "did you mean partition?"),
        ("foo_bar_baz: b\n", 1, "The keys here are account, partition"),
        ("hours_max: 0", 1, "hours_max: expected hours, more than 0"),
        ("hours_max: .nan", 1, "finite number"),
        (
            "qos: a\nhours_max: soon",
            2,
            "hours_max: expected hours, more than 0 and at most 8760, found the text \"soon\"",
        ),
        ("cpus_per_task: -3", 1, "cpus_per_task: expected a whole number from 1"),
        ("cpus_per_task: 1.5", 1, "cpus_per_task: expected a whole number"),
        (
            "cpus_per_task:",
            1,
            "cpus_per_task: expected a whole number from 1 to 10000000, found nothing",
        ),
        ("requeue: maybe", 1, "requeue: expected true or false"),
        ("account: \"a\\nrm\"", 1, "account: expected a word without spaces"),
        ("account: [a]", 1, "account: expected a word without spaces, found a list of 1"),
        ("gpu_type: \"a100;rm\"", 1, "gpu_type: expected Slurm's name"),
        ("gpu_option: gpu", 1, "gpu_option: expected one of gres, gpus-per-node, gpus"),
        ("modules: gcc", 1, "modules: expected a list of words"),
        ("modules:\n  - gcc\n  - \"a; b\"", 3, "modules: expected a word without spaces"),
        ("setup: module load gcc", 1, "setup: expected a list of lines of bash"),
        ("setup: [\"a\\0b\"]", 1, "without control characters"),
        ("mail: me", 1, "mail: expected a mapping such as {user"),
        ("mail: {types: [DONE]}", 1, "mail: types: expected a list of NONE, BEGIN"),
        ("mail: {who: me}", 1, "mail: unknown key who. The keys here are user, types"),
        ("array_throttle: 0", 1, "array_throttle: expected a whole number from 1"),
        ("sbatch: --exclusive", 1, "sbatch: expected a list of sbatch's options"),
        ("sbatch:\n  - --exclusive\n  - --array=0-3\n", 3, "array_throttle"),
        ("sbatch: [--exclusive, --exclusive]", 1, "given twice"),
        ("partition: a\nsbatch: [-p b]", 2, "contradicts the key partition"),
        ("mail: {types: [END]}\nsbatch: [--mail-type=FAIL]", 2, "contradicts the key mail"),
        ("sbatch: [\"--gres=lscratch:5\"]", 1, "set gpu_option to gpus-per-node"),
        (
            "memory_per_node_gb: 5\nmemory_gb: 6",
            2,
            "memory_gb: expected at most memory_per_node_gb",
        ),
        ("hours: 30", 1, "hours: expected at most hours_max, which is 24"),
        ("models: [a]", 1, "models: expected a mapping of model names"),
        ("models:\n  a: 3", 2, "models.a: expected a mapping of model names"),
        ("models:\n  a:\n    hours_mx: 3", 3, "models.a.hours_mx: did you mean hours_max?"),
        (
            "models:\n  a:\n    array_size_max: 3",
            3,
            "models.a.array_size_max: holds for the whole site",
        ),
        ("sbatch: [-p b]\nmodels:\n  a:\n    partition: c", 4, "contradicts the key partition"),
        ("models: {a: {models: {}}}", 1, "whole site"),
        ("- a\n", 1, "expected keys and values, found a list of 1"),
        ("qos: a\nqos: b", 2, "the key qos occurs twice: keep one"),
        ("qos: [a", 1, "not YAML: unclosed bracket"),
        ("models:\n  *70b*: {qos: a}", 2, "needs quotes"),
        ("qos: !!int x", 1, "its tag (!!) says"),
        ("? [a]\n: b", 1, "expected a name before the colon"),
        ("qos: a\n---\nqos: b", 3, "expected one document"),
    ] {
        let found = problem(text);
        assert!(found.contains(words), "{text}: {found}");
        assert!(found.starts_with(&format!("site.yaml line {line}: ")), "{text}: {found}");
        for jargon in ["line 0", "u64", "f64", "sequence", "scalar", "serde", "Policy"] {
            assert!(!found.contains(jargon), "{text}: {found}");
        }
    }
}

#[test]
fn an_empty_file_has_the_defaults() {
    for text in ["", "# nothing\n\n", "models:\n"] {
        assert_eq!(Site::from_yaml("site.yaml", text).expect(text), Site::default(), "{text}");
    }
    assert!(!Site::from_yaml("site.yaml", "requeue: false").expect("good").requeue);
    let account = Site::from_yaml("site.yaml", "account: 4711").expect("a number is a name");
    assert_eq!(account.account.as_deref(), Some("4711"));
}

#[test]
fn settings_of_a_model_replace_the_sites_and_lists_of_lines_are_added() {
    let text = "partition: cpu\nhours_max: 10\nsbatch: [--exclusive]\nsetup: [a]\nteardown: [tz]\nmodels:\n  \
                '*70b*': {partition: gpu, gpu_type: h100, sbatch: [\"--licenses=x:1\"], setup: [b], teardown: [ty]}\n  \
                'org/*': {hours_max: 3, constraint: null, gpu_type: a100}\n";
    let site = Site::from_yaml("site.yaml", text).expect("good");
    let other = site.for_model("scripted").expect("good");
    assert_eq!((other.partition.as_deref(), other.hours_max), (Some("cpu"), 10.0));
    let large = site.for_model("Org/Llama-70B").expect("good");
    assert_eq!((large.partition.as_deref(), large.hours_max), (Some("gpu"), 3.0));
    assert_eq!(large.gpu_type.as_deref(), Some("a100"), "the later entry counts");
    let options: Vec<String> = large.sbatch.iter().map(ToString::to_string).collect();
    assert_eq!(options, ["--exclusive", "--licenses=x:1"]);
    assert_eq!(
        (large.setup, large.teardown),
        (vec!["a".into(), "b".into()], vec!["ty".into(), "tz".into()])
    );
}

#[test]
fn entries_that_contradict_each_other_are_refused_for_their_model() {
    let text = "models:\n  'a*': {qos: x}\n  '*b': {sbatch: [--qos=y]}\n";
    let site = Site::from_yaml("site.yaml", text).expect("each is good");
    assert!(site.for_model("a").is_ok() && site.for_model("b").is_ok());
    let why = site.for_model("ab").expect_err("both");
    assert!(why.contains("a*, *b") && why.contains("contradicts the key qos"), "{why}");
}
