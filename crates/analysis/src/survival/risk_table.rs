//! Events and numbers at risk by time, of which estimators without covariates are made.

use super::risk_data::{EventsPerSubject, RiskData};
use crate::error::AnalysisError;

/// One element for each time at which a subject has an event or leaves. That a subject's next row
/// follows is neither.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RiskTable {
    /// The earliest entry.
    pub(super) origin: f64,
    pub(super) times: Vec<f64>,
    /// Just before the time.
    pub(super) at_risk: Vec<u64>,
    /// Of any cause.
    pub(super) events: Vec<u64>,
    pub(super) censored: Vec<u64>,
    /// By cause, ascending.
    pub(super) by_cause: Vec<(u32, Vec<u64>)>,
}

impl RiskTable {
    /// # Errors
    /// The data are not valid.
    pub(super) fn new(data: &RiskData, per: EventsPerSubject) -> Result<RiskTable, AnalysisError> {
        data.check(per)?;
        let goes_on = rows_that_go_on(data);
        let mut times: Vec<f64> = Vec::with_capacity(data.rows());
        times.extend((0..data.rows()).filter(|row| !goes_on[*row]).map(|row| data.stop[row]));
        times.sort_by(f64::total_cmp);
        times.dedup();
        let mut causes: Vec<u32> = data.cause.iter().copied().filter(|cause| *cause != 0).collect();
        causes.sort_unstable();
        causes.dedup();
        let mut table = RiskTable {
            origin: data.start.iter().copied().fold(f64::INFINITY, f64::min),
            at_risk: data.at_risk(&times),
            events: vec![0; times.len()],
            censored: vec![0; times.len()],
            by_cause: causes.iter().map(|cause| (*cause, vec![0; times.len()])).collect(),
            times,
        };
        for row in (0..data.rows()).filter(|row| !goes_on[*row]) {
            let time = table.times.partition_point(|time| *time < data.stop[row]);
            if data.cause[row] == 0 {
                table.censored[time] += 1;
                continue;
            }
            table.events[time] += 1;
            let cause = causes.partition_point(|cause| *cause < data.cause[row]);
            table.by_cause[cause].1[time] += 1;
        }
        Ok(table)
    }
}

/// Rows without event whose subject goes on at once.
fn rows_that_go_on(data: &RiskData) -> Vec<bool> {
    let mut goes_on = vec![false; data.rows()];
    for pair in data.subject_order().windows(2) {
        let (row, next) = (pair[0], pair[1]);
        goes_on[row] = data.subject(row) == data.subject(next)
            && data.cause[row] == 0
            && data.stop[row] == data.start[next];
    }
    goes_on
}

/// Index of the last time at or before `time`; `None` before the first.
pub(super) fn last_at(times: &[f64], time: f64) -> Option<usize> {
    times.partition_point(|known| *known <= time).checked_sub(1)
}
