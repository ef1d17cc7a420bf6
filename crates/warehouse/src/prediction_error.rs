//! Prediction error: the difference between forecast and outcome, scored once the outcome is known.
//! A missing error is `None`, never 0.

use crate::card::Card;
use crate::config::Design;
use crate::exposure::{ERROR_MAX, Exposure, NewErrors, relative_error};
use crate::labels::labeled_enum;
use crate::orders::SupplierOrder;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Index;

labeled_enum!(/// The kind of a predicted value: days until delivery, units, money, success, or the terms of
    /// trade (since design v2).
    PeKind { Temporal = "temporal", Quantity = "quantity", Cost = "cost", Causal = "causal", Rule = "rule" });
labeled_enum!(/// A scored field of a prediction card.
    CardField { Success = "success", DeliveryDays = "delivery_days", Quantity = "quantity", Cost = "cost",
        StorageAfter = "storage_after", BudgetAfter = "budget_after", UnitPrice = "unit_price", FeesToday = "fees_today" });

impl PeKind {
    /// The kinds of a design.
    pub fn of(design: Design) -> &'static [PeKind] {
        match design {
            Design::V1 => &PeKind::ALL[..4],
            Design::V2 => PeKind::ALL,
        }
    }
}

impl CardField {
    /// The kind of the field's value.
    pub fn kind(self) -> PeKind {
        match self {
            CardField::Success => PeKind::Causal,
            CardField::DeliveryDays => PeKind::Temporal,
            CardField::Quantity | CardField::StorageAfter => PeKind::Quantity,
            CardField::Cost | CardField::BudgetAfter => PeKind::Cost,
            CardField::UnitPrice | CardField::FeesToday => PeKind::Rule,
        }
    }

    /// The field of this name; `None` if there is none.
    pub fn parse(name: &str) -> Option<CardField> {
        CardField::ALL.iter().copied().find(|field| field.label() == name)
    }
}

/// One value per [`PeKind`] of a design; serialized as a map from label to value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerKind<T> {
    kinds: &'static [PeKind],
    values: [T; 5],
}

impl<T: Default> PerKind<T> {
    fn new(design: Design) -> PerKind<T> {
        PerKind { kinds: PeKind::of(design), values: Default::default() }
    }
}

impl<T> PerKind<T> {
    pub fn iter(&self) -> impl Iterator<Item = (PeKind, &T)> {
        self.kinds.iter().copied().zip(&self.values)
    }
}

impl<T> Index<&PeKind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: &PeKind) -> &T {
        &self.values[*kind as usize]
    }
}

impl<T: Serialize> Serialize for PerKind<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.kinds.len()))?;
        for (kind, value) in self.iter() {
            map.serialize_entry(kind.label(), value)?;
        }
        map.end()
    }
}

/// Predicted and actual value of one field of a prediction card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PredictionPair {
    /// The step in which the card was given.
    pub card_step: u64,
    pub field: CardField,
    pub kind: PeKind,
    pub predicted: f64,
    pub actual: f64,
    /// |predicted - actual| / max(|actual|, 1), at most 2 since design v2; 0 or 1 for causal
    /// errors.
    pub error: f64,
    /// |predicted - actual| / max(|predicted|, 1), at most 2 since design v2: the published
    /// definition, which favors overprediction.
    pub error_published: f64,
    /// `error` minus the error that the prediction would have had without shocks; `None` in design
    /// v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub induced: Option<f64>,
}

/// The actual value of a predicted one, and what it would have been without shocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    pub actual: f64,
    pub without_shocks: f64,
}

impl Truth {
    /// A value that no shock changed.
    pub fn undisturbed(actual: f64) -> Truth {
        Truth { actual, without_shocks: actual }
    }
}

impl PredictionPair {
    pub fn new(card_step: u64, field: CardField, predicted: f64, actual: f64) -> PredictionPair {
        let kind = field.kind();
        let (error, error_published) = match kind {
            PeKind::Causal => {
                let differs = (predicted - actual).abs().min(1.0);
                (differs, differs)
            }
            _ => (relative_error(predicted, actual), relative_error(actual, predicted)),
        };
        PredictionPair {
            card_step,
            field,
            kind,
            predicted,
            actual,
            error,
            error_published,
            induced: None,
        }
    }

    /// The pair in design v2: errors are at most 2, and the part that shocks caused is known.
    pub fn capped(
        card_step: u64,
        field: CardField,
        predicted: f64,
        truth: Truth,
    ) -> PredictionPair {
        let pair = PredictionPair::new(card_step, field, predicted, truth.actual);
        let undisturbed = PredictionPair::new(card_step, field, predicted, truth.without_shocks);
        let error = pair.error.min(ERROR_MAX);
        PredictionPair {
            error,
            error_published: pair.error_published.min(ERROR_MAX),
            induced: Some(error - undisturbed.error.min(ERROR_MAX)),
            ..pair
        }
    }
}

/// EWMA and window means of the errors of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PeScales {
    /// EWMA with alpha 0.3, 0.1 and 0.01, over the steps in which an error became known; `None`
    /// before the first.
    pub ewma: [Option<f64>; 3],
    /// Means of the errors that became known within the last 10, 100 and 500 steps; `None` if there
    /// were none.
    pub windows: [Option<f64>; 3],
}

const ALPHAS: [f64; 3] = [0.3, 0.1, 0.01];
const WINDOWS: [u64; 3] = [10, 100, 500];
/// Interval in steps at which the running sums are recomputed, so that rounding errors do not
/// accumulate.
const RECOMPUTE_EVERY: u64 = 512;

/// Outcomes that are known right after a call, against which its card is scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallFacts {
    pub success: bool,
    pub cost: f64,
    /// Units in storage, all SKUs together.
    pub stock_units: f64,
    /// Cash that the ledger shows, in currency units.
    pub budget: f64,
    /// What the call would have done without shocks, and the terms of trade; `None` in design v1.
    pub terms: Option<CallTerms>,
}

/// The terms under which a call was made, with and without shocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallTerms {
    /// Whether a shock made a legal call fail.
    pub refused: bool,
    /// Additional cost in currency units that shocks caused.
    pub added_cost: f64,
    /// Price of a unit of an order; `None` for other calls.
    pub unit_price: Option<Truth>,
    /// Fees of the day if it ended right after the call.
    pub fees_today: Truth,
}

/// A delivery, with the day and the units that there would have been without shocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeliveryFacts {
    /// Days since the order.
    pub days: Truth,
    pub units: Truth,
}

/// Prediction errors of a run so far, and the predicted deliveries of supplier orders in transit.
#[derive(Debug, Clone)]
pub struct PeTracker {
    design: Design,
    kinds: [ErrorHistory; 5],
    /// Supplier order id -> the delivery that the order's card predicts.
    pending: BTreeMap<u64, ExpectedDelivery>,
    exposure: Exposure,
    /// Delivery errors that became known since the last step.
    new_errors: NewErrors,
}

/// The delivery that the card of a supplier order predicts.
#[derive(Debug, Clone, Copy)]
struct ExpectedDelivery {
    step: u64,
    days: Option<f64>,
    units: Option<f64>,
    /// Error of the days that is part of the exposure already, since the order is overdue.
    overdue: f64,
    /// The part of `overdue` that shocks caused.
    overdue_induced: f64,
}

/// History of the errors of one kind.
#[derive(Debug, Clone, Default)]
struct ErrorHistory {
    ewma: Option<[f64; 3]>,
    /// (step, error) of the steps with an error among the last 500, oldest first.
    recent: VecDeque<(u64, f64)>,
    windows: [ErrorWindow; 3],
}

/// The newest `count` errors of a history, and their sum.
#[derive(Debug, Clone, Copy, Default)]
struct ErrorWindow {
    count: usize,
    sum: f64,
}

impl PeTracker {
    pub fn new(design: Design) -> PeTracker {
        PeTracker {
            design,
            kinds: Default::default(),
            pending: BTreeMap::new(),
            exposure: Exposure::default(),
            new_errors: NewErrors::default(),
        }
    }

    /// The accumulated delivery errors, up to the last step.
    pub fn exposure(&self) -> Exposure {
        self.exposure
    }

    /// Scores the fields of a card whose outcome is known right after the call: success, cost,
    /// stock, budget and the terms of trade.
    pub fn score_call(&self, step: u64, card: &Card, facts: &CallFacts) -> Vec<PredictionPair> {
        match &facts.terms {
            Some(terms) => score_call_and_terms(step, card, facts, terms),
            None => self.score_call_alone(step, card, facts),
        }
    }

    fn score_call_alone(&self, step: u64, card: &Card, facts: &CallFacts) -> Vec<PredictionPair> {
        let truth = |yes: bool| f64::from(u8::from(yes));
        let fields = [
            (CardField::Success, card.success.map(truth), truth(facts.success)),
            (CardField::Cost, card.cost, facts.cost),
            (CardField::StorageAfter, card.storage_after, facts.stock_units),
            (CardField::BudgetAfter, card.budget_after, facts.budget),
        ];
        let score = |(field, predicted, actual): (CardField, Option<f64>, f64)| {
            predicted.map(|predicted| PredictionPair::new(step, field, predicted, actual))
        };
        fields.into_iter().filter_map(score).collect()
    }

    /// Stores the delivery that a card predicts, until the supplier order `order` arrives.
    pub fn await_delivery(&mut self, order: u64, step: u64, card: &Card) {
        self.pending.insert(
            order,
            ExpectedDelivery {
                step,
                days: card.delivery_days,
                units: card.quantity,
                overdue: 0.0,
                overdue_induced: 0.0,
            },
        );
    }

    /// Scores the delivery of the supplier order `order`.
    pub fn score_delivery(&mut self, order: u64, facts: &DeliveryFacts) -> Vec<PredictionPair> {
        let Some(expected) = self.pending.remove(&order) else { return Vec::new() };
        let design = self.design;
        let pair = |field: CardField, predicted, truth: Truth| match design {
            Design::V1 => PredictionPair::new(expected.step, field, predicted, truth.actual),
            Design::V2 => PredictionPair::capped(expected.step, field, predicted, truth),
        };
        let days = expected.days.map(|p| pair(CardField::DeliveryDays, p, facts.days));
        let units = expected.units.map(|p| pair(CardField::Quantity, p, facts.units));
        if let Some(days) = &days {
            self.new_errors.days += days.error - expected.overdue;
            self.new_errors.induced_days += days.induced.unwrap_or(0.0) - expected.overdue_induced;
        }
        if let Some(units) = &units {
            self.new_errors.quantity += units.error;
            self.new_errors.induced_quantity += units.induced.unwrap_or(0.0);
        }
        days.into_iter().chain(units).collect()
    }

    /// Adds the errors of overdue orders, as they are known on the morning of `day`: the days so
    /// far are the least that the delivery takes.
    pub(crate) fn add_overdue(&mut self, day: u64, in_transit: &[SupplierOrder]) {
        for order in in_transit {
            let Some(expected) = self.pending.get_mut(&order.id) else { continue };
            let elapsed = (day - order.placed_day) as f64;
            let Some(days) = expected.days.filter(|days| *days < elapsed) else { continue };
            let error = relative_error(days, elapsed).min(ERROR_MAX);
            let undisturbed = (order.undisturbed_day.min(day) - order.placed_day) as f64;
            let induced = error - relative_error(days, undisturbed).min(ERROR_MAX);
            self.new_errors.days += error - expected.overdue;
            self.new_errors.induced_days += induced - expected.overdue_induced;
            (expected.overdue, expected.overdue_induced) = (error, induced);
        }
    }

    /// Discards the predicted delivery of a canceled order: its errors stay missing. What it added
    /// to the exposure while it was overdue stays.
    pub fn cancel_delivery(&mut self, order: u64) {
        self.pending.remove(&order);
    }

    /// Ends a step: adds the errors of `pairs` to the histories. Returns the mean error of each
    /// kind in this step, and the scales after it.
    pub fn close(
        &mut self,
        step: u64,
        pairs: &[PredictionPair],
    ) -> (PerKind<Option<f64>>, PerKind<PeScales>) {
        self.exposure.close(std::mem::take(&mut self.new_errors));
        let (mut means, mut scales) = (PerKind::new(self.design), PerKind::new(self.design));
        for &kind in PeKind::of(self.design) {
            let errors = pairs.iter().filter(|p| p.kind == kind).map(|p| p.error);
            let (sum, count) =
                errors.fold((0.0, 0_u32), |(sum, count), error| (sum + error, count + 1));
            let mean = (count > 0).then(|| sum / f64::from(count));
            let history = &mut self.kinds[kind as usize];
            history.close(step, mean);
            means.values[kind as usize] = mean;
            scales.values[kind as usize] = history.scales();
        }
        (means, scales)
    }

    /// Mean of the errors of one kind within the last ten steps.
    pub(crate) fn recent_mean(&self, kind: PeKind) -> Option<f64> {
        self.kinds[kind as usize].scales().windows[0]
    }
}

/// Scores a call in design v2. Of a call that failed only the success is known: what it would have
/// cost is not.
fn score_call_and_terms(
    step: u64,
    card: &Card,
    facts: &CallFacts,
    terms: &CallTerms,
) -> Vec<PredictionPair> {
    let truth = |yes: bool| f64::from(u8::from(yes));
    let success = Truth {
        actual: truth(facts.success),
        without_shocks: truth(facts.success || terms.refused),
    };
    let cost = Truth { actual: facts.cost, without_shocks: facts.cost - terms.added_cost };
    let budget = Truth { actual: facts.budget, without_shocks: facts.budget + terms.added_cost };
    let known = |truth: Truth| facts.success.then_some(truth);
    let fields = [
        (CardField::Success, card.success.map(truth), Some(success)),
        (CardField::Cost, card.cost, known(cost)),
        (CardField::StorageAfter, card.storage_after, known(Truth::undisturbed(facts.stock_units))),
        (CardField::BudgetAfter, card.budget_after, known(budget)),
        (CardField::UnitPrice, card.unit_price, terms.unit_price.and_then(known)),
        (CardField::FeesToday, card.fees_today, known(terms.fees_today)),
    ];
    let score = |(field, predicted, truth): (CardField, Option<f64>, Option<Truth>)| {
        Some(PredictionPair::capped(step, field, predicted?, truth?))
    };
    fields.into_iter().filter_map(score).collect()
}

impl ErrorHistory {
    fn close(&mut self, step: u64, error: Option<f64>) {
        if let Some(error) = error {
            let ewma = self.ewma.get_or_insert([error; 3]);
            for (e, alpha) in ewma.iter_mut().zip(ALPHAS) {
                *e = alpha * error + (1.0 - alpha) * *e;
            }
            self.recent.push_back((step, error));
            for window in &mut self.windows {
                (window.count, window.sum) = (window.count + 1, window.sum + error);
            }
        }
        let recent = &self.recent;
        for (window, steps) in self.windows.iter_mut().zip(WINDOWS) {
            while window.count > 0 && recent[recent.len() - window.count].0 + steps <= step {
                window.sum -= recent[recent.len() - window.count].1;
                window.count -= 1;
            }
            if window.count == 0 || step.is_multiple_of(RECOMPUTE_EVERY) {
                window.sum = recent.iter().rev().take(window.count).map(|(_, error)| error).sum();
            }
        }
        while self.recent.len() > self.windows[2].count {
            self.recent.pop_front();
        }
    }

    fn scales(&self) -> PeScales {
        let mean = |window: ErrorWindow| {
            (window.count > 0).then(|| (window.sum / window.count as f64).max(0.0))
        };
        PeScales {
            ewma: self.ewma.map_or([None; 3], |e| e.map(Some)),
            windows: self.windows.map(mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(error: f64) -> PredictionPair {
        PredictionPair::new(1, CardField::Cost, error, 0.0)
    }

    #[test]
    fn ewma_and_window_means_agree_with_values_computed_by_hand() {
        let mut tracker = PeTracker::new(Design::V1);
        let (_, scales) = tracker.close(1, &[pair(1.0)]);
        assert_eq!(
            scales[&PeKind::Cost].ewma,
            [Some(1.0); 3],
            "the first error starts each average"
        );
        let (means, scales) = tracker.close(2, &[pair(0.0), pair(4.0)]);
        assert_eq!(means[&PeKind::Cost], Some(2.0), "the mean of a step's errors");
        assert_eq!(
            scales[&PeKind::Cost].ewma,
            [Some(0.3 * 2.0 + 0.7), Some(0.1 * 2.0 + 0.9), Some(0.01 * 2.0 + 0.99)]
        );
        assert_eq!(scales[&PeKind::Cost].windows, [Some(1.5); 3]);
        assert_eq!(
            (means[&PeKind::Temporal], scales[&PeKind::Temporal]),
            (None, PeScales::default()),
            "no error is no value"
        );
        // Steps without an error move the windows and leave the EWMA unchanged.
        let ten = (3..=11).map(|step| tracker.close(step, &[])).last().unwrap().1;
        assert_eq!(
            ten[&PeKind::Cost].windows,
            [Some(2.0), Some(1.5), Some(1.5)],
            "step 1 is ten steps ago"
        );
        let twelve = tracker.close(12, &[]).1;
        assert_eq!(twelve[&PeKind::Cost].windows, [None, Some(1.5), Some(1.5)]);
        assert_eq!(twelve[&PeKind::Cost].ewma, scales[&PeKind::Cost].ewma);
    }

    #[test]
    fn running_means_agree_with_recomputed_means() {
        let (mut tracker, draws) =
            (PeTracker::new(Design::V1), crate::random::RandomStream::new(1, "errors"));
        let mut known: Vec<(u64, f64)> = Vec::new();
        for step in 1..=3000 {
            let error = draws.unit(&[step]) * 1e6;
            let drawn = draws.unit(&[step, 1]) < 0.6;
            known.extend(drawn.then_some((step, error)));
            let pairs: Vec<PredictionPair> = drawn.then(|| pair(error)).into_iter().collect();
            let (_, scales) = tracker.close(step, &pairs);
            for (window, steps) in scales[&PeKind::Cost].windows.into_iter().zip(WINDOWS) {
                let inside: Vec<f64> =
                    known.iter().filter(|(at, _)| at + steps > step).map(|(_, e)| *e).collect();
                let mean =
                    (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64);
                let same = match (window, mean) {
                    (Some(ours), Some(plain)) => (ours - plain).abs() <= 1e-9 * plain.max(1.0),
                    (ours, plain) => ours == plain,
                };
                assert!(same, "step {step}, window {steps}: {window:?} and {mean:?}");
            }
        }
    }
}
