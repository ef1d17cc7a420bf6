//! `vendomini audit`: finds factors of a configuration whose levels make no difference.

use crate::args::AuditArgs;
use crate::failure::{Failure, exit};
use crate::output;
use experiment::{AuditReport, Config};

pub fn run(args: &AuditArgs) -> Result<u8, Failure> {
    let report = experiment::audit(&Config::load(&args.config, &args.set)?)?;
    if args.json {
        output::json(&report)?;
        return Ok(exit_code(&report));
    }
    output::line(&format!(
        "{} factors over {} cells: {}",
        report.factors.len(),
        report.cells,
        report.factors.join(", ")
    ))?;
    for dead in &report.dead {
        let levels: Vec<String> = dead.levels.iter().map(ToString::to_string).collect();
        output::line(&format!(
            "dead: {} changes nothing between {}",
            dead.factor,
            levels.join(", ")
        ))?;
    }
    Ok(exit_code(&report))
}

/// A dead factor, whose levels make no difference, is a mistake in the configuration.
fn exit_code(report: &AuditReport) -> u8 {
    if report.has_dead_factors() { exit::USAGE } else { 0 }
}
