//! `vendomini world --stdio`: the world for other programs, step by step.

use crate::args::WorldArgs;
use crate::failure::Failure;
use crate::world_rpc::WorldMethods;
use crate::{rpc, signals};

pub fn run(args: &WorldArgs) -> Result<u8, Failure> {
    // The lock is taken between two answers, so that a signal cuts none.
    signals::exit_at_ending(|| std::io::stdout().lock())
        .map_err(|error| Failure::io("cannot handle signals", &error))?;
    let mut methods = WorldMethods::new(args.config.clone(), args.set.clone())?;
    rpc::serve(std::io::stdin().lock(), &mut methods)?;
    Ok(0)
}
