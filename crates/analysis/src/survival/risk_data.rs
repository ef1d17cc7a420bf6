//! Time at risk, and covariates of it.

use crate::error::AnalysisError;
use crate::numbering::numbered;

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
        let data = RiskData {
            start: vec![0.0; durations.len()],
            stop: durations.to_vec(),
            cause: causes.to_vec(),
            ..RiskData::default()
        };
        data.checked(EventsPerSubject::One)
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
    /// two rows of a subject overlap, or are of different clusters; a subject goes on after an
    /// event.
    pub fn check(&self, events: EventsPerSubject) -> Result<(), AnalysisError> {
        self.check_lengths()?;
        for row in 0..self.rows() {
            for (column, times) in [("start", &self.start), ("stop", &self.stop)] {
                if !times[row].is_finite() {
                    return Err(bad_value(column, row, "a finite time", times[row].to_string()));
                }
            }
            if self.stop[row] <= self.start[row] {
                let expected = format!("a time after the start, {}", self.start[row]);
                return Err(bad_value("stop", row, &expected, self.stop[row].to_string()));
            }
        }
        self.check_subjects(events)
    }

    fn check_lengths(&self) -> Result<(), AnalysisError> {
        let rows = self.rows();
        if rows == 0 {
            return Err(AnalysisError::NotEstimable("there is no row of time at risk".to_owned()));
        }
        let lengths = [
            ("stop", self.stop.len(), false),
            ("cause", self.cause.len(), false),
            ("strata", self.strata.len(), true),
            ("clusters", self.clusters.len(), true),
            ("subjects", self.subjects.len(), true),
        ];
        for (name, length, may_be_empty) in lengths {
            if length != rows && !(may_be_empty && length == 0) {
                let text = format!("{name}: expected {rows} rows as in start, found {length}");
                return Err(AnalysisError::Usage(text));
            }
        }
        Ok(())
    }

    fn check_subjects(&self, events: EventsPerSubject) -> Result<(), AnalysisError> {
        let order = self.subject_order();
        for pair in order.windows(2) {
            let (row, next) = (pair[0], pair[1]);
            if self.subject(row) != self.subject(next) {
                continue;
            }
            let subject = self.subject(row);
            if self.start[next] < self.stop[row] {
                let expected = format!(
                    "a start at or after {}, where row {} of subject {subject} stops",
                    self.stop[row],
                    row + 1
                );
                return Err(bad_value("start", next, &expected, self.start[next].to_string()));
            }
            if self.cause[row] != 0 && events == EventsPerSubject::One {
                let expected = format!("0: subject {subject} goes on in row {}", next + 1);
                return Err(bad_value("cause", row, &expected, self.cause[row].to_string()));
            }
            if !self.clusters.is_empty() && self.clusters[row] != self.clusters[next] {
                let expected = format!("{}, that of subject {subject}", self.clusters[row]);
                return Err(bad_value("cluster", next, &expected, self.clusters[next].to_string()));
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> usize {
        self.start.len()
    }

    /// The data in which other causes are censored.
    pub fn only_cause(&self, cause: u32) -> RiskData {
        let only = |found: &u32| if *found == cause { cause } else { 0 };
        RiskData { cause: self.cause.iter().map(only).collect(), ..self.clone() }
    }

    /// The rows for which `keep` holds, in order.
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> RiskData {
        let rows: Vec<usize> = (0..self.rows()).filter(|row| keep(*row)).collect();
        RiskData {
            start: picked(&self.start, &rows),
            stop: picked(&self.stop, &rows),
            cause: picked(&self.cause, &rows),
            strata: picked(&self.strata, &rows),
            clusters: picked(&self.clusters, &rows),
            subjects: picked(&self.subjects, &rows),
        }
    }

    /// Rows under observation at each of the times: start < time <= stop, or the row starts at the
    /// time and none starts before.
    pub fn at_risk(&self, times: &[f64]) -> Vec<u64> {
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        let (starts, stops) = (sorted(&self.start), sorted(&self.stop));
        let count = |time: &f64| {
            let started = match starts.partition_point(|start| start < time) {
                0 => starts.partition_point(|start| start <= time),
                started => started,
            };
            (started - stops.partition_point(|stop| stop < time)) as u64
        };
        times.iter().map(count).collect()
    }

    pub(super) fn stratum(&self, row: usize) -> u32 {
        self.strata.get(row).copied().unwrap_or(0)
    }

    /// The subject of a row; the row itself if subjects are not given.
    pub(super) fn subject(&self, row: usize) -> usize {
        self.subjects.get(row).map_or(row, |subject| *subject as usize)
    }

    /// Rows sorted by subject, then start. Without subjects: all rows, as each is one.
    pub(super) fn subject_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows()).collect();
        if !self.subjects.is_empty() {
            order.sort_by(|&a, &b| {
                let starts = || self.start[a].total_cmp(&self.start[b]);
                self.subjects[a].cmp(&self.subjects[b]).then_with(starts)
            });
        }
        order
    }

    /// Number of subjects.
    pub(super) fn subject_count(&self) -> usize {
        if self.subjects.is_empty() { self.rows() } else { dense(&self.subjects).1 }
    }

    /// The cluster of each row, numbered from 0, and the number of clusters.
    pub(super) fn dense_clusters(&self) -> (Vec<usize>, usize) {
        match (self.clusters.is_empty(), self.subjects.is_empty()) {
            (false, _) => dense(&self.clusters),
            (true, false) => dense(&self.subjects),
            (true, true) => ((0..self.rows()).collect(), self.rows()),
        }
    }
}

impl Covariates {
    /// Covariates from columns of equal length.
    ///
    /// # Errors
    /// The lengths differ, a name occurs twice, or a value is not finite.
    pub fn from_columns(columns: Vec<(String, Vec<f64>)>) -> Result<Covariates, AnalysisError> {
        let rows = columns.first().map_or(0, |(_, values)| values.len());
        for (name, values) in &columns {
            if values.len() != rows {
                let found = values.len();
                let text = format!("covariate {name:?}: expected {rows} rows, found {found}");
                return Err(AnalysisError::Usage(text));
            }
        }
        let values =
            (0..rows).flat_map(|row| columns.iter().map(move |(_, values)| values[row])).collect();
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        let covariates = Covariates { names, values };
        covariates.check(rows)?;
        Ok(covariates)
    }

    /// The rows for which `keep` holds, in order.
    pub fn select(&self, keep: impl Fn(usize) -> bool) -> Covariates {
        let width = self.names.len().max(1);
        let rows = self.values.chunks_exact(width).enumerate().filter(|(row, _)| keep(*row));
        let values = rows.flat_map(|(_, values)| values).copied().collect();
        Covariates { names: self.names.clone(), values }
    }

    /// The values of one covariate by row.
    ///
    /// # Errors
    /// There is no covariate of this name.
    pub fn column(&self, name: &str) -> Result<Vec<f64>, AnalysisError> {
        let column = self.names.iter().position(|known| known == name).ok_or_else(|| {
            AnalysisError::NoColumn { name: name.to_owned(), found: self.names.join(", ") }
        })?;
        Ok(self.values.iter().skip(column).step_by(self.names.len()).copied().collect())
    }

    /// Mean and standard deviation of each covariate over all rows.
    ///
    /// # Errors
    /// A covariate is constant.
    pub(super) fn standardization(&self) -> Result<(Vec<f64>, Vec<f64>), AnalysisError> {
        let width = self.names.len();
        let rows = (self.values.len() / width.max(1)) as f64;
        let (mut means, mut scales) = (Vec::new(), Vec::new());
        for (column, name) in self.names.iter().enumerate() {
            let values = || self.values.iter().skip(column).step_by(width).copied();
            let mean = values().sum::<f64>() / rows;
            let scale = (values().map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
            let first = self.values[column];
            if values().all(|value| value == first) || !(scale > 0.0 && scale.is_finite()) {
                let text = format!("covariate {name:?} has the same value, {first}, in all rows");
                return Err(AnalysisError::NotEstimable(text));
            }
            means.push(mean);
            scales.push(scale);
        }
        Ok((means, scales))
    }

    /// The values, each minus its mean, divided by its scale.
    pub(super) fn standardized(&self, means: &[f64], scales: &[f64]) -> Vec<f64> {
        let columns = means.iter().zip(scales).cycle();
        let each = self.values.iter().zip(columns);
        each.map(|(value, (mean, scale))| (value - mean) / scale).collect()
    }

    /// # Errors
    /// The number of values does not fit the number of rows, a name occurs twice, or a value is not
    /// finite.
    pub fn check(&self, rows: usize) -> Result<(), AnalysisError> {
        let width = self.names.len();
        if self.values.len() != rows * width {
            let (expected, found) = (rows * width, self.values.len());
            let text = format!(
                "covariates: expected {expected} values ({rows} rows of {width}), found {found}"
            );
            return Err(AnalysisError::Usage(text));
        }
        for (index, name) in self.names.iter().enumerate() {
            if self.names[..index].contains(name) {
                return Err(AnalysisError::Usage(format!("two covariates are named {name:?}")));
            }
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let found = self.values[at].to_string();
                Err(bad_value(&self.names[at % width], at / width, "a finite number", found))
            }
        }
    }
}

fn bad_value(column: &str, row: usize, expected: &str, found: String) -> AnalysisError {
    let (column, expected) = (column.to_owned(), expected.to_owned());
    AnalysisError::BadValue { column, row: row + 1, expected, found }
}

/// The values of these rows; none of a column that is not given.
fn picked<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    if values.is_empty() { Vec::new() } else { rows.iter().map(|row| values[*row]).collect() }
}

/// Labels numbered from 0 in their order, and the number of different ones.
pub(super) fn dense(labels: &[u32]) -> (Vec<usize>, usize) {
    let (numbers, levels) = numbered(labels);
    (numbers, levels.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(f64, f64, u32, u32)]) -> RiskData {
        RiskData {
            start: rows.iter().map(|row| row.0).collect(),
            stop: rows.iter().map(|row| row.1).collect(),
            cause: rows.iter().map(|row| row.2).collect(),
            subjects: rows.iter().map(|row| row.3).collect(),
            ..RiskData::default()
        }
    }

    fn message(data: RiskData) -> String {
        data.check(EventsPerSubject::One).unwrap_err().to_string()
    }

    #[test]
    fn invalid_rows_are_named() {
        let found = message(rows(&[(0.0, 5.0, 0, 1), (3.0, 3.0, 0, 2)]));
        assert_eq!(found, r#"column "stop", row 2: expected a time after the start, 3, found 3"#);
        let found = message(rows(&[(0.0, f64::NAN, 0, 1)]));
        assert_eq!(found, r#"column "stop", row 1: expected a finite time, found NaN"#);
        let found = message(rows(&[(4.0, 9.0, 0, 1), (0.0, 5.0, 0, 1)]));
        let expected = "expected a start at or after 5, where row 2 of subject 1 stops, found 4";
        assert_eq!(found, format!(r#"column "start", row 1: {expected}"#));
        let found = message(rows(&[(0.0, 5.0, 2, 1), (5.0, 9.0, 0, 1)]));
        let expected = "expected 0: subject 1 goes on in row 2, found 2";
        assert_eq!(found, format!(r#"column "cause", row 1: {expected}"#));
        let mut data = rows(&[(0.0, 5.0, 0, 1)]);
        data.cause.push(1);
        assert_eq!(message(data), "cause: expected 1 rows as in start, found 2");
        assert_eq!(message(RiskData::default()), "there is no row of time at risk");
    }

    #[test]
    fn subjects_may_go_on_after_recurrent_events() {
        let data = rows(&[(0.0, 5.0, 1, 1), (5.0, 9.0, 1, 1)]);
        assert!(data.check(EventsPerSubject::Many).is_ok());
    }

    #[test]
    fn rows_at_risk_are_counted_before_they_leave() {
        let data = rows(&[(0.0, 5.0, 0, 1), (5.0, 9.0, 1, 1), (2.0, 5.0, 1, 2)]);
        assert_eq!(
            data.at_risk(&[0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 9.0, 10.0]),
            [1, 1, 1, 2, 2, 1, 1, 0]
        );
    }

    #[test]
    fn columns_become_rows() {
        let columns = vec![("a".to_owned(), vec![1.0, 2.0]), ("b".to_owned(), vec![3.0, 4.0])];
        let covariates = Covariates::from_columns(columns).unwrap();
        assert_eq!(covariates.values, [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(covariates.column("b").unwrap(), [3.0, 4.0]);
        assert_eq!(covariates.select(|row| row == 1).values, [2.0, 4.0]);
    }
}
