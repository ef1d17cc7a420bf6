//! `vendomini`: plans where every byte of a language model goes, loads it with deadlines on every
//! wait, and runs the VendoMini experiment on it.

mod args;
mod colors;
mod commands;
mod failed_rungs;
mod failure;
mod gpus;
mod load_text;
mod machine;
mod model_cache;
mod needs;
mod output;
mod plan_limits;
mod provider;
mod session;
mod signals;
mod slurm;
mod supervise;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;
use supervise::{Console, ConsoleOptions, Verbosity};
use watch::{Watch, WatchLimits};

fn main() -> ExitCode {
    if let Err(error) = signals::reset_inherited() {
        colors::print_error(&format!("cannot handle signals: {error}"));
        return ExitCode::from(failure::exit::SOFTWARE);
    }
    let cli = Cli::parse();
    match cli.command.supervision() {
        Some(limits) if !supervise::is_worker() => {
            ExitCode::from(supervise::supervise(limits, Console::new(console_options(&cli))))
        }
        Some(_) => run_as_worker(cli.command),
        None => run_here(cli.command),
    }
}

fn console_options(cli: &Cli) -> ConsoleOptions {
    let verbosity = match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let stages = !matches!(cli.command, Command::Plan(_) | Command::Doctor(_));
    ConsoleOptions { verbosity, stages, plain: cli.plain }
}

/// Runs a command in this worker process and reports its error to the supervisor.
fn run_as_worker(command: Command) -> ExitCode {
    let (watch, supervisor) = match supervise::connect() {
        Ok(connected) => connected,
        Err(error) => {
            colors::print_error(&format!("the worker cannot reach its supervisor: {error}"));
            return ExitCode::from(failure::exit::SOFTWARE);
        }
    };
    match commands::run(command, &watch) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            supervisor.report_failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

/// Runs a command that needs no supervisor in this process.
fn run_here(command: Command) -> ExitCode {
    match commands::run(command, &Watch::silent()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            colors::print_error(&failure.text);
            ExitCode::from(failure.exit())
        }
    }
}

impl Command {
    /// The time limits with which to supervise this command; `None` if it runs without a
    /// supervisor.
    fn supervision(&self) -> Option<WatchLimits> {
        let limits = |time: &args::TimeArgs| WatchLimits {
            stall_timeout_s: time.stall_timeout,
            deadline_s: time.deadline,
        };
        match self {
            Command::Load(a) => Some(limits(&a.bring_up.time)),
            Command::Generate(a) => Some(limits(&a.bring_up.time)),
            Command::Score(a) => Some(limits(&a.bring_up.time)),
            Command::Bench(a) => Some(limits(&a.bring_up.time)),
            Command::Serve(a) => Some(limits(&a.bring_up.time)),
            Command::Run(a) => Some(limits(&a.time)),
            Command::Plan(_)
            | Command::Doctor(_)
            | Command::Selftest(_)
            | Command::Fetch(_)
            | Command::Synth(_) => Some(WatchLimits::default()),
            _ => None,
        }
    }
}
