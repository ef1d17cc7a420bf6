//! Writes `specimen.html`, `empty.html` and `large.html` into a folder: a simulated study with
//! every kind of figure, a report without figures, and one of many long runs.
//! usage: specimen [FOLDER]

mod figures;
mod long_figures;
mod simulated;
mod study;
mod tables;

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    std::fs::create_dir_all(&folder)?;
    let colophon = study::colophon();
    let pages =
        [("specimen", study::specimen()), ("empty", study::empty()), ("large", study::large())];
    for (name, document) in &pages {
        std::fs::write(folder.join(format!("{name}.html")), report::html(document, &colophon))?;
    }
    let document = &pages[0].1;
    std::fs::write(folder.join("analysis.json"), report::json(document))?;
    for section in &document.sections {
        for figure in &section.figures {
            std::fs::write(folder.join(format!("{}.svg", figure.id)), report::svg(figure))?;
        }
        for table in &section.tables {
            std::fs::write(folder.join(format!("{}.tex", table.id)), report::latex(table))?;
            std::fs::write(folder.join(format!("{}.csv", table.id)), report::csv(table))?;
        }
    }
    Ok(())
}
