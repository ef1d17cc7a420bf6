//! `vendomini detect`: runs the crash detectors again on stored rows.

use crate::args::DetectArgs;
use crate::failure::Failure;
use crate::output;
use results::Store;
use serde::Serialize;

#[derive(Serialize)]
struct DetectDocument {
    runs: Vec<serde_json::Value>,
}

pub fn run(args: &DetectArgs) -> Result<u8, Failure> {
    let found = experiment::rerun_detectors(&Store::open(&args.dir)?, &args.set)?;
    if args.json {
        output::json(&DetectDocument {
            runs: found.iter().map(experiment::DetectionReport::to_json).collect(),
        })?;
        return Ok(0);
    }
    for run in &found {
        let text = |crashes: &[results::CrashRecord]| {
            let all: Vec<String> = crashes
                .iter()
                .map(|c| {
                    format!(
                        "{} @ {} ({})",
                        c.kind,
                        c.onset_step,
                        c.severity.as_deref().unwrap_or("not known yet")
                    )
                })
                .collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        output::line(&format!(
            "{}: {} (recorded: {})",
            run.run_id,
            text(&run.crashes),
            text(&run.recorded)
        ))?;
    }
    Ok(0)
}
