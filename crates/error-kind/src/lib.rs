//! Kinds of errors. Libraries assign a kind to each error; only the command-line program maps kinds
//! to exit codes, and only the server maps kinds to HTTP statuses.

/// The kind of an error. Kinds differ in what the caller can do about the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The command line, a configuration or a request is wrong.
    Usage,
    /// A file was read and its contents are wrong.
    BadInput,
    /// A file, folder or model does not exist at the expected path.
    NotFound,
    /// Something outside the process cannot be used now: a hub, a server, a driver, a GPU, or a
    /// lock that another process holds.
    Unavailable,
    /// There is not enough memory or disk space.
    OutOfMemory,
    /// The operating system failed to read or write.
    Io,
    /// A deadline passed, or progress stopped.
    Timeout,
    /// The computation finished and its result is wrong: NaN, a failed smoke test.
    WrongResult,
    /// The user or a signal stopped the operation.
    Interrupted,
    /// A defect of this program.
    Bug,
}

/// An error that has a kind.
pub trait HasKind: std::error::Error {
    /// The kind of the error.
    fn kind(&self) -> ErrorKind;
}
