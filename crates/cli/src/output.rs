//! Output of commands on stdout, and messages on stderr.

use crate::failure::Failure;
use serde::Serialize;
use std::io::{Error, ErrorKind, Write};

/// Version of the format of all JSON documents that the program prints. Version 2 renamed keys:
/// GPUs are called `gpu`.
pub const SCHEMA_VERSION: u32 = 2;

/// Prints one JSON document with its `schema_version` on stdout.
///
/// # Errors
/// `Io` if stdout cannot be written.
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
/// `Io` if stdout cannot be written.
pub fn line(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| unwritable(&error))
}

/// Prints a part of a text on stdout at once.
///
/// # Errors
/// `Io` if stdout cannot be written.
pub fn part(text: &str) -> Result<(), Failure> {
    write_through(text.as_bytes()).map_err(|error| unwritable(&error))
}

/// Writes bytes to stdout without keeping any of them in its buffer.
pub fn write_through(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Checks that everything printed on stdout has been written. Called when a command is done: only
/// then is it a success.
///
/// # Errors
/// `Io` if a part could not be written.
pub fn finish() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.flush().map_err(|error| unwritable(&error))?;
    // NFS reports a full disk or a used-up quota when a file is closed. Closing a copy of stdout
    // is enough, and leaves stdout itself open.
    let Ok(copy) = rustix::io::dup(&out) else { return Ok(()) };
    nix::unistd::close(copy).map_err(|errno| unwritable(&errno.into()))
}

/// The failure of a command whose stdout cannot be written: exit code 74 and the reason. If the
/// reader went away (EPIPE), as `head` does, there is no reason to tell: it has read what it
/// wanted. Other programs are silent then, too, because SIGPIPE ends them.
pub fn unwritable(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(error_kind::ErrorKind::Io, ""),
        _ => Failure::io("cannot write to stdout", error),
    }
}

/// Prints a line on stderr. If that is impossible (its reader went away, its terminal was closed,
/// its disk is full), the line is lost: a command does not end because its messages cannot be
/// written.
pub fn message(line: &str) {
    write_message(format!("{line}\n").as_bytes());
}

/// Writes bytes to stderr; they are lost if that is impossible.
pub fn write_message(bytes: &[u8]) {
    let _lost = std::io::stderr().write_all(bytes);
}
