//! What kind of failure an error is. Libraries name the kind; the program alone knows exit codes,
//! and the server alone knows HTTP statuses.

/// A failure by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line, a configuration or a request is wrong.
    Usage,
    /// A file was read and its contents are wrong.
    BadInput,
    /// A file, folder or model does not exist where it was looked for.
    NotFound,
    /// Something outside the process cannot be used now: hub, server, driver, GPU, a held lock.
    Unavailable,
    /// Memory or disk space is short.
    OutOfMemory,
    /// The operating system refused to read or write.
    Io,
    /// A deadline passed, or progress stopped.
    Timeout,
    /// The computation finished and its result is wrong: NaN, a failed smoke test.
    WrongResult,
    /// The user or a signal asked to stop.
    Interrupted,
    /// A defect of this program.
    Bug,
}

/// An error that knows its kind.
pub trait HasKind: std::error::Error {
    /// What a caller can do about it.
    fn kind(&self) -> ErrorKind;
}
