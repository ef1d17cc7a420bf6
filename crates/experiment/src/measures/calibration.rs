//! How far stated confidence agrees with what happened.

use results::StepRow;
use serde::Serialize;

const BINS: usize = 10;

/// Confidence in a card's forecast of success, against whether it was right.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// Cards that gave a confidence.
    pub cards: u64,
    /// Mean squared distance of confidence and truth; none without cards.
    pub brier: Option<f64>,
    /// Ten bins of confidence: how many cards, their mean confidence, the share that was right.
    pub reliability: Vec<CalibrationBin>,
}

/// One bin.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Cards in it.
    pub cards: u64,
    /// Their mean confidence.
    pub confidence: Option<f64>,
    /// Share of them that was right.
    pub right: Option<f64>,
}

/// RunAccumulator while rows come in.
#[derive(Debug, Clone, Default)]
pub(crate) struct CalibrationSums {
    squares: f64,
    /// Cards, sum of confidence, right ones.
    bins: [(u64, f64, u64); BINS],
}

impl CalibrationSums {
    pub fn add(&mut self, row: &StepRow) {
        let Some(card) = &row.card else { return };
        let confidence = card.get("confidence").and_then(serde_json::Value::as_f64);
        let expected = card.get("success").and_then(serde_json::Value::as_bool);
        let (Some(confidence), Some(expected)) = (confidence, expected) else { return };
        // Out of range is missing, as in the world's own reading of cards.
        if !(0.0..=1.0).contains(&confidence) {
            return;
        }
        let right = expected == row.result.success;
        self.squares += (confidence - f64::from(u8::from(right))).powi(2);
        let bin = &mut self.bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + u64::from(right));
    }

    pub fn finish(&self) -> Calibration {
        let cards = self.bins.iter().map(|bin| bin.0).sum::<u64>();
        let share = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
        let bin = |&(cards, sum, right): &(u64, f64, u64)| CalibrationBin {
            cards,
            confidence: share(sum, cards),
            right: share(right as f64, cards),
        };
        Calibration {
            cards,
            brier: share(self.squares, cards),
            reliability: self.bins.iter().map(bin).collect(),
        }
    }
}
