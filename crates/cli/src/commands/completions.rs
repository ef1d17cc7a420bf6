//! `vendomini completions`: a script with which a shell completes command lines.

use crate::args::{Cli, CompletionsArgs};
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;

pub fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vendomini", &mut script);
    output::part(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
