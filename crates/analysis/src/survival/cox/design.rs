//! Rows sorted once for sweeps over event times, with standardized covariates.

use std::ops::Range;

use super::super::risk_data::{Covariates, RiskData};
use crate::error::AnalysisError;

/// Event times in the order of a sweep: by stratum, in it from the last back to the first. Going
/// back, a row enters the risk set at its stop and leaves it at its start.
#[derive(Debug, Clone)]
pub(super) struct Design {
    /// Number of covariates.
    pub(super) width: usize,
    /// Of the covariates over all rows.
    pub(super) means: Vec<f64>,
    pub(super) scales: Vec<f64>,
    pub(super) events: Vec<EventTime>,
    /// Rows at risk at an event, in the order in which they enter; those that enter with their
    /// event come first among those that enter together.
    pub(super) rows: Vec<usize>,
    /// Standardized covariates of `rows`, `width` for each.
    pub(super) x: Vec<f64>,
    /// The event times at which each of `rows` is at risk.
    pub(super) spans: Vec<Range<usize>>,
    /// Positions in `rows` in the order in which they leave.
    pub(super) leaving: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct EventTime {
    pub(super) stratum: u32,
    pub(super) time: f64,
    /// The last event time of its stratum, with which the sweep of the stratum begins.
    pub(super) begins: bool,
    /// Positions in `rows` that enter; the first `deaths` of them have their event now.
    pub(super) entering: Range<usize>,
    pub(super) deaths: usize,
    /// Those in `leaving` that leave before.
    pub(super) leaving: Range<usize>,
}

impl Design {
    /// `event` says for each row of valid data whether it ends in an event.
    ///
    /// # Errors
    /// There is no event, no covariate, or a covariate is constant.
    pub(super) fn new(
        data: &RiskData,
        event: &[bool],
        covariates: &Covariates,
    ) -> Result<Design, AnalysisError> {
        let width = covariates.names.len();
        if width == 0 {
            return Err(AnalysisError::Usage("Cox model: there is no covariate".to_owned()));
        }
        let (means, scales) = covariates.standardization()?;
        let mut events = event_times(data, event);
        if events.is_empty() {
            let text = "Cox model: there is no event".to_owned();
            return Err(AnalysisError::NotEstimable(text));
        }
        let spans: Vec<Range<usize>> = {
            let strata = strata(&events);
            (0..data.rows()).map(|row| span(data, &events, &strata, row)).collect()
        };
        let mut rows: Vec<usize> = (0..data.rows()).filter(|row| !spans[*row].is_empty()).collect();
        rows.sort_by_key(|row| (spans[*row].start, !event[*row]));
        let spans: Vec<Range<usize>> = rows.iter().map(|row| spans[*row].clone()).collect();
        let mut leaving: Vec<usize> = (0..rows.len()).collect();
        leaving.sort_by_key(|position| spans[*position].end);
        let (mut entered, mut left) = (0, 0);
        for (index, at) in events.iter_mut().enumerate() {
            let enters = spans.partition_point(|span| span.start <= index);
            let leaves = leaving.partition_point(|position| spans[*position].end <= index);
            at.entering = entered..enters;
            at.leaving = left..leaves;
            (entered, left) = (enters, leaves);
        }
        let x = rows.iter().flat_map(|row| {
            let values = &covariates.values[row * width..][..width];
            let columns = values.iter().zip(means.iter().zip(&scales));
            columns.map(|(value, (mean, scale))| (value - mean) / scale)
        });
        let x = x.collect();
        Ok(Design { width, x, means, scales, events, rows, spans, leaving })
    }

    pub(super) fn x(&self, position: usize) -> &[f64] {
        &self.x[position * self.width..][..self.width]
    }

    /// Relative hazards of `rows` for standardized coefficients.
    pub(super) fn risks(&self, coefficients: &[f64]) -> Vec<f64> {
        self.x.chunks_exact(self.width).map(|x| dot(x, coefficients).exp()).collect()
    }

    pub(super) fn deaths(&self) -> usize {
        self.events.iter().map(|event| event.deaths).sum()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Different event times, by stratum, descending, with the number of events.
fn event_times(data: &RiskData, event: &[bool]) -> Vec<EventTime> {
    let mut found: Vec<usize> = (0..data.rows()).filter(|row| event[*row]).collect();
    found.sort_by(|&a, &b| {
        let stops = || data.stop[b].total_cmp(&data.stop[a]);
        data.stratum(a).cmp(&data.stratum(b)).then_with(stops)
    });
    let same = |a: &usize, b: &usize| {
        data.stratum(*a) == data.stratum(*b) && data.stop[*a] == data.stop[*b]
    };
    let mut events: Vec<EventTime> = Vec::new();
    for group in found.chunk_by(same) {
        let stratum = data.stratum(group[0]);
        events.push(EventTime {
            stratum,
            time: data.stop[group[0]],
            begins: events.last().is_none_or(|before| before.stratum != stratum),
            entering: 0..0,
            deaths: group.len(),
            leaving: 0..0,
        });
    }
    events
}

/// The event times of each stratum that has any.
fn strata(events: &[EventTime]) -> Vec<(u32, Range<usize>)> {
    let mut strata: Vec<(u32, Range<usize>)> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if event.begins {
            strata.push((event.stratum, index..index));
        }
        if let Some((_, range)) = strata.last_mut() {
            range.end = index + 1;
        }
    }
    strata
}

/// The event times in (start, stop] of a row's stratum.
fn span(
    data: &RiskData,
    events: &[EventTime],
    strata: &[(u32, Range<usize>)],
    row: usize,
) -> Range<usize> {
    let Ok(found) = strata.binary_search_by_key(&data.stratum(row), |(stratum, _)| *stratum) else {
        return 0..0;
    };
    let range = &strata[found].1;
    let times = &events[range.clone()];
    let first = times.partition_point(|event| event.time > data.stop[row]);
    let end = times.partition_point(|event| event.time > data.start[row]);
    range.start + first..range.start + end
}
