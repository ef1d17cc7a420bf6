//! Rows sorted once, so that a sweep over event times knows who is at risk at each.

use std::ops::Range;

use super::risk_data::RiskData;

/// Event times in the order of a sweep: by stratum, in it from the last back to the first. Going
/// back, a row enters the risk set at its stop and leaves it at its start.
#[derive(Debug, Clone)]
pub(super) struct RiskOrder {
    pub(super) events: Vec<EventTimeRows>,
    /// Rows at risk at an event, in the order in which they enter; those that enter with their
    /// event come first among those that enter together.
    pub(super) rows: Vec<usize>,
    /// The event times at which each of `rows` is at risk.
    pub(super) spans: Vec<Range<usize>>,
    /// Positions in `rows` in the order in which they leave.
    pub(super) leaving: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct EventTimeRows {
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

impl EventTimeRows {
    /// Positions of the rows with their event now.
    pub(super) fn dying(&self) -> Range<usize> {
        self.entering.start..self.entering.start + self.deaths
    }
}

impl RiskOrder {
    /// `event` says for each row of valid data whether it ends in an event.
    pub(super) fn new(data: &RiskData, event: &[bool]) -> RiskOrder {
        let mut events = event_times(data, event);
        let strata = strata(&events);
        let spans: Vec<Range<usize>> =
            (0..data.rows()).map(|row| span(data, &events, &strata, row)).collect();
        let at_risk = || (0..data.rows()).filter(|row| !spans[*row].is_empty());
        // Two buckets for each event time: rows that have their event then, and others.
        let entering = |row: usize| 2 * spans[row].start + usize::from(!event[row]);
        let rows = in_buckets(at_risk(), entering, 2 * events.len());
        let spans: Vec<Range<usize>> = rows.iter().map(|row| spans[*row].clone()).collect();
        let leaving = in_buckets(0..rows.len(), |position| spans[position].end, events.len() + 1);
        let (mut entered, mut left) = (0, 0);
        for (index, at) in events.iter_mut().enumerate() {
            let enters = spans.partition_point(|span| span.start <= index);
            let leaves = leaving.partition_point(|position| spans[*position].end <= index);
            at.entering = entered..enters;
            at.leaving = left..leaves;
            (entered, left) = (enters, leaves);
        }
        RiskOrder { events, rows, spans, leaving }
    }

    /// Number of events.
    pub(super) fn deaths(&self) -> usize {
        self.events.iter().map(|event| event.deaths).sum()
    }
}

/// Items by their bucket, in their order within it.
fn in_buckets(
    items: impl Iterator<Item = usize> + Clone,
    bucket: impl Fn(usize) -> usize,
    count: usize,
) -> Vec<usize> {
    let mut ends = vec![0; count + 1];
    items.clone().for_each(|item| ends[bucket(item) + 1] += 1);
    for index in 0..count {
        ends[index + 1] += ends[index];
    }
    let mut sorted = vec![0; ends[count]];
    for item in items {
        let place = &mut ends[bucket(item)];
        sorted[*place] = item;
        *place += 1;
    }
    sorted
}

/// Different event times, by stratum, descending, with the number of events.
fn event_times(data: &RiskData, event: &[bool]) -> Vec<EventTimeRows> {
    let mut found: Vec<usize> = (0..data.rows()).filter(|row| event[*row]).collect();
    found.sort_by(|&a, &b| {
        let stops = || data.stop[b].total_cmp(&data.stop[a]);
        data.stratum(a).cmp(&data.stratum(b)).then_with(stops)
    });
    let same = |a: &usize, b: &usize| {
        data.stratum(*a) == data.stratum(*b) && data.stop[*a] == data.stop[*b]
    };
    let mut events: Vec<EventTimeRows> = Vec::new();
    for group in found.chunk_by(same) {
        let stratum = data.stratum(group[0]);
        events.push(EventTimeRows {
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
fn strata(events: &[EventTimeRows]) -> Vec<(u32, Range<usize>)> {
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
    events: &[EventTimeRows],
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
