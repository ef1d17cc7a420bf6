//! `vendomini load`: loads a model, reports its memory, and exits.

use crate::args::LoadArgs;
use crate::failure::Failure;
use crate::output;
use crate::session::{self, TextNeed};
use engine::LoadReport;
use placement::{Rung, RungOutcome};
use serde::Serialize;
use watch::Watch;

/// The JSON document that `--json` prints.
#[derive(Serialize)]
struct LoadDocument<'a> {
    model: String,
    /// The copy on the local disk that was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<String>,
    rung: Rung,
    rungs: &'a [RungOutcome],
    /// Peak resident memory of the process in bytes, including memory-mapped files.
    peak_resident_bytes: u64,
    /// The resident memory that was planned, in bytes, summed over all tiers in host memory.
    planned_resident_bytes: u64,
    #[serde(flatten)]
    report: &'a LoadReport,
}

pub fn run(args: &LoadArgs, watch: &Watch) -> Result<u8, Failure> {
    let session = session::bring_up(&args.bring_up, TextNeed::Nothing, watch)?;
    if args.json {
        output::json(&LoadDocument {
            model: session.source.display().to_string(),
            staged: session.staged.as_ref().map(|staged| staged.root.display().to_string()),
            rung: session.ladder.rung,
            rungs: &session.ladder.tried,
            peak_resident_bytes: session.peak_resident_bytes,
            planned_resident_bytes: session.planned_resident_bytes,
            report: &session.loaded.report,
        })?;
    }
    Ok(0)
}
