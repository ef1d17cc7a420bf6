//! Sums over risk sets, event time by event time.

use super::design::Design;
use super::model::Ties;
use crate::numeric::exact_sum::ExactSum;

/// Sums over the rows at risk at an event time, and over those with their event then.
#[derive(Debug, Clone)]
pub(super) struct RiskSums {
    /// Sums of hazards, and of hazards times covariates and their products (upper triangle by row;
    /// empty if not asked for).
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

/// Calls `visit` with the index of each event time and its sums. `risks` are the relative hazards of
/// the design's rows; products of covariates are summed if `second` is set.
///
/// Each row is added when it enters and taken back when it leaves, so that a sweep takes time
/// proportional to the rows, however long they are at risk.
pub(super) fn sweep(
    design: &Design,
    risks: &[f64],
    second: bool,
    mut visit: impl FnMut(usize, &RiskSums),
) {
    let mut running = Running::new(design.width, second);
    let mut sums =
        RiskSums { at_risk: Moments::default(), dying: Moments::default(), covariates: Vec::new() };
    let mut stratum_start = 0;
    let mut peak = 0.0f64;
    for (index, event) in design.events.iter().enumerate() {
        if event.begins {
            running.clear();
            stratum_start = event.entering.start;
            peak = 0.0;
        } else {
            for &position in &design.leaving[event.leaving.clone()] {
                running.add(design.x(position), -risks[position]);
            }
        }
        for position in event.entering.clone() {
            running.add(design.x(position), risks[position]);
        }
        let hazard = running.hazard.value();
        peak = peak.max(hazard);
        if hazard < peak * LOSS {
            running.clear();
            for position in stratum_start..event.entering.end {
                if design.spans[position].end > index {
                    running.add(design.x(position), risks[position]);
                }
            }
            peak = running.hazard.value();
        }
        running.read(&mut sums.at_risk);
        let deaths = event.entering.start..event.entering.start + event.deaths;
        sums.add_deaths(design, risks, deaths, second);
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
    fn add_deaths(
        &mut self,
        design: &Design,
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

/// [`Moments`] to which rows are added and from which they are taken back.
struct Running {
    hazard: ExactSum,
    first: Vec<ExactSum>,
    second: Vec<ExactSum>,
}

impl Running {
    fn new(width: usize, second: bool) -> Running {
        let entries = if second { width * (width + 1) / 2 } else { 0 };
        Running {
            hazard: ExactSum::default(),
            first: vec![ExactSum::default(); width],
            second: vec![ExactSum::default(); entries],
        }
    }

    fn clear(&mut self) {
        self.hazard = ExactSum::default();
        self.first.fill(ExactSum::default());
        self.second.fill(ExactSum::default());
    }

    /// A negative risk takes a row back.
    #[inline]
    fn add(&mut self, x: &[f64], risk: f64) {
        self.hazard.add(risk);
        if self.second.is_empty() {
            self.first.iter_mut().zip(x).for_each(|(sum, x)| sum.add(risk * x));
            return;
        }
        let mut entries = self.second.iter_mut();
        for (i, sum) in self.first.iter_mut().enumerate() {
            let term = risk * x[i];
            sum.add(term);
            x[i..].iter().zip(&mut entries).for_each(|(x, entry)| entry.add(term * x));
        }
    }

    fn read(&self, moments: &mut Moments) {
        moments.hazard = self.hazard.value();
        moments.first.clear();
        moments.first.extend(self.first.iter().map(|sum| sum.value()));
        moments.second.clear();
        moments.second.extend(self.second.iter().map(|sum| sum.value()));
    }
}
