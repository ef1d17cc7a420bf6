use crate::args::ReplayArgs;
use crate::failure::Failure;
use crate::output;
use results::Store;

/// `vendomini replay`: derives runs again from seed and recorded replies.
pub fn run(args: &ReplayArgs) -> Result<u8, Failure> {
    let whole = args.dir.join("experiment.json").exists();
    let replayed = match whole {
        true => experiment::replay_all(&Store::open(&args.dir)?)?,
        false => vec![experiment::replay(&args.dir)?],
    };
    for run in &replayed {
        output::line(&format!("{}: {} steps, all the same", run.run_id, run.steps))?;
    }
    Ok(0)
}
