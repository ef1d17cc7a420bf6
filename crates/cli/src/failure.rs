//! The error that ends a command, and the exit code of each kind of error.

use error_kind::{ErrorKind, HasKind};

/// Exit codes, from sysexits.h where it has a suitable one. Scripts depend on these numbers.
pub mod exit {
    /// Some runs of an experiment failed.
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
    /// The model does not fit, or memory ran out.
    pub const MEMORY: u8 = 71;
    /// An I/O error.
    pub const IO: u8 = 74;
    /// The command stalled, was too slow, or passed its deadline.
    pub const STALLED: u8 = 75;
    /// A loaded model or a GPU computes wrong results.
    pub const WRONG_RESULT: u8 = 76;
    /// The time of `--time-left` is up; the same code as that of timeout(1).
    pub const TIME_UP: u8 = 124;
    /// Interrupted by the user.
    pub const INTERRUPTED: u8 = 130;
}

/// The error that ends a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub kind: ErrorKind,
    /// The message: what was expected, what was found, and what to do. Empty if the reader of
    /// stdout is gone: then nothing is printed.
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

    /// An error of the command line or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::new(ErrorKind::Usage, text)
    }

    /// A bug in vendomini.
    pub fn software(text: impl Into<String>) -> Self {
        Failure::new(ErrorKind::Bug, text)
    }

    /// An I/O error. `doing`: the operation or the path, which begins the message.
    pub fn io(doing: &str, error: &std::io::Error) -> Self {
        Failure::new(ErrorKind::Io, format!("{doing}: {error}"))
    }
}

/// The exit code of each kind of error; no other function maps error kinds to exit codes.
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
    analysis::AnalysisError,
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
    staging::StagingError,
    text::TextError,
);
