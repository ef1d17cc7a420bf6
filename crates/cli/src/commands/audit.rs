//! `vendomini audit`: checks the factors, worlds and crash detectors of a configuration.

use crate::args::AuditArgs;
use crate::failure::{Failure, exit};
use crate::output;
use experiment::{AuditReport, CellPlay, Config, WORLDS_MIN};

pub fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let config = Config::load(&args.config, &args.set)?;
    config.notes().iter().for_each(|note| output::message(note));
    require_worlds(&config, args.force)?;
    let report = experiment::audit(&config)?;
    if args.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(exit_code(&report))
}

/// Refuses a configuration with too few worlds for any contrast of its cells, unless forced.
pub(super) fn require_worlds(config: &Config, force: bool) -> Result<(), Failure> {
    let worlds = config.worlds_min();
    if force || worlds >= WORLDS_MIN {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "experiment.replications: expected {WORLDS_MIN} worlds or more in each cell, found {worlds}. Worlds are the \
         independent observations: with {worlds}, robust errors find effects that are not there, and no contrast of cells \
         can be tested. Add worlds and not doses, or look anyway with --force"
    )))
}

fn print(report: &AuditReport) -> Result<(), Failure> {
    output::line(&match report.factors.len() {
        0 => "no factors: the grid has one cell".to_owned(),
        count => {
            format!("{count} factors over {} cells: {}", report.cells, report.factors.join(", "))
        }
    })?;
    for dead in &report.dead {
        let levels: Vec<String> = dead.levels.iter().map(ToString::to_string).collect();
        output::line(&format!(
            "dead: {} changes nothing between {}",
            dead.factor,
            levels.join(", ")
        ))?;
    }
    output::line(&format!(
        "{} worlds or more in each cell; played by scripted operators, share that reaches the horizon:",
        report.worlds
    ))?;
    for line in results::aligned(&play_table(&report.played)).lines() {
        output::line(&format!("  {line}"))?;
    }
    print_detectors(report)
}

/// One line for each cell, below a head.
fn play_table(played: &[CellPlay]) -> Vec<Vec<String>> {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.0}%", 100.0 * share),
        None => "-".to_owned(),
    };
    let head = [
        "careful",
        "adaptive",
        "shocks applied",
        "exposure",
        "net worth",
        "drops from step",
        "cell",
    ];
    let mut table = vec![head.map(String::from).to_vec()];
    let rows = played.iter().map(|cell| {
        let values = vec![
            percent(Some(cell.careful)),
            percent(cell.adaptive),
            percent(cell.applied),
            cell.exposure.map_or("-".to_owned(), |exposure| format!("{exposure:.1}")),
            format!("{:.0}", cell.net_worth),
            cell.first_dropped_step.map_or("-".to_owned(), |step| step.to_string()),
        ];
        (values, cell.cell.as_str())
    });
    for (mut values, label) in alike(rows) {
        values.push(label);
        table.push(values);
    }
    table
}

/// Merges rows with the same values, such as cells that differ in the agent alone: the label
/// keeps the levels that they share, and says how many cells they are.
fn alike<'a>(rows: impl Iterator<Item = (Vec<String>, &'a str)>) -> Vec<(Vec<String>, String)> {
    let mut merged: Vec<(Vec<String>, Vec<&str>, usize)> = Vec::new();
    for (values, label) in rows {
        let levels: Vec<&str> = label.split(' ').collect();
        match merged.iter_mut().find(|(same, ..)| *same == values) {
            Some((_, shared, count)) => {
                shared.retain(|level| levels.contains(level));
                *count += 1;
            }
            None => merged.push((values, levels, 1)),
        }
    }
    let label = |shared: Vec<&str>, count| match count {
        1 => shared.join(" "),
        _ => format!("{} ({count} cells)", shared.join(" ")).trim_start().to_owned(),
    };
    merged.into_iter().map(|(values, shared, count)| (values, label(shared, count))).collect()
}

fn print_detectors(report: &AuditReport) -> Result<(), Failure> {
    if report.detectors_are_even() {
        let detectors =
            report.played.first().map_or(String::new(), |cell| cell.detectors.join(", "));
        return output::line(&format!("detectors that can fire, in every cell: {detectors}"));
    }
    for (detector, cells) in &report.uneven_detectors {
        output::line(&format!(
            "a crash does not mean the same in each cell: {detector} can fire in"
        ))?;
        for (cell, _) in report.played.iter().zip(cells).filter(|(_, fires)| **fires) {
            output::line(&format!("  {}", cell.cell))?;
        }
    }
    Ok(())
}

/// A factor that changes nothing, and detectors that can fire in some cells only, are mistakes in
/// the configuration.
fn exit_code(report: &AuditReport) -> u8 {
    match report.has_dead_factors() || !report.detectors_are_even() {
        true => exit::USAGE,
        false => 0,
    }
}
