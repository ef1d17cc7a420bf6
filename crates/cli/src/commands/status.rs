use crate::args::StatusArgs;
use crate::failure::Failure;
use crate::output;
use results::{Store, status};

/// `vendomini status`: how far an experiment is.
pub fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let store = Store::open(&args.dir)?;
    let status = status(&store)?;
    if args.json {
        output::json(&status)?;
        return Ok(0);
    }
    output::line(&format!(
        "{}: {} of {} runs done, {} begun, {} failed, {} left",
        store.experiment().name,
        status.done,
        status.total,
        status.begun,
        status.failed,
        status.left
    ))?;
    for (outcome, runs) in &status.outcomes {
        output::line(&format!("  {outcome}: {runs}"))?;
    }
    for (run, failure) in &status.failures {
        output::line(&format!("  failed {run}: {}", failure.reason))?;
    }
    Ok(0)
}
