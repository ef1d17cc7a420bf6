//! Why a statistic cannot be computed.

use error_kind::{ErrorKind, HasKind};
use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Error)]
pub enum AnalysisError {
    /// The data do not determine the statistic. The text says what is missing.
    #[error("{0}")]
    NotEstimable(String),
    /// A named column is absent.
    #[error("column {name:?} not found; the table has {found}")]
    NoColumn { name: String, found: String },
    /// A value that the method cannot use.
    #[error("column {column:?}, row {row}: expected {expected}, found {found}")]
    BadValue { column: String, row: usize, expected: String, found: String },
    /// Options that contradict each other or the method.
    #[error("{0}")]
    Usage(String),
}

impl HasKind for AnalysisError {
    fn kind(&self) -> ErrorKind {
        match self {
            AnalysisError::Usage(_) | AnalysisError::NoColumn { .. } => ErrorKind::Usage,
            AnalysisError::NotEstimable(_) | AnalysisError::BadValue { .. } => ErrorKind::BadInput,
        }
    }
}
