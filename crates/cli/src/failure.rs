//! The error of a command, and the exit code of each kind of error.

use error_kind::{ErrorKind, HasKind};

/// Exit codes, after sysexits.h where it has them. Scripts rely on them.
pub mod exit {
    /// Runs of an experiment failed.
    pub const RUNS_FAILED: u8 = 1;
    /// The command line or configuration is wrong.
    pub const USAGE: u8 = 2;
    /// The contents of a file are wrong.
    pub const BAD_INPUT: u8 = 65;
    /// A file or model does not exist.
    pub const NO_INPUT: u8 = 66;
    /// A service or device is not available.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug in vendomini.
    pub const SOFTWARE: u8 = 70;
    /// The model does not fit, or the process was killed for memory.
    pub const MEMORY: u8 = 71;
    /// An I/O error.
    pub const IO: u8 = 74;
    /// Stalled, too slow, or past the deadline.
    pub const STALLED: u8 = 75;
    /// A loaded model or a GPU computes wrong results.
    pub const WRONG_RESULT: u8 = 76;
    /// The time of --time-left is up, as with timeout(1).
    pub const TIME_UP: u8 = 124;
    /// Interrupted by the user.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub kind: ErrorKind,
    /// What was expected, what was found, what to do.
    pub text: String,
}

impl Failure {
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Failure { kind, text: text.into() }
    }

    /// The process's exit code.
    pub fn exit(&self) -> u8 {
        exit_code(self.kind)
    }

    /// A wrong command line or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::new(ErrorKind::Usage, text)
    }

    /// A bug in vendomini.
    pub fn software(text: impl Into<String>) -> Self {
        Failure::new(ErrorKind::Bug, text)
    }

    /// An I/O error.
    pub fn io(doing: &str, error: &std::io::Error) -> Self {
        Failure::new(ErrorKind::Io, format!("{doing}: {error}"))
    }
}

/// The exit code of each kind of error: the only place that maps one to the other.
pub fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => exit::USAGE,
        ErrorKind::BadInput => exit::BAD_INPUT,
        ErrorKind::NotFound => exit::NO_INPUT,
        ErrorKind::Unavailable => exit::UNAVAILABLE,
        ErrorKind::OutOfMemory => exit::MEMORY,
        ErrorKind::Io => exit::IO,
        ErrorKind::Timeout => exit::STALLED,
        ErrorKind::WrongResult => exit::WRONG_RESULT,
        ErrorKind::Interrupted => exit::INTERRUPTED,
        ErrorKind::Bug => exit::SOFTWARE,
    }
}

macro_rules! from_errors {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::new(error.kind(), error.to_string())
            }
        }
    )+};
}

from_errors!(
    checkpoint::CheckpointError,
    device::DeviceError,
    device::cuda::CudaError,
    device::probe::ProbeError,
    engine::LoadError,
    engine::ScoreError,
    engine::EngineError,
    engine::SubmitError,
    engine::RequestError,
    engine::WaitError,
    experiment::ExperimentError,
    engine::bench::BenchError,
    fetch::FetchError,
    placement::PlanError,
    results::ResultsError,
    serve::ServeError,
    text::TextError,
);
