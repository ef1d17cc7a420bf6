//! Arguments of the commands that describe the command line itself.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read them
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write the page of every command to; without it, that of vendomini is printed
    pub dir: Option<PathBuf>,
}
