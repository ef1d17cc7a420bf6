//! Rows of grouped time as trials: a time survived, or a time with an event in it.

use super::discrete_hazard::EventTime;
use super::risk_data::RiskData;
use crate::error::AnalysisError;

/// A time within one bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trial {
    pub(super) row: usize,
    pub(super) bin: usize,
    pub(super) length: f64,
    /// An event is somewhere in it.
    pub(super) event: bool,
}

/// The trials of each row. Bin k is `(edges[k], edges[k + 1]]`.
///
/// # Errors
/// Edges do not increase, or do not cover the time at risk; a width is not above 0.
pub(super) fn trials(
    data: &RiskData,
    edges: &[f64],
    event_time: EventTime,
    is_event: impl Fn(u32) -> bool,
) -> Result<Vec<Trial>, AnalysisError> {
    if edges.len() < 2 || !edges.windows(2).all(|pair| pair[0] < pair[1]) {
        let text = format!("bins: expected two or more increasing edges, found {edges:?}");
        return Err(AnalysisError::Usage(text));
    }
    if let EventTime::Within(width) = event_time
        && !(width > 0.0 && width.is_finite())
    {
        let text = format!("width of an event's time: expected above 0, found {width}");
        return Err(AnalysisError::Usage(text));
    }
    let (first, last) = (edges[0], edges[edges.len() - 1]);
    let mut trials = Vec::with_capacity(data.rows());
    for row in 0..data.rows() {
        let (start, stop) = (data.start[row], data.stop[row]);
        if start < first || stop > last {
            let text = format!(
                "bins: row {} is at risk from {start} to {stop}; expected within {first} to {last}",
                row + 1
            );
            return Err(AnalysisError::Usage(text));
        }
        // The bin of a time t has edges[bin] < t <= edges[bin + 1].
        let last_bin = edges.partition_point(|edge| *edge < stop) - 1;
        let first_bin = edges.partition_point(|edge| *edge <= start) - 1;
        for bin in first_bin..=last_bin {
            let from = start.max(edges[bin]);
            let survived = |to: f64| Trial { row, bin, length: to - from, event: false };
            if bin < last_bin || !is_event(data.cause[row]) {
                trials.push(survived(stop.min(edges[bin + 1])));
                continue;
            }
            let (begin, end) = match event_time {
                EventTime::InBin => (from, edges[bin + 1]),
                EventTime::Within(width) => (from.max(stop - width), stop),
            };
            if begin > from {
                trials.push(survived(begin));
            }
            trials.push(Trial { row, bin, length: end - begin, event: true });
        }
    }
    Ok(trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event_time: EventTime) -> Vec<(usize, f64, bool)> {
        let data = RiskData {
            start: vec![3.0, 0.0],
            stop: vec![14.0, 10.0],
            cause: vec![1, 0],
            ..RiskData::default()
        };
        let trials = trials(&data, &[0.0, 10.0, 20.0], event_time, |cause| cause != 0).unwrap();
        trials.iter().map(|trial| (trial.bin, trial.length, trial.event)).collect()
    }

    #[test]
    fn rows_are_cut_at_edges_and_before_the_event() {
        let survived = (0, 10.0, false);
        let found = of(EventTime::Within(1.0));
        assert_eq!(found, [(0, 7.0, false), (1, 3.0, false), (1, 1.0, true), survived]);
        assert_eq!(of(EventTime::InBin), [(0, 7.0, false), (1, 10.0, true), survived]);
    }
}
