//! Signals: what a process inherits from the process that started it, and which signals end a
//! command.
//!
//! SIGPIPE needs nothing: the Rust runtime ignores it, so that a write to a closed pipe is an error
//! (EPIPE), and gives a new process its default.

use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Sets the signal mask and some dispositions, whatever the process that started this one has set.
/// Must be called before the first thread is started, because threads inherit the mask.
///
/// - No signal is blocked: a blocked SIGTERM would never end the command.
/// - SIGCHLD is not ignored: while it is, the kernel discards the exit status of child processes.
/// - SIGXFSZ does not kill: a write beyond the limit of `ulimit -f` fails, as on a full disk.
///
/// Handlers that do nothing take the place of SIG_DFL and SIG_IGN, which only unsafe code can set.
/// A new program starts without them.
///
/// # Errors
/// If the mask or a handler cannot be set.
pub fn reset_inherited() -> std::io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    for signal in [SIGCHLD, SIGXFSZ] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// The signals that end a command, without those that were ignored when this program started.
/// They stay ignored: `nohup` ignores SIGHUP so that a command survives its terminal, and a shell
/// ignores SIGINT so that a Ctrl-C does not end the background jobs of a script.
pub fn ending() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    [SIGINT, SIGTERM, SIGHUP, SIGUSR1].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0).collect()
}

/// Ends the process at a signal of [`ending`] with the code 128 + signal, after `before`, for
/// commands without a supervisor.
///
/// # Errors
/// If a handler or the thread cannot be set up.
pub fn exit_at_ending<T>(before: impl Fn() -> T + Send + 'static) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(ending())?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            // A lock that `before` returns is held until the process has ended.
            let _held = before();
            std::process::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// The ignored signals according to a process's `/proc/PID/status`: signal n is bit n - 1. A query
/// by sigaction(2) would need unsafe code.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_bits_of_the_status() {
        let status = "SigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t00000001\n";
        assert_eq!(ignored(status), 1 << (SIGHUP - 1) | 1 << (13 - 1));
        assert_eq!(ignored(""), 0);
    }
}
