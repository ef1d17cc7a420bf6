//! `vendomini`: plans where every byte of a language model goes, loads it with deadlines on every
//! wait, and runs the VendoMini experiment on it.

mod args;
mod colors;
mod commands;
mod efficiency;
mod failed_rungs;
mod failure;
mod gpus;
mod load_text;
mod machine;
mod machine_fit;
mod model_cache;
mod needs;
mod output;
mod person;
mod plan_limits;
mod provider;
mod report_files;
mod rpc;
mod session;
mod signals;
mod slurm;
mod slurm_accounting;
mod stage;
mod submissions;
mod supervise;
mod table_file;
mod world_rpc;

use args::{Cli, Command};
use clap::Parser;
use failure::{Failure, exit};
use std::process::ExitCode;
use supervise::{Console, ConsoleOptions, Verbosity};
use watch::{Watch, WatchLimits};

fn main() -> ExitCode {
    if let Err(error) = signals::reset_inherited() {
        return end(Err(Failure::software(format!("cannot handle signals: {error}"))));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(reply) => return end(print_reply(&reply)),
    };
    match cli.command.supervision() {
        Some(limits) if !supervise::is_worker() => {
            ExitCode::from(supervise::supervise(limits, Console::new(console_options(&cli))))
        }
        Some(_) => run_as_worker(cli.command, cli.plain),
        None => run_here(cli.command, cli.plain),
    }
}

/// Prints the reply to a command line that runs no command: the help or the version on stdout, or
/// what is wrong on stderr. Returns the exit code.
fn print_reply(reply: &clap::Error) -> Result<u8, Failure> {
    let printed = reply.print();
    if reply.use_stderr() {
        return Ok(exit::USAGE);
    }
    printed.map_err(|error| output::unwritable(&error))?;
    output::finish().map(|()| 0)
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
fn run_as_worker(command: Command, plain: bool) -> ExitCode {
    let (watch, supervisor) = match supervise::connect() {
        Ok(connected) => connected,
        Err(error) => {
            colors::print_error(&format!("the worker cannot reach its supervisor: {error}"));
            return ExitCode::from(exit::SOFTWARE);
        }
    };
    match supervise::catch_panic(|| run_to_end(command, plain, &watch)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            supervisor.report_failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

/// Runs a command that needs no supervisor in this process.
fn run_here(command: Command, plain: bool) -> ExitCode {
    end(run_to_end(command, plain, &Watch::silent()))
}

/// Runs a command; it has succeeded only if its output was written.
fn run_to_end(command: Command, plain: bool, watch: &Watch) -> Result<u8, Failure> {
    let code = commands::run(command, plain, watch)?;
    output::finish().map(|()| code)
}

/// Prints the error with which a command ended, if any, and returns the exit code.
fn end(ended: Result<u8, Failure>) -> ExitCode {
    ExitCode::from(ended.unwrap_or_else(|failure| {
        colors::print_error(&failure.text);
        failure.exit()
    }))
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
            Command::Run(a) => Some(limits(&a.engine.time)),
            Command::Qualify(a) => Some(limits(&a.engine.time)),
            Command::Plan(_)
            | Command::Doctor(_)
            | Command::Selftest(_)
            | Command::Fetch(_)
            | Command::Stage(_)
            | Command::Synth(_) => Some(WatchLimits::default()),
            _ => None,
        }
    }
}
