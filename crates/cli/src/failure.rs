//! One kind of error at the top: an exit code, and what people read.

/// Exit codes, after sysexits.h where it has them. They are relied on from outside.
pub mod exit {
    /// The command line or configuration is wrong.
    pub const USAGE: u8 = 2;
    /// A file or model is not there.
    pub const NO_INPUT: u8 = 66;
    /// Something outside is not available.
    pub const UNAVAILABLE: u8 = 69;
    /// A defect of ours.
    pub const SOFTWARE: u8 = 70;
    /// Does not fit, or was killed for memory.
    pub const MEMORY: u8 = 71;
    /// An I/O error.
    pub const IO: u8 = 74;
    /// Stalled, too slow, or past the deadline.
    pub const STALLED: u8 = 75;
    /// What was loaded, or a GPU, computes something else than it should.
    pub const SMOKE_TEST: u8 = 76;
    /// Somebody asked to stop.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command could not do its work.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: u8,
    /// What was expected, what was found, what to do.
    pub text: String,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: u8, text: impl Into<String>) -> Self {
        Failure { exit, text: text.into() }
    }

    /// A wrong command line or configuration.
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::new(exit::USAGE, text)
    }

    /// A defect of ours.
    pub fn software(text: impl Into<String>) -> Self {
        Failure::new(exit::SOFTWARE, text)
    }

    /// An I/O error.
    pub fn io(doing: &str, error: &std::io::Error) -> Self {
        Failure::new(exit::IO, format!("{doing}: {error}"))
    }
}

/// Each crate's error knows its exit code.
macro_rules! from_errors {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::new(error.exit_code(), error.to_string())
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
