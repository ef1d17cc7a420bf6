//! Time at risk, and covariates of it.

use crate::error::AnalysisError;

/// Rows of time at risk. All vectors have one element a row; `strata`, `clusters` and `subjects`
/// may be empty: one stratum, each subject a cluster, each row a subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RiskData {
    /// The row is at risk in (start, stop].
    pub start: Vec<f64>,
    pub stop: Vec<f64>,
    /// What ended the row: 0 nothing (censored, or the subject's next row follows), else a cause.
    pub cause: Vec<u32>,
    pub strata: Vec<u32>,
    /// Independent units, of which robust errors are computed.
    pub clusters: Vec<u32>,
    /// The subject to which the row belongs.
    pub subjects: Vec<u32>,
}

/// Values of covariates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Covariates {
    pub names: Vec<String>,
    /// Values by row: those of row r are `values[r * names.len()..][..names.len()]`.
    pub values: Vec<f64>,
}

/// Whether a subject may go on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventsPerSubject {
    /// An event ends the subject's time at risk.
    #[default]
    One,
    /// Recurrent events.
    Many,
}

impl RiskData {
    /// Subjects at risk from 0 for the durations; one row each.
    ///
    /// # Errors
    /// The lengths differ, or a duration is not above 0.
    pub fn from_durations(durations: &[f64], causes: &[u32]) -> Result<RiskData, AnalysisError> {
        todo!("{durations:?} {causes:?}")
    }

    /// The data, checked as by [`RiskData::check`].
    ///
    /// # Errors
    /// See [`RiskData::check`].
    pub fn checked(self, events: EventsPerSubject) -> Result<RiskData, AnalysisError> {
        self.check(events)?;
        Ok(self)
    }

    /// Checks what every method takes for granted. All methods check their data.
    ///
    /// # Errors
    /// There is no row; lengths differ; a time is not finite; a row does not stop after its start;
    /// two rows of a subject overlap; a subject goes on after an event.
    pub fn check(&self, events: EventsPerSubject) -> Result<(), AnalysisError> {
        todo!("{events:?}")
    }

    pub fn rows(&self) -> usize {
        self.start.len()
    }

    /// The data in which other causes are censored.
    pub fn only_cause(&self, cause: u32) -> RiskData {
        todo!("{cause}")
    }

    /// The rows for which `keep` holds, in order.
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> RiskData {
        todo!("{}", keep(0))
    }

    /// Rows under observation at each of the times: start < time <= stop, or the row starts at the
    /// time and nothing starts before.
    pub fn at_risk(&self, times: &[f64]) -> Vec<u64> {
        todo!("{times:?}")
    }
}

impl Covariates {
    /// Covariates from columns of equal length.
    ///
    /// # Errors
    /// The lengths differ, or a value is not finite.
    pub fn from_columns(columns: Vec<(String, Vec<f64>)>) -> Result<Covariates, AnalysisError> {
        todo!("{columns:?}")
    }

    /// The rows for which `keep` holds, in order.
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> Covariates {
        todo!("{}", keep(0))
    }
}
