//! Checks the module dependencies of every crate against a committed table, and that each type name
//! has one definition.
//!
//! A dependency (an edge) is a path in the source code of one top-level module of a crate (a file
//! or folder directly under its `src`) that names another one; test code does not count. A name
//! that `lib.rs` re-exports counts as a path to the module that it comes from.
//!
//! After an intended change, rewrite the table and review its diff: `UPDATE_EDGES=1 cargo test -p
//! vendomini --test structure`

#[path = "structure/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use source::{CrateSource, Token, tokens, without_tests};

const TABLE: &str = "crates/cli/tests/structure/edges.txt";
const UPDATE: &str = "UPDATE_EDGES=1 cargo test -p vendomini --test structure";

/// `(crate, module)` -> the modules that it uses, with the first source position of each use.
type Edges = BTreeMap<(String, String), BTreeMap<String, String>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn edges() -> Edges {
    let mut edges = Edges::new();
    for source in source::crates(&workspace()) {
        for file in source.files.iter().filter(|file| !file.is_test()) {
            let Some(module) = file.module() else { continue };
            let used = edges.entry((source.name.clone(), module.to_owned())).or_default();
            for (line, target) in source.uses(file) {
                if target != module {
                    used.entry(target).or_insert_with(|| format!("{}:{line}", file.path));
                }
            }
        }
    }
    edges.retain(|_, used| !used.is_empty());
    edges
}

fn read_table() -> BTreeSet<(String, String, String)> {
    let text = std::fs::read_to_string(workspace().join(TABLE)).unwrap_or_default();
    let mut allowed = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (from, targets) = line.split_once(" -> ").expect("`crate::module -> module ...`");
        let (krate, module) = from.split_once("::").expect("`crate::module`");
        for target in targets.split(' ') {
            allowed.insert((krate.to_owned(), module.to_owned(), target.to_owned()));
        }
    }
    allowed
}

fn write_table(edges: &Edges) {
    let mut text =
        format!("# The modules that each module of a crate may use. Written by\n# {UPDATE}\n");
    let mut last = "";
    for ((krate, module), used) in edges {
        if last != krate {
            text.push('\n');
            last = krate;
        }
        let targets: Vec<&str> = used.keys().map(String::as_str).collect();
        writeln!(text, "{krate}::{module} -> {}", targets.join(" ")).expect("write to a string");
    }
    std::fs::write(workspace().join(TABLE), text).expect("write the table of module edges");
}

#[test]
fn modules_use_only_the_modules_that_the_table_allows() {
    let edges = edges();
    if std::env::var_os("UPDATE_EDGES").is_some() {
        return write_table(&edges);
    }
    let mut stale = read_table();
    let mut problems = String::new();
    for ((krate, module), used) in &edges {
        for (target, place) in used {
            if !stale.remove(&(krate.clone(), module.clone(), target.clone())) {
                writeln!(problems, "{place}: {krate}: {module} -> {target} is not allowed")
                    .expect("write to a string");
            }
        }
    }
    for (krate, module, target) in &stale {
        writeln!(problems, "{TABLE}: {krate}: {module} -> {target} is no longer used")
            .expect("write to a string");
    }
    assert!(
        problems.is_empty(),
        "\n{problems}Move the code to a module that may use what it needs, or, if the new edge is \
         intended, rewrite the table and review its diff:\n  {UPDATE}\n"
    );
}

#[test]
fn modules_of_a_crate_have_no_dependency_cycle() {
    let edges = edges();
    let mut problems = String::new();
    for (krate, module) in edges.keys() {
        if let Some(path) = path_back(&edges, krate, module) {
            // Each cycle is reported only once, for its alphabetically first module.
            if path.iter().min() != Some(module) {
                continue;
            }
            writeln!(problems, "{krate}:").expect("write to a string");
            for step in path.windows(2) {
                let place = &edges[&(krate.clone(), step[0].clone())][&step[1]];
                writeln!(problems, "  {place}: {} -> {}", step[0], step[1])
                    .expect("write to a string");
            }
        }
    }
    assert!(
        problems.is_empty(),
        "\nThese modules use each other in a cycle:\n{problems}Move what both need to a module \
         below them, or declare a trait in the lower module and implement it in the upper one.\n"
    );
}

/// A shortest cycle through `start`, as the modules from `start` back to itself; `None` if there is
/// none.
fn path_back(edges: &Edges, krate: &str, start: &str) -> Option<Vec<String>> {
    let mut paths = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let last = path.last().expect("a path has a start").clone();
            for target in edges.get(&(krate.to_owned(), last)).into_iter().flat_map(|m| m.keys()) {
                let next = [path.clone(), vec![target.clone()]].concat();
                if target == start {
                    return Some(next);
                }
                if seen.insert(target.clone()) {
                    longer.push(next);
                }
            }
        }
        paths = longer;
    }
    None
}

#[test]
fn a_type_name_has_one_definition_in_the_workspace() {
    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in source::crates(&workspace()) {
        for file in source.files.iter().chain(&source.kernels) {
            for (line, name) in type_definitions(&file.text) {
                definitions.entry(name).or_default().push(format!("{}:{line}", file.path));
            }
        }
    }
    let mut problems = String::new();
    for (name, places) in definitions.iter().filter(|(_, places)| places.len() > 1) {
        writeln!(problems, "{name}: {}", places.join(" ")).expect("write to a string");
    }
    assert!(
        problems.is_empty(),
        "\nThese type names have several definitions:\n{problems}Give each type a name that says \
         what it holds.\n"
    );
}

/// Line numbers and names of types: names that follow `struct`, `enum`, `trait` or `union` and
/// begin with a capital letter.
fn type_definitions(text: &str) -> Vec<(usize, String)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for window in tokens.windows(3) {
        let [(line, Token::Name(keyword)), (_, Token::Name(name)), (_, after)] = window else {
            continue;
        };
        let defines = matches!(keyword.as_str(), "struct" | "enum" | "trait" | "union");
        // In C++, `struct Name value;` uses a type: such a name is followed by another name.
        if defines
            && !matches!(after, Token::Name(word) if word != "where")
            && name.starts_with(|c: char| c.is_ascii_uppercase())
        {
            found.push((*line, name.clone()));
        }
    }
    found
}

/// Crates that deal with GPUs but not with prediction cards.
const HARDWARE_CRATES: [&str; 6] = ["checkpoint", "placement", "device", "fetch", "text", "watch"];

#[test]
fn a_gpu_is_never_called_a_card() {
    let mut problems = String::new();
    for source in source::crates(&workspace()) {
        if !HARDWARE_CRATES.contains(&source.name.as_str()) {
            continue;
        }
        for file in source.files.iter().chain(&source.kernels) {
            for (number, line) in file.text.lines().enumerate() {
                let line = line.to_lowercase().replace("discard", "").replace("wildcard", "");
                if line.contains("card") && !line.contains("prediction card") {
                    writeln!(problems, "{}:{}", file.path, number + 1).expect("write to a string");
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}A GPU is a GPU; `card` is the prediction card.\n");
}

#[test]
fn files_named_in_the_guides_exist() {
    let guides = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/commands.md",
        "docs/experiment.md",
        "docs/gpu.md",
        "docs/slurm.md",
    ];
    let folders = [".ci/", "configs/", "crates/", "docs/", "machines/", "slurm/", "tests/"];
    let mut missing = String::new();
    for guide in guides {
        let text = std::fs::read_to_string(workspace().join(guide)).expect(guide);
        for path in text.split(|c: char| c.is_whitespace() || "`()[],;".contains(c)) {
            let path = path.trim_end_matches(['.', ':']);
            let is_path = folders.iter().any(|folder| path.starts_with(folder));
            // A `.txt` file is the output of a command and need not exist.
            let is_pattern = path.contains(['*', '{', '<']) || path.ends_with(".txt");
            if is_path && !is_pattern && !workspace().join(path).exists() {
                writeln!(missing, "{guide}: {path}").expect("write to a string");
            }
        }
    }
    assert!(missing.is_empty(), "\n{missing}These files do not exist.\n");
}

#[test]
fn the_scanner_finds_paths_of_all_kinds() {
    let library =
        "pub mod a; mod b; mod c; pub use b::{Thing, inner::Other as Renamed}; pub use c::*;";
    let user = "use crate::{b, c::{X, Y}}; use super::super::Renamed;\n\
        fn f() -> crate::Thing { crate::Star::new(\"crate::nothing\") }\n\
        // crate::comment\n#[cfg(test)]\nmod tests { use crate::d; }";
    let source = CrateSource::of_texts(
        "x",
        &[
            ("lib.rs", library),
            ("a/deep.rs", user),
            ("b.rs", ""),
            ("c.rs", "pub struct Star;"),
            ("d.rs", ""),
        ],
    );
    let file = source.files.iter().find(|file| file.path.ends_with("deep.rs")).expect("the file");
    let uses: Vec<(usize, String)> = source.uses(file);
    let expected = [(1, "b"), (1, "c"), (1, "c"), (1, "b"), (2, "b"), (2, "c")];
    assert_eq!(uses, expected.map(|(line, module)| (line, module.to_owned())));
}

#[test]
fn test_code_is_removed_before_scanning() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n#[cfg(test)]\nuse x;\n";
    let names: Vec<String> = without_tests(tokens(text))
        .into_iter()
        .filter_map(|(_, token)| if let Token::Name(name) = token { Some(name) } else { None })
        .collect();
    assert_eq!(names, ["fn", "a", "fn", "c"]);
}
