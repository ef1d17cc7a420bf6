//! Harrell's concordance of scores and event times.

use serde::Serialize;

use super::risk_data::{EventsPerSubject, RiskData};
use super::risk_order::RiskOrder;
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
    let order = RiskOrder::new(data, &events);
    let sorted: Vec<f64> = order.rows.iter().map(|row| scores[*row]).collect();
    of_order(&order, &sorted).ok_or_else(|| {
        let text = "concordance: no row is at risk at the event of another".to_owned();
        AnalysisError::NotEstimable(text)
    })
}

/// Concordance of scores of the rows of the order, none of which is NaN.
pub(super) fn of_order(order: &RiskOrder, scores: &[f64]) -> Option<Concordance> {
    let levels = levels(scores);
    let mut at_risk = LevelCounts::new(levels.iter().max().map_or(0, |last| last + 1));
    let (mut concordant, mut discordant, mut tied) = (0, 0, 0);
    for event in &order.events {
        if event.begins {
            at_risk.clear();
        } else {
            let leaving = &order.leaving[event.leaving.clone()];
            leaving.iter().for_each(|position| at_risk.remove(levels[*position]));
        }
        let dying = &levels[event.dying()];
        levels[event.dying().end..event.entering.end].iter().for_each(|l| at_risk.add(*l));
        for level in dying {
            let (below, up_to) = (at_risk.below(*level), at_risk.below(level + 1));
            concordant += below;
            tied += up_to - below;
            discordant += at_risk.total - up_to;
        }
        dying.iter().for_each(|level| at_risk.add(*level));
    }
    let all = concordant + discordant + tied;
    let value = (concordant as f64 + tied as f64 / 2.0) / all as f64;
    (all > 0).then_some(Concordance { value, concordant, discordant, tied })
}

/// The rank of each score among the different scores, from 0.
fn levels(scores: &[f64]) -> Vec<usize> {
    let mut sorted: Vec<(f64, usize)> = scores.iter().copied().zip(0..).collect();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut levels = vec![0; scores.len()];
    for (level, same) in sorted.chunk_by(|a, b| a.0 == b.0).enumerate() {
        same.iter().for_each(|(_, position)| levels[*position] = level);
    }
    levels
}

/// LevelCounts by level, with sums over the lowest levels in logarithmic time (Fenwick 1994).
struct LevelCounts {
    sums: Vec<u32>,
    total: u64,
}

impl LevelCounts {
    fn new(levels: usize) -> LevelCounts {
        LevelCounts { sums: vec![0; levels + 1], total: 0 }
    }

    fn clear(&mut self) {
        self.sums.fill(0);
        self.total = 0;
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
            sum += u64::from(self.sums[node]);
            node -= node & node.wrapping_neg();
        }
        sum
    }
}
