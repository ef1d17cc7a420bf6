//! Sums over risk sets, event time by event time.

use super::design::CoxDesign;
use super::model::Ties;
use crate::numeric::exact_sum::ExactSum;

/// Sums over the rows at risk at an event time, and over those with their event then.
#[derive(Debug, Clone)]
pub(super) struct RiskSums {
    /// Sums of hazards, and of hazards times covariates and their products (upper triangle by row;
    /// empty if not requested).
    pub(super) at_risk: Moments,
    pub(super) dying: Moments,
    /// Covariates of the events, summed without hazards.
    pub(super) covariates: Vec<f64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Moments {
    pub(super) hazard: f64,
    pub(super) first: Vec<f64>,
    pub(super) second: Vec<f64>,
}

/// How far a sum may fall below its former size before it is computed anew: an [`ExactSum`] keeps
/// about 32 digits, so that 19 are left.
const LOSS: f64 = 1e-13;

/// Calls `visit` with the index of each event time and its sums. `risks` are the relative hazards
/// of the design's rows; products of covariates are summed if `second` is set.
///
/// Each row is added when it enters and taken back when it leaves, so that a sweep takes time
/// proportional to the rows, however long they are at risk.
pub(super) fn sweep(
    design: &CoxDesign,
    risks: &[f64],
    second: bool,
    mut visit: impl FnMut(usize, &RiskSums),
) {
    let mut running = RunningSums::new(design.width, second);
    let mut sums =
        RiskSums { at_risk: Moments::default(), dying: Moments::default(), covariates: Vec::new() };
    let mut stratum_start = 0;
    let mut peak = 0.0f64;
    for (index, event) in design.order.events.iter().enumerate() {
        if event.begins {
            running.clear();
            stratum_start = event.entering.start;
            peak = 0.0;
        } else {
            for &position in &design.order.leaving[event.leaving.clone()] {
                running.add(design.x(position), -risks[position]);
            }
        }
        for position in event.entering.clone() {
            running.add(design.x(position), risks[position]);
        }
        let hazard = running.hazard();
        peak = peak.max(hazard);
        if hazard < peak * LOSS {
            running.clear();
            for position in stratum_start..event.entering.end {
                if design.order.spans[position].end > index {
                    running.add(design.x(position), risks[position]);
                }
            }
            peak = running.hazard();
        }
        running.read(&mut sums.at_risk);
        sums.set_deaths(design, risks, event.dying(), second);
        visit(index, &sums);
    }
}

/// Shares of the hazard of those who die that are no longer at risk, one for each of `deaths` at a
/// time: for Efron's ties they leave one after the other on average.
pub(super) fn gone(ties: Ties, deaths: usize) -> impl Iterator<Item = f64> {
    (0..deaths).map(move |before| match ties {
        Ties::Efron => before as f64 / deaths as f64,
        Ties::Breslow => 0.0,
    })
}

impl RiskSums {
    fn set_deaths(
        &mut self,
        design: &CoxDesign,
        risks: &[f64],
        deaths: std::ops::Range<usize>,
        second: bool,
    ) {
        let width = design.width;
        let dying = &mut self.dying;
        dying.hazard = 0.0;
        reset(&mut dying.first, width);
        reset(&mut dying.second, if second { width * (width + 1) / 2 } else { 0 });
        reset(&mut self.covariates, width);
        for position in deaths {
            let (x, risk) = (design.x(position), risks[position]);
            dying.hazard += risk;
            let mut entries = dying.second.iter_mut();
            for i in 0..width {
                let term = risk * x[i];
                dying.first[i] += term;
                self.covariates[i] += x[i];
                if second {
                    x[i..].iter().zip(&mut entries).for_each(|(x, entry)| *entry += term * x);
                }
            }
        }
    }

    /// Hazard at risk when this share of those who die is gone.
    pub(super) fn hazard(&self, gone: f64) -> f64 {
        self.at_risk.hazard - gone * self.dying.hazard
    }

    /// Mean of a covariate over the risk set, weighted with hazards, when this share is gone.
    pub(super) fn mean(&self, gone: f64, covariate: usize) -> f64 {
        let sum = self.at_risk.first[covariate] - gone * self.dying.first[covariate];
        sum / self.hazard(gone)
    }
}

fn reset(values: &mut Vec<f64>, length: usize) {
    values.clear();
    values.resize(length, 0.0);
}

/// [`Moments`] to which rows are added and from which they are taken back, as [`ExactSum`]s whose
/// parts lie apart, for vector instructions.
struct RunningSums {
    width: usize,
    second: bool,
    /// Hazard, first moments, second moments.
    high: Vec<f64>,
    low: Vec<f64>,
    terms: Vec<f64>,
}

impl RunningSums {
    fn new(width: usize, second: bool) -> RunningSums {
        let entries = 1 + width + if second { width * (width + 1) / 2 } else { 0 };
        let zeros = vec![0.0; entries];
        RunningSums { width, second, high: zeros.clone(), low: zeros.clone(), terms: zeros }
    }

    fn clear(&mut self) {
        self.high.fill(0.0);
        self.low.fill(0.0);
    }

    fn hazard(&self) -> f64 {
        self.high[0] + self.low[0]
    }

    /// A negative risk takes a row back.
    #[inline]
    fn add(&mut self, x: &[f64], risk: f64) {
        let (first, second) = self.terms[1..].split_at_mut(self.width);
        let mut entries = second.iter_mut();
        for (i, first) in first.iter_mut().enumerate() {
            let term = risk * x[i];
            *first = term;
            if self.second {
                x[i..].iter().zip(&mut entries).for_each(|(x, entry)| *entry = term * x);
            }
        }
        self.terms[0] = risk;
        let sums = self.high.iter_mut().zip(&mut self.low);
        sums.zip(&self.terms).for_each(|((high, low), term)| ExactSum::add_to(high, low, *term));
    }

    fn read(&self, moments: &mut Moments) {
        let mut sums = self.high.iter().zip(&self.low).map(|(high, low)| high + low);
        moments.hazard = sums.next().unwrap_or_default();
        moments.first.clear();
        moments.first.extend(sums.by_ref().take(self.width));
        moments.second.clear();
        moments.second.extend(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::risk_data::{Covariates, RiskData};
    use super::*;

    /// Hazards so large that sums lose the others leave no trace once their rows have left.
    #[test]
    fn sums_lost_to_large_hazards_are_computed_anew() {
        let data = RiskData {
            start: vec![0.0, 0.0, 0.0, 2.5, 2.5],
            stop: vec![1.0, 2.0, 4.0, 3.0, 3.0],
            cause: vec![1; 5],
            ..RiskData::default()
        };
        let columns = vec![("x".to_owned(), vec![3.0, 1.0, 4.0, 1.5, 9.0])];
        let covariates = Covariates::from_columns(columns).unwrap();
        let design = CoxDesign::new(&data, &[true; 5], &covariates).unwrap();
        let hazard = [0.1, 0.2, 0.4, 1e40, 1e20];
        let risks: Vec<f64> = design.order.rows.iter().map(|row| hazard[*row]).collect();
        let mut found = Vec::new();
        sweep(&design, &risks, true, |_, sums| {
            found.push((sums.at_risk.hazard, sums.at_risk.first[0]));
        });
        let x = |row: usize| (covariates.values[row] - design.means[0]) / design.scales[0];
        let first = |rows: &[usize]| rows.iter().map(|row| hazard[*row] * x(*row)).sum::<f64>();
        let (two, three) = (first(&[2, 1]), first(&[2, 1, 0]));
        assert_eq!(found[0].0, 0.4);
        assert_eq!(found[1].0, 1e40);
        let close = |(hazard, first): (f64, f64), expected: f64, sum: f64| {
            assert!((hazard - expected).abs() < 1e-15 && (first - sum).abs() < 1e-15);
        };
        close(found[2], 0.4 + 0.2, two);
        close(found[3], 0.4 + 0.2 + 0.1, three);
    }
}
