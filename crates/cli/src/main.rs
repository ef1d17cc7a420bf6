//! `vendomini`: plans where every byte of a language model will live, loads it and always comes
//! back, and runs the VendoMini experiment on it.

mod args;
mod commands;
mod failed_rungs;
mod failure;
mod gpus;
mod machine;
mod needs;
mod output;
mod provider;
mod session;
mod slurm;
mod supervise;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;
use supervise::{Console, Verbosity};
use watch::Watch;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.supervision() {
        Some(limits) if !supervise::is_worker() => {
            let verbosity = match (cli.quiet, &cli.command) {
                (true, _) => Verbosity::Quiet,
                (_, Command::Plan(_) | Command::Doctor(_)) => Verbosity::Notes,
                _ => Verbosity::Stages,
            };
            ExitCode::from(supervise::supervise(limits, Console::new(verbosity, cli.plain)))
        }
        Some(_) => work(cli.command),
        None => answer(cli.command),
    }
}

/// A command that touches a checkpoint, in its worker process.
fn work(command: Command) -> ExitCode {
    let (watch, line) = match supervise::connect() {
        Ok(connected) => connected,
        Err(error) => {
            eprintln!("vendomini: the worker cannot reach its supervisor: {error}");
            return ExitCode::from(failure::exit::SOFTWARE);
        }
    };
    match commands::run(command, &watch) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            line.failed(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

/// A command that answers at once, in this process.
fn answer(command: Command) -> ExitCode {
    match commands::run(command, &Watch::silent()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("vendomini: {}", failure.text);
            ExitCode::from(failure.exit())
        }
    }
}

impl Command {
    /// The limits to supervise this command with; `None` for one that touches no checkpoint.
    fn supervision(&self) -> Option<watch::WatchLimits> {
        let of = |time: &args::TimeArgs| watch::WatchLimits {
            stall_timeout_s: time.stall_timeout,
            deadline_s: time.deadline,
        };
        match self {
            Command::Load(a) => Some(of(&a.bring_up.time)),
            Command::Generate(a) => Some(of(&a.bring_up.time)),
            Command::Score(a) => Some(of(&a.bring_up.time)),
            Command::Bench(a) => Some(of(&a.bring_up.time)),
            Command::Serve(a) => Some(of(&a.bring_up.time)),
            Command::Run(a) => Some(of(&a.time)),
            Command::Plan(_)
            | Command::Doctor(_)
            | Command::Selftest(_)
            | Command::Fetch(_)
            | Command::Synth(_) => Some(watch::WatchLimits::default()),
            _ => None,
        }
    }
}
