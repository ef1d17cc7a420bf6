use crate::args::LoadArgs;
use crate::failure::Failure;
use crate::output;
use crate::session;
use engine::LoadReport;
use placement::{Rung, RungOutcome};
use serde::Serialize;
use watch::Watch;

/// What `load --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    model: String,
    rung: Rung,
    rungs: &'a [RungOutcome],
    #[serde(flatten)]
    report: &'a LoadReport,
}

/// `vendomini load`: loads, reports, and exits.
pub fn run(args: &LoadArgs, watch: &Watch) -> Result<u8, Failure> {
    let session = session::bring_up(&args.bring_up, watch)?;
    if args.json {
        output::json(&Document {
            model: session.checkpoint.root.display().to_string(),
            rung: session.ladder.rung,
            rungs: &session.ladder.tried,
            report: &session.loaded.report,
        })?;
    }
    Ok(0)
}
