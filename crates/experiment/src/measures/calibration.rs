//! Calibration: how well an agent's stated confidence agrees with the correctness of its forecasts.
//! Brier score and reliability table, as in forecast verification.

use results::StepRow;
use serde::Serialize;

const BINS: usize = 10;

/// Calibration of the confidence that prediction cards state for their forecast of success.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// Number of cards that state a confidence.
    pub cards: u64,
    /// Brier score: mean squared difference between confidence and correctness (0 or 1); `None` if
    /// there are no cards.
    pub brier: Option<f64>,
    /// Ten bins of equal width over confidences from 0 to 1.
    pub reliability: Vec<CalibrationBin>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CalibrationBin {
    pub cards: u64,
    /// Mean confidence of the bin's cards.
    pub confidence: Option<f64>,
    /// Fraction of the bin's cards whose forecast was right.
    pub right: Option<f64>,
}

/// Accumulates a [`Calibration`] row by row.
#[derive(Debug, Clone, Default)]
pub(crate) struct CalibrationSums {
    squares: f64,
    bins: [BinSums; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct BinSums {
    cards: u64,
    confidence: f64,
    right: u64,
}

impl CalibrationSums {
    pub fn add(&mut self, row: &StepRow) {
        let Some(card) = &row.card else { return };
        // Most cards state no confidence and need not be parsed. Names of fields are written
        // without escapes.
        if !card.text().contains("\"confidence\"") {
            return;
        }
        let card = card.value();
        let confidence = card.get("confidence").and_then(serde_json::Value::as_f64);
        let expected = card.get("success").and_then(serde_json::Value::as_bool);
        let (Some(confidence), Some(expected)) = (confidence, expected) else { return };
        // A confidence outside 0 to 1 counts as missing, as in the world's scoring of cards.
        if !(0.0..=1.0).contains(&confidence) {
            return;
        }
        let right = expected == row.result.success;
        self.squares += (confidence - f64::from(u8::from(right))).powi(2);
        let bin = &mut self.bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.cards += 1;
        bin.confidence += confidence;
        bin.right += u64::from(right);
    }

    pub fn finish(&self) -> Calibration {
        let cards = self.bins.iter().map(|bin| bin.cards).sum::<u64>();
        let mean = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
        let bin = |bin: &BinSums| CalibrationBin {
            cards: bin.cards,
            confidence: mean(bin.confidence, bin.cards),
            right: mean(bin.right as f64, bin.cards),
        };
        Calibration {
            cards,
            brier: mean(self.squares, cards),
            reliability: self.bins.iter().map(bin).collect(),
        }
    }
}
