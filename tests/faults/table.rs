//! The tables of `docs/faults.md`, shared by the tests that make the faults.

use std::path::Path;

/// A row: what is done, and how it must end.
pub struct Row {
    pub fault: String,
    pub exit: u8,
    /// The message must hold each.
    pub words: Vec<String>,
}

/// The rows under the heading `section`.
pub fn rows(section: &str) -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    let text = std::fs::read_to_string(file).expect("docs/faults.md");
    let lines = text.lines().skip_while(|line| line.strip_prefix("## ") != Some(section)).skip(1);
    let rows: Vec<Row> =
        lines.take_while(|line| !line.starts_with("## ")).filter_map(row).collect();
    assert!(!rows.is_empty(), "docs/faults.md has no rows under {section:?}");
    rows
}

fn row(line: &str) -> Option<Row> {
    let [_, fault, exit, words, _] = line.split('|').collect::<Vec<_>>()[..] else { return None };
    let exit = exit.trim().parse().ok()?;
    let words = words.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some(Row { fault: fault.trim().to_owned(), exit, words })
}
