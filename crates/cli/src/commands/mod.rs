//! One module per command. Its `run` function takes the parsed arguments and returns the exit code.

mod audit;
mod bench;
mod cancel;
mod columns;
mod completions;
mod detect;
mod doctor;
mod export;
mod fetch;
mod generate;
mod grid;
mod load;
mod man;
mod plan;
mod play;
mod power;
mod qualify;
mod replay;
mod report;
mod run;
mod schema;
mod score;
mod selftest;
mod serve;
mod stage;
mod status;
mod submit;
mod survival;
mod synth;
mod template;
mod world;

use crate::args::Command;
use crate::failure::Failure;
use watch::Watch;

/// Runs a command. `plain`: lines are printed even on a terminal.
///
/// # Errors
/// The [`Failure`] that ended the command; its kind determines the exit code.
pub fn run(command: Command, plain: bool, watch: &Watch) -> Result<u8, Failure> {
    match command {
        Command::Plan(args) => plan::run(&args, watch),
        Command::Load(args) => load::run(&args, watch),
        Command::Generate(args) => generate::run(&args, watch),
        Command::Template(args) => template::run(&args, watch),
        Command::Score(args) => score::run(&args, watch),
        Command::Bench(args) => bench::run(args, watch),
        Command::Serve(args) => serve::run(&args, watch),
        Command::Run(args) => run::run(args, watch),
        Command::Qualify(args) => qualify::run(&args, watch),
        Command::Play(args) => play::run(&args),
        Command::World(args) => world::run(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Cancel(args) => cancel::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Compare(args) => report::compare(&args),
        Command::Columns(args) => columns::run(&args),
        Command::Doctor(args) => doctor::run(&args, watch),
        Command::Selftest(args) => selftest::run(&args, watch),
        Command::Fetch(args) => fetch::run(&args, watch),
        Command::Stage(args) => stage::run(&args, watch),
        Command::Synth(args) => synth::run(&args, watch),
        Command::Replay(args) => replay::run(&args),
        Command::Detect(args) => detect::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Grid(args) => grid::run(&args),
        Command::Power(args) => power::run(&args),
        Command::Status(args) => status::run(&args, plain),
        Command::Survival(args) => survival::run(&args),
        Command::Schema => schema::run(),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
