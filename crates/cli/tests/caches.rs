//! Tests of where the program looks for models: paths with `~` and variables, and caches that this
//! user may not enter.
#![allow(clippy::print_stderr, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The uid of an account without privileges, on most systems named nobody.
const NOBODY: u32 = 65534;

/// A home folder with a hub cache in `hf` that has the model org/tiny.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama-gqa");
        let snapshot = home.path("hf/hub/models--org--tiny/snapshots/aaa111");
        std::fs::create_dir_all(&snapshot).expect("folders");
        for entry in std::fs::read_dir(golden).expect("golden data") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), snapshot.join(entry.file_name())).expect("a copy");
        }
        home.open("");
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn open(&self, below: &str) {
        self.set_mode(below, 0o755);
    }

    fn set_mode(&self, below: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(below), permissions).expect("permissions");
    }

    /// The program, in an empty working folder and with no variables but the given ones.
    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let work = self.path("work");
        std::fs::create_dir_all(&work).expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vendomini"));
        command.args(arguments).current_dir(work).env_clear();
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").envs(variables.iter().copied());
        command
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn variables_of_caches_are_expanded() {
    let home = Home::new();
    let path = home.path("").display().to_string();
    for (name, value) in [
        ("HF_HOME", "~/hf"),
        ("HF_HOME", "${HOME}/hf"),
        ("HF_HUB_CACHE", "$HOME/hf/hub"),
        ("HUGGINGFACE_HUB_CACHE", "~/hf/hub"),
        ("VENDOMINI_CACHE", "~/hf/hub"),
    ] {
        let variables = [("HOME", path.trim_end_matches('/')), (name, value)];
        let output = home.command(&["plan", "org/tiny", "-q"], &variables).output().expect("a run");
        assert_eq!(output.status.code(), Some(0), "{name}={value}: {}", text(&output));
    }
}

#[test]
fn without_home_nothing_is_in_the_working_folder() {
    let home = Home::new();
    let output = home.command(&["doctor", "--json"], &[]).output().expect("a run");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let search = document["search"].as_array().expect("folders");
    let relative = |path: &&serde_json::Value| !path.as_str().expect("a path").starts_with('/');
    assert_eq!(search.iter().filter(relative).collect::<Vec<_>>(), ["."], "{document}");
    assert!(search.len() > 1, "{document}");
}

#[test]
fn a_cache_that_this_user_may_not_enter_is_an_io_error() {
    let home = Home::new();
    std::fs::write(home.path("experiment.yaml"), "model: {name: org/tiny}\n").expect("a file");
    let (cache, config) = (home.path("hf"), home.path("experiment.yaml"));
    let variables = [("HF_HOME", cache.to_str().expect("a path"))];
    let model = home.path("hf/hub/models--org--tiny/snapshots/aaa111");
    let (model, config) = (model.to_str().expect("a path"), config.to_str().expect("a path"));
    // Root may enter every folder, so the program runs as another user then.
    let is_root = rustix::process::geteuid().is_root();
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments, &variables);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output()
    };
    match run(&["plan", "org/tiny", "-q"]) {
        Ok(output) => assert_eq!(output.status.code(), Some(0), "{}", text(&output)),
        Err(error) => return eprintln!("SKIPPED: another user may not run the program: {error}"),
    }
    let commands: [&[&str]; 7] = [
        &["plan", "org/tiny"],
        &["plan", model],
        &["load", "org/tiny"],
        &["generate", "org/tiny", "-p", "a"],
        &["fetch", "org/tiny"],
        &["doctor", "org/tiny"],
        &["doctor", "--for", config],
    ];
    for closed in ["hf", "hf/hub/models--org--tiny", "hf/hub/models--org--tiny/snapshots"] {
        home.set_mode(closed, if is_root { 0o700 } else { 0o0 });
        for arguments in commands {
            let output = run(arguments).expect("a run");
            let message = text(&output);
            assert_eq!(output.status.code(), Some(74), "{closed}, {arguments:?}: {message}");
            let place = home.path(closed).display().to_string();
            for part in ["Permission denied", &place] {
                assert!(message.contains(part), "{closed}, {arguments:?}: {part}: {message}");
            }
            assert!(!message.contains("vendomini fetch"), "{closed}, {arguments:?}: {message}");
        }
        home.open(closed);
    }
}
