//! `vendomini replay`: recomputes runs from their seed and recorded replies.

use crate::args::ReplayArgs;
use crate::failure::Failure;
use crate::output;
use results::Store;

pub fn run(args: &ReplayArgs) -> Result<u8, Failure> {
    let is_experiment = args.dir.join("experiment.json").exists();
    let replayed = match is_experiment {
        true => experiment::replay_all(&Store::open(&args.dir)?)?,
        false => vec![experiment::replay(&args.dir)?],
    };
    for run in &replayed {
        output::line(&format!("{}: {} steps, all identical", run.run_id, run.steps))?;
    }
    Ok(0)
}
