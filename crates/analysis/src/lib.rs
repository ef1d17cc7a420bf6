//! Statistics of a study. Pure: rows in, numbers out; no files, no clock, no global randomness.
//!
//! - [`survival`]: Kaplan-Meier, log-rank, Cox, Aalen-Johansen, discrete-time hazards.
//! - [`inference`]: paired and permutation tests, bootstraps, contingency tables, corrections for
//!   several tests, regressions.
//! - [`study`]: the runs of a study, and their analysis.
//! - [`power`]: power of a planned study, by simulation.
//! - [`frame`], [`coding`]: tables in memory, and their columns as what models take.
//! - [`numeric`]: maximization, distributions, splines.
//! - [`document`]: tables and figures as values, for a renderer.

pub mod coding;
pub mod document;
pub mod error;
pub mod fit_warning;
pub mod frame;
pub mod inference;
mod numbering;
pub mod numeric;
pub mod power;
pub mod study;
pub mod survival;

pub use error::AnalysisError;
pub use fit_warning::FitWarning;
