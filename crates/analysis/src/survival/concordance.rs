//! Harrell's concordance of scores and event times.

use serde::Serialize;

use super::risk_data::{EventsPerSubject, RiskData};
use crate::error::AnalysisError;

/// Pairs of an event and a row of its stratum at risk at that time that has no event then. A row
/// that is censored at the time counts, one whose own event is then does not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Concordance {
    /// (concordant + tied / 2) / all pairs.
    pub value: f64,
    /// The row with the event has the higher score.
    pub concordant: u64,
    pub discordant: u64,
    pub tied: u64,
}

/// Concordance of scores (higher: earlier event) by row, as R's `concordance` of counting-process
/// data and, for one row a subject from 0, lifelines'.
///
/// # Errors
/// The data are not valid, the lengths differ, a score is NaN, or there is no comparable pair.
pub fn concordance(data: &RiskData, scores: &[f64]) -> Result<Concordance, AnalysisError> {
    data.check(EventsPerSubject::Many)?;
    if scores.len() != data.rows() || scores.iter().any(|score| score.is_nan()) {
        let text = format!("concordance: expected {} scores, none of them NaN", data.rows());
        return Err(AnalysisError::Usage(text));
    }
    let events: Vec<bool> = data.cause.iter().map(|cause| *cause != 0).collect();
    of_events(data, &events, scores).ok_or_else(|| {
        let text = "concordance: no row is at risk at the event of another".to_owned();
        AnalysisError::NotEstimable(text)
    })
}

/// Concordance of valid data, with the rows that end in an event.
pub(super) fn of_events(data: &RiskData, event: &[bool], scores: &[f64]) -> Option<Concordance> {
    let mut levels = scores.to_vec();
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| a == b);
    let level = |row: usize| levels.partition_point(|level| *level < scores[row]);
    let mut pairs = Pairs { at_risk: Counts::new(levels.len()), higher: 0, lower: 0, equal: 0 };
    let mut order: Vec<usize> = (0..data.rows()).collect();
    order.sort_by(|&a, &b| {
        let stops = || data.stop[b].total_cmp(&data.stop[a]);
        data.stratum(a).cmp(&data.stratum(b)).then_with(stops)
    });
    for stratum in order.chunk_by(|a, b| data.stratum(*a) == data.stratum(*b)) {
        pairs.add_stratum(data, event, stratum, &level);
    }
    let (concordant, discordant, tied) = (pairs.lower, pairs.higher, pairs.equal);
    let all = concordant + discordant + tied;
    let value = (concordant as f64 + tied as f64 / 2.0) / all as f64;
    (all > 0).then_some(Concordance { value, concordant, discordant, tied })
}

/// Pairs by whether the score of the row at risk is higher or lower than that of the event.
struct Pairs {
    at_risk: Counts,
    higher: u64,
    lower: u64,
    equal: u64,
}

impl Pairs {
    /// Adds the pairs of a stratum, whose rows come in order of descending stop.
    fn add_stratum(
        &mut self,
        data: &RiskData,
        event: &[bool],
        by_stop: &[usize],
        level: &impl Fn(usize) -> usize,
    ) {
        let mut by_start = by_stop.to_vec();
        by_start.sort_by(|&a, &b| data.start[b].total_cmp(&data.start[a]));
        let mut gone = 0;
        for leaving in by_stop.chunk_by(|&a, &b| data.stop[a] == data.stop[b]) {
            let time = data.stop[leaving[0]];
            while gone < by_start.len() && data.start[by_start[gone]] >= time {
                self.at_risk.remove(level(by_start[gone]));
                gone += 1;
            }
            leaving
                .iter()
                .filter(|row| !event[**row])
                .for_each(|row| self.at_risk.add(level(*row)));
            for row in leaving.iter().filter(|row| event[**row]) {
                let own = level(*row);
                let (below, up_to) = (self.at_risk.below(own), self.at_risk.below(own + 1));
                self.lower += below;
                self.equal += up_to - below;
                self.higher += self.at_risk.total - up_to;
            }
            leaving.iter().filter(|row| event[**row]).for_each(|row| self.at_risk.add(level(*row)));
        }
        by_start[gone..].iter().for_each(|row| self.at_risk.remove(level(*row)));
    }
}

/// Counts by level, with sums over the lowest levels in logarithmic time (Fenwick 1994).
struct Counts {
    sums: Vec<u64>,
    total: u64,
}

impl Counts {
    fn new(levels: usize) -> Counts {
        Counts { sums: vec![0; levels + 1], total: 0 }
    }

    fn add(&mut self, level: usize) {
        self.total += 1;
        let mut node = level + 1;
        while node < self.sums.len() {
            self.sums[node] += 1;
            node += node & node.wrapping_neg();
        }
    }

    fn remove(&mut self, level: usize) {
        self.total -= 1;
        let mut node = level + 1;
        while node < self.sums.len() {
            self.sums[node] -= 1;
            node += node & node.wrapping_neg();
        }
    }

    /// The sum over levels below `level`.
    fn below(&self, level: usize) -> u64 {
        let (mut sum, mut node) = (0, level);
        while node > 0 {
            sum += self.sums[node];
            node -= node & node.wrapping_neg();
        }
        sum
    }
}
