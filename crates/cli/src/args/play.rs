//! Arguments of the commands that open the world to people and to other programs.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct PlayArgs {
    /// The experiment's configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Change one key of the configuration, dotted: pe_induction.p_shock=0.2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The folder for results [default: results]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A pseudonym of the person who plays, part of the run's identity
    #[arg(long, value_name = "NAME")]
    pub player: Option<String>,
    /// The number of the cell to play, as --list prints it [default: the first run that is not
    /// done]
    #[arg(long, value_name = "N")]
    pub cell: Option<usize>,
    /// The world to play, counted from 0: worlds with the same number are equal for people and
    /// models
    #[arg(long, value_name = "N")]
    pub replicate: Option<u64>,
    /// The id of the run to play, or its beginning
    #[arg(long, value_name = "ID", conflicts_with_all = ["cell", "replicate"])]
    pub run: Option<String>,
    /// List the runs that people play, with levels and state, and play none
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, Args)]
pub struct WorldArgs {
    /// Read JSON-RPC 2.0 from stdin and answer on stdout, one message a line
    #[arg(long, required = true)]
    pub stdio: bool,
    /// The configuration file (YAML) of resets that name none [default: the defaults of all keys]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change one key of the configuration, dotted: pe_induction.p_shock=0.2
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}
