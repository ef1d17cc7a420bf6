//! Columns of a table as what survival models take: causes of events, and covariates.

mod covariates;
mod events;

pub use covariates::{CodedCovariates, code_covariates, columns_of_terms};
pub use events::{CodedEvents, code_events};
