//! Prediction error: forecast against outcome, scored when the truth is known. What is missing is missing, never 0.
use crate::card::Card;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// The four kinds of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeKind {
    /// Days until delivery.
    Temporal,
    /// Units.
    Quantity,
    /// Money.
    Cost,
    /// Success or failure.
    Causal,
}

impl PeKind {
    /// All of them.
    pub const ALL: [PeKind; 4] = [PeKind::Temporal, PeKind::Quantity, PeKind::Cost, PeKind::Causal];

    /// The word in rows.
    pub fn word(self) -> &'static str {
        match self {
            PeKind::Temporal => "temporal",
            PeKind::Quantity => "quantity",
            PeKind::Cost => "cost",
            PeKind::Causal => "causal",
        }
    }
}

/// One scored field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The step whose card it was.
    pub card_step: u64,
    /// The field.
    pub field: &'static str,
    /// Its kind.
    pub kind: PeKind,
    /// Forecast.
    pub predicted: f64,
    /// Outcome.
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1); for causal 0 or 1.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1): the published form, which rewards over-prediction.
    pub error_published: f64,
}

impl Pair {
    /// Scores a field.
    pub fn new(card_step: u64, field: &'static str, kind: PeKind, predicted: f64, actual: f64) -> Pair {
        let gap = (predicted - actual).abs();
        let (error, error_published) = match kind {
            PeKind::Causal => (gap.min(1.0), gap.min(1.0)),
            _ => (gap / actual.abs().max(1.0), gap / predicted.abs().max(1.0)),
        };
        Pair { card_step, field, kind, predicted, actual, error, error_published }
    }
}

/// Errors of one kind at several scales.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeScales {
    /// EWMA with alpha .3, .1, .01.
    pub ewma: [Option<f64>; 3],
    /// Means of the last 10, 100, 500 steps with an error.
    pub windows: [Option<f64>; 3],
}

const ALPHAS: [f64; 3] = [0.3, 0.1, 0.01];
const WINDOWS: [usize; 3] = [10, 100, 500];

/// Errors of a run so far, and cards that wait for their truth.
#[derive(Debug, Clone, Default)]
pub struct PeTracker {
    ewma: BTreeMap<PeKind, [f64; 3]>,
    recent: BTreeMap<PeKind, VecDeque<f64>>,
    waiting: BTreeMap<u64, (u64, Card)>,
}

impl PeTracker {
    /// Scores what is known at once: success, cost, and what is left after the call.
    pub fn score_now(&self, step: u64, card: &Card, success: bool, cost: f64, stock: f64, budget: f64) -> Vec<Pair> {
        let truth = |yes: bool| f64::from(u8::from(yes));
        let fields = [
            ("success", PeKind::Causal, card.success.map(truth), truth(success)),
            ("cost", PeKind::Cost, card.cost, cost),
            ("storage_after", PeKind::Quantity, card.storage_after, stock),
            ("budget_after", PeKind::Cost, card.budget_after, budget),
        ];
        let score = |(field, kind, predicted, actual): (&'static str, PeKind, Option<f64>, f64)| {
            predicted.map(|predicted| Pair::new(step, field, kind, predicted, actual))
        };
        fields.into_iter().filter_map(score).collect()
    }

    /// Keeps the card of a supplier order until its goods come.
    pub fn wait_for(&mut self, order: u64, step: u64, card: Card) {
        self.waiting.insert(order, (step, card));
    }

    /// The goods of an order came. Days count from the order.
    pub fn delivered(&mut self, order: u64, days: f64, units: f64) -> Vec<Pair> {
        let Some((step, card)) = self.waiting.remove(&order) else { return Vec::new() };
        let days = card.delivery_days.map(|p| Pair::new(step, "delivery_days", PeKind::Temporal, p, days));
        let units = card.quantity.map(|p| Pair::new(step, "quantity", PeKind::Quantity, p, units));
        days.into_iter().chain(units).collect()
    }

    /// An order will never come: its errors are missing.
    pub fn cancelled(&mut self, order: u64) {
        self.waiting.remove(&order);
    }

    /// Closes a step: the mean error of each kind, and the scales after it.
    pub fn close(&mut self, pairs: &[Pair]) -> (BTreeMap<PeKind, Option<f64>>, BTreeMap<PeKind, PeScales>) {
        let (mut means, mut scales) = (BTreeMap::new(), BTreeMap::new());
        for kind in PeKind::ALL {
            let errors: Vec<f64> = pairs.iter().filter(|p| p.kind == kind).map(|p| p.error).collect();
            let mean = (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
            if let Some(error) = mean {
                self.add(kind, error);
            }
            means.insert(kind, mean);
            scales.insert(kind, self.scales(kind));
        }
        (means, scales)
    }

    fn add(&mut self, kind: PeKind, error: f64) {
        let ewma = self.ewma.entry(kind).or_insert([error; 3]);
        for (e, alpha) in ewma.iter_mut().zip(ALPHAS) {
            *e = alpha * error + (1.0 - alpha) * *e;
        }
        let recent = self.recent.entry(kind).or_default();
        recent.push_back(error);
        if recent.len() > WINDOWS[2] {
            recent.pop_front();
        }
    }

    fn scales(&self, kind: PeKind) -> PeScales {
        let ewma = self.ewma.get(&kind).map_or([None; 3], |e| e.map(Some));
        let recent = self.recent.get(&kind);
        let windows = WINDOWS.map(|window| {
            let all = recent.filter(|r| !r.is_empty())?;
            let count = all.len().min(window);
            Some(all.iter().rev().take(count).sum::<f64>() / count as f64)
        });
        PeScales { ewma, windows }
    }
}

impl PeTracker {
    /// The mean of the last ten errors of a kind.
    pub(crate) fn recent_mean(&self, kind: PeKind) -> Option<f64> {
        self.scales(kind).windows[0]
    }
}
