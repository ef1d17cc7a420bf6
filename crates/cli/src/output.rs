//! Output of commands on stdout.

use crate::failure::Failure;
use serde::Serialize;
use std::io::Write;

/// Version of the format of all JSON documents that the program prints. Version 2 renamed keys:
/// GPUs are called `gpu`.
pub const SCHEMA_VERSION: u32 = 2;

/// Prints one JSON document with its `schema_version` on stdout.
///
/// # Errors
/// `Io` if stdout is closed.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        schema_version: u32,
        #[serde(flatten)]
        document: &'a T,
    }
    let versioned = Versioned { schema_version: SCHEMA_VERSION, document };
    let text = serde_json::to_string_pretty(&versioned)
        .map_err(|e| Failure::software(format!("JSON: {e}")))?;
    line(&text)
}

/// Prints a line on stdout.
///
/// # Errors
/// `Io` if stdout is closed.
pub fn line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(|e| Failure::io("cannot write to stdout", &e))
}
