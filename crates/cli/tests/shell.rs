//! Tests of the commands that describe the command line: completions, manual pages, and the schema
//! of configurations.

use std::path::Path;
use std::process::{Command, Output};

fn vendomini(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vendomini")).args(args).output().expect("run the program")
}

fn stdout(args: &[&str]) -> String {
    let output = vendomini(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The names of all commands, from the help.
fn commands() -> Vec<String> {
    let help = stdout(&["--help"]);
    let listed = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next());
    let names = listed.expect("a list of commands").lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("vendomini.bash");
    std::fs::write(&script, stdout(&["completions", "bash"])).expect("write the script");
    let complete = |words: &str, last: usize| {
        let run = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; COMP_LINE='x'; _vendomini vendomini \
             \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["-c", &run]).output().expect("run bash");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    for command in commands() {
        assert!(complete(&format!("vendomini {command}"), 1).contains(&command), "{command}");
    }
    assert_eq!(complete("vendomini submi", 1).trim(), "submit");
    assert!(complete("vendomini load --max-mem", 2).contains("--max-memory"));
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        let missing: Vec<_> =
            commands().into_iter().filter(|name| !script.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    let unknown = vendomini(&["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("fish"), "{unknown:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("share/man1");
    assert_eq!(stdout(&["man", pages.to_str().expect("text")]), "");
    for command in commands() {
        let page = std::fs::read_to_string(pages.join(format!("vendomini-{command}.1")));
        let page = page.unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(page.contains(&format!(".TH vendomini-{command} 1")), "{page}");
    }
    let whole = std::fs::read_to_string(pages.join("vendomini.1")).expect("the main page");
    assert_eq!(whole, stdout(&["man"]));
    assert!(whole.contains(r"vendomini\-load(1)"), "{whole}");
}

#[test]
fn manual_pages_that_cannot_be_written_are_an_error() {
    let output = vendomini(&["man", "/proc/pages"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/proc/pages"), "{output:?}");
}

#[test]
fn the_schema_is_the_committed_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/schema.json");
    assert_eq!(stdout(&["schema"]), std::fs::read_to_string(file).expect("the schema"));
}
